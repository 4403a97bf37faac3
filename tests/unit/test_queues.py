"""What the queues store, and how long it waits."""

import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from create_conversation.errors import NotStoredError
from create_conversation.queues import Queues, backoff, receives_within
from create_conversation.submission import Submission
from tests.factories import DEAD_LETTER_URL, LOCATION, RETRY_URL, make_submission
from tests.stopwatch import Stopwatch
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, FakeSqs, SlowSqs, no_answer, refusal


@pytest.fixture
def sqs() -> FakeSqs:
    return FakeSqs()


@pytest.fixture
def queue(sqs: FakeSqs) -> Queues:
    return Queues(sqs, RETRY_URL, DEAD_LETTER_URL)


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 5), (0.0, 5), (4.0, 5), (5.0, 5), (60.0, 60), (900.0, 900), (3600.0, 900)]
)
def test_a_submission_is_queued_whole_in_its_locations_group(
    sqs: FakeSqs, queue: Queues, retry_after: float | None, delay: int
) -> None:
    queue.enqueue(make_submission(), LOCATION, retry_after)
    (message,) = sqs.sent(RETRY_URL)
    assert (message["MessageGroupId"], message["DelaySeconds"]) == (LOCATION, delay)
    assert Submission.from_message(message["MessageBody"]).body == make_submission().body


def test_a_submission_is_not_tried_before_retry_after(sqs: FakeSqs, queue: Queues) -> None:
    queue.enqueue(make_submission(), LOCATION, 10.9)
    assert sqs.sent(RETRY_URL)[0]["DelaySeconds"] >= 10.9


def test_a_dead_letter_says_why(sqs: FakeSqs, queue: Queues) -> None:
    queue.dead_letter("text", reason="no_token", sender="api", location=LOCATION, attempts=3, last_error=None)
    (message,) = sqs.sent(DEAD_LETTER_URL)
    assert message["MessageBody"] == "text"
    attributes = message["MessageAttributes"]
    assert {name: value["StringValue"] for name, value in attributes.items()} == {
        "reason": "no_token",
        "sender": "api",
        "location": LOCATION,
        "attempts": "3",
    }
    assert {value["DataType"] for value in attributes.values()} == {"String"}


@pytest.mark.parametrize(("seconds", "visible_in"), [(0.0, 1), (0.4, 1), (7.4, 7), (900.0, 900)])
def test_a_message_is_put_off(sqs: FakeSqs, queue: Queues, seconds: float, visible_in: int) -> None:
    queue.change_visibility("handle-1", seconds)
    (call,) = sqs.named("ChangeMessageVisibility")
    assert call == {"QueueUrl": RETRY_URL, "ReceiptHandle": "handle-1", "VisibilityTimeout": visible_in}


def test_a_batch_is_never_visible_immediately(sqs: FakeSqs, queue: Queues) -> None:
    queue.change_visibility_batch({"handle-1": 0.3})
    assert sqs.calls[0][1]["Entries"][0]["VisibilityTimeout"] == 1


def test_an_empty_batch_makes_no_call(queue: Queues, sqs: FakeSqs) -> None:
    queue.change_visibility_batch({})
    assert not sqs.calls


def test_a_batch_is_put_off_in_one_call(sqs: FakeSqs, queue: Queues) -> None:
    queue.change_visibility_batch({f"handle-{number}": 35.0 + number for number in range(10)})
    ((_, call),) = sqs.calls
    assert len({entry["Id"] for entry in call["Entries"]}) == 10
    waits = {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in call["Entries"]}
    assert waits == {f"handle-{number}": 35 + number for number in range(10)}


def thousands(count: int) -> list[tuple[Submission, str]]:
    return [(make_submission(request_id=str(number)), LOCATION) for number in range(count)]


class SqsThatAnswersEight(FakeSqs):
    """Answers none of eight calls before all eight have arrived, and the last five of 101 immediately."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Barrier(8, timeout=10)
        self.numbers = itertools.count()

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if next(self.numbers) < 96:
            self.arrived.wait()
        return {}


def test_thousands_are_stored_at_the_pace_of_several_calls_at_a_time() -> None:
    def seconds() -> float:
        stopwatch = Stopwatch()
        Queues(SlowSqs(0.02), RETRY_URL, DEAD_LETTER_URL).enqueue_batch(submissions, time.monotonic() + 9)
        return stopwatch.seconds

    submissions = thousands(1005)
    # In one of two attempts: the stopwatch cannot leave out what a thread that has ended waited for a processor.
    assert any(seconds() < 0.5 * 101 * 0.02 for _ in range(2))


def test_thousands_are_stored_by_eight_calls_at_a_time() -> None:
    sqs = SqsThatAnswersEight()
    Queues(sqs, RETRY_URL, DEAD_LETTER_URL).enqueue_batch(thousands(1005), time.monotonic() + 9)
    assert len(sqs.named("SendMessageBatch")) == 101
    assert len({message["MessageBody"] for message in sqs.sent(RETRY_URL)}) == 1005


def test_of_thousands_that_sqs_does_not_take_it_is_not_asked_for_each(sqs: FakeSqs, queue: Queues) -> None:
    sqs.error = refusal("RequestThrottled", "SendMessageBatch")
    with pytest.raises(NotStoredError):
        queue.enqueue_batch(thousands(5000), time.monotonic() + 9)
    assert len(sqs.calls) < 100


def test_no_call_begins_once_the_sender_was_asked_to_repeat() -> None:
    clock = Clock()

    class SqsThatTakesTime(FakeSqs):
        def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
            clock.sleep(0.02)
            return super().handle(operation, parameters)

    sqs = SqsThatTakesTime()
    with pytest.raises(NotStoredError):
        Queues(sqs, RETRY_URL, DEAD_LETTER_URL, clock).enqueue_batch(thousands(5000), clock.monotonic() + 0.2)
    # Ten calls fit into the time; up to eight more may begin while they run.
    assert 10 <= len(sqs.calls) <= 18


@pytest.mark.parametrize(
    "error",
    [
        no_answer(),
        refusal("QueueDoesNotExist", "SendMessage"),
        refusal("AccessDenied", "SendMessage"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_sqs_did_not_take_is_not_stored(sqs: FakeSqs, queue: Queues, error: Exception, log: Log) -> None:
    sqs.error = error
    calls: list[Callable[[], None]] = [
        lambda: queue.enqueue(make_submission(), LOCATION, None),
        lambda: queue.dead_letter("text", reason="no_token"),
        lambda: queue.change_visibility("handle-1", 5),
    ]
    for call in calls:
        with pytest.raises(NotStoredError) as caught:
            call()
        assert (caught.value.reason, caught.value.retry_after) == ("not_stored", 5)
    queue.change_visibility_batch({"handle-1": 35.0})
    assert {line["service"] for line in log.failures} == {"SQS"}
    assert "message-of-aws" not in log.text


HOUR = 3600.0


def waits(age: float, retry_after: float | None = None, cap: float = 900.0) -> list[float]:
    rng = random.Random(7)
    return [backoff(age, cap, retry_after, rng) for _ in range(2000)]


@pytest.mark.parametrize(
    ("age", "least", "most"),
    [
        (0, 5, 6.5),
        (100, 5, 6.5),
        (200, 7, 13),
        (HOUR, 126, 234),
        (5 * HOUR, 630, 900),
        (72 * HOUR, 630, 900),
        (14 * 24 * HOUR, 630, 900),
    ],
)
def test_a_message_waits_about_a_twentieth_of_its_age_from_5_s_to_15_minutes(
    age: float, least: float, most: float
) -> None:
    found = waits(age)
    assert least <= min(found) < least + 0.05 * (most - least)
    assert most - 0.05 * (most - least) < max(found) <= most


def test_one_of_many_may_come_at_any_time_before_that() -> None:
    rng = random.Random(7)
    found = [backoff(72 * HOUR, 900.0, 9.0, rng, may_be_early=True) for _ in range(2000)]
    assert 9 <= min(found) < 60
    assert 620 < max(found) <= 630


def test_one_of_many_that_are_young_may_come_when_the_next_window_begins() -> None:
    rng = random.Random(7)
    found = [backoff(10.0, 900.0, 1.4, rng, may_be_early=True) for _ in range(2000)]
    assert 1.4 <= min(found) < 1.5
    assert 4.9 < max(found) <= 5


@pytest.mark.parametrize("cap", [2.0, 5.0, 15.0])
def test_a_smaller_cap_holds_at_any_age(cap: float) -> None:
    assert max(waits(0, cap=cap)) <= max(waits(10 * HOUR, cap=cap)) <= cap
    assert min(waits(0, cap=cap)) >= min(cap, 5.0)


@pytest.mark.parametrize(("retry_after", "least"), [(0.0, 0.0), (30.0, 30.0), (3600.0, 3600.0), (9999.0, 3600.0)])
@pytest.mark.parametrize("age", [0.0, 30.0, HOUR, 72 * HOUR])
def test_retry_after_is_a_lower_bound_up_to_an_hour_and_never_the_whole_wait(
    age: float, retry_after: float, least: float
) -> None:
    found, without = waits(age, retry_after), waits(age)
    assert min(found) >= max(least, min(without))
    assert max(found) <= max(least + 0.3 * 900, max(without))
    assert len(set(found)) > 1000, "they do not come back in one second"


@pytest.mark.parametrize("reason", [None, 0.0, 1.0, 60.0, 400.0])
def test_within_72_and_120_hours_sqs_never_comes_first(reason: float | None) -> None:
    rng = random.Random(3)
    for hours, most in ((72, 500), (120, 750)):
        for _ in range(20):
            age, receives = 0.0, 0
            while age < hours * HOUR:
                age += backoff(age, 900.0, reason, rng)
                receives += 1
            assert receives <= most


def test_the_planned_receives_are_those_without_jitter() -> None:
    assert [receives_within(hours * HOUR, 900.0) for hours in (0, 1, 72)] == [0, 94, 395]


def test_no_wait_exceeds_what_sqs_allows() -> None:
    assert max(waits(1e9, 86_400.0)) <= 43_200
