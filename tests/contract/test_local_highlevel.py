"""The local HighLevel refuses what the real one refuses, and fails as it is told to."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import urllib3

from local.highlevel import Fault, Limits, LocalHighLevel
from tests import children
from tests.stopwatch import Stopwatch

PIT = "pit-11111111-2222-3333-4444-555555555555"
OAUTH = "eyJhbGciOi.of.one-location"
SEARCH = "/conversations/search"
UPSERT = "/contacts/upsert"
HEADERS = {
    "Authorization": f"Bearer {PIT}",
    "Version": "2021-04-15",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "test/1",
}
RATE_LIMIT = ["max", "remaining", "interval-milliseconds", "limit-daily", "daily-remaining"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def running() -> Iterator[LocalHighLevel]:
    with LocalHighLevel(tokens={PIT: "*", OAUTH: "mine"}) as local:
        yield local


@pytest.fixture
def local(running: LocalHighLevel) -> LocalHighLevel:
    running.reset()
    return running


def ask(
    local: LocalHighLevel,
    method: str = "POST",
    path: str = "/conversations/",
    body: Any = None,
    *,
    timeout: float = 5,
    **changed: str | None,
) -> Answer:
    """One call on a connection of its own; `changed` are headers, None leaves one out."""
    headers = HEADERS | {name.replace("_", "-").title(): value for name, value in changed.items()}
    connection = http.client.HTTPConnection(urlsplit(local.url).netloc, timeout=timeout)
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, raw, {name: value for name, value in headers.items() if value is not None})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def create(local: LocalHighLevel, location: str = "mine", contact: str = "c1", **changed: Any) -> Answer:
    return ask(local, body={"locationId": location, "contactId": contact}, **changed)


def raw_call(local: LocalHighLevel) -> socket.socket:
    """The socket on which a create has just been sent."""
    body = json.dumps({"locationId": "mine", "contactId": "c1"}).encode()
    parts = urlsplit(local.url)
    lines = ["POST /conversations/ HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    assert parts.hostname
    assert parts.port
    sock = socket.create_connection((parts.hostname, parts.port), timeout=5)
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return sock


def read_all(sock: socket.socket) -> bytes:
    with sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


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
    assert conversation.keys() >= {"dateUpdated", "lastMessageDate", "assignedTo"}
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


def test_envelopes(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_search_lags(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "search_lag", 0.5)
    conversation = create(local).json["conversation"]
    path = f"{SEARCH}?locationId=mine&contactId=c1"
    early = ask(local, "GET", path)
    assert (early.status, early.json["conversations"], early.json["total"]) == (200, [], 0)
    time.sleep(0.55)
    late = ask(local, "GET", path).json
    assert (late["conversations"], late["total"]) == ([conversation], 1)
    assert late["traceId"]


def test_search_keeps_to_the_location_and_the_contact(local: LocalHighLevel) -> None:
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
    assert local.contacts[first] | {"lastName": "Doe", "firstName": "Ann", "tags": ["c"]} == local.contacts[first]
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


@pytest.mark.parametrize("accept", [None, "*/*", "text/html"])
def test_without_accepting_json_an_empty_404(local: LocalHighLevel, accept: str | None) -> None:
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


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"version": None}, 401, "version header was not found."),
        ({"version": "2020-01-01"}, 401, "version header is invalid"),
        ({"version": "x"}, 400, "Invalid API version segment 'x' at position 0"),
        ({"authorization": None}, 401, "Invalid JWT"),
        ({"authorization": f"Basic {PIT}"}, 401, "Invalid JWT"),
        ({"authorization": "Bearer eyJ.expired"}, 401, "Invalid JWT"),
        ({"authorization": "Bearer pit-revoked"}, 401, "Invalid Private Integration token"),
    ],
)
def test_refuses_headers(local: LocalHighLevel, changed: dict[str, Any], status: int, message: str) -> None:
    answer = create(local, **changed)
    assert (answer.status, answer.json["message"]) == (status, message)
    assert answer.json["traceId"]
    assert not local.conversations


def test_tokens_can_change_while_it_runs(local: LocalHighLevel) -> None:
    local.tokens["pit-new"] = None
    assert create(local, authorization="Bearer pit-new").status == 201
    del local.tokens["pit-new"]
    assert create(local, authorization="Bearer pit-new").status == 401


def test_a_token_opens_its_own_location_only(local: LocalHighLevel) -> None:
    mine: dict[str, Any] = {"authorization": f"Bearer {OAUTH}"}
    assert create(local, "mine", **mine).status == 201
    refused = create(local, "other", **mine)
    assert (refused.status, refused.json["message"]) == (401, "This location is not accessible from this token!")
    search = ask(local, "GET", f"{SEARCH}?locationId=other", **mine)
    assert (search.status, search.json["message"]) == (403, "The token does not have access to this location.")
    assert list(local.conversations) == [("mine", "c1")]


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("conversations.write", "POST", "/conversations/"),
        ("conversations.readonly", "GET", f"{SEARCH}?locationId=mine"),
        ("contacts.write", "POST", UPSERT),
    ],
)
def test_each_route_needs_its_scope(local: LocalHighLevel, scope: str, method: str, path: str) -> None:
    body = {"locationId": "mine", "contactId": "c1"} if path != UPSERT else {"locationId": "mine", "email": "a@b.co"}
    local.scopes[PIT] = {"conversations.write", "conversations.readonly", "contacts.write"} - {scope}
    refused = ask(local, method, path, body)
    assert (refused.status, refused.json["message"]) == (401, "The token is not authorized for this scope.")
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


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/conversations/", {"locationId": "mine"}, ["contactId must be a string", "contactId should not be empty"]),
        ("/conversations/", {"locationId": "mine", "contactId": None}, ["contactId must be a string"]),
        ("/conversations/", {"locationId": "mine", "contactId": 5}, ["contactId must be a string"]),
        ("/conversations/", {"locationId": "mine", "contactId": ""}, ["contactId should not be empty"]),
        ("/conversations/", {"locationId": "mine", "contactId": "a b"}, ["contactId must be a valid id"]),
        ("/conversations/", {"locationId": "x" * 65, "contactId": "c1"}, ["locationId must be a valid id"]),
        ("/conversations/", {"locationId": "mine", "contactId": "c1", "x": 1}, ["property x should not exist"]),
        ("/conversations/", ["mine", "c1"], EMPTY),
        ("/conversations/", b"", EMPTY),
        (UPSERT, {"email": "a@b.co"}, EMPTY),
        (UPSERT, {"locationId": "mine", "name": "A"}, ["email should not be empty", "phone should not be empty"]),
        (UPSERT, {"locationId": "mine", "email": "nonsense"}, ["email must be an email"]),
        (UPSERT, {"locationId": "mine", "phone": 555}, ["phone must be a string"]),
        (UPSERT, {"locationId": "mine", "email": "a@b.co", "x": 1}, ["property x should not exist"]),
        (UPSERT, {"locationId": "mine", "email": "a@b.co", "tags": "x"}, ["each value in tags must be a string"]),
    ],
)
def test_refuses_bodies(local: LocalHighLevel, path: str, body: Any, wrong: list[str]) -> None:
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


@pytest.mark.parametrize("body", [b'{"locationId":', b"\xff\xfe", b"[" * 200_000])
def test_malformed_json_is_400(local: LocalHighLevel, body: bytes) -> None:
    answer = ask(local, body=body)
    assert (answer.status, answer.json["error"]) == (400, "Bad Request")


def test_search_needs_a_location(local: LocalHighLevel) -> None:
    answer = ask(local, "GET", f"{SEARCH}?contactId=c1")
    assert (answer.status, answer.json["message"]) == (422, EMPTY)


# Rate limits


def remaining(answer: Answer) -> tuple[int, int]:
    assert all(f"x-ratelimit-{name}" in answer.headers for name in RATE_LIMIT)
    return int(answer.headers["x-ratelimit-remaining"]), int(answer.headers["x-ratelimit-daily-remaining"])


def test_the_quota_is_per_location_and_comes_back(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_used_up_day_is_429(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "limits", Limits(daily=1))
    monkeypatch.setattr(local, "retry_after", 7)
    assert remaining(create(local)) == (99, 0)
    refused = create(local)
    assert (refused.status, refused.headers["retry-after"]) == (429, "7")


def test_refusals_count_once_the_token_is_known(local: LocalHighLevel) -> None:
    assert "x-ratelimit-max" not in create(local, authorization="Bearer pit-revoked").headers
    assert remaining(create(local, authorization=f"Bearer {OAUTH}", contact="a b"))[0] == 99
    # A foreign location's quota is not the token's to use up.
    assert remaining(create(local, "other", authorization=f"Bearer {OAUTH}"))[0] == 98
    assert remaining(create(local, "other"))[0] == 99


# Connections and the record of calls


def test_a_connection_serves_many_calls(local: LocalHighLevel) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", urlsplit(local.url).port or 0, maxsize=1) as pool:
        for number in range(5):
            body = {"locationId": "mine", "contactId": f"c{number}"}
            assert pool.request("POST", "/conversations/", json=body, headers=HEADERS, retries=False).status == 201
    assert local.connections == 1
    assert len({call.connection for call in local.calls}) == 1
    create(local)
    assert local.connections == 2
    assert len({call.connection for call in local.calls}) == 2


def test_answers_are_not_held_back(local: LocalHighLevel) -> None:
    connection = http.client.HTTPConnection(urlsplit(local.url).netloc, timeout=5)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    for _ in range(9):
        stopwatch = Stopwatch()
        connection.request("GET", f"{SEARCH}?locationId=mine", headers=HEADERS)
        assert connection.getresponse().read()
        took.append(stopwatch.seconds)
    connection.close()
    assert sorted(took)[4] < 0.03


def test_records_every_call(local: LocalHighLevel) -> None:
    create(local)
    ask(local, "GET", f"{SEARCH}?locationId=mine&contactId=c9", authorization=None)
    first, second = local.calls
    assert first.at == pytest.approx(time.time(), abs=5)
    assert (first.method, first.path, first.query, first.status) == ("POST", "/conversations/", {}, 201)
    assert (first.location, first.contact, first.token, first.fault) == ("mine", "c1", PIT, None)
    assert json.loads(first.body) == {"locationId": "mine", "contactId": "c1"}
    assert first.headers["user-agent"] == "test/1"
    assert PIT not in repr(first)
    assert (second.query, second.location) == ({"locationId": "mine", "contactId": "c9"}, "mine")
    assert (second.contact, second.token, second.status, second.body) == ("c9", None, 401, b"")


def test_reset_forgets_all_but_tokens_and_settings(local: LocalHighLevel) -> None:
    create(local)
    ask(local, path=UPSERT, body={"locationId": "mine", "email": "a@b.co"})
    local.fail("hang")
    local.inactive_locations.add("mine")
    local.scopes[PIT] = set()
    local.reset()
    assert [local.calls, local.conversations, local.contacts, local.faults, local.connections] == [[], {}, {}, [], 0]
    assert remaining(create(local))[0] == 99
    assert local.tokens == {PIT: "*", OAUTH: "mine"}


# Faults


def test_status_is_answered_instead(local: LocalHighLevel) -> None:
    local.fail("status", status=503, headers={"Retry-After": "9"})
    answer = create(local)
    assert (answer.status, answer.headers["retry-after"]) == (503, "9")
    assert answer.json.items() >= {"statusCode": 503, "message": "Service Unavailable"}.items()
    assert not local.conversations
    assert (local.calls[-1].status, local.calls[-1].fault) == (503, "status")


def test_status_with_a_message_or_a_body(local: LocalHighLevel) -> None:
    local.fail("status", status=422, message=["a", "b"], times=1)
    local.fail("status", status=524, times=1)
    local.fail("status", status=302, body=b"{}", headers={"location": "/x"})
    assert create(local).json["message"] == ["a", "b"]
    assert create(local).status == 524
    answer = create(local)
    assert (answer.status, answer.body, answer.headers["location"]) == (302, b"{}", "/x")


def test_a_body_can_be_cut_short(local: LocalHighLevel) -> None:
    local.fail("status", status=201, body=b"{", headers={"content-length": "10"})
    with pytest.raises(http.client.IncompleteRead):
        create(local)


@pytest.mark.parametrize(("status", "expected"), [(None, 403), (502, 502)])
def test_html(local: LocalHighLevel, status: int | None, expected: int) -> None:
    local.fail("html", status=status)
    answer = create(local)
    assert (answer.status, answer.headers["content-type"]) == (expected, "text/html; charset=UTF-8")
    assert b"Cloudflare" in answer.body
    assert not local.conversations


def test_empty_and_garbage_commit_where_they_claim_success(local: LocalHighLevel) -> None:
    local.fail("empty", times=1)
    local.fail("garbage", times=1)
    empty = create(local, contact="c1")
    assert (empty.status, empty.body) == (201, b"")
    assert remaining(empty)[0] == 99
    garbage = create(local, contact="c2")
    assert (garbage.status, garbage.headers["content-type"]) == (201, "application/json; charset=utf-8")
    with pytest.raises(ValueError, match="Unterminated"):
        assert garbage.json
    assert list(local.conversations) == [("mine", "c1"), ("mine", "c2")]


@pytest.mark.parametrize("kind", ["empty", "garbage"])
def test_empty_and_garbage_commit_nothing_else(local: LocalHighLevel, kind: str) -> None:
    local.fail(kind, status=500, times=1)
    assert create(local).status == 500
    assert not local.conversations
    local.fail(kind, body=b"x", times=1)
    refused = create(local, contact="a b")
    assert (refused.status, refused.json["statusCode"]) == (422, 422)


def test_slow_commits_at_once_and_answers_late(local: LocalHighLevel) -> None:
    local.fail("slow", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        answer = pool.submit(create, local)
        while not local.conversations:
            assert not answer.done()
            time.sleep(0.01)
        assert local.calls[-1].status is None
        assert answer.result().status == 201
    assert time.monotonic() - start >= 1.0


def test_latency_precedes_every_answer(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "latency", 0.15)
    start = time.monotonic()
    assert create(local).status == 201
    assert time.monotonic() - start >= 0.15


def test_nothing_is_answered_to_a_caller_who_left(local: LocalHighLevel) -> None:
    local.fail("slow", seconds=0.3)
    with pytest.raises(TimeoutError):
        create(local, timeout=0.1)
    time.sleep(0.4)
    assert local.calls[-1].status is None
    assert local.conversations


def test_drip_sends_the_head_at_once_and_then_bytes(local: LocalHighLevel) -> None:
    local.fail("drip", seconds=0.002)
    head, _, body = read_all(raw_call(local)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201 Created\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["success"] is True

    local.heal()
    local.fail("drip", seconds=0.1)
    with raw_call(local) as sock:
        pieces = [sock.recv(65536) for _ in range(4)]
    assert pieces[0].endswith(b"\r\n\r\n")
    assert [len(piece) for piece in pieces[1:]] == [1, 1, 1]


def test_drip_headers_sends_even_the_status_line_in_bytes(local: LocalHighLevel) -> None:
    local.fail("drip_headers", seconds=0.0005)
    answer = read_all(raw_call(local))
    assert answer.startswith(b"HTTP/1.1 201 Created\r\n")
    assert answer.endswith(b'"}')
    assert local.calls[-1].status == 201

    local.heal()
    local.fail("drip_headers", seconds=0.1)
    with raw_call(local) as sock:
        assert [sock.recv(65536) for _ in range(4)] == [b"H", b"T", b"T", b"P"]
    assert local.calls[-1].status is None


def test_hang_never_answers_and_never_commits(local: LocalHighLevel) -> None:
    local.fail("hang", times=1)
    with pytest.raises(TimeoutError):
        create(local, timeout=0.2)
    assert not local.conversations
    assert local.calls[-1].status is None
    assert create(local).status == 201


def test_stopping_waits_for_no_call() -> None:
    with LocalHighLevel(tokens={PIT: "*"}) as local:
        local.fail("hang", contact="c1")
        local.fail("drip", contact="c2", seconds=30)
        idle = raw_call(local)
        with ThreadPoolExecutor(1) as pool:
            dripping = pool.submit(create, local, contact="c2")
            while len(local.calls) < 2:
                time.sleep(0.01)
            stopwatch = Stopwatch()
            local.__exit__()
            assert stopwatch.seconds < 1
            assert isinstance(dripping.exception(), OSError | http.client.HTTPException)
        assert read_all(idle) == b""
    with pytest.raises(ConnectionRefusedError):
        create(local)


@pytest.mark.parametrize("kind", ["reset", "commit_then_drop"])
def test_reset_is_an_rst(local: LocalHighLevel, kind: str) -> None:
    local.fail(kind)
    with raw_call(local) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert local.calls[-1].status is None
    assert list(local.conversations) == ([("mine", "c1")] if kind == "commit_then_drop" else [])


def test_close_is_a_fin_without_noise(local: LocalHighLevel, caplog: pytest.LogCaptureFixture) -> None:
    local.fail("close", times=1)
    assert read_all(raw_call(local)) == b""
    assert not local.conversations
    assert create(local).status == 201
    assert not caplog.records


def test_a_refused_call_commits_nothing_before_the_drop(local: LocalHighLevel) -> None:
    local.fail("commit_then_drop")
    with pytest.raises(ConnectionResetError):
        create(local, authorization="Bearer pit-revoked")
    assert not local.conversations


@pytest.mark.parametrize(
    ("match", "met"),
    [
        ({"contact": "c2"}, [201, 500, 201]),
        ({"location": "other"}, [201, 201, 500]),
        ({"path": "/conversations/", "contact": "c1"}, [500, 201, 500]),
        ({"path": SEARCH}, [201, 201, 201]),
        ({"times": 2}, [500, 500, 201]),
    ],
)
def test_faults_meet_the_calls_they_name(local: LocalHighLevel, match: dict[str, Any], met: list[int]) -> None:
    local.fail("status", **match)
    calls = [("mine", "c1"), ("mine", "c2"), ("other", "c1")]
    assert [create(local, *call).status for call in calls] == met


def test_the_first_fault_wins_until_healed(local: LocalHighLevel) -> None:
    local.fail("status", status=503, times=1)
    local.faults.append(Fault("status", status=502))
    assert [create(local).status for _ in range(3)] == [503, 502, 502]
    local.heal()
    assert create(local).status == 201


def test_probability_follows_the_seed(local: LocalHighLevel) -> None:
    def rng() -> list[int]:
        local.reset()
        local.fail("status", probability=0.5)
        return [create(local, contact=f"c{number}").status for number in range(20)]

    first = rng()
    assert set(first) == {201, 500}
    assert rng() == first


# For a person at a terminal


def test_the_state_can_be_read_without_secrets(local: LocalHighLevel) -> None:
    conversation = create(local).json["conversation"]
    contact = ask(local, path=UPSERT, body={"locationId": "mine", "email": "a@b.co"}).json["contact"]
    local.fail("garbage", body=b"x", path="/y")
    for number in range(60):
        create(local, contact=f"c{number}", authorization="Bearer pit-secret")
    answer = ask(local, "GET", "/_local")
    state = answer.json
    assert (state["conversations"], state["contacts"]) == ([conversation], [contact])
    assert (state["calls"]["count"], len(state["calls"]["last"])) == (62, 50)
    assert state["calls"]["last"][-1].items() >= {"contact": "c59", "status": 401, "path": "/conversations/"}.items()
    assert state["faults"][0].items() >= {"kind": "garbage", "body": "x", "status": 201, "path": "/y"}.items()
    assert state["limits"] == {"max": 100, "interval_ms": 10_000, "daily": 200_000}
    assert b"pit-" not in answer.body
    assert b"uthorization" not in answer.body
    assert len(local.calls) == 62


def test_faults_can_be_set_and_cleared(local: LocalHighLevel) -> None:
    faults = [{"kind": "status", "status": 503, "times": 1, "headers": {"x-a": "b"}}, {"kind": "html", "body": "<p>"}]
    assert ask(local, "POST", "/_local/faults", faults).status == 201
    assert ask(local, "POST", "/_local/faults", {"kind": "hang"}).status == 201
    assert [fault.kind for fault in local.faults] == ["status", "html", "hang"]
    assert create(local).headers["x-a"] == "b"
    assert create(local).body == b"<p>"
    # What is shown can be sent back.
    shown = ask(local, "GET", "/_local").json["faults"]
    assert ask(local, "DELETE", "/_local/faults").status == 204
    assert not local.faults
    assert ask(local, "POST", "/_local/faults", shown).status == 201
    assert create(local).body == b"<p>"


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        (b"{", "Expecting property name"),
        ([5], "a fault is a JSON object with a kind"),
        ({"status": 500}, "a fault is a JSON object with a kind"),
        ({"kind": "explode"}, "kind must be one of status, html"),
        ({"kind": "status", "statuss": 1}, "a fault has no statuss"),
        ({"kind": "status", "status": "500"}, "status cannot be '500'"),
        ({"kind": "status", "status": 99}, "200 to 599"),
        ({"kind": "status", "status": 204}, "200 to 599"),
        ({"kind": "hang", "status": 500}, "hang has no status of its own"),
        ({"kind": "status", "message": [1]}, "message must be"),
        ({"kind": "status", "headers": {"a": "b\r\nc"}}, "headers cannot have 'a'"),
        ({"kind": "status", "headers": {"a b": "c"}}, "headers cannot have 'a b'"),
        ({"kind": "slow", "seconds": -1}, "seconds cannot be negative"),
        ({"kind": "slow", "seconds": True}, "seconds cannot be True"),
        ({"kind": "slow", "times": -1}, "times cannot be negative"),
        ({"kind": "slow", "probability": 2}, "probability must be from 0 to 1"),
    ],
)
def test_faults_that_cannot_be_are_422(local: LocalHighLevel, fault: Any, wrong: str) -> None:
    body = fault if isinstance(fault, bytes) else [{"kind": "hang"}, *(fault if isinstance(fault, list) else [fault])]
    answer = ask(local, "POST", "/_local/faults", body)
    assert answer.status == 422
    assert wrong in answer.json["error"]
    assert not local.faults


def test_reset_and_unknown_paths_of_its_own(local: LocalHighLevel) -> None:
    create(local)
    assert ask(local, "POST", "/_local/reset").status == 204
    assert not local.conversations
    assert ask(local, "PUT", "/_local").status == 404
    assert ask(local, "GET", "/_local/x").status == 404


def test_runs_alone_and_stops_at_an_interrupt() -> None:
    command = [sys.executable, "-W", "error", "-m", "local.highlevel"]
    root = Path(__file__).parents[2]
    process = children.start(
        [*command, "--location", "mine"],
        env=os.environ | {"HIGHLEVEL_TOKEN": PIT},
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    outside = LocalHighLevel()
    outside.url = process.stdout.readline().strip()
    assert create(outside).status == 201
    assert create(outside, "other").status == 401
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0

    no_token = {name: value for name, value in os.environ.items() if name != "HIGHLEVEL_TOKEN"}
    refused = subprocess.run(command, env=no_token, cwd=root, text=True, capture_output=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "HIGHLEVEL_TOKEN" in refused.stderr
