"""The retry queue: each message is opened, dead-lettered, or stays with its own backoff."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from create_conversation import submission_log
from create_conversation.circuit_breaker import FAILURES
from create_conversation.queues import Queues
from create_conversation.rate_limit import DEFAULT_MIN_INTERVAL_SECONDS
from create_conversation.senders.mapping import Target, target_of
from create_conversation.submission import Submission
from create_conversation.triggers import retry_queue
from create_conversation.triggers.retry_queue import LEASE_SECONDS
from highlevel.client import HighLevel
from highlevel.responses import ApiResult, RateLimit
from local.highlevel import Limits, LocalHighLevel
from tests.factories import (
    CONTACT,
    LOCATION,
    make_message,
    make_sqs_batch,
    make_sqs_record,
    make_submission,
    sample,
)
from tests.stopwatch import Stopwatch
from tests.unit.conftest import Log
from tests.unit.fakes import SlowSqs, no_answer
from tests.unit.test_token_provider import ISSUE, Connected
from tests.unit.world import CONTEXT, TOKEN, World, attributes

DAY = 86_400.0


# Each outcome


def test_opened_leaves_the_queue(world: World, log: Log) -> None:
    assert world.retry(make_sqs_record(receives=3)) == []
    assert (LOCATION, CONTACT) in world.highlevel.conversations
    line = log.line
    assert (line["outcome"], line["trigger"], line["sender"], line["attempts"]) == ("opened", "retry", "api", 3)
    assert line["request_id"] == "request-1"


def test_existing_leaves_the_queue_and_no_id_is_looked_for(world: World) -> None:
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, CONTACT, within=2)
    assert world.retry(make_sqs_record()) == []
    assert [call.path for call in world.highlevel.calls] == ["/conversations/"] * 2


def test_deferred_stays_and_is_put_off_by_its_own_backoff(world: World, log: Log) -> None:
    world.highlevel.fail(kind="status", status=408)
    records = make_sqs_batch(10, receives=9, age=400)
    assert world.retry(*records) == sorted(f"message-{number}" for number in range(10))
    waits = world.waits()
    assert waits.keys() == {f"handle-{number}" for number in range(10)}
    assert len(set(waits.values())) > 3
    assert all(0.7 * 20 <= wait <= 1.3 * 20 + 1 for wait in waits.values()), "by age"
    assert [line["reason"] for line in log.lines] == ["upstream_error"] * 10
    assert world.queued() == [], "never sent again: Lambda would treat it as a loop"


@pytest.mark.parametrize("retry_after", [None, "0", "1", "-5", "soon", "Sat, 01 Jan 2022 00:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_no_retry_after_makes_an_old_message_come_back_sooner_than_its_age_says(
    world: World, status: int, retry_after: str | None
) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    world.highlevel.fail(kind="status", status=status, headers=headers)
    for receives in (1, 500):
        world.retry(make_sqs_record(receives=receives, age=DAY))
        (wait,) = world.waits().values()
        assert 630 <= wait <= 900


def test_retry_after_is_honoured(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, headers={"Retry-After": "1800"})
    assert world.retry(make_sqs_record()) == ["message-1"]
    assert 1800 <= world.waits()["handle-1"] <= 1802


def test_a_rejected_message_is_dead_lettered_with_its_reason(world: World, log: Log) -> None:
    world.highlevel.fail(kind="status", status=422, message="no such contact")
    text = make_message()
    assert world.retry(make_sqs_record(text, receives=4)) == []
    (letter,) = world.dead_letters()
    assert letter["MessageBody"] == text
    expected = {"reason": "ids_refused", "sender": "api", "location": LOCATION, "attempts": "4"}
    assert attributes(letter) == expected
    assert (log.line["outcome"], log.line["reason"]) == ("rejected", "ids_refused")


@pytest.mark.parametrize(
    ("received_at", "given", "first_time", "attempts"),
    [
        pytest.param(1_700_000_000.5, {}, 1_700_000_000, "4", id="never redriven"),
        pytest.param(
            1_750_000_000.0, {"attempts": "7", "first_time": "1700000000"}, 1_700_000_000, "11", id="redriven once"
        ),
        pytest.param(0.0, {}, None, "4", id="an event that EventBridge did not deliver: when it was sent"),
        pytest.param(1e300, {}, None, "4", id="a time that cannot be"),
        pytest.param(float("nan"), {"attempts": "-1", "first_time": "x"}, None, "4", id="attributes of another's"),
    ],
)
def test_the_first_time_and_the_attempts_survive_a_redrive(
    world: World, log: Log, received_at: float, given: dict[str, str], first_time: int | None, attempts: str
) -> None:
    world.highlevel.fail(kind="status", status=422, message="no such contact")
    record = make_sqs_record(replace(make_submission(), received_at=received_at).to_message(), receives=4, age=100.0)
    record["messageAttributes"] = {name: {"dataType": "String", "stringValue": value} for name, value in given.items()}
    assert world.retry(record) == []
    (letter,) = world.dead_letters()
    noted = int(letter["MessageAttributes"]["first_time"]["StringValue"])
    assert abs(noted - (first_time or time.time() - 100)) < 5
    assert attributes(letter)["attempts"] == attempts
    assert log.line["attempts"] == int(attempts)


def test_an_invalid_message_is_dead_lettered_with_its_reason(world: World) -> None:
    text = make_submission(body=b'{"locationId": "loc"}').to_message()
    assert world.retry(make_sqs_record(text)) == []
    assert attributes(world.dead_letters()[0]) == {
        "reason": "no_contact",
        "sender": "api",
        "attempts": "1",
        "location": "loc",
    }


@pytest.mark.parametrize("text", ["{", "null", "[" * 100_000, '{"submission": 7}'])
def test_an_unreadable_message_is_dead_lettered_unchanged(world: World, text: str) -> None:
    assert world.retry(make_sqs_record(text), make_sqs_record(number=2)) == []
    assert world.reasons() == ["unreadable"]
    assert world.dead_letters()[0]["MessageBody"] == text
    assert (LOCATION, CONTACT) in world.highlevel.conversations


def odd(**pieces: Any) -> dict[str, Any]:
    """A record with other pieces than SQS gives; None: without that piece."""
    return {name: piece for name, piece in (make_sqs_record(make_message("odd")) | pieces).items() if piece is not None}


@pytest.mark.parametrize(
    "record",
    [
        {"eventSource": "aws:s3", "s3": {}},
        {"EventSource": "aws:sns", "Sns": {"Message": "{}"}},
        odd(body=""),
        odd(body=7),
        odd(body=None, messageId=None),
        *(None, [], "text", 5),
    ],
)
def test_a_malformed_record_is_dead_lettered_and_the_others_are_processed(world: World, record: Any) -> None:
    assert world.retry(record, make_sqs_record(number=2), record) == []
    assert world.reasons() == ["unreadable"] * 2
    assert all(json.loads(letter["MessageBody"]) == record for letter in world.dead_letters())
    assert (LOCATION, CONTACT) in world.highlevel.conversations


@pytest.mark.parametrize(
    "pieces",
    [
        {"attributes": None},
        {"attributes": []},
        {"attributes": {"ApproximateReceiveCount": "9" * 5000, "SentTimestamp": "-1"}},
        {"attributes": {"ApproximateReceiveCount": 1.5, "SentTimestamp": "\uff11"}},
        {"attributes": {"ApproximateReceiveCount": "", "SentTimestamp": None}},
        {"messageId": None},
        {"receiptHandle": None},
    ],
)
def test_a_message_with_odd_attributes_is_opened(world: World, pieces: dict[str, Any]) -> None:
    assert world.retry(odd(**pieces), make_sqs_record(number=2)) == []
    assert {(LOCATION, "odd"), (LOCATION, CONTACT)} <= world.highlevel.conversations.keys()


def test_a_message_without_an_id_that_must_stay_keeps_the_whole_batch(world: World) -> None:
    """Lambda takes an empty id for a failure of all: SQS deletes none."""
    world.highlevel.fail(kind="status", status=503)
    assert world.retry(odd(messageId=None)) == [""]


def test_two_messages_of_one_id_are_each_done(world: World) -> None:
    assert world.retry(make_sqs_record(make_message("one"), 1), make_sqs_record("garbage", 1)) == []
    assert (LOCATION, "one") in world.highlevel.conversations
    assert world.reasons() == ["unreadable"]


def test_a_redrive_maps_the_submission_again(world: World) -> None:
    text = make_submission(body=json.dumps({"contactId": CONTACT}).encode()).to_message()
    world.retry(make_sqs_record(text))
    assert world.reasons() == ["no_location"]
    world.settings = replace(world.settings, location_id=LOCATION)
    assert world.retry(make_sqs_record(world.dead_letters()[0]["MessageBody"])) == []
    assert (LOCATION, CONTACT) in world.highlevel.conversations


EVENT = sample("event_conversation_requested")
FORMATS = {
    "submission": make_submission(body=json.dumps(EVENT["detail"]).encode()).to_message(),
    "stored event": Submission.from_event(EVENT).to_message(),
    "event from the rule": json.dumps(EVENT),
    "failed invocation": json.dumps(sample("on_failure", "tests/data") | {"requestPayload": EVENT}),
}


@pytest.mark.parametrize("text", FORMATS.values(), ids=FORMATS)
def test_every_format_of_a_dead_letter_is_read(world: World, text: str) -> None:
    assert world.retry(make_sqs_record(text)) == []
    assert (EVENT["detail"]["locationId"], EVENT["detail"]["contactId"]) in world.highlevel.conversations


# Age


@pytest.mark.parametrize(
    ("age", "receives", "expired"),
    [(4 * DAY, 198, True), (4 * DAY, 197, False), (4 * DAY, 2, False), (2.9 * DAY, 900, False)],
)
def test_given_up_needs_the_age_and_half_of_the_planned_receives(
    world: World, log: Log, age: float, receives: int, expired: bool
) -> None:
    world.highlevel.fail(kind="status", status=503)
    staying = world.retry(make_sqs_record(receives=receives, age=age))
    assert staying == ([] if expired else ["message-1"])
    if expired:
        found = attributes(world.dead_letters()[0])
        assert (found["reason"], found["last_error"], found["location"]) == ("expired", "upstream_error", LOCATION)
        assert (log.line["outcome"], log.line["reason"]) == ("rejected", "expired")


def overdue(number: int = 1, location: str = LOCATION) -> dict[str, Any]:
    return make_sqs_record(make_message(f"contact-{number}", location), number, receives=900, age=5 * DAY)


def open_breaker(world: World) -> None:
    """As the failed calls of other submissions do."""
    world.highlevel.fail(kind="status", status=503)
    for number in range(FAILURES):
        assert world.open(f"other-{number}").reason == "upstream_error"
    assert world.open().reason == "breaker_open"
    world.highlevel.heal()
    world.highlevel.calls.clear()


def announce(world: World, remaining: int, daily: int = 1000) -> None:
    world.quota.record_response(
        LOCATION, ApiResult("opened", status=201, rate_limit=RateLimit(100, remaining, 10_000, daily))
    )


def fail_to_issue(world: World) -> None:
    """The location's token could not be issued a moment ago, for another submission."""
    Connected(world, "Company")
    world.highlevel.fail(kind="status", status=503, path=ISSUE)
    assert world.open("another").reason == "upstream_error"
    world.highlevel.calls.clear()


OWN_WORD: dict[str, Callable[[World], object]] = {
    "rate limit: the window's reserve": lambda world: announce(world, 4),
    "rate limit: the window is empty": lambda world: announce(world, 0),
    "rate limit: the day is empty": lambda world: announce(world, 50, daily=0),
    "rate limit: a 429 a moment ago": lambda world: world.quota.record_response(
        LOCATION, ApiResult("deferred", status=429)
    ),
    "secret that cannot be read": lambda world: setattr(world.secrets, "error", no_answer()),
    "token that could not be issued a moment ago": fail_to_issue,
}


@pytest.mark.parametrize("make", OWN_WORD.values(), ids=OWN_WORD)
def test_an_overdue_submission_stays_while_no_call_is_made_for_it(
    world: World, make: Callable[[World], object]
) -> None:
    make(world)
    assert world.retry(overdue(1), overdue(2)) == ["message-1", "message-2"]
    assert world.highlevel.calls == []
    assert world.dead_letters() == []


def test_an_overdue_submission_that_a_batch_has_no_time_for_stays(world: World, short_attempts: None) -> None:
    world.highlevel.fail(kind="hang")
    assert len(world.retry(*(overdue(number) for number in range(6)))) == 4
    assert world.reasons() == ["expired"] * 2
    assert len(world.highlevel.calls) == 2


def test_an_overdue_submission_stays_after_a_429(world: World) -> None:
    world.highlevel.fail(kind="status", status=429)
    assert world.retry(overdue()) == ["message-1"]
    assert world.highlevel.calls != []


def test_an_overdue_submission_is_opened_despite_the_circuit_breaker(world: World) -> None:
    open_breaker(world)
    young = make_sqs_record(make_message("young"), 2, receives=900, age=DAY)
    assert world.retry(overdue(), young) == ["message-2"]
    assert [call.contact for call in world.highlevel.calls] == ["contact-1"]
    assert (LOCATION, "contact-1") in world.highlevel.conversations


def test_an_overdue_submission_gets_its_token_despite_the_circuit_breaker(world: World) -> None:
    Connected(world, "Company")
    world.highlevel.fail(kind="status", status=503, path=ISSUE)
    for number in range(FAILURES):
        assert world.open(location=f"location-{number}").reason == "upstream_error"
    assert world.open().reason == "breaker_open"
    world.highlevel.heal()
    assert world.retry(overdue()) == []
    assert (LOCATION, "contact-1") in world.highlevel.conversations


FAILED_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "5xx": ({"kind": "status", "status": 503}, "upstream_error"),
    "401": ({"kind": "status", "status": 401, "message": "Invalid JWT"}, "token_refused"),
    "page of an edge": ({"kind": "html"}, "upstream_unexpected"),
    "reset": ({"kind": "reset"}, "upstream_connection_lost"),
    "hang": ({"kind": "hang"}, "upstream_timeout"),
}


@pytest.mark.parametrize(("fault", "why"), FAILED_CALLS.values(), ids=FAILED_CALLS)
def test_an_overdue_submission_is_given_up_after_a_call_that_failed(
    world: World, short_attempts: None, fault: dict[str, Any], why: str
) -> None:
    open_breaker(world)
    world.highlevel.fail(**fault)
    assert world.retry(overdue()) == []
    assert {call.contact for call in world.highlevel.calls} == {"contact-1"}
    assert (world.reasons(), attributes(world.dead_letters()[0])["last_error"]) == (["expired"], why)


def test_an_overdue_submission_is_given_up_if_highlevel_cannot_be_connected_to(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    world.highlevel = cast("LocalHighLevel", SimpleNamespace(url=url))
    world.flow = world.environment()
    assert world.retry(overdue()) == []
    assert attributes(world.dead_letters()[0])["last_error"] == "upstream_unreachable"


def test_overdue_submissions_are_called_at_their_locations_pace(world: World) -> None:
    open_breaker(world)
    world.highlevel.fail(kind="status", status=503)  # announces no rate
    assert world.retry(*(overdue(number) for number in range(5))) == []
    times = [call.at for call in world.highlevel.calls]
    assert len(times) == 5
    assert times[-1] - times[0] > 3.5 * DEFAULT_MIN_INTERVAL_SECONDS


def test_a_backlog_older_than_a_long_pause_is_opened_whole(world: World) -> None:
    """Each batch finds the window empty that the one before it used up."""
    world.highlevel.limits = Limits(max=8, interval_ms=400)
    waiting = {f"message-{number}": overdue(number) for number in range(20)}
    until = time.monotonic() + 10
    while waiting and time.monotonic() < until:
        batch = list(waiting.values())[:10]
        staying = world.retry(*batch)
        waiting = {name: record for name, record in waiting.items() if record not in batch or name in staying}
        time.sleep(0.05)
    assert (len(world.highlevel.conversations), world.reasons()) == (20, [])


def test_an_old_message_that_succeeds_is_done(world: World) -> None:
    assert world.retry(make_sqs_record(receives=900, age=13 * DAY)) == []
    assert world.dead_letters() == []


def test_old_age_is_a_setting(world: World) -> None:
    world.settings = replace(world.settings, give_up_after=5.0)
    world.highlevel.fail(kind="status", status=503)
    assert world.retry(make_sqs_record(receives=2, age=6)) == []
    assert world.reasons() == ["expired"]


# Failing queues and internal errors: nothing is lost


def test_a_queue_that_cannot_be_reached_is_asked_once_in_a_batch(world: World, log: Log) -> None:
    """Each call to it may take seconds, and a batch has ten messages."""
    world.highlevel.fail(kind="status", status=408)
    world.sqs.error = no_answer()
    records = make_sqs_batch(10)
    assert len(world.retry(*records)) == 10
    assert [name for name, _ in world.sqs.calls] == ["ChangeMessageVisibilityBatch", "ChangeMessageVisibility"]
    assert [line["outcome"] for line in log.lines] == ["not_stored"] * 10
    world.sqs.error = None
    world.retry(*records)
    assert len(world.waits()) == 10, "the next batch asks again"


def test_what_is_done_leaves_the_queue_while_sqs_cannot_be_reached(world: World) -> None:
    world.highlevel.fail(kind="status", status=422, message="no", contact="contact-0")
    world.sqs.error = no_answer()
    records = make_sqs_batch(5)
    assert world.retry(*records) == ["message-0"]
    assert len(world.highlevel.conversations) == 4


def test_a_message_that_sqs_does_not_take_stays(world: World, log: Log) -> None:
    world.highlevel.fail(kind="status", status=503, contact="contact-1")
    world.highlevel.fail(kind="status", status=422, message="no", contact="contact-2")
    world.sqs.error = no_answer()
    records = [make_sqs_record(make_message(f"contact-{number}"), number) for number in (1, 2, 3)]
    assert world.retry(*records, make_sqs_record("{", 4)) == ["message-1", "message-2", "message-4"]
    assert [line["outcome"] for line in log.lines].count("not_stored") == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("part", ["change_visibility", "dead_letter", "write"])
def test_an_internal_error_keeps_the_messages_and_is_logged(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    world.highlevel.fail(kind="status", status=503, contact="contact-1")
    world.highlevel.fail(kind="status", status=422, message="no", contact="contact-2")

    def burst(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(submission_log.SubmissionLog if part == "write" else Queues, part, burst)
    staying = world.retry(*(make_sqs_record(make_message(f"contact-{number}"), number) for number in (1, 2)))
    dead_lettered = {"message-2" for _ in world.dead_letters()}
    assert {*staying, *dead_lettered} == {"message-1", "message-2"}, (
        "a message that was neither opened nor dead-lettered must stay"
    )
    errors = [line["error"] for line in log.failures if line["message"] == "internal_error"]
    assert errors == ["RuntimeError"] * (2 if part == "write" else 1)


def test_a_mistake_in_mapping_keeps_its_message_and_no_other(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(submission: Submission, *arguments: Any) -> Target:
        if b"killer" in submission.body:
            raise RuntimeError(TOKEN)
        return target_of(submission, *arguments)

    monkeypatch.setattr(retry_queue, "target_of", burst)
    assert world.retry(make_sqs_record(make_message("killer"), 1), make_sqs_record(number=2)) == ["message-1"]
    assert (LOCATION, CONTACT) in world.highlevel.conversations
    assert world.waits().keys() == {"handle-1"}
    assert {line["reason"] for line in log.lines if line["outcome"] == "deferred"} == {"internal_error"}
    assert TOKEN not in log.text


def test_every_message_is_leased_first_for_longer_than_a_batch(world: World) -> None:
    world.retry(*(make_sqs_record(make_message(location=f"loc-{number}"), number) for number in range(10)))
    operation, call = world.sqs.calls[0]
    assert operation == "ChangeMessageVisibilityBatch"
    assert {entry["ReceiptHandle"] for entry in call["Entries"]} == {f"handle-{number}" for number in range(10)}
    assert all(LEASE_SECONDS <= entry["VisibilityTimeout"] <= LEASE_SECONDS + 900 for entry in call["Entries"])
    assert len({entry["VisibilityTimeout"] for entry in call["Entries"]}) >= 4, (
        "at different times, should it come to it"
    )


# Senders


def person(number: int = 1) -> str:
    body = json.dumps({"locationId": LOCATION, "email": f"jane{number}@example.com", "firstName": "Jane"}).encode()
    return make_submission(trigger="webhook", sender="token", body=body, delivery_id=f"delivery-{number}").to_message()


def test_a_person_is_opened_with_the_name_and_saved_by_the_delivery(world: World, log: Log) -> None:
    assert world.retry(make_sqs_record(person())) == []
    (contact,) = world.highlevel.contacts.values()
    assert contact["firstName"] == "Jane"
    assert (LOCATION, contact["id"]) in world.highlevel.conversations
    assert any(key.startswith(f"delivery#token#{LOCATION}#delivery-1#") for key in world.dynamodb.items)
    assert (log.line["sender"], log.line["contact_id"]) == ("token", contact["id"])
    world.highlevel.calls.clear()
    assert world.retry(make_sqs_record(person())) == []
    assert world.highlevel.calls == []


def test_a_person_whom_highlevel_refuses_is_dead_lettered(world: World) -> None:
    world.highlevel.fail(kind="status", status=422, message="email must be an email", path="/contacts/")
    assert world.retry(make_sqs_record(person())) == []
    expected = {"reason": "contact_refused", "sender": "token", "location": LOCATION, "attempts": "1"}
    assert attributes(world.dead_letters()[0]) == expected


def test_a_message_of_an_unknown_sender_is_dead_lettered_until_it_has_an_entry(world: World) -> None:
    entry = world.senders.pop("token")
    assert world.retry(make_sqs_record(person())) == []
    assert attributes(world.dead_letters()[0]) == {"reason": "unknown_sender", "sender": "token", "attempts": "1"}
    world.senders["token"] = entry
    assert world.retry(make_sqs_record(world.dead_letters()[0]["MessageBody"])) == []
    assert len(world.highlevel.conversations) == 1


def test_a_message_that_when_excludes_now_is_dead_lettered(world: World, log: Log) -> None:
    body = json.dumps({"event_type": "form_abandoned"}).encode()
    text = make_submission(trigger="webhook", sender="typeform", body=body).to_message()
    assert world.retry(make_sqs_record(text)) == []
    assert (log.line["outcome"], log.line["reason"]) == ("ignored", "other_event")
    assert world.reasons() == ["other_event"]  # it was queued once: a wrong `when` must not lose it now


def test_a_location_that_fails_alone_rests_alone(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, location="sick")
    sick = make_sqs_batch(5, "sick")
    world.retry(*sick)
    world.highlevel.calls.clear()
    assert world.retry(*sick, make_sqs_record(number=9)) == [f"message-{number}" for number in range(5)]
    assert [call.location for call in world.highlevel.calls] == [LOCATION]


# Locations side by side, each at its pace


@pytest.fixture
def short_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_queue, "ATTEMPT_SECONDS", 0.4)
    monkeypatch.setattr(retry_queue, "BATCH_SECONDS", 0.6)


def test_a_location_that_hangs_holds_up_only_itself(world: World, short_attempts: None) -> None:
    world.highlevel.fail(kind="hang", location="noisy")
    started = time.time()
    records = make_sqs_batch(5, "noisy")
    quiet = [make_sqs_record(make_message("contact", f"quiet-{number}"), 10 + number) for number in range(5)]
    assert world.retry(*records, *quiet) == [f"message-{number}" for number in range(5)]
    done = [call.at - started for call in world.highlevel.calls if call.location != "noisy"]
    assert len(done) == 5
    assert max(done) < 0.3


def test_a_batch_ends_in_time_and_what_was_not_tried_comes_back_soon(
    world: World, short_attempts: None, log: Log
) -> None:
    world.highlevel.fail(kind="hang")
    stopwatch = Stopwatch()
    records = make_sqs_batch(10)
    assert len(world.retry(*records)) == 10
    assert stopwatch.seconds < 0.6 + 0.4 + 0.5
    assert len(world.highlevel.calls) == 2
    assert len(log.lines) == 2, "what was not tried says nothing new"
    assert len([wait for wait in world.waits().values() if wait <= 7]) >= 8


def test_a_slow_location_holds_a_batch_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once with its fresh messages, and once more with those that were received often."""
    monkeypatch.setattr(retry_queue, "LOCATION_SECONDS", 0.5)
    world.highlevel.fail(kind="slow", seconds=0.3)
    fresh = [make_sqs_record(make_message(f"fresh-{number}"), number) for number in range(4)]
    often = [make_sqs_record(make_message(f"often-{number}"), 10 + number, receives=9) for number in range(4)]
    staying = world.retry(*fresh, *often)
    called = [call.contact for call in world.highlevel.calls]
    assert 1 <= len(called) <= 2, "each begins within 0.5 s"
    assert set(called) <= {"fresh-0", "fresh-1"}
    assert len(staying) == 8 - len(called)


@pytest.mark.parametrize(
    ("fault", "first"),
    [({"kind": "hang"}, "deferred"), ({"kind": "status", "status": 422, "message": "no such contact"}, "rejected")],
    ids=["deferred", "rejected"],
)
def test_a_batch_ends_in_time_although_sqs_is_slow(
    highlevel: LocalHighLevel, short_attempts: None, log: Log, fault: dict[str, Any], first: str
) -> None:
    world = World(highlevel, sqs=SlowSqs(0.5))
    highlevel.tokens = {TOKEN: "*"}
    highlevel.fail(**fault)
    records = make_sqs_batch(12)
    stopwatch = Stopwatch()
    stay = world.retry(*records)
    assert stopwatch.seconds < 0.6 + 0.4 + retry_queue.STORE_SECONDS + 0.5 + 0.3
    assert len(stay) + len(world.dead_letters()) == 12, "what is not stored stays"
    outcomes = {line["outcome"] for line in log.lines}
    assert outcomes == {first}, "a message that stays until its lease ends did not fail"


def test_the_messages_of_a_location_are_paced(world: World) -> None:
    world.highlevel.limits = Limits(max=20, interval_ms=2000)
    records = make_sqs_batch(5)
    assert world.retry(*records) == []
    times = [call.at for call in world.highlevel.calls]
    # 2 s for 20 calls are 0.1 s for each. The first may reach HighLevel late: it opens the connection.
    assert 0.25 < times[-1] - times[0] < 2.0


@pytest.mark.parametrize(
    ("receives", "least", "most"),
    [
        pytest.param(1, 1, 5, id="until the next window begins"),
        pytest.param(50, 5, 7, id="by its age: it has been received too often"),
    ],
)
def test_an_empty_window_is_waited_for_without_a_call(
    world: World, log: Log, receives: int, least: int, most: int
) -> None:
    world.highlevel.limits = Limits(max=6, interval_ms=3600)
    records = make_sqs_batch(5, receives=receives)
    staying = world.retry(*records)
    calls = len(world.highlevel.calls)
    assert calls == 3, "a reserve is left"
    assert len(staying) == 5 - calls
    assert all(least <= wait <= most for wait in world.waits().values())
    assert len(log.lines) == calls


def test_a_batch_waits_for_a_window_that_begins_within_a_second(world: World) -> None:
    world.highlevel.limits = Limits(max=3, interval_ms=600)
    assert world.retry(*make_sqs_batch(5)) == []
    assert [call.status for call in world.highlevel.calls] == [201] * 5


def test_a_backlog_that_came_together_spreads_as_long_as_it_has_receives_to_spare(world: World) -> None:
    announce(world, 0)
    waits: dict[int, list[int]] = {}
    for receives in (2, 900):
        for _ in range(10):
            world.retry(*make_sqs_batch(10, receives=receives, age=2 * DAY))
            entries = world.sqs.named("ChangeMessageVisibilityBatch")[-1]["Entries"]
            waits.setdefault(receives, []).extend(entry["VisibilityTimeout"] for entry in entries)
    assert 8 <= min(waits[2]) < 100
    assert 500 < max(waits[2]) <= 630
    assert min(waits[900]) >= 630
    assert max(waits[900]) <= 900


def test_a_location_that_must_wait_rests_without_a_call_or_a_line(world: World, log: Log) -> None:
    world.highlevel.fail(kind="status", status=429, headers={"Retry-After": "600"}, location="noisy", times=1)
    world.retry(make_sqs_record(make_message("contact-0", "noisy"), 0))
    world.sqs.calls.clear()
    records = make_sqs_batch(3, "noisy")
    staying = world.retry(*records, make_sqs_record(number=9))
    assert staying == [f"message-{number}" for number in range(3)]
    (leases,) = world.sqs.named("ChangeMessageVisibilityBatch")
    waits = {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in leases["Entries"]}
    assert all(590 <= waits[f"handle-{number}"] <= 620 for number in range(3))
    assert world.waits() == {}, "one call for all of them"
    assert [line["outcome"] for line in log.lines] == ["deferred", "opened"]


def test_a_message_received_often_waits_until_the_others_are_done(world: World) -> None:
    killer = make_sqs_record(make_message("killer", "loc-1"), 1, receives=3)
    assert world.retry(killer, *(make_sqs_record(make_message("contact", f"loc-{n}"), n) for n in (2, 3))) == []
    assert world.highlevel.calls[-1].contact == "killer"


def test_the_sample_batch_is_processed(world: World) -> None:
    assert world.retries.handle(sample("retry_batch"), CONTEXT) == {"batchItemFailures": []}
    assert len(world.highlevel.conversations) == 1
