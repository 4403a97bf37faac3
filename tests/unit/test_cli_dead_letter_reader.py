"""How each kind of message in the dead-letter queue is read."""

import json
from typing import Any

import pytest

from cli.dead_letter_reader import DeadLetter
from cli.dead_letters import _only, _unambiguous
from cli.redrive import MAX_BATCH_BYTES, UNKNOWN_GROUP, _attributes, _batches, _group
from cli.stack import StackError
from create_conversation.submission import Submission

SUBMISSION = Submission("http", "api", "req-1", 1_700_000_000.0, "application/json", b'{"contactId": "c"}').to_message()
EVENT = {"detail-type": "ConversationRequested", "id": "e-1", "detail": {"locationId": "loc1", "contactId": "c"}}


def letter(
    body: str, attributes: dict[str, str] | None = None, *, group: str | None = None, message_id: str = "m"
) -> DeadLetter:
    message: Any = {
        "MessageId": message_id,
        "ReceiptHandle": "handle",
        "Body": body,
        "Attributes": {"SentTimestamp": "1700000000123", **({"MessageGroupId": group} if group else {})},
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()
        },
    }
    return DeadLetter.read(message)


def facts(read: DeadLetter) -> tuple[str, str | None, str | None, int | None, str | None]:
    return read.reason, read.sender, read.location, read.attempts, read.last_error


def test_dead_letter_sent_by_the_function() -> None:
    read = letter(
        SUBMISSION,
        {"reason": "expired", "sender": "form", "location": "loc1", "attempts": "7", "last_error": "upstream_timeout"},
    )
    assert facts(read) == ("expired", "form", "loc1", 7, "upstream_timeout")
    assert read.sent_at.isoformat() == "2023-11-14T22:13:20.123000+00:00"


def test_dead_letter_of_an_unreadable_submission() -> None:
    assert facts(letter("{", {"reason": "unreadable", "attempts": "1"})) == ("unreadable", None, None, 1, None)


def test_dead_letter_moved_by_sqs() -> None:
    assert facts(letter(SUBMISSION, group="loc1")) == ("receives", "api", "loc1", 1000, None)
    redriven = letter(SUBMISSION, {"attempts": "1000", "first_time": "1690000000"}, group="loc1")
    assert facts(redriven) == ("receives", "api", "loc1", 2000, None)
    assert redriven.first_time.timestamp() == 1_690_000_000


@pytest.mark.parametrize(
    ("body", "attributes", "first"),
    [
        pytest.param(SUBMISSION, {"reason": "no_token"}, "2023-11-14T22:13:20+00:00", id="received"),
        pytest.param(
            SUBMISSION, {"reason": "no_token", "first_time": "1600000000"}, "2020-09-13T12:26:40+00:00", id="redriven"
        ),
        pytest.param(
            json.dumps(EVENT | {"time": "2023-11-01T00:00:00Z"}),
            {"ERROR_CODE": "NO_PERMISSIONS"},
            "2023-11-01T00:00:00+00:00",
            id="an event",
        ),
        pytest.param(json.dumps(EVENT), {}, "2023-11-14T22:13:20.123000+00:00", id="an event without a time"),
        pytest.param("{", {"first_time": "9" * 15}, "2023-11-14T22:13:20.123000+00:00", id="a time that cannot be"),
    ],
)
def test_first_time(body: str, attributes: dict[str, str], first: str) -> None:
    assert letter(body, attributes).first_time.isoformat() == first


def test_attributes_of_a_redriven_message() -> None:
    sent = _attributes(letter(SUBMISSION, {"reason": "expired", "attempts": "7"}))
    assert {name: value["StringValue"] for name, value in sent.items()} == {
        "attempts": "7",
        "first_time": "1700000000",
    }
    assert _attributes(letter("x" * MAX_BATCH_BYTES)) == {}, "it fills a message alone"


def test_dead_letter_sent_by_eventbridge() -> None:
    attributes = {
        "RULE_ARN": "arn:aws:events:eu-central-1:1:rule/r",
        "TARGET_ARN": "arn:aws:lambda:eu-central-1:1:function:f",
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "not allowed",
        "RETRY_ATTEMPTS": "185",
    }
    read = letter(json.dumps(EVENT), attributes)
    assert facts(read) == ("undelivered", "event", "loc1", 185, "NO_PERMISSIONS: not allowed")


def test_dead_letter_sent_by_lambda() -> None:
    record = {
        "version": "1.0",
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": EVENT,
        "responsePayload": {"errorType": "NotStored", "errorMessage": "x"},
    }
    assert facts(letter(json.dumps(record))) == ("unhandled", "event", "loc1", 3, "RetriesExhausted: NotStored")


def stored_event(body: bytes) -> str:
    return Submission("event", "event", "e-1", 0.0, "application/json", body).to_message()


def test_a_dead_letter_with_a_compressed_event_is_read_whole() -> None:
    event = EVENT | {"amounts": [1e15] * 200_000, "time": "2023-11-01T00:00:00Z"}
    message = Submission.from_event(event, "e-1", 0.0, "our-app").to_message()
    read = letter(message, {"reason": "body_too_large", "attempts": "1"})
    assert facts(read) == ("body_too_large", "our-app", "loc1", 1, None)
    assert read.submission is not None
    assert json.loads(read.submission.body) == event
    assert read.first_time.isoformat() == "2023-11-01T00:00:00+00:00"
    assert [len(batch) for batch in _batches([read, read])] == [2]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "unreadable"),
        ("null", "unreadable"),
        ("[" * 200_000, "unreadable"),
        ('{"submission": {}}', "unreadable"),
        (SUBMISSION.replace('"body": "', '"body": "%'), "unreadable"),
        ('{"requestPayload": 1, "requestContext": 1, "responsePayload": 1}', "unhandled"),
        (stored_event(b"[" * 200_000), "receives"),
        (stored_event(b"\xff"), "receives"),
        (stored_event(b'{"detail": {"locationId": "not an id"}}'), "receives"),
    ],
    ids=[
        "empty",
        "null",
        "deeply nested",
        "no submission",
        "invalid base64",
        "not a failure record",
        "deeply nested event",
        "not UTF-8",
        "invalid location id",
    ],
)
def test_malformed_messages_are_listed(body: str, reason: str) -> None:
    read = letter(body)
    assert (read.reason, read.location) == (reason, None)


def test_shown_ids_are_short_and_unique() -> None:
    assert _unambiguous(["aaaaaaaaaa", "bbbbbbbbbb"]) == 8
    assert _unambiguous(["bbbbbbbb-2", "aaaaaaaaaa", "bbbbbbbb-1"]) == 10
    assert _unambiguous(["same", "same"]) == 8


def test_id_prefix_must_match_one_message() -> None:
    one, other = letter("", message_id="aa1"), letter("", message_id="aa2")
    assert _only([one], "aa1", "./hlc") is one
    with pytest.raises(StackError, match="2 messages have an id that begins with aa"):
        _only([one, other], "aa", "./hlc")


def test_batches_respect_the_limits_of_sqs() -> None:
    small = [letter("{}") for _ in range(23)]
    assert [len(batch) for batch in _batches(small)] == [10, 10, 3]
    large = [letter("x" * 350_000) for _ in range(5)]
    assert [len(batch) for batch in _batches(large)] == [2, 2, 1]
    assert [len(batch) for batch in _batches([letter("x" * MAX_BATCH_BYTES), *small[:1]])] == [1, 1]
    assert list(_batches([])) == []


def test_message_group_is_the_location() -> None:
    assert _group(letter(SUBMISSION, {"reason": "expired", "location": "loc1"}, group="other")) == "loc1"
    assert _group(letter(SUBMISSION, group="loc2")) == "loc2"
    assert _group(letter("{", {"reason": "unreadable"})) == UNKNOWN_GROUP
    assert _group(letter("{", {"reason": "unreadable", "location": "no group"})) == UNKNOWN_GROUP
