"""Result events: which end of a submission makes which, and that publishing never fails or delays one."""

import json
import time
from typing import Any

import pytest

from create_conversation.errors import DeferredError, IgnoredError, NotStoredError, UnauthorizedError
from create_conversation.outcome import Outcome
from create_conversation.result_events import SKIP_SECONDS, ResultEvents
from create_conversation.senders.mapping import Target
from create_conversation.submission_log import SubmissionLog
from create_conversation.triggers import http_api as http_module
from highlevel.client import HighLevel
from tests.factories import (
    CONTACT,
    LOCATION,
    REQUEST_ID,
    make_http_event,
    make_ids,
    make_message,
    make_sqs_record,
    make_webhook_event,
    sample,
)
from tests.stopwatch import Stopwatch
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, no_answer, refusal
from tests.unit.world import CONTEXT, TOKEN, World

UNREACHABLE = no_answer()


# Which


def test_a_caller_makes_one_opened_then_existing_with_every_id(world: World) -> None:
    for _ in range(2):
        world.post(make_http_event())
    conversation = world.highlevel.conversations[LOCATION, CONTACT]["id"]
    detail = {
        "locationId": LOCATION,
        "contactId": CONTACT,
        "conversationId": conversation,
        "sender": "api",
        "trigger": "http",
        "requestId": REQUEST_ID,
    }
    assert world.events_published() == [
        ("ConversationOpened", detail | {"outcome": "opened"}),
        ("ConversationExisting", detail | {"outcome": "existing"}),
    ]


def test_a_webhook_makes_one_for_each_submission(world: World) -> None:
    world.highlevel.fail(kind="status", status=422, message="no such contact", contact="contact-1")
    bodies: list[Any] = [make_ids(contact="contact-1"), make_ids(contact="contact-2"), {"locationId": LOCATION}]
    world.post(make_webhook_event(bodies))
    published = [
        (kind, detail["outcome"], detail.get("reason"), detail["sender"], detail["trigger"])
        for kind, detail in world.events_published()
    ]
    assert published == [
        ("ConversationRejected", "rejected", "ids_refused", "token", "webhook"),
        ("ConversationOpened", "opened", None, "token", "webhook"),
        ("ConversationRejected", "invalid", "no_contact", "token", "webhook"),
    ]
    assert len(world.eventbridge.calls) == 1


def test_many_submissions_go_in_tens(world: World) -> None:
    world.post(make_webhook_event([make_ids(contact=f"contact-{number}") for number in range(23)]))
    assert [len(call["Entries"]) for call in world.eventbridge.named("PutEvents")] == [10, 10, 3]


def test_a_body_that_cannot_be_read_is_rejected_with_its_reason(world: World) -> None:
    world.post(make_http_event("{"))
    world.post(make_webhook_event("{"))
    assert [(kind, detail["reason"]) for kind, detail in world.events_published()] == [
        ("ConversationRejected", "invalid_json")
    ] * 2


def test_an_event_and_a_retry_make_theirs(world: World) -> None:
    event = sample("event_conversation_requested")
    world.events.handle(event, CONTEXT)
    world.retry(
        *(make_sqs_record(make_message(f"contact-{number}"), number) for number in range(3)), make_sqs_record("{", 9)
    )
    published = [(kind, detail["trigger"], detail["requestId"]) for kind, detail in world.events_published()]
    assert published == [
        ("ConversationOpened", "event", event["id"]),
        *[("ConversationOpened", "retry", "request-1")] * 3,
        ("ConversationRejected", "retry", "message-9"),
    ]
    assert len(world.eventbridge.calls) == 2, "one call for a batch of the queue"


def test_what_is_given_up_is_rejected_as_expired(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    world.retry(make_sqs_record(make_message(), receives=300, age=4 * 86_400))
    [(kind, detail)] = world.events_published()
    assert (kind, detail["reason"], detail["contactId"]) == ("ConversationRejected", "expired", CONTACT)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.from_error(error)
        for error in (
            DeferredError("deadline"),
            IgnoredError("other_event"),
            UnauthorizedError(),
            NotStoredError("failed"),
        )
    ],
    ids=lambda outcome: outcome.name,
)
def test_an_unended_or_unauthorized_submission_has_no_event(world: World, outcome: Outcome) -> None:
    line = SubmissionLog("http", "request-1", "api", Target(LOCATION, CONTACT))
    line.write(outcome, "unit")
    world.results.publish([line.result_detail(), SubmissionLog("http", "never ended").result_detail()], 1)
    assert world.eventbridge.calls == []


def test_unauthorized_and_deferred_requests_have_no_event(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    assert world.post(make_http_event(authorization="Bearer wrong"))["statusCode"] == 401
    assert world.post(make_webhook_event(make_ids(), secret="wrong"))["statusCode"] == 401
    assert world.post(make_http_event())["statusCode"] == 202
    world.retry(make_sqs_record(make_message()))
    assert world.eventbridge.calls == []


def test_an_email_address_or_a_phone_number_never_is_in_one(world: World) -> None:
    body = {"locationId": LOCATION, "email": "jane@example.com", "phone": "+15125550123", "firstName": "Jane-Anne"}
    world.post(make_webhook_event(body))
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, "15125550123", within=2)
    world.post(make_http_event(json.dumps(make_ids(contact="15125550123"))))
    assert [kind for kind, _ in world.events_published()] == ["ConversationOpened", "ConversationExisting"]
    published = json.dumps(world.events_published())
    for secret in ("jane@", "Jane-Anne", "5550123"):
        assert secret not in published


def test_off_nothing_is_called(world: World) -> None:
    world.results = ResultEvents(world.eventbridge, None, "unit")
    assert world.post(make_http_event())["statusCode"] == 201
    assert world.retry(make_sqs_record(make_message())) == []
    assert world.eventbridge.calls == []


# Never fails, never delays


@pytest.mark.parametrize("error", [UNREACHABLE, refusal("ThrottlingException", "PutEvents"), RuntimeError(TOKEN)])
def test_a_failure_changes_no_response_and_is_logged_without_its_text(world: World, log: Log, error: Exception) -> None:
    world.eventbridge.error = error
    assert world.post(make_http_event())["statusCode"] == 201
    world.events.handle(sample("event_conversation_requested"), CONTEXT)
    assert world.retry(make_sqs_record(make_message())) == []
    warnings = [line for line in log.failures if line["message"] == "result_events_not_confirmed"]
    assert [(line["events"], line["error"]) for line in warnings] == [
        (1, type(error).__name__),
        (1, "skipped"),
        (1, "skipped"),
    ]
    assert [metric["ResultEventsNotConfirmed"] for metric in log.metrics if "ResultEventsNotConfirmed" in metric] == [
        [1.0]
    ] * 3
    assert TOKEN not in log.text
    assert "message-of-aws" not in log.text


def test_events_that_eventbridge_does_not_take_are_counted(world: World, log: Log) -> None:
    world.eventbridge.refused = "InternalFailure"
    world.post(make_webhook_event([make_ids(contact=f"contact-{number}") for number in range(3)]))
    [warning] = log.failures
    assert (warning["events"], warning["error"]) == (3, "InternalFailure")


@pytest.mark.parametrize("trigger", ["caller", "webhook"])
def test_a_hanging_eventbridge_delays_one_response_for_a_moment_and_no_other(
    world: World, log: Log, trigger: str
) -> None:
    event = make_http_event() if trigger == "caller" else make_webhook_event(make_ids())
    world.post(event)
    world.eventbridge.hang = 30
    waits, times = [], []
    for _ in range(5):
        started, stopwatch = time.monotonic(), Stopwatch()
        assert world.post(event)["statusCode"] == 200
        waits.append(time.monotonic() - started)
        times.append(stopwatch.seconds)
    assert waits[0] >= http_module.RESULTS_SECONDS
    assert times[0] < http_module.RESULTS_SECONDS + 0.2
    assert max(times[1:]) < 0.15
    assert len(world.eventbridge.calls) == 2


def test_when_the_time_is_up_the_answer_waits_for_nothing(world: World) -> None:
    """The event is published all the same."""
    world.eventbridge.hang = 30
    line = SubmissionLog("http", "request-1", "api", Target(LOCATION, CONTACT))
    line.write(Outcome("opened"), "unit")
    stopwatch = Stopwatch()
    world.http._publish([line], time.monotonic() - 1)
    assert stopwatch.seconds < 0.1
    until = time.monotonic() + 5
    while not world.eventbridge.calls:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_after_the_cooldown_eventbridge_is_called_again(world: World) -> None:
    clock = Clock()
    world.results = ResultEvents(world.eventbridge, "bus", "unit", clock)
    world.eventbridge.error = UNREACHABLE
    world.post(make_http_event())
    world.eventbridge.error = None
    clock.now += SKIP_SECONDS - 0.1
    world.post(make_http_event())
    assert len(world.eventbridge.calls) == 1
    clock.now += 0.2
    world.post(make_http_event())
    assert len(world.eventbridge.calls) == 2


def test_a_submission_that_the_queue_cannot_take_has_no_event(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    world.sqs.error = UNREACHABLE
    assert world.post(make_http_event())["statusCode"] == 503
    with pytest.raises(NotStoredError):
        world.events.handle(sample("event_conversation_requested"), CONTEXT)
    assert world.eventbridge.calls == []
