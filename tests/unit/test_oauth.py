"""The format `{"oauth": {…}}`, and the three calls, through real sockets to the local HighLevel."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from highlevel import oauth
from highlevel.client import HighLevel
from highlevel.oauth import (
    AuthorizationCode,
    InvalidOAuthSecretError,
    LocationInactiveError,
    OAuth,
    OAuthDeferredError,
    OAuthError,
    OAuthRefusedError,
    TokenPair,
    exchange_code,
    issue_location_token,
    read_oauth,
    refresh,
)
from local.highlevel import LocalHighLevel
from local.highlevel_oauth import Installation
from tests.factories import CONTACT, LOCATION
from tests.unit.peer import Connection, Peer
from tests.unit.world import TOKEN

SECRET = "secret-that-must-not-be-shown"
MEMBERS: dict[str, Any] = {
    "client_id": "66f1c0ffee-m1x2y3",
    "client_secret": SECRET,
    "refresh_token": "eyJ.refresh.of-it",
    "user_type": "Location",
    "company_id": "company1",
    "access_token": "eyJ.access.of-it",
    "expires_at": 1_800_000_000,
}
AGENCY = "company0000000000001"


def secret_text(**changed: Any) -> str:
    """The secret with other members; `...` takes one away."""
    members = {name: value for name, value in (MEMBERS | changed).items() if value is not ...}
    return json.dumps({"oauth": members})


# The format


def test_what_is_written_is_what_is_read() -> None:
    read = read_oauth(secret_text())
    assert read == OAuth(**MEMBERS)
    assert read_oauth(read.to_secret()) == read


@pytest.mark.parametrize("name", ["company_id", "access_token", "expires_at"])
@pytest.mark.parametrize("value", [pytest.param(..., id="left out"), None, "", "  "])
def test_three_members_may_be_missing(name: str, value: Any) -> None:
    read = read_oauth(secret_text(**{name: value}))
    assert read is not None
    assert getattr(read, name) is None
    assert name not in read.to_secret()


@pytest.mark.parametrize("text", ["", TOKEN, json.dumps(TOKEN), "{}", "[]", "[" * 100_000, '{"token": "x"}', "{"])
def test_another_format_is_not_an_error(text: str) -> None:
    assert read_oauth(text) is None


def test_pasted_blanks_do_not_count() -> None:
    read = read_oauth(secret_text(refresh_token=" eyJ.refresh.of-it\n"))
    assert read is not None
    assert read.refresh_token == "eyJ.refresh.of-it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (secret_text(**{name: gone}), f"oauth.{name} is missing")
            for name in oauth._REQUIRED
            for gone in (..., None, " ")
        ),
        *(
            (secret_text(**{name: wrong}), f"oauth.{name} must be a text without blanks or letters beyond ASCII")
            for name in ("client_id", "client_secret", "refresh_token", "access_token")
            for wrong in (7, ["x"], {"x": SECRET}, f"{SECRET}\r\nX-Injected: 1", f"{SECRET} {SECRET}", SECRET + "ü")
        ),
        (secret_text(user_type="location"), "oauth.user_type must be Company or Location"),
        (secret_text(user_type=[SECRET]), "oauth.user_type must be Company or Location"),
        (secret_text(company_id=7), "oauth.company_id must be an id: up to 64 letters, digits, _ or -"),
        (secret_text(company_id="a/b"), "oauth.company_id must be an id: up to 64 letters, digits, _ or -"),
        *(
            (secret_text(expires_at=wrong), "oauth.expires_at must be a Unix time in seconds")
            for wrong in ("2027-01-01T00:00:00Z", True, -1, 1_800_000_000_000, [1])
        ),
        ('{"oauth": {"expires_at": NaN}}', "oauth.client_id is missing"),
        (secret_text()[:-2] + ', "expires_at": NaN}}', "oauth.expires_at must be a Unix time in seconds"),
        (secret_text(refreshtoken=SECRET), "oauth has members it does not know: refreshtoken"),
        (secret_text(**{SECRET + "-1": 1}), "oauth has members it does not know: 1"),
        (json.dumps({"oauth": MEMBERS, "token": TOKEN}), 'the secret must be {"oauth": {…}} with nothing beside it'),
        ('{"oauth": null}', "oauth must be an object"),
        (json.dumps({"oauth": SECRET}), "oauth must be an object"),
    ],
)
def test_a_malformed_member_is_named_without_its_value(text: str, message: str) -> None:
    with pytest.raises(InvalidOAuthSecretError) as caught:
        read_oauth(text)
    assert str(caught.value) == message
    assert SECRET not in str(caught.value)


def test_no_secret_shows_in_a_repr() -> None:
    representation = (
        repr(OAuth(**MEMBERS)) + repr(TokenPair("access-1", "refresh-1", 1)) + repr(oauth.LocationToken("access-2", 1))
    )
    for value in (SECRET, "eyJ", "access-1", "refresh-1", "access-2"):
        assert value not in representation


def test_a_new_pair_replaces_the_old_and_keeps_the_rest() -> None:
    before = OAuth(**MEMBERS)
    after = before.with_token_pair(TokenPair("new-access", "new-refresh", 1_900_000_000))
    assert after == OAuth(
        **MEMBERS | {"access_token": "new-access", "refresh_token": "new-refresh", "expires_at": 1_900_000_000}
    )
    # RFC 6749, 6: without a new refresh token the old one stays good.
    assert before.with_token_pair(TokenPair("new-access", None, None)).refresh_token == MEMBERS["refresh_token"]


@pytest.mark.parametrize(
    ("changed", "expired"),
    [({}, False), ({"expires_at": 1_000}, True), ({"expires_at": None}, False), ({"access_token": None}, True)],
)
def test_an_expired_access_token_is_known(changed: dict[str, Any], expired: bool) -> None:
    assert OAuth(**MEMBERS | changed).has_expired(1_700_000_000) is expired


# The calls


def connection(highlevel: LocalHighLevel, installation: Installation) -> OAuth:
    return OAuth(
        installation.client_id,
        highlevel.oauth.clients[installation.client_id],
        installation.refresh_token,
        installation.user_type,
    )


@pytest.fixture
def location(highlevel: LocalHighLevel) -> Installation:
    client_id, _ = highlevel.oauth.client()
    highlevel.oauth.window_seconds = 30.0
    return highlevel.oauth.install(client_id, location=LOCATION)


@pytest.fixture
def agency(highlevel: LocalHighLevel) -> Installation:
    client_id, _ = highlevel.oauth.client()
    return highlevel.oauth.install(client_id, "Company", locations={LOCATION})


def refused(call: Callable[[], object]) -> OAuthError:
    with pytest.raises(OAuthError) as caught:
        call()
    assert SECRET not in str(caught.value)
    return caught.value


def test_a_refresh_gives_a_pair_that_works(highlevel: LocalHighLevel, location: Installation) -> None:
    before = connection(highlevel, location)
    client = HighLevel(highlevel.url)
    after = before.with_token_pair(refresh(client, before, within=5))
    assert after.refresh_token not in ("", before.refresh_token)
    assert after.expires_at == pytest.approx(time.time() + 86_399, abs=5)
    assert after.company_id == AGENCY
    assert after.access_token
    assert client.create_conversation(after.access_token, LOCATION, CONTACT, within=5).outcome == "opened"
    (call,) = [call for call in highlevel.calls if call.path == "/oauth/token"]
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in call.headers
    assert refresh(client, after, within=5).refresh_token not in (before.refresh_token, after.refresh_token)


def test_within_thirty_seconds_a_used_token_is_answered_the_same(
    highlevel: LocalHighLevel, location: Installation
) -> None:
    client, before = HighLevel(highlevel.url), connection(highlevel, location)
    first, second = refresh(client, before, within=5), refresh(client, before, within=5)
    assert (first.access_token, first.refresh_token) == (second.access_token, second.refresh_token)
    assert [sent.again for sent in highlevel.oauth.sent] == [False, True]


def test_after_thirty_seconds_it_is_refused(highlevel: LocalHighLevel, location: Installation) -> None:
    client, before = HighLevel(highlevel.url), connection(highlevel, location)
    refresh(client, before, within=5)
    highlevel.oauth.window_seconds = 0
    error = refused(lambda: refresh(client, before, within=5))
    assert isinstance(error, OAuthRefusedError)
    assert (error.reason, error.status) == ("grant_refused", 400)


def test_an_answer_that_got_lost_comes_again(highlevel: LocalHighLevel, location: Installation) -> None:
    client, before = HighLevel(highlevel.url), connection(highlevel, location)
    highlevel.fail("commit_then_drop", path="/oauth/token", times=1)
    assert isinstance(refused(lambda: refresh(client, before, within=5)), OAuthDeferredError)
    assert refresh(client, before, within=5).refresh_token == location.refresh_token


def test_a_suspended_location_keeps_its_refresh_token(highlevel: LocalHighLevel, location: Installation) -> None:
    client, before = HighLevel(highlevel.url), connection(highlevel, location)
    highlevel.inactive_locations.add(LOCATION)
    error = refused(lambda: refresh(client, before, within=5))
    assert isinstance(error, LocationInactiveError)
    assert error.reason == "location_inactive"
    highlevel.inactive_locations.clear()
    assert refresh(client, before, within=5).access_token


def test_who_is_revoked_or_unknown_is_refused(highlevel: LocalHighLevel, location: Installation) -> None:
    client, before = HighLevel(highlevel.url), connection(highlevel, location)
    wrong_secret = OAuth(before.client_id, SECRET, before.refresh_token, "Location")
    error = refused(lambda: refresh(client, wrong_secret, within=5))
    assert (type(error), error.reason, error.status) == (OAuthRefusedError, "client_refused", 401)
    access = refresh(client, before, within=5).access_token
    highlevel.oauth.revoke(location)
    assert refused(lambda: refresh(client, connection(highlevel, location), within=5)).reason == "grant_refused"
    assert client.create_conversation(access, LOCATION, CONTACT, within=5).reason == "token_refused"


def test_a_code_is_exchanged_once(highlevel: LocalHighLevel, location: Installation) -> None:
    client, secret = HighLevel(highlevel.url), highlevel.oauth.clients[location.client_id]
    code = highlevel.oauth.authorize(location)

    def exchange() -> tuple[OAuth, str | None]:
        authorization = AuthorizationCode(location.client_id, secret, code, "Location", "https://x.example")
        return exchange_code(client, authorization, within=5)

    connected, where = exchange()
    assert where == location.location_id
    assert connected.refresh_token == location.refresh_token
    assert (connected.user_type, connected.company_id) == ("Location", AGENCY)
    assert read_oauth(connected.to_secret()) == connected
    assert refused(exchange).reason == "grant_refused"


def test_a_code_of_the_other_type_is_refused(highlevel: LocalHighLevel, agency: Installation) -> None:
    client, secret = HighLevel(highlevel.url), highlevel.oauth.clients[agency.client_id]
    code = highlevel.oauth.authorize(agency)
    error = refused(
        lambda: exchange_code(client, AuthorizationCode(agency.client_id, secret, code, "Location"), within=5),
    )
    assert error.reason == "user_type_refused"


def test_an_agency_gets_tokens_for_its_own_locations_only(highlevel: LocalHighLevel, agency: Installation) -> None:
    client = HighLevel(highlevel.url)
    issued = issue_location_token(client, agency.access_token, AGENCY, LOCATION, within=5)
    assert issued.expires_at == pytest.approx(time.time() + 86_399, abs=5)
    assert client.create_conversation(issued.access_token, LOCATION, CONTACT, within=5).outcome == "opened"
    assert client.create_conversation(issued.access_token, "other", CONTACT, within=5).reason == "location_refused"
    assert client.create_conversation(agency.access_token, LOCATION, CONTACT, within=5).reason == "token_kind_refused"
    assert highlevel.oauth.issued == [LOCATION]

    def issue(token: str, company: str = AGENCY, location: str = LOCATION) -> Callable[[], object]:
        return lambda: issue_location_token(client, token, company, location, within=5)

    assert refused(issue(agency.access_token, location="other")).reason == "location_refused"
    assert refused(issue(agency.access_token, company="other")).reason == "location_refused"
    assert refused(issue(issued.access_token)).reason == "token_kind_refused"
    assert refused(issue(TOKEN)).reason == "token_kind_refused"  # a private integration token cannot have tokens issued
    unknown = refused(issue("eyJ.unknown.one"))
    assert isinstance(unknown, OAuthDeferredError)
    assert unknown.reason == "token_refused"
    highlevel.inactive_locations.add(LOCATION)
    assert isinstance(refused(issue(agency.access_token)), LocationInactiveError)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "status", "status": 503}, "upstream_error"),
        ({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}, "rate_limited"),
        ({"kind": "html", "status": 403}, "upstream_unexpected"),
        ({"kind": "empty", "status": 200}, "upstream_unexpected"),
        ({"kind": "garbage", "status": 200}, "upstream_unexpected"),
        ({"kind": "status", "status": 200, "body": b'{"access_token": 7}'}, "upstream_unexpected"),
        ({"kind": "status", "status": 200, "body": b'{"access_token": "a b"}'}, "upstream_unexpected"),
        ({"kind": "hang"}, "upstream_timeout"),
        ({"kind": "reset"}, "upstream_connection_lost"),
    ],
)
def test_transient_failures_are_deferred_on_both_routes(
    highlevel: LocalHighLevel, location: Installation, agency: Installation, fault: dict[str, Any], reason: str
) -> None:
    client = HighLevel(highlevel.url)
    highlevel.fail(**fault)
    for call in (
        lambda: refresh(client, connection(highlevel, location), within=0.3),
        lambda: issue_location_token(client, agency.access_token, AGENCY, LOCATION, within=0.3),
    ):
        error = refused(call)
        assert isinstance(error, OAuthDeferredError)
        assert error.reason == reason
        assert error.retry_after == (7 if reason == "rate_limited" else None)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"statusCode": 400, "message": "Invalid grant: refresh token is invalid"}, "grant_refused"),
        (401, {"error": "invalid_grant", "error_description": "x"}, "grant_refused"),
        (401, {"error": "UnAuthorized!", "error_description": "x"}, "client_refused"),
        (400, {"error": "invalid_client"}, "client_refused"),
        (422, {"statusCode": 422, "message": ["user_type must be one of the following values"]}, "oauth_refused"),
        (404, {"statusCode": 404, "message": "Cannot POST /oauth/token"}, "oauth_refused"),
    ],
)
def test_each_refusal_has_its_reason(
    highlevel: LocalHighLevel, location: Installation, status: int, body: dict[str, Any], reason: str
) -> None:
    highlevel.fail("status", status=status, body=json.dumps(body).encode())
    error = refused(lambda: refresh(HighLevel(highlevel.url), connection(highlevel, location), within=5))
    assert (type(error), error.reason, error.status) == (OAuthRefusedError, reason, status)


@pytest.mark.parametrize("expires_in", [None, "86399", True, -1, 10**12])
def test_no_pair_is_lost_because_its_expiry_is_missing(expires_in: object) -> None:
    body = json.dumps({"access_token": "a", "refresh_token": "r", "expires_in": expires_in}).encode()

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with Peer(behave) as peer:
        assert refresh(HighLevel(peer.url), OAuth(**MEMBERS), within=5) == TokenPair("a", "r", None)


def test_two_private_tokens_are_valid_for_a_while(highlevel: LocalHighLevel) -> None:
    client = HighLevel(highlevel.url)
    new = highlevel.rotate_private_token(TOKEN, keep_seconds=1.0)
    assert client.create_conversation(TOKEN, LOCATION, "contact1", within=5).outcome == "opened"
    assert client.create_conversation(new, LOCATION, "contact2", within=5).outcome == "opened"
    time.sleep(1.0)
    assert client.create_conversation(TOKEN, LOCATION, "contact3", within=5).reason == "token_refused"
    assert client.create_conversation(new, LOCATION, "contact3", within=5).outcome == "opened"
