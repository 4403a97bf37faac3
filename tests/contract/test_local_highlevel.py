"""The local HighLevel accepts and refuses what the real one does."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.highlevel import Limits, LocalHighLevel
from tests.contract.local_calls import CREATE, MINE, OAUTH, PIT, SEARCH, UPSERT, ask, comment, create, remaining

# What it accepts


def test_creates_a_conversation(local: LocalHighLevel) -> None:
    answer = create(local)
    conversation = answer.json["conversation"]
    assert answer.status == 201
    assert answer.json["success"] is True
    assert answer.json["traceId"]
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[A-Za-z0-9]{20}", conversation["id"])
    assert (conversation["locationId"], conversation["contactId"], conversation["deleted"]) == ("mine", "c1", False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", conversation["dateAdded"])
    assert conversation.keys() >= {"dateUpdated", "lastMessageDate"}
    assert local.conversations == {("mine", "c1"): conversation}


def test_dates_can_be_epoch_milliseconds(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "dates", "epoch")
    assert create(local).json["conversation"]["dateAdded"] == pytest.approx(time.time() * 1000, abs=5000)


@pytest.mark.parametrize("version", ["2021-04-15", "2021-07-28", "2023-02-21", "v3"])
def test_accepts_every_version(local: LocalHighLevel, version: str) -> None:
    assert create(local, version=version).status == 201


def test_the_second_create_is_refused_without_an_id(local: LocalHighLevel) -> None:
    conversation = create(local).json["conversation"]
    answer = create(local)
    assert answer.status == 400
    assert answer.json.pop("traceId")
    assert {k: v for k, v in answer.json.items() if k != "traceId"} == {
        "statusCode": 400,
        "message": "Conversation with the contact id:c1 already exists!",
        "error": "Bad Request",
    }
    assert conversation["id"] not in answer.body.decode()
    assert create(local, location="other").status == 201


def test_one_of_many_simultaneous_creates_wins(local: LocalHighLevel) -> None:
    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(answer.status for answer in pool.map(lambda _: create(local), range(32)))
    assert statuses == [201] + [400] * 31


def test_errors_have_one_of_two_formats(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "envelope", "http_exception")
    create(local)
    assert {k: v for k, v in create(local).json.items() if k != "traceId"} == {
        "status": 400,
        "message": "Conversation with the contact id:c1 already exists!",
        "name": "HttpException",
    }
    monkeypatch.setattr(local, "envelope", "alternate")
    local.reset()
    create(local)
    assert [("statusCode" in create(local).json) for _ in range(4)] == [True, False, True, False]


def test_a_new_conversation_is_found_after_the_search_lag(
    local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "search_lag", 0.5)
    conversation = create(local).json["conversation"]
    path = f"{SEARCH}?locationId=mine&contactId=c1"
    early = ask(local, "GET", path)
    assert (early.status, early.json["conversations"], early.json["total"]) == (200, [], 0)
    time.sleep(0.55)
    late = ask(local, "GET", path).json
    [found] = late["conversations"]
    assert (found | conversation, late["total"]) == (found, 1)
    assert late["traceId"]


def test_search_filters_by_location_and_contact(local: LocalHighLevel) -> None:
    for location, contact in (("mine", "c1"), ("mine", "c2"), ("other", "c1")):
        create(local, location, contact)
    assert ask(local, "GET", f"{SEARCH}?locationId=mine").json["total"] == 2
    found = ask(local, "GET", f"{SEARCH}?locationId=other&contactId=c1").json["conversations"]
    assert [(each["locationId"], each["contactId"]) for each in found] == [("other", "c1")]
    assert ask(local, "GET", f"{SEARCH}?locationId=other&contactId=c2").json["total"] == 0


def test_upsert_matches_by_email_or_phone_within_the_location(local: LocalHighLevel) -> None:
    def upsert(location: str = "mine", **members: Any) -> tuple[bool, str]:
        answer = ask(local, path=UPSERT, body={"locationId": location} | members)
        assert answer.status == 200
        assert answer.json["traceId"]
        return answer.json["new"], answer.json["contact"]["id"]

    new, first = upsert(email="Ann@example.com", firstName="Ann", tags=["a", "b"])
    assert new
    assert upsert(email="ann@EXAMPLE.com", phone="+1 888-888-8888", lastName="Doe") == (False, first)
    assert upsert(phone="+18888888888", tags=["c"]) == (False, first)
    assert local.contacts[first] | {"lastName": "doe", "firstName": "ann", "tags": ["c"]} == local.contacts[first]
    assert upsert("other", email="ann@example.com")[0]
    second = upsert(phone="+1999")[1]
    assert upsert(email="ann@example.com", phone="+1999") == (False, first)
    assert local.contacts[first]["phone"] == "+18888888888"
    assert local.contacts[second]["phone"] == "+1999"


# What it refuses


@pytest.mark.parametrize("agent", [None, "Python-urllib/3.13", "python-urllib3/2.8.0", "python-requests/2.33"])
def test_the_edge_blocks_the_default_user_agents(local: LocalHighLevel, agent: str | None) -> None:
    answer = create(local, user_agent=agent)
    assert (answer.status, answer.headers["content-type"]) == (403, "text/html; charset=UTF-8")
    assert b"<!DOCTYPE html>" in answer.body


@pytest.mark.parametrize("accept", ["application/json, text/plain, */*", "*/*"])
def test_a_call_may_accept_anything(local: LocalHighLevel, accept: str) -> None:
    assert create(local, accept=accept).status == 201


@pytest.mark.parametrize("accept", [None, "text/html"])
def test_a_call_that_does_not_accept_json_is_an_empty_404(local: LocalHighLevel, accept: str | None) -> None:
    answer = create(local, accept=accept)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/conversations"),
        ("GET", "/conversations/"),
        ("GET", "/conversations/search/"),
        ("POST", "/contacts/upsert/"),
        ("PUT", "/"),
        ("GET", "/x"),
    ],
)
def test_other_routes_are_404_and_never_a_redirect(local: LocalHighLevel, method: str, path: str) -> None:
    answer = ask(local, method, path, body={"locationId": "mine", "contactId": "c1"})
    expected = {"statusCode": 404, "message": f"Cannot {method} {path}", "error": "Not Found"}
    assert answer.status == 404
    assert answer.json.items() >= expected.items()
    assert "location" not in answer.headers


def test_head_is_404_without_a_body(local: LocalHighLevel) -> None:
    answer = ask(local, "HEAD", "/conversations/")
    assert (answer.status, answer.body) == (404, b"")


WRONG_HEADERS: dict[str, tuple[Any, ...]] = {
    "no-version": ({"version": None}, 401, "version header was not found."),
    "old-version": ({"version": "2020-01-01"}, 401, "version header is invalid"),
    "malformed-version": ({"version": "x"}, 400, "Invalid API version segment 'x' at position 0"),
    "no-token": ({"authorization": None}, 401, "Invalid JWT"),
    "basic": ({"authorization": f"Basic {PIT}"}, 401, "Invalid JWT"),
    "expired": ({"authorization": "Bearer eyJ.expired"}, 401, "Invalid JWT"),
    "revoked": ({"authorization": "Bearer pit-revoked"}, 401, "Invalid Private Integration token"),
}


@pytest.mark.parametrize(("changed", "status", "message"), WRONG_HEADERS.values(), ids=WRONG_HEADERS)
def test_wrong_headers_are_refused(local: LocalHighLevel, changed: dict[str, Any], status: int, message: str) -> None:
    answer = create(local, **changed)
    assert (answer.status, answer.json["message"]) == (status, message)
    assert answer.json["traceId"]
    assert not local.conversations


def test_tokens_can_change_while_it_runs(local: LocalHighLevel) -> None:
    local.tokens["pit-new"] = None
    assert create(local, authorization="Bearer pit-new").status == 201
    del local.tokens["pit-new"]
    assert create(local, authorization="Bearer pit-new").status == 401


def test_a_token_opens_only_its_location(local: LocalHighLevel) -> None:
    mine: dict[str, Any] = {"authorization": f"Bearer {OAUTH}"}
    assert create(local, "mine", **mine).status == 201
    refused = create(local, "other", **mine)
    assert (refused.status, refused.json["message"]) == (401, "This location is not accessible from this token!")
    search = ask(local, "GET", f"{SEARCH}?locationId=other", **mine)
    assert (search.status, search.json["message"]) == (403, "The token does not have access to this location.")
    assert list(local.conversations) == [("mine", "c1")]


SCOPED: dict[str, tuple[str, str, Any]] = {
    "POST /conversations/": ("conversations.write", "POST", {"locationId": "mine", "contactId": "new"}),
    "GET /conversations/search?locationId=mine": ("conversations.readonly", "GET", None),
    "GET /conversations/{conversation}": ("conversations.readonly", "GET", None),
    "PUT /conversations/{conversation}": ("conversations.write", "PUT", MINE),
    "POST /conversations/messages": (
        "conversations/message.write",
        "POST",
        {"type": "InternalComment", "contactId": "c1", "message": "x"},
    ),
    "GET /conversations/{conversation}/messages": ("conversations/message.readonly", "GET", None),
    "POST /contacts/": ("contacts.write", "POST", MINE),
    "POST /contacts/upsert": ("contacts.write", "POST", MINE | {"email": "a@b.co"}),
    "GET /contacts/search/duplicate?locationId=mine&email=a@b.co": ("contacts.readonly", "GET", None),
    "GET /contacts/c1": ("contacts.readonly", "GET", None),
    "PUT /contacts/c1": ("contacts.write", "PUT", {}),
    "POST /contacts/c1/tags": ("contacts.write", "POST", {"tags": ["x"]}),
    "POST /contacts/c1/notes": ("contacts.write", "POST", {"body": "x"}),
    "GET /contacts/c1/notes": ("contacts.readonly", "GET", None),
}


@pytest.mark.parametrize("route", SCOPED)
def test_each_route_needs_its_scope(local: LocalHighLevel, route: str) -> None:
    scope, method, body = SCOPED[route]
    local.contacts["c1"] = {"id": "c1", "locationId": "mine"}
    conversation = create(local).json["conversation"]["id"]
    path = route.partition(" ")[2].format(conversation=conversation)
    local.scopes[PIT] = {each for each, _method, _body in SCOPED.values()} - {scope}
    refused = ask(local, method, path, body)
    assert (refused.status, refused.json["message"]) == (401, "The token is not authorized for this scope.")
    assert remaining(refused)[0] == 98, "a refused call counts against the location too"
    local.scopes[PIT] = {scope}
    assert ask(local, method, path, body).status in (200, 201)


def test_an_agency_token_is_refused(local: LocalHighLevel) -> None:
    local.agency_tokens.add("pit-agency")
    answer = create(local, authorization="Bearer pit-agency")
    assert answer.status == 401
    assert answer.json["message"] == (
        "This authClass type is not allowed to access this scope. "
        "Please reach out to your point of contact to use this API."
    )


def test_a_suspended_location_is_refused(local: LocalHighLevel) -> None:
    local.inactive_locations.add("mine")
    answer = create(local)
    assert (answer.status, answer.json["message"]) == (400, "Location is not active")
    assert create(local, "other").status == 201


EMPTY = ["locationId must be a string", "locationId should not be empty"]


INVALID_BODIES: dict[str, tuple[str, Any, list[str]]] = {
    "no-contact": (CREATE, MINE, ["contactId must be a string", "contactId should not be empty"]),
    "contact-null": (CREATE, MINE | {"contactId": None}, ["contactId must be a string"]),
    "contact-number": (CREATE, MINE | {"contactId": 5}, ["contactId must be a string"]),
    "contact-empty": (CREATE, MINE | {"contactId": ""}, ["contactId should not be empty"]),
    "contact-with-space": (CREATE, MINE | {"contactId": "a b"}, ["contactId must be a valid id"]),
    "location-too-long": (CREATE, {"locationId": "x" * 65, "contactId": "c1"}, ["locationId must be a valid id"]),
    "extra-member": (CREATE, MINE | {"contactId": "c1", "x": 1}, ["property x should not exist"]),
    "array": (CREATE, ["mine", "c1"], EMPTY),
    "empty": (CREATE, b"", EMPTY),
    "upsert-no-location": (UPSERT, {"email": "a@b.co"}, EMPTY),
    "upsert-no-address": (UPSERT, MINE | {"name": "A"}, ["email should not be empty", "phone should not be empty"]),
    "upsert-wrong-email": (UPSERT, MINE | {"email": "nonsense"}, ["email must be an email"]),
    "upsert-phone-number": (UPSERT, MINE | {"phone": 555}, ["phone must be a string"]),
    "upsert-extra-member": (UPSERT, MINE | {"email": "a@b.co", "x": 1}, ["property x should not exist"]),
    "upsert-tags": (UPSERT, MINE | {"email": "a@b.co", "tags": "x"}, ["each value in tags must be a string"]),
}


@pytest.mark.parametrize(("path", "body", "wrong"), INVALID_BODIES.values(), ids=INVALID_BODIES)
def test_invalid_bodies_are_422(local: LocalHighLevel, path: str, body: Any, wrong: list[str]) -> None:
    answer = ask(local, path=path, body=body)
    assert answer.status == 422
    assert answer.json["message"][: len(wrong)] == wrong
    assert not local.conversations
    assert not local.contacts


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_not_read(local: LocalHighLevel, content_type: str | None) -> None:
    answer = create(local, content_type=content_type)
    assert answer.status == 422
    assert answer.json["message"][:2] == EMPTY
    assert create(local, content_type="application/json; charset=utf-8").status == 201


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"locationId":', id="half"),
        pytest.param(b"\xff\xfe", id="not-utf8"),
        pytest.param(b"[" * 200_000, id="nested"),
    ],
)
def test_malformed_json_is_400(local: LocalHighLevel, body: bytes) -> None:
    answer = ask(local, body=body)
    assert (answer.status, answer.json["error"]) == (400, "Bad Request")


def test_search_needs_a_location(local: LocalHighLevel) -> None:
    answer = ask(local, "GET", f"{SEARCH}?contactId=c1")
    assert (answer.status, answer.json["message"]) == (422, EMPTY)


# Rate limits


def test_the_rate_limit_is_per_location_and_its_window_ends(
    local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "limits", Limits(max=2, interval_ms=1000))
    start = time.monotonic()
    first = create(local, contact="c1")
    assert remaining(first) == (1, 199_999)
    assert first.headers["x-ratelimit-max"] == "2"
    assert first.headers["x-ratelimit-interval-milliseconds"] == "1000"
    assert first.headers["x-ratelimit-limit-daily"] == "200000"
    assert remaining(create(local, contact="c2")) == (0, 199_998)
    refused = create(local, contact="c3")
    assert refused.status == 429
    assert refused.json.items() >= {"statusCode": 429, "message": "Too Many Requests"}.items()
    assert remaining(refused) == (0, 199_998)
    assert "retry-after" not in refused.headers
    assert create(local, "other").status == 201
    time.sleep(max(0, start + 1.05 - time.monotonic()))
    assert create(local, contact="c3").status == 201
    assert ("mine", "c3") in local.conversations


def test_a_call_over_the_daily_limit_is_429(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "limits", Limits(daily=1))
    monkeypatch.setattr(local, "retry_after", 7)
    assert remaining(create(local)) == (99, 0)
    refused = create(local)
    assert (refused.status, refused.headers["retry-after"]) == (429, "7")


def test_refusals_of_a_valid_token_count(local: LocalHighLevel) -> None:
    assert "x-ratelimit-max" not in create(local, authorization="Bearer pit-revoked").headers
    assert remaining(create(local, authorization=f"Bearer {OAUTH}", contact="a b"))[0] == 99
    # A refused call does not count against a location that the token may not use.
    assert remaining(create(local, "other", authorization=f"Bearer {OAUTH}"))[0] == 98
    assert remaining(create(local, "other"))[0] == 99


def test_every_call_counts_against_the_location_of_its_contact(local: LocalHighLevel) -> None:
    conversation = create(local).json["conversation"]["id"]
    create(local, "other", "c2")
    calls: list[tuple[str, str, Any]] = [
        ("GET", f"/conversations/{conversation}", None),
        ("PUT", f"/conversations/{conversation}", MINE),
        ("GET", f"/conversations/{conversation}/messages", None),
        ("POST", "/contacts/c1/notes", {"body": "x"}),
        ("GET", "/contacts/c1/notes", None),
        ("POST", "/contacts/c1/tags", {"tags": ["x"]}),
        ("GET", "/contacts/c1", None),
        ("GET", "/contacts/search/duplicate?locationId=mine&email=a@b.co", None),
        ("POST", "/contacts/", MINE),
        ("POST", UPSERT, MINE | {"email": "a@b.co"}),
        ("GET", f"{SEARCH}?locationId=mine", None),
    ]
    left = [remaining(comment(local))[0]]
    left += [remaining(ask(local, *call))[0] for call in calls]
    assert left == [*range(98, 98 - len(left), -1)]
    assert remaining(comment(local, "c2"))[0] == 98
