"""What travels through the queues, in every format that a dead letter can have."""

import base64
import json
import random
import string
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_conversation.errors import InvalidError
from create_conversation.senders.mapping import Target, target_of
from create_conversation.submission import MAX_BODY_BYTES, MAX_MESSAGE_BYTES, MAX_STORED_BYTES, Submission
from tests.factories import CONTACT, LOCATION, make_submission, sample
from tests.unit.world import SENDERS

EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=300)
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=128)
SUBMISSIONS = st.builds(
    Submission,
    trigger=st.sampled_from(["http", "webhook", "event"]),
    sender=PLAIN,
    request_id=PLAIN,
    received_at=st.floats(0, 1e11),
    content_type=st.text(st.characters(), max_size=50),
    body=st.binary(max_size=500),
    delivery_id=st.text(st.characters(), max_size=50),
)
ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates and noncharacters too
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)

EVENT = sample("event_conversation_requested")
EVENT_TARGET = Target(EVENT["detail"]["locationId"], EVENT["detail"]["contactId"])


@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff\xfe", "Grüße".encode("utf-16"), bytes(range(256)), b"\xff" * MAX_BODY_BYTES]
)
def test_a_submission_survives_the_queue_byte_by_byte(body: bytes) -> None:
    sent = make_submission(body=body, content_type="text/\u00fc", request_id="UZ1hXjYbFiAEPvw=")
    message = sent.to_message()
    assert message.isascii()
    assert len(message) < MAX_BODY_BYTES * 4 / 3 + 1000
    assert Submission.from_message(message) == sent


@given(sent=SUBMISSIONS)
@EXAMPLES
def test_any_submission_survives_the_queue(sent: Submission) -> None:
    message = sent.to_message()
    assert message.isascii()
    assert Submission.from_message(message) == sent
    assert Submission.from_message(message).to_message() == message


@given(detail=JSON_VALUES)
@EXAMPLES
def test_any_event_survives_the_queue(detail: object) -> None:
    assert_event_survives(EVENT | {"detail": detail})


@given(detail=JSON_VALUES, copies=st.integers(1, 50_000))
@settings(EXAMPLES, max_examples=15)
def test_any_large_event_survives_the_queue(detail: object, copies: int) -> None:
    assert_event_survives(EVENT | {"detail": [detail] * copies})


def assert_event_survives(event: dict[str, object]) -> None:
    message = Submission.from_event(event, "request-1", 7.0).to_message()
    assert not {"\ufffe", "\uffff"} & set(message), "SQS refuses these"
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    if len(json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")) <= EVENT_BYTES:
        assert json.loads(Submission.from_message(message).body) == event


@given(
    stored=st.dictionaries(
        st.sampled_from([*json.loads(make_submission().to_message())["submission"], "compressed_body"]), JSON_VALUES
    ),
    around=st.sampled_from(["{}", '{{"submission": {}}}', '{{"requestPayload": {}}}', '{{"detail-type": {}}}', "[{}]"]),
    cut=st.integers(0, 3),
)
@EXAMPLES
def test_any_text_is_read_or_refused(stored: dict[str, object], around: str, cut: int) -> None:
    complete = json.loads(make_submission().to_message())["submission"] | stored
    text = around.format(json.dumps(complete))
    with suppress(ValueError):
        Submission.from_message(text[: len(text) - cut]).to_message()


@pytest.mark.parametrize("odd", ["r\ud800", "a\nb", "\x1b[2J", "\u202e", "x" * 129])
@pytest.mark.parametrize("member", ["sender", "request_id"])
def test_what_goes_into_the_log_is_plain(member: str, odd: str) -> None:
    message = json.loads(make_submission().to_message())
    message["submission"][member] = odd
    with pytest.raises(ValueError, match="not written by this stack"):
        Submission.from_message(json.dumps(message))
    assert Submission.from_event(EVENT | {"id": odd}).request_id == ""


@pytest.mark.parametrize(
    ("value", "count"),
    [(1e15, 50_000), ("a" * 1000, 1000), ("\ufffe\uffff\U0001f600\x00", 33_000), ("\ud800", 100_000)],
    ids=ascii,
)
def test_an_event_too_large_for_base64_is_stored_whole(value: object, count: int) -> None:
    event = EVENT | {"detail": {"more": [value] * count}}
    message = Submission.from_event(event, "request-1").to_message()
    assert MAX_STORED_BYTES < len(message.encode()) + 1000 < 1 << 20, "with its attributes it fits into a message"
    assert not {"\ufffe", "\uffff", "\x00"} & set(message), "SQS refuses these"
    read = Submission.from_message(message)
    assert json.loads(read.body) == event
    with pytest.raises(InvalidError, match="body_too_large"):
        target_of(read, SENDERS, None)


EVENT_BYTES = 1 << 20  # of EventBridge, with the members that it adds
PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace('"', "").replace("\\", "")


def random_text(alphabet: str, size: int) -> str:
    return "".join(random.Random(1).choices(alphabet, k=size // len(alphabet[0].encode())))


@pytest.mark.parametrize(
    "more",
    [
        "1e15," * (EVENT_BYTES // 5 - 200),
        "1e9,2E+8,-3e0,1E999," * (EVENT_BYTES // 20 - 50),
        '"' + "\uffff" * (EVENT_BYTES // 3 - 300) + '",',
        '"' + random_text(string.ascii_letters + string.digits + "+/", EVENT_BYTES - 1000) + '",',
        '"' + random_text("".join(map(chr, range(0x4E00, 0x9FFF))), EVENT_BYTES - 1000) + '",',
        '"' + random_text(PRINTABLE, EVENT_BYTES - 9_500) + '",',
    ],
    ids=["1e15", "other floats", "characters that SQS refuses", "base64", "Chinese", "random characters"],
)
@pytest.mark.parametrize("sender", ["event", "our-app"])
def test_an_event_that_outgrows_a_message_is_stored_whole(more: str, sender: str) -> None:
    text = json.dumps(EVENT)[:-1] + f', "more": [{more}0]}}'
    assert EVENT_BYTES - 10_000 < len(text.encode()) <= EVENT_BYTES
    submission = Submission.from_event(json.loads(text), "request-1", 7.0, sender)
    message = submission.to_message()
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    assert not {"\ufffe", "\uffff"} & set(message), "SQS refuses these"
    read = Submission.from_message(message)
    assert json.loads(read.body) == json.loads(text)
    assert len(Submission.from_message(read.to_message()).to_message().encode()) <= MAX_MESSAGE_BYTES


def test_any_other_body_is_cut() -> None:
    message = make_submission(body=b"x" * (1 << 20)).to_message()
    assert Submission.from_message(message).body == b"x" * MAX_STORED_BYTES


@pytest.mark.parametrize("delivery_id", ["", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "\u00fc\ud800\n", "x" * 8000])
def test_the_id_of_a_delivery_travels_along(delivery_id: str) -> None:
    sent = make_submission(delivery_id=delivery_id)
    assert Submission.from_message(sent.to_message()) == sent


def test_a_message_without_the_id_of_a_delivery_is_read() -> None:
    message = json.loads(make_submission(delivery_id="delivery-1").to_message())
    del message["submission"]["delivery_id"]
    assert Submission.from_message(json.dumps(message)).delivery_id == ""


def test_an_event_from_the_rules_dead_letters_is_read() -> None:
    read = Submission.from_message(json.dumps(EVENT))
    assert (read.trigger, read.sender, read.request_id) == ("event", "event", EVENT["id"])
    assert target_of(read, SENDERS, None) == EVENT_TARGET
    assert Submission.from_message(read.to_message()) == read


def test_lambdas_record_of_a_failed_invocation_is_read() -> None:
    record = sample("on_failure", "tests/data")
    read = Submission.from_message(json.dumps(record))
    assert (read.trigger, read.request_id) == ("event", record["requestPayload"]["id"])
    assert target_of(read, SENDERS, None) == Target(LOCATION, CONTACT)


def compressed(body: bytes) -> str:
    return base64.b85encode(zlib.compress(body)).decode()


def stored_message(**changes: Any) -> str:
    message: dict[str, Any] = json.loads(make_submission().to_message())
    message["submission"] |= changes
    return json.dumps(message)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"requestPayload": []}',
        '{"requestPayload": {}}',
        '{"requestPayload": {"requestPayload": {}}}',
        '{"submission": null}',
        '{"submission": {}}',
        "[" * 100_000,
        "9" * 5000,
        stored_message(trigger=None),
        stored_message(sender=7),
        stored_message(request_id=[]),
        stored_message(content_type=None),
        stored_message(body=None),
        stored_message(body="not base64!"),
        stored_message(body="YQ"),
        stored_message(body="\u00fc"),
        stored_message(compressed_body="not base85 \u00fc"),
        stored_message(compressed_body="|NsC0"),
        stored_message(compressed_body=base64.b85encode(b"not compressed").decode()),
        stored_message(compressed_body=compressed(b"a" * 100)[:-5]),
        stored_message(compressed_body=compressed(b"a" * 8_000_000)),
        stored_message(body=None, compressed_body=7),
        stored_message(delivery_id=7),
        stored_message(delivery_id=None),
        stored_message(received_at=None),
        stored_message(received_at="1"),
        stored_message(received_at=10**400),
    ],
)
def test_any_other_message_is_unreadable(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Submission.from_message(text)


def test_an_event_keeps_the_characters_it_came_with() -> None:
    odd = EVENT | {"detail": {"note": "Grüße \U0001f600", "lone": "\ud800"}}
    assert Submission.from_event(odd).body.decode("utf-8", "surrogatepass").count("Grüße") == 1


def test_an_event_as_large_as_a_body_may_be_fits() -> None:
    """AWS counts the event as it sends it, without blanks."""
    detail = EVENT["detail"] | {"amounts": [1] * 125_000}
    event = json.dumps(EVENT | {"detail": detail}, separators=(",", ":"))
    assert 250_000 < len(event) <= MAX_BODY_BYTES
    assert target_of(Submission.from_event(json.loads(event)), SENDERS, None) == EVENT_TARGET


def test_an_event_without_an_id_takes_the_triggers() -> None:
    assert Submission.from_event({}, "request-9", 7.0).request_id == "request-9"
    assert Submission.from_event({}).request_id == ""
