"""The short form of the hostile input: every kind at every door once, and a proof that what is looked for is seen."""

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from create_conversation.senders.config import load
from local.highlevel_rules import Call
from tests.chaos import fuzzing
from tests.chaos.fuzz_requests import BATCHES, BODIES, ENVELOPES, EVENTS_KINDS, OWN_SENDERS, PROOFS, TOPS, Requests
from tests.chaos.fuzzing import Aws, Tally, World

linux = pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client (awslambdaric) is for Linux only")
SEED = 1


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "senders.toml").write_text(OWN_SENDERS, "utf-8")
    return Requests(SEED, load(folder))


@linux
def test_every_kind_of_hostile_input_at_every_door() -> None:
    part = fuzzing.run(0.0, lambda _: None, SEED)
    assert part.problems == []
    assert [figure for figure in part.figures if not figure.kept] == []
    assert part.figures[0].found > 800


def test_the_requests_are_the_same_for_a_seed(requests: Requests) -> None:
    for number in (0, 7, 500, 99_999):
        assert requests.make(number, 1e9).payload == Requests(SEED, requests.senders).make(number, 1e9).payload
        assert requests.make(number, 1e9).payload != Requests(SEED + 1, requests.senders).make(number, 1e9).payload


def test_every_sender_meets_every_kind(requests: Requests) -> None:
    met = {(door, kind) for door, kind, _ in requests.turns}
    for name, sender in requests.senders.items():
        door = "conversations" if name == "api" else f"webhooks/{name}"
        if sender.scheme != "event":
            assert {(door, kind) for kind in (*BODIES, *ENVELOPES, *PROOFS)} <= met
    assert {("events", kind) for kind in EVENTS_KINDS} <= met
    assert {("queue", kind) for kind in BATCHES} <= met
    assert {("top", kind) for kind in TOPS} <= met


# --- what breaks a promise is seen ------------------------------------------------------------------------------------


@pytest.fixture
def world(requests: Requests) -> World:
    class Nobody:
        calls: list[Call] = []  # noqa: RUF012
        contacts: dict[str, Any] = {}  # noqa: RUF012
        conversations: dict[Any, Any] = {}  # noqa: RUF012

    return World(requests, Nobody(), Aws({}), Tally(), None)  # type: ignore[arg-type]


def promises(world: World) -> set[str]:
    return {promise for promise, _ in world.tally.problems}


REPLY = {"statusCode": 200, "headers": {"x-request-id": "1"}, "body": '{"outcome": "opened"}', "isBase64Encoded": False}


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({}, None),
        ({"statusCode": "200"}, "answer"),
        ({"statusCode": 500}, "answer"),
        ({"headers": {"x-request-id": "1\r\nx: y"}}, "answer"),
        ({"headers": {"x-request-id": 1}}, "answer"),
        ({"body": None}, "answer"),
        ({"body": "no json"}, "answer"),
        ({"body": '{"a": "\ud800"}'}, "answer"),
        ({"body": '{"type": "urn:highlevel-conversations:failed"}'}, "answer"),
        ({"body": "<token>"}, "leak"),
        ({"headers": {"x": "<email>"}}, "leak"),
    ],
)
def test_a_bad_reply_is_seen(world: World, change: dict[str, Any], promise: str | None) -> None:
    canary = {"<token>": json.dumps(world.requests.canary.token()), "<email>": world.requests.canary.email(3)}
    reply = json.loads(json.dumps(REPLY | change))
    for mark, value in canary.items():
        reply["body"] = value if reply["body"] == mark else reply["body"]
        reply["headers"] = {k: value if v == mark else v for k, v in reply["headers"].items()}
    request = replace(world.requests.make(0, time.time()), door="webhooks/token", unproved=False)
    world._look_at(request, "#0", reply)
    assert promises(world) == ({promise} if promise else set())


def test_who_gets_in_without_a_proof_is_seen(world: World) -> None:
    request = replace(world.requests.make(0, time.time()), door="webhooks/token", unproved=True)
    world._look_at(request, "#0", REPLY)
    assert promises(world) == {"let in"}


CALL = Call(0, "POST", "/conversations/", {}, {"host": "h"}, b'{"locationId": "a", "contactId": "b"}', ("h", 1))
PERSON = replace(CALL, path="/contacts/upsert", body=b'{"locationId": "a", "email": "a@b", "firstName": "Zo\\u00eb"}')


@pytest.mark.parametrize(
    "call",
    [
        replace(CALL, path="/conversations/x"),
        replace(CALL, query={"a": "b"}),
        replace(CALL, headers={"x-injected": "1"}),
        replace(CALL, headers={"host": "h\x7f"}),
        replace(CALL, body=b"\xff"),
        replace(CALL, body=b'{"locationId": "a", "contactId": "b\\n"}'),
        replace(CALL, body=b'{"locationId": "a", "contactId": "b", "x": 1}'),
        replace(CALL, body=b'{"locationId": "a", "locationId": "b"}'),
        replace(CALL, body=b'{"locationId": "a", "contactId": 7}'),
        replace(PERSON, body=b'{"locationId": "a", "email": "a\\u0000@b"}'),
        replace(PERSON, body=b'{"locationId": "a", "email": "a\\ud800@b"}'),
        replace(PERSON, body=b'{"locationId": "a", "phone": "\\u0661\\u0662\\u0663\\u0664"}'),
        replace(PERSON, body=b'{"locationId": "a", "firstName": "Ann"}'),
        replace(CALL, method="GET", path="/conversations/search", query={"locationId": "a", "contactId": "b/c"}),
    ],
)
def test_an_unclean_call_is_seen(call: Call) -> None:
    assert list(fuzzing._unclean(call))
    assert list(fuzzing._unclean(CALL)) == list(fuzzing._unclean(PERSON)) == []


MESSAGE = {"QueueUrl": "https://q/retry", "MessageBody": "text", "MessageGroupId": "loc", "DelaySeconds": 5}
LETTER = {"QueueUrl": "https://q/dead-letters", "MessageBody": "text"}


@pytest.mark.parametrize(
    ("message", "promise"),
    [
        (MESSAGE, None),
        (LETTER, None),
        (MESSAGE | {"MessageBody": "x" * 400_000}, "oversized"),
        (LETTER | {"MessageBody": "x" * ((1 << 20) + 1)}, "oversized"),
        (LETTER | {"MessageBody": ""}, "queue"),
        (LETTER | {"MessageBody": "\x0b"}, "queue"),
        (MESSAGE | {"MessageGroupId": "ü"}, "queue"),
        (MESSAGE | {"DelaySeconds": 901}, "queue"),
        (LETTER | {"MessageAttributes": {"reason": {"StringValue": ""}}}, "queue"),
        (LETTER | {"MessageAttributes": {"reason": {"StringValue": "\x19"}}}, "queue"),
        (LETTER | {"MessageAttributes": {"AWS.x": {"StringValue": "y"}}}, "queue"),
        (LETTER | {"MessageAttributes": {f"a{n}": {"StringValue": "y"} for n in range(11)}}, "queue"),
    ],
)
def test_a_message_that_sqs_refuses_is_seen(message: dict[str, Any], promise: str | None) -> None:
    aws = Aws({})
    status, _, _ = aws.answer("POST", "/", {"X-Amz-Target": "AmazonSQS.SendMessage"}, json.dumps(message).encode())
    assert (status, [each for each, _ in aws.wrong()]) == ((400, [promise]) if promise else (200, []))


@pytest.mark.parametrize("where", ["body", "attribute", "address in an attribute"])
def test_a_secret_in_a_queue_is_seen(world: World, where: str) -> None:
    secret = world.requests._secrets["token"]
    text = world.requests.canary.email(9) if "address" in where else secret
    message = LETTER | (
        {"MessageBody": text} if where == "body" else {"MessageAttributes": {"a": {"StringValue": text}}}
    )
    world.aws.answer("POST", "/", {"X-Amz-Target": "AmazonSQS.SendMessage"}, json.dumps(message).encode())
    world._look_at_calls(world.requests.make(0, time.time()), "#0", None)
    assert promises(world) == {"leak"}


def test_a_message_that_is_lost_is_seen(world: World) -> None:
    number = next(n for n, (door, kind, _) in enumerate(world.requests.turns) if (door, kind) == ("queue", "garbage"))
    request = world.requests.make(number, time.time())
    world._look_at_calls(request, "#0", {"batchItemFailures": []})
    assert promises(world) == {"lost"}
    world.tally.problems.clear()
    world._look_at_calls(request, "#0", {"batchItemFailures": [{"itemIdentifier": "unknown"}]})
    assert promises(world) == {"lost", "answer"}


@pytest.mark.parametrize(
    ("line", "promise"),
    [
        ('{"level": "INFO", "message": "submission"}', None),
        ('{"_aws": {}, "outcome": "opened", "trigger": "http"}', None),
        ("plain text", "log"),
        ("[]", "log"),
        ('{"_aws": {}}{"_aws": {}}', "log"),
        ("{}", "log"),
        ('{"level": "ERROR", "message": "internal_error", "error": "KeyError"}', "internal error"),
        ('{"level": "INFO", "message": "submission", "reason": "internal_error"}', "internal error"),
    ],
)
def test_a_bad_line_of_the_log_is_seen(world: World, line: str, promise: str | None) -> None:
    world._look_at_line(0, line)
    assert promises(world) == ({promise} if promise else set())


@linux
def test_each_way_of_a_function_to_fail_is_seen(tmp_path: Path) -> None:
    """A function with its net cut: it raises and tells what it got, writes it, takes too long."""
    artifact = fuzzing._artifact(tmp_path)
    app = artifact / "create_conversation" / "app.py"
    broken = """
import time
_right = handler
def handler(event, context):
    told = event.get("headers", {}) if isinstance(event, dict) else {}
    if told.get("x-break") == "raise":
        raise KeyError(told["authorization"])
    if told.get("x-break") == "write":
        print(told["authorization"])
    if told.get("x-break") == "burn":
        until = time.process_time() + 2.5
        while time.process_time() < until:
            pass
    return _right(event, context)
"""
    app.write_text(app.read_text() + broken)
    shutil.rmtree(app.parent / "__pycache__")  # unchecked: it would be what runs
    tally, seen = Tally(), {}
    with fuzzing._world(artifact, SEED, "INFO", tally) as world:
        turns = enumerate(world.requests.turns)
        number = next(n for n, (door, kind, _) in turns if (door, kind) == ("conversations", "good"))
        request = world.requests.make(number, time.time())
        event = json.loads(request.payload)
        for how in ("", "raise", "burn", "write"):
            event["headers"] |= {"x-break": how, "authorization": f"Bearer {world.requests._secrets['api']}"}
            world.send(replace(request, payload=json.dumps(event).encode()))
            if how != "write":  # the log is looked at when the function has ended
                seen[how] = promises(world)
                tally.problems.clear()
    assert seen == {"": set(), "raise": {"exception", "leak"}, "burn": {"late"}}
    assert promises(world) == {"leak", "log"}
