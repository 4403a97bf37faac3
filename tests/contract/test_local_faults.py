"""The local HighLevel's connections, its record of calls, its faults and its commands."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from local.highlevel import Fault, LocalHighLevel
from tests import children
from tests.contract.local_calls import (
    HEADERS,
    MESSAGES,
    NOTES,
    OAUTH,
    PIT,
    SEARCH,
    THREAD,
    UPSERT,
    ask,
    create,
    raw_call,
    read_all,
    remaining,
)
from tests.stopwatch import Stopwatch

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


def test_answers_are_not_delayed(local: LocalHighLevel) -> None:
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


def test_reset_clears_all_but_tokens_and_settings(local: LocalHighLevel) -> None:
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


def test_a_status_fault_replaces_the_answer(local: LocalHighLevel) -> None:
    local.fail("status", status=503, headers={"Retry-After": "9"})
    answer = create(local)
    assert (answer.status, answer.headers["retry-after"]) == (503, "9")
    assert answer.json.items() >= {"statusCode": 503, "message": "Service Unavailable"}.items()
    assert not local.conversations
    assert (local.calls[-1].status, local.calls[-1].fault) == (503, "status")


def test_a_status_fault_may_have_a_message_or_a_body(local: LocalHighLevel) -> None:
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
def test_an_html_fault_answers_as_the_edge(local: LocalHighLevel, status: int | None, expected: int) -> None:
    local.fail("html", status=status)
    answer = create(local)
    assert (answer.status, answer.headers["content-type"]) == (expected, "text/html; charset=UTF-8")
    assert b"Cloudflare" in answer.body
    assert not local.conversations


def test_empty_and_garbage_commit_when_they_answer_success(local: LocalHighLevel) -> None:
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
def test_empty_and_garbage_commit_nothing_otherwise(local: LocalHighLevel, kind: str) -> None:
    local.fail(kind, status=500, times=1)
    assert create(local).status == 500
    assert not local.conversations
    local.fail(kind, body=b"x", times=1)
    refused = create(local, contact="a b")
    assert (refused.status, refused.json["statusCode"]) == (422, 422)


def test_slow_commits_immediately_and_answers_late(local: LocalHighLevel) -> None:
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


def test_a_caller_that_left_gets_no_answer(local: LocalHighLevel) -> None:
    local.fail("slow", seconds=0.3)
    with pytest.raises(TimeoutError):
        create(local, timeout=0.1)
    time.sleep(0.4)
    assert local.calls[-1].status is None
    assert local.conversations


def test_drip_sends_the_head_immediately_and_then_bytes(local: LocalHighLevel) -> None:
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


def test_drip_headers_sends_the_status_line_byte_by_byte(local: LocalHighLevel) -> None:
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
def test_reset_ends_the_connection_with_rst(local: LocalHighLevel, kind: str) -> None:
    local.fail(kind)
    with raw_call(local) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert local.calls[-1].status is None
    assert list(local.conversations) == ([("mine", "c1")] if kind == "commit_then_drop" else [])


def test_close_ends_the_connection_with_fin_and_logs_nothing(
    local: LocalHighLevel, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_late_commit_answers_when_it_is_due(local: LocalHighLevel) -> None:
    local.fail("late_commit", commit_seconds=0.1, seconds=0.3)
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        answer = pool.submit(create, local)
        while not local.calls:
            time.sleep(0.01)
        assert not local.conversations
        eventually_opened(local)
        assert not answer.done()
        assert answer.result().status == 201
    assert time.monotonic() - start >= 0.3


def test_a_call_may_commit_after_its_answer(local: LocalHighLevel) -> None:
    local.fail("late_commit", seconds=0.05, commit_seconds=0.3, times=1)
    assert create(local).status == 504
    assert not local.conversations
    eventually_opened(local)
    assert create(local).status == 400


def test_a_call_may_commit_after_its_caller_has_left(local: LocalHighLevel) -> None:
    local.fail("late_commit", seconds=9, commit_seconds=0.4, path=MESSAGES)
    create(local)
    with pytest.raises(TimeoutError):
        ask(local, path=MESSAGES, body={"type": "InternalComment", "contactId": "c1", "message": "x"}, timeout=0.1)
    thread = local.thread(local.conversations["mine", "c1"]["id"])
    assert not thread.comments
    until = time.monotonic() + 5
    while not thread.comments and time.monotonic() < until:
        time.sleep(0.01)
    assert len(thread.comments) == 1
    assert local.calls[-1].status is None


def test_a_late_commit_does_not_outlive_a_reset(local: LocalHighLevel) -> None:
    local.fail("late_commit", seconds=0.01, commit_seconds=0.2, times=1)
    assert create(local).status == 504
    local.reset()
    time.sleep(0.3)
    assert not local.conversations


def eventually_opened(local: LocalHighLevel) -> None:
    until = time.monotonic() + 5
    while not local.conversations and time.monotonic() < until:
        time.sleep(0.01)
    assert local.conversations


def test_a_call_may_fail_and_commit_all_the_same(local: LocalHighLevel) -> None:
    local.fail("commit_then_status", message=["wrong"], headers={"x-a": "b"}, times=1)
    answer = create(local)
    assert (answer.status, answer.json["message"], answer.headers["x-a"]) == (422, ["wrong"], "b")
    assert remaining(answer)[0] == 99
    assert local.conversations
    local.fail("commit_then_status", status=500)
    assert create(local).status == 400, "a refusal is not damaged"


@pytest.mark.parametrize(
    ("match", "met"),
    [
        pytest.param({"path": NOTES}, [500, 500, 200], id="route"),
        pytest.param({"path": NOTES, "method": "GET"}, [500, 201, 200], id="route-and-method"),
        pytest.param({"path": "/contacts/c1/notes", "method": "POST"}, [200, 500, 200], id="path-and-method"),
        pytest.param({"contact": "c1", "location": "mine"}, [500, 500, 500], id="the-contact-of-a-path"),
        pytest.param({"path": THREAD}, [200, 201, 500], id="other-route"),
    ],
)
def test_a_fault_selects_by_route_and_method(local: LocalHighLevel, match: dict[str, Any], met: list[int]) -> None:
    conversation = create(local).json["conversation"]["id"]
    local.fail("status", **match)
    calls = [
        ("GET", "/contacts/c1/notes", None),
        ("POST", "/contacts/c1/notes", {"body": "x"}),
        ("GET", f"/conversations/{conversation}/messages", None),
    ]
    assert [ask(local, *call).status for call in calls] == met


@pytest.mark.parametrize(
    ("match", "met"),
    [
        pytest.param({"contact": "c2"}, [201, 500, 201], id="contact"),
        pytest.param({"location": "other"}, [201, 201, 500], id="location"),
        pytest.param({"path": "/conversations/", "contact": "c1"}, [500, 201, 500], id="path-and-contact"),
        pytest.param({"path": SEARCH}, [201, 201, 201], id="other-path"),
        pytest.param({"times": 2}, [500, 500, 201], id="times"),
    ],
)
def test_a_fault_matches_only_the_calls_it_names(local: LocalHighLevel, match: dict[str, Any], met: list[int]) -> None:
    local.fail("status", **match)
    calls = [("mine", "c1"), ("mine", "c2"), ("other", "c1")]
    assert [create(local, *call).status for call in calls] == met


def test_the_first_fault_applies_until_healed(local: LocalHighLevel) -> None:
    local.fail("status", status=503, times=1)
    local.faults.append(Fault("status", status=502))
    assert [create(local).status for _ in range(3)] == [503, 502, 502]
    local.heal()
    assert create(local).status == 201


def test_probability_follows_the_seed(local: LocalHighLevel) -> None:
    def statuses() -> list[int]:
        local.reset()
        local.fail("status", probability=0.5)
        return [create(local, contact=f"c{number}").status for number in range(20)]

    first = statuses()
    assert set(first) == {201, 500}
    assert statuses() == first


# For an operator at a terminal


def test_the_state_can_be_read_without_secrets(local: LocalHighLevel) -> None:
    conversation = create(local).json["conversation"]
    contact = ask(local, path=UPSERT, body={"locationId": "mine", "email": "a@b.co"}).json["contact"]
    local.fail("garbage", body=b"x", path="/y")
    for number in range(60):
        create(local, contact=f"c{number}", authorization="Bearer pit-secret")
    answer = ask(local, "GET", "/_local")
    state = answer.json
    [shown], [shown_contact] = state["conversations"], state["contacts"]
    assert shown == shown | conversation
    assert shown_contact == contact | {"notes": [], "before": None}
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
    # The shown faults can be sent back.
    shown = ask(local, "GET", "/_local").json["faults"]
    assert ask(local, "DELETE", "/_local/faults").status == 204
    assert not local.faults
    assert ask(local, "POST", "/_local/faults", shown).status == 201
    assert create(local).body == b"<p>"


INVALID_FAULTS: dict[str, tuple[Any, ...]] = {
    "not-json": (b"{", "Expecting property name"),
    "number": ([5], "a fault is a JSON object with a kind"),
    "no-kind": ({"status": 500}, "a fault is a JSON object with a kind"),
    "unknown-kind": ({"kind": "explode"}, "kind must be one of status, html"),
    "unknown-member": ({"kind": "status", "stat": 1}, "a fault has no stat"),
    "status-text": ({"kind": "status", "status": "500"}, "status cannot be '500'"),
    "status-99": ({"kind": "status", "status": 99}, "200 to 599"),
    "status-204": ({"kind": "status", "status": 204}, "200 to 599"),
    "status-of-hang": ({"kind": "hang", "status": 500}, "hang has no status of its own"),
    "message": ({"kind": "status", "message": [1]}, "message must be"),
    "header-with-newline": ({"kind": "status", "headers": {"a": "b\r\nc"}}, "headers cannot have 'a'"),
    "header-name": ({"kind": "status", "headers": {"a b": "c"}}, "headers cannot have 'a b'"),
    "seconds-negative": ({"kind": "slow", "seconds": -1}, "seconds cannot be negative"),
    "seconds-boolean": ({"kind": "slow", "seconds": True}, "seconds cannot be True"),
    "times-negative": ({"kind": "slow", "times": -1}, "times cannot be negative"),
    "commit-seconds": ({"kind": "late_commit", "commit_seconds": -1}, "commit_seconds cannot be negative"),
    "method": ({"kind": "status", "method": 5}, "method cannot be 5"),
    "probability-2": ({"kind": "slow", "probability": 2}, "probability must be from 0 to 1"),
}


@pytest.mark.parametrize(("fault", "wrong"), INVALID_FAULTS.values(), ids=INVALID_FAULTS)
def test_invalid_faults_are_422(local: LocalHighLevel, fault: Any, wrong: str) -> None:
    body = fault if isinstance(fault, bytes) else [{"kind": "hang"}, *(fault if isinstance(fault, list) else [fault])]
    answer = ask(local, "POST", "/_local/faults", body)
    assert answer.status == 422
    assert wrong in answer.json["error"]
    assert not local.faults


def test_its_reset_and_its_unknown_paths(local: LocalHighLevel) -> None:
    create(local)
    assert ask(local, "POST", "/_local/reset").status == 204
    assert not local.conversations
    assert ask(local, "PUT", "/_local").status == 404
    assert ask(local, "GET", "/_local/x").status == 404


def test_it_runs_as_a_command_and_stops_at_an_interrupt() -> None:
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
