"""Result events on the bus of a deployed stack, received by a subscriber's rule; and a failing EventBridge."""

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from local.fault_proxy import Mode
from tests.integration.aws_faults import FaultyWorld, faulty_world, warm_up
from tests.integration.world import eventually

PATTERN = {"source": ["highlevel-conversations"]}
PUT = ("events", "PutEvents")
BUS = "requests-and-results"


@pytest.fixture(scope="module")
def _world() -> Iterator[FaultyWorld]:
    with faulty_world(ResultEvents="on", EventBusName=BUS) as world:
        yield world


@pytest.fixture
def world(_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """The module's application. Each test has a warm process of its own, because a process backs off after failures."""
    warm_up(_world)
    yield _world
    _world.recover()


@pytest.fixture
def subscriber(world: FaultyWorld) -> Iterator["Subscriber"]:
    subscriber = Subscriber(world)
    yield subscriber
    subscriber.leave()


class Subscriber:
    """A rule on the bus, and the queue that it sends to."""

    def __init__(self, world: FaultyWorld) -> None:
        self._sqs, self._events = world.application.aws.client("sqs"), world.application.aws.client("events")
        self._bus = world.application.stack.outputs["EventBus"]
        self._url = self._sqs.create_queue(QueueName="subscriber")["QueueUrl"]
        queue = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        self._events.put_rule(Name="subscriber", EventBusName=self._bus, EventPattern=json.dumps(PATTERN))
        self._events.put_targets(
            Rule="subscriber", EventBusName=self._bus, Targets=[{"Id": "queue", "Arn": queue["QueueArn"]}]
        )
        self._received: list[dict[str, Any]] = []

    def received(self, contact: str) -> list[dict[str, Any]]:
        """The events about that contact so far."""
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            self._received += [json.loads(message["Body"]) for message in messages]
            for message in messages:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self._received if event["detail"].get("contactId") == contact]

    def wait_for(self, contact: str, count: int) -> list[dict[str, Any]]:
        eventually(lambda: len(self.received(contact)) >= count)
        return self.received(contact)

    def leave(self) -> None:
        self._events.remove_targets(Rule="subscriber", EventBusName=self._bus, Ids=["queue"])
        self._events.delete_rule(Name="subscriber", EventBusName=self._bus)
        self._sqs.delete_queue(QueueUrl=self._url)


def test_each_outcome_is_published_once_and_starts_no_submission(
    world: FaultyWorld, subscriber: Subscriber, location: str, contact: str
) -> None:
    answer = world.post(location, contact)
    assert world.post(location, contact).status == 200
    world.highlevel.fail("status", status=422, contact=f"{contact}-no", message="no such contact")
    assert world.post(location, f"{contact}-no").status == 422
    event_id = world.put_event(location, f"{contact}-event")
    world.enqueue(location, f"{contact}-retry")

    opened, existing = subscriber.wait_for(contact, 2)
    assert (opened["detail-type"], existing["detail-type"]) == ("ConversationOpened", "ConversationExisting")
    assert opened["source"] == "highlevel-conversations"
    assert opened["detail"] == {
        "locationId": location,
        "contactId": contact,
        "conversationId": answer.body["conversation"]["id"],
        "outcome": "opened",
        "sender": "api",
        "trigger": "http",
        "requestId": answer.headers["x-request-id"],
    }
    [rejected] = subscriber.wait_for(f"{contact}-no", 1)
    assert (rejected["detail-type"], rejected["detail"]["reason"]) == ("ConversationRejected", "ids_refused")
    for name, trigger, request_id in (("event", "event", event_id), ("retry", "retry", f"{contact}-retry")):
        [event] = subscriber.wait_for(f"{contact}-{name}", 1)
        assert (event["detail-type"], event["detail"]["trigger"]) == ("ConversationOpened", trigger)
        assert event["detail"]["requestId"] == request_id

    time.sleep(1)  # by now the application's rule would have matched them
    triggers = [line["trigger"] for line in world.application.lines(location_id=location)]
    assert sorted(triggers) == ["event", "http", "http", "http", "retry"]
    assert len(subscriber.received(contact)) == 2


def test_a_result_event_with_the_requested_detail_type_starts_no_submission(
    world: FaultyWorld, subscriber: Subscriber, location: str, contact: str
) -> None:
    """The rule excludes them by their source alone."""
    detail = {"locationId": location, "contactId": contact}
    world.application.put_event(detail, source="highlevel-conversations")
    assert subscriber.wait_for(contact, 1)
    time.sleep(1)
    assert world.application.lines(contact_id=contact) == []


@pytest.mark.parametrize("mode", ["hang", "throttle", "gone", "error"])
def test_a_failing_eventbridge_fails_and_delays_no_submission(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    world.post(location, contact)
    world.proxy.fail("events", mode)
    first = world.post(location, contact)
    assert first.status == 200
    seconds = []
    for _ in range(5):
        answer = world.post(location, contact)
        assert answer.status == 200
        seconds.append(answer.seconds)
    assert first.seconds < 1.5
    assert statistics.median(seconds) < 0.25, "only the first waits, and that 0.25 s at most"
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    world.enqueue(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert world.application.count("DeadLetterQueue") == 0
    assert [line for line in world.application.stack.logs() if line.get("message") == "result_events_not_confirmed"]


def test_the_role_may_publish_only_result_events(world: FaultyWorld) -> None:
    """The role, as the emulator evaluates it: another source, or another bus, is refused."""
    events = world.client_as("CreateConversationRole")("events")
    entry = {
        "Source": "highlevel-conversations",
        "DetailType": "ConversationOpened",
        "Detail": "{}",
        "EventBusName": BUS,
    }
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    for other in ({"Source": "my.crm"}, {"EventBusName": "default"}):
        with pytest.raises(events.exceptions.ClientError, match="AccessDenied"):
            events.put_events(Entries=[entry | other])
    events.close()


def test_nothing_is_published_when_result_events_are_off(world: FaultyWorld, location: str, contact: str) -> None:
    with world.configured(RESULT_BUS=""):
        calls = world.proxy.calls[PUT]
        assert world.post(location, contact).status == 201
        assert world.proxy.calls[PUT] == calls
    assert world.post(location, contact).status == 200
    eventually(lambda: world.proxy.calls[PUT] == calls + 1)
