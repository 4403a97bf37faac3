"""Paused: nothing is sent, nothing is lost, nothing is given up."""

import json
from typing import Any

import pytest

from create_conversation.idempotency import IdempotencyStore
from create_conversation.pause import MAX_AGE_SECONDS, Pause
from create_conversation.queues import MAX_WAIT_SECONDS
from tests.factories import (
    CONTACT,
    LOCATION,
    make_http_event,
    make_ids,
    make_sqs_record,
    make_webhook_event,
    sample,
)
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, FakeDynamoDb, no_answer, refusal
from tests.unit.world import CONTEXT, World

DAY = 86_400.0


@pytest.fixture
def paused(world: World) -> World:
    world.pause()
    return world


@pytest.fixture(params=["a token", "no token", "a broken token"])
def token(request: pytest.FixtureRequest, paused: World) -> None:
    """The pause may be for its exchange: no submission is rejected because it is missing."""
    if request.param != "a token":
        paused.secrets.texts["HighLevelToken"] = None if request.param == "no token" else "{"


@pytest.mark.usefixtures("token")
def test_a_caller_gets_deferred_and_when_to_ask_again(paused: World, log: Log) -> None:
    answer = paused.post(make_http_event())
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (202, "deferred")
    assert answer["headers"]["retry-after"] == "60"
    assert (log.line["outcome"], log.line["reason"]) == ("deferred", "paused")
    [message] = paused.queued()
    assert message["DelaySeconds"] == 60
    assert paused.highlevel.calls == []


BODIES: list[dict[str, Any]] = [make_ids(), {"locationId": LOCATION, "email": "jane@example.com"}]


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("body", BODIES, ids=["an id", "a person"])
def test_a_webhook_is_queued(paused: World, body: dict[str, Any]) -> None:
    answer = paused.post(make_webhook_event([body, body]))
    assert (answer["statusCode"], json.loads(answer["body"])["outcome"]) == (200, "deferred")
    assert len(paused.queued()) == 2
    assert paused.highlevel.calls == []


@pytest.mark.usefixtures("token")
def test_an_event_is_queued(paused: World) -> None:
    paused.events.handle(sample("event_conversation_requested"), CONTEXT)
    assert len(paused.queued()) == 1
    assert paused.highlevel.calls == []


@pytest.mark.parametrize(("conversation", "status", "shown"), [("conversation-1", 200, None), (None, 202, "existing")])
def test_a_recorded_contact_is_answered_without_a_call(
    paused: World, conversation: str | None, status: int, shown: str | None
) -> None:
    paused.dynamodb.put(LOCATION, CONTACT, conversation)
    answer = paused.post(make_http_event())
    assert (answer["statusCode"], json.loads(answer["body"]).get("status")) == (status, shown)
    assert paused.queued() == []
    assert paused.highlevel.calls == []


def test_what_is_not_the_request_is_refused_as_ever(paused: World) -> None:
    assert paused.post(make_http_event("{"))["statusCode"] == 400
    assert paused.post(make_http_event(authorization="Bearer wrong"))["statusCode"] == 401


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(("age", "receives"), [(0, 1), (5 * DAY, 2), (13 * DAY, 900)])
def test_a_message_of_the_retry_queue_waits_for_an_hour_however_old(
    paused: World, log: Log, age: float, receives: int
) -> None:
    records = [make_sqs_record(receives=receives, age=age), make_sqs_record("{", 2, receives=receives, age=age)]
    assert paused.retry(*records) == ["message-1", "message-2"]
    [batch] = paused.sqs.named("ChangeMessageVisibilityBatch")
    waits = {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in batch["Entries"]}
    assert waits.keys() == {"handle-1", "handle-2"}
    assert all(MAX_WAIT_SECONDS <= wait <= MAX_WAIT_SECONDS + 0.3 * 900 for wait in waits.values())
    assert [name for name, _ in paused.sqs.calls] == ["ChangeMessageVisibilityBatch"]
    assert paused.highlevel.calls == []
    assert log.lines == []


def test_a_pause_begins_and_ends_within_seconds_of_the_item() -> None:
    clock, dynamodb = Clock(), FakeDynamoDb()
    pause = Pause(IdempotencyStore(dynamodb, "Records", 86_400.0, clock), clock)
    states = []
    for stored in ({}, {"sending_paused": {"BOOL": True}}, {"expires_at": {"N": "1"}}):
        dynamodb.items["pause"] = stored
        states.append(pause.is_active)
        clock.now += MAX_AGE_SECONDS + 0.1
        states.append(pause.is_active)
        clock.now += 0.1
    assert states == [False, False, False, True, True, False]
    assert len(dynamodb.calls) == 4, "not for each call"


@pytest.mark.parametrize("was_paused", [False, True, None], ids=["sending", "paused", "unknown"])
@pytest.mark.parametrize("error", [refusal("AccessDeniedException"), no_answer()], ids=["denied", "no answer"])
def test_while_the_item_cannot_be_read_the_last_known_state_holds(was_paused: bool | None, error: Exception) -> None:
    clock, dynamodb = Clock(), FakeDynamoDb()
    pause = Pause(IdempotencyStore(dynamodb, "Records", 86_400.0, clock), clock)
    if was_paused is not None:
        dynamodb.items["pause"] = {"sending_paused": {"BOOL": was_paused}}
        assert pause.is_active is was_paused
    dynamodb.error = error
    for _ in range(50):
        clock.now += 4.0
        assert pause.is_active is bool(was_paused)
    dynamodb.error = None
    dynamodb.items["pause"] = {"sending_paused": {"BOOL": not was_paused}}
    clock.now += 2 * MAX_AGE_SECONDS
    assert pause.is_active is not bool(was_paused), "and the new state counts when it can be read"


def test_a_pause_of_retrying_alone_sends_new_submissions(world: World) -> None:
    world.dynamodb.items["pause"] = {"oldest_sent_at": {"N": "1"}}
    assert world.post(make_http_event())["statusCode"] == 201


@pytest.mark.parametrize(("age", "given_up"), [(12.9 * DAY, False), (13.1 * DAY, True)], ids=["12.9 days", "13.1 days"])
def test_after_a_pause_of_twelve_days_a_submission_is_given_up_before_sqs_deletes_it(
    world: World, age: float, given_up: bool
) -> None:
    world.highlevel.fail(kind="status", status=503)
    staying = world.retry(make_sqs_record(receives=60, age=age))
    assert (staying, world.reasons()) == (([], ["expired"]) if given_up else (["message-1"], []))
    assert [call.contact for call in world.highlevel.calls] == [CONTACT], "after a call, not unasked"


def test_after_the_pause_the_oldest_is_tried_before_it_is_given_up(world: World) -> None:
    assert world.retry(make_sqs_record(receives=2, age=5 * DAY)) == []
    assert (LOCATION, CONTACT) in world.highlevel.conversations
    assert world.dead_letters() == []


def test_after_the_pause_the_oldest_is_tried_as_often_as_without_one(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    for receives in (1, 20, 190):
        assert world.retry(make_sqs_record(receives=receives, age=5 * DAY)) == ["message-1"]
    assert world.dead_letters() == []
