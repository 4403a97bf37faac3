"""The short form of the fuzzing: every kind at every endpoint once, and that each broken promise is reported."""

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from create_conversation.senders.config import load
from create_conversation.senders.mapping import target_of
from create_conversation.submission import Submission
from local.highlevel import Call
from tests.chaos import fuzzing
from tests.chaos.fuzz_aws import FakeAws
from tests.chaos.fuzz_bodies import BODIES
from tests.chaos.fuzz_calls import unclean
from tests.chaos.fuzz_checks import FuzzedFunction, Tally, fuzzed_function
from tests.chaos.fuzz_envelopes import ENVELOPES
from tests.chaos.fuzz_events import BATCHES, BUS_EVENTS, TOP_LEVEL
from tests.chaos.fuzz_requests import OWN_SENDERS, Requests
from tests.chaos.fuzz_signatures import SIGNATURES
from tests.factories import make_ids, make_submission

linux = pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client (awslambdaric) is for Linux only")
SEED = 1


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "senders.toml").write_text(OWN_SENDERS, "utf-8")
    return Requests(SEED, load(folder))


@linux
def test_no_fuzzed_request_breaks_a_promise() -> None:
    part = fuzzing.run(0.0, lambda _: None, SEED)
    assert part.problems == []
    assert [figure for figure in part.figures if not figure.passed] == []
    assert part.figures[0].found > 800


def test_the_requests_are_the_same_for_a_seed(requests: Requests) -> None:
    for number in (0, 7, 500, 99_999):
        assert requests.make(number, 1e9).payload == Requests(SEED, requests.senders).make(number, 1e9).payload
        assert requests.make(number, 1e9).payload != Requests(SEED + 1, requests.senders).make(number, 1e9).payload


def test_every_sender_meets_every_kind(requests: Requests) -> None:
    met = {(endpoint, kind) for endpoint, kind, _ in requests.turns}
    for name, sender in requests.senders.items():
        endpoint = "conversations" if name == "api" else f"webhooks/{name}"
        if sender.scheme != "event":
            assert {(endpoint, kind) for kind in (*BODIES, *ENVELOPES, *SIGNATURES)} <= met
    assert {("events", kind) for kind in BUS_EVENTS} <= met
    assert {("queue", kind) for kind in BATCHES} <= met
    assert {("top", kind) for kind in TOP_LEVEL} <= met


# --- each broken promise is reported ----------------------------------------------------------------------------------


@pytest.fixture
def function(requests: Requests) -> FuzzedFunction:
    """The checks without a process; HighLevel has nothing."""

    class EmptyHighLevel:
        calls: list[Call] = []  # noqa: RUF012
        contacts: dict[str, Any] = {}  # noqa: RUF012
        conversations: dict[Any, Any] = {}  # noqa: RUF012

    return FuzzedFunction(requests, EmptyHighLevel(), FakeAws({}), Tally(), None)  # type: ignore[arg-type]


def broken_promises(function: FuzzedFunction) -> set[str]:
    return {promise for promise, _ in function.tally.problems}


REPLY = {"statusCode": 200, "headers": {"x-request-id": "1"}, "body": '{"outcome": "opened"}', "isBase64Encoded": False}


BAD_REPLIES: dict[str, tuple[Any, ...]] = {
    "good": ({}, None),
    "status-text": ({"statusCode": "200"}, "answer"),
    "status-500": ({"statusCode": 500}, "answer"),
    "header-with-newline": ({"headers": {"x-request-id": "1\r\nx: y"}}, "answer"),
    "header-number": ({"headers": {"x-request-id": 1}}, "answer"),
    "body-missing": ({"body": None}, "answer"),
    "body-not-json": ({"body": "no json"}, "answer"),
    "body-lone-surrogate": ({"body": '{"a": "\ud800"}'}, "answer"),
    "internal-error": ({"body": '{"type": "urn:highlevel-conversations:failed"}'}, "answer"),
    "token-in-body": ({"body": "<token>"}, "leak"),
    "email-in-header": ({"headers": {"x": "<email>"}}, "leak"),
}


@pytest.mark.parametrize(("change", "promise"), BAD_REPLIES.values(), ids=BAD_REPLIES)
def test_a_bad_reply_is_reported(function: FuzzedFunction, change: dict[str, Any], promise: str | None) -> None:
    canary = {"<token>": json.dumps(function.requests.canary.token()), "<email>": function.requests.canary.email(3)}
    reply = json.loads(json.dumps(REPLY | change))
    for mark, value in canary.items():
        reply["body"] = value if reply["body"] == mark else reply["body"]
        reply["headers"] = {k: value if v == mark else v for k, v in reply["headers"].items()}
    request = replace(function.requests.make(0, time.time()), endpoint="webhooks/token", unauthenticated=False)
    function._check_answer(request, "#0", reply)
    assert broken_promises(function) == ({promise} if promise else set())


def test_a_request_let_in_without_authentication_is_reported(function: FuzzedFunction) -> None:
    request = replace(function.requests.make(0, time.time()), endpoint="webhooks/token", unauthenticated=True)
    function._check_answer(request, "#0", REPLY)
    assert broken_promises(function) == {"let in"}


CALL = Call(0, "POST", "/conversations/", {}, {"host": "h"}, b'{"locationId": "a", "contactId": "b"}', ("h", 1))
PERSON = replace(CALL, path="/contacts/", body=b'{"locationId": "a", "email": "a@b", "firstName": "Zo\\u00eb"}')
SEARCH = replace(
    CALL, method="GET", path="/contacts/search/duplicate", query={"locationId": "a", "email": "a@b", "number": "+1555"}
)
SEARCH_CONVERSATION = replace(SEARCH, path="/conversations/search", query={"locationId": "a", "contactId": "b"})
WORDS = "Form\\nName: \\u00e4\\n\\nref 0123456789abcdef"
COMMENT = replace(
    CALL,
    path="/conversations/messages",
    body=f'{{"type": "InternalComment", "contactId": "b", "message": "{WORDS}"}}'.encode(),
)
NOTE = replace(CALL, path="/contacts/b/notes", body=f'{{"body": "{WORDS}"}}'.encode())
BADGE = replace(CALL, method="PUT", path="/conversations/c", body=b'{"locationId": "a", "unreadCount": 1}')
TAGS = replace(CALL, path="/contacts/b/tags", body=b'{"tags": ["website"]}')
FIELDS = replace(
    CALL, method="PUT", path="/contacts/b", body=b'{"customFields": [{"id": "f", "field_value": "a\\nb"}]}'
)
CLEAN_CALLS = {
    "conversation": CALL,
    "new-contact": PERSON,
    "find-contact": SEARCH,
    "find-conversation": SEARCH_CONVERSATION,
    "comment": COMMENT,
    "note": NOTE,
    "badge": BADGE,
    "tags": TAGS,
    "fields": FIELDS,
}


UNCLEAN_CALLS = {
    "path": replace(CALL, path="/conversations/x"),
    "query": replace(CALL, query={"a": "b"}),
    "header": replace(CALL, headers={"x-injected": "1"}),
    "header-control": replace(CALL, headers={"host": "h\x7f"}),
    "body-not-utf8": replace(CALL, body=b"\xff"),
    "id-with-newline": replace(CALL, body=b'{"locationId": "a", "contactId": "b\\n"}'),
    "extra-member": replace(CALL, body=b'{"locationId": "a", "contactId": "b", "x": 1}'),
    "duplicated-member": replace(CALL, body=b'{"locationId": "a", "locationId": "b"}'),
    "number": replace(CALL, body=b'{"locationId": "a", "contactId": 7}'),
    "email-nul": replace(PERSON, body=b'{"locationId": "a", "email": "a\\u0000@b"}'),
    "email-surrogate": replace(PERSON, body=b'{"locationId": "a", "email": "a\\ud800@b"}'),
    "phone-other-digits": replace(PERSON, body=b'{"locationId": "a", "phone": "\\u0661\\u0662\\u0663\\u0664"}'),
    "no-address": replace(PERSON, body=b'{"locationId": "a", "firstName": "Ann"}'),
    "upsert": replace(PERSON, path="/contacts/upsert"),
    "search-id": replace(SEARCH_CONVERSATION, query={"locationId": "a", "contactId": "b/c"}),
    "search-no-location": replace(SEARCH, query={"email": "a@b"}),
    "search-no-address": replace(SEARCH, query={"locationId": "a"}),
    "search-email-newline": replace(SEARCH, query={"locationId": "a", "email": "a\n@b"}),
    "search-phone-letters": replace(SEARCH, query={"locationId": "a", "number": "+1555ext1"}),
    "search-extra": replace(SEARCH, query=SEARCH.query | {"phone": "+1555"}),
    "comment-control": replace(COMMENT, body=COMMENT.body.replace(b"Form", b"\\u001b[31m")),
    "comment-surrogate": replace(COMMENT, body=COMMENT.body.replace(b"Form", b"\\ud800")),
    "comment-no-reference": replace(COMMENT, body=COMMENT.body.replace(b"ref ", b"")),
    "comment-too-long": replace(COMMENT, body=COMMENT.body.replace(b"Form", b"x" * 5000)),
    "comment-extra": replace(COMMENT, body=COMMENT.body.replace(b'"type"', b'"html": "x", "type"')),
    "note-path": replace(NOTE, path="/contacts/b/../c/notes"),
    "note-nul": replace(NOTE, body=NOTE.body.replace(b"Form", b"\\u0000")),
    "badge-text": replace(BADGE, body=BADGE.body.replace(b"1", b'"1"')),
    "badge-true": replace(BADGE, body=BADGE.body.replace(b"1", b"true")),
    "tags-text": replace(TAGS, body=b'{"tags": "website"}'),
    "tags-empty": replace(TAGS, body=b'{"tags": []}'),
    "fields-object": replace(FIELDS, body=b'{"customFields": [{"id": "f", "field_value": {}}]}'),
    "fields-infinity": replace(FIELDS, body=b'{"customFields": [{"id": "f", "field_value": Infinity}]}'),
    "fields-nul": replace(FIELDS, body=FIELDS.body.replace(b"a", b"\\u0000")),
    "fields-tags": replace(FIELDS, body=b'{"tags": ["website"]}'),
}


@pytest.mark.parametrize("call", UNCLEAN_CALLS.values(), ids=UNCLEAN_CALLS)
def test_an_unclean_call_is_reported(call: Call) -> None:
    assert list(unclean(call))


@pytest.mark.parametrize("call", CLEAN_CALLS.values(), ids=CLEAN_CALLS)
def test_a_clean_call_is_not_reported(call: Call) -> None:
    assert list(unclean(call)) == []


MESSAGE = {"QueueUrl": "https://q/retry", "MessageBody": "text", "MessageGroupId": "loc", "DelaySeconds": 5}
LETTER = {"QueueUrl": "https://q/dead-letters", "MessageBody": "text"}


def letter(**attributes: str) -> dict[str, Any]:
    return LETTER | {"MessageAttributes": {name: {"StringValue": text} for name, text in attributes.items()}}


MESSAGES: dict[str, tuple[Any, ...]] = {
    "good": (MESSAGE, None),
    "good-dead-letter": (LETTER, None),
    "over-256-kib": (MESSAGE | {"MessageBody": "x" * 400_000}, "oversized"),
    "over-1-mib": (LETTER | {"MessageBody": "x" * ((1 << 20) + 1)}, "oversized"),
    "empty": (LETTER | {"MessageBody": ""}, "queue"),
    "control-character": (LETTER | {"MessageBody": "\x0b"}, "queue"),
    "group": (MESSAGE | {"MessageGroupId": "ü"}, "queue"),
    "delay": (MESSAGE | {"DelaySeconds": 901}, "queue"),
    "empty-attribute": (letter(reason=""), "queue"),
    "attribute-control": (LETTER | {"MessageAttributes": {"reason": {"StringValue": "\x19"}}}, "queue"),
    "attribute-name": (LETTER | {"MessageAttributes": {"AWS.x": {"StringValue": "y"}}}, "queue"),
    "11-attributes": (LETTER | {"MessageAttributes": {f"a{n}": {"StringValue": "y"} for n in range(11)}}, "queue"),
}


@pytest.mark.parametrize(("message", "promise"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_that_sqs_refuses_is_reported(message: dict[str, Any], promise: str | None) -> None:
    aws = FakeAws({})
    status, _, _ = aws.answer("POST", "/", {"x-amz-target": "AmazonSQS.SendMessage"}, json.dumps(message).encode())
    assert (status, [each for each, _ in aws.take_refusals()]) == ((400, [promise]) if promise else (200, []))


@pytest.mark.parametrize("where", ["body", "attribute", "address in an attribute"])
def test_a_secret_in_a_queue_is_reported(function: FuzzedFunction, where: str) -> None:
    secret = function.requests.signer.secrets["token"]
    text = function.requests.canary.email(9) if "address" in where else secret
    message = LETTER | (
        {"MessageBody": text} if where == "body" else {"MessageAttributes": {"a": {"StringValue": text}}}
    )
    function.aws.answer("POST", "/", {"x-amz-target": "AmazonSQS.SendMessage"}, json.dumps(message).encode())
    function._check_calls(function.requests.make(0, time.time()), "#0", None)
    assert broken_promises(function) == {"leak"}


def test_a_lost_message_is_reported(function: FuzzedFunction) -> None:
    number = next(
        n for n, (endpoint, kind, _) in enumerate(function.requests.turns) if (endpoint, kind) == ("queue", "garbage")
    )
    request = function.requests.make(number, time.time())
    function._check_calls(request, "#0", {"batchItemFailures": []})
    assert broken_promises(function) == {"lost"}
    function.tally.problems.clear()
    function._check_calls(request, "#0", {"batchItemFailures": [{"itemIdentifier": "unknown"}]})
    assert broken_promises(function) == {"lost", "answer"}


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_message_whose_contact_id_is_refused_is_done_by_its_person(
    function: FuzzedFunction, is_recorded: bool
) -> None:
    body = json.dumps(make_ids(contact="refused") | {"email": "jane@example.com"}).encode()
    text = make_submission(trigger="webhook", sender="token", delivery_id="one", body=body).to_message()
    target = target_of(Submission.from_message(text), function.requests.senders, None)
    if is_recorded:
        function.aws.records[f"delivery#{target.delivery}#address"] = {}
    assert function._is_done(text) is is_recorded


LINES: dict[str, tuple[Any, ...]] = {
    "submission": ('{"level": "INFO", "message": "submission"}', None),
    "metric": ('{"_aws": {}, "outcome": "opened", "trigger": "http"}', None),
    "text": ("plain text", "log"),
    "array": ("[]", "log"),
    "two-objects": ('{"_aws": {}}{"_aws": {}}', "log"),
    "no-level": ("{}", "log"),
    "internal-error": ('{"level": "ERROR", "message": "internal_error", "error": "KeyError"}', "internal error"),
    "internal-error-reason": ('{"level": "INFO", "reason": "internal_error"}', "internal error"),
}


@pytest.mark.parametrize(("line", "promise"), LINES.values(), ids=LINES)
def test_a_bad_line_of_the_log_is_reported(function: FuzzedFunction, line: str, promise: str | None) -> None:
    function._check_log_line(0, line)
    assert broken_promises(function) == ({promise} if promise else set())


@linux
def test_a_broken_function_is_reported(tmp_path: Path) -> None:
    """A function that raises with a secret, writes a secret, or takes too long."""
    artifact = fuzzing.artifact_with_own_senders(tmp_path)
    app = artifact / "create_conversation" / "app.py"
    broken = """
import time
_whole_handler = handler
def handler(event, context):
    headers = event.get("headers", {}) if isinstance(event, dict) else {}
    if headers.get("x-break") == "raise":
        raise KeyError(headers["authorization"])
    if headers.get("x-break") == "write":
        print(headers["authorization"])
    if headers.get("x-break") == "burn":
        until = time.process_time() + 2.5
        while time.process_time() < until:
            pass
    return _whole_handler(event, context)
"""
    app.write_text(app.read_text() + broken)
    shutil.rmtree(app.parent / "__pycache__")  # Python would run the unchanged bytecode
    tally, seen = Tally(), {}
    with fuzzed_function(artifact, SEED, "INFO", tally) as function:
        turns = enumerate(function.requests.turns)
        number = next(n for n, (endpoint, kind, _) in turns if (endpoint, kind) == ("conversations", "good"))
        request = function.requests.make(number, time.time())
        event = json.loads(request.payload)
        for how in ("", "raise", "burn", "write"):
            event["headers"] |= {"x-break": how, "authorization": f"Bearer {function.requests.signer.secrets['api']}"}
            function.send(replace(request, payload=json.dumps(event).encode()))
            if how != "write":  # the log is checked when the function has ended
                seen[how] = broken_promises(function)
                tally.problems.clear()
    assert seen == {"": set(), "raise": {"exception", "leak"}, "burn": {"late"}}
    assert broken_promises(function) == {"leak", "log"}
