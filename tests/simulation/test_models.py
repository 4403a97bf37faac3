"""The simulation itself: virtual time, SQS as documented, the same seed the same run."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import RETRY_URL
from tests.simulation.aws import MAX_RECEIVES, RETENTION_SECONDS, SimulatedSqs
from tests.simulation.highlevel import Asked, Fault, HighLevelModel, SimulatedHighLevel
from tests.simulation.loop import Group, Killed, Loop
from tests.simulation.scenarios import SCENARIOS, Scenario, run

HOUR = 3600.0


def lived(loop: Loop, call: Callable[[], None], until: float = 1e9) -> None:
    """Run it in virtual time to its end."""

    def live() -> None:
        call()
        loop.stop()

    loop.start(live)
    loop.run(until)


# Time


def test_those_who_sleep_go_on_in_the_order_of_their_ends() -> None:
    loop, seen = Loop(), list[tuple[str, float]]()

    def sleeper(name: str, seconds: float) -> None:
        for _ in range(2):
            loop.sleep(seconds)
            seen.append((name, loop.now))

    loop.start(lambda: sleeper("slow", 3.0))
    loop.start(lambda: sleeper("fast", 2.0))
    loop.run(10.0)
    assert seen == [("fast", 2.0), ("slow", 3.0), ("fast", 4.0), ("slow", 6.0)]
    assert loop.now == 10.0


def test_a_process_ends_with_all_that_runs_in_it_and_nothing_of_it_goes_on() -> None:
    loop, seen = Loop(), list[str]()
    group = Group(loop)

    def child(seconds: float) -> None:
        loop.sleep(seconds)
        seen.append(f"slept {seconds}")

    def live() -> None:
        calls = [lambda: child(1.0), lambda: child(7.0), lambda: child(9.0)]
        assert not group.run(lambda: group.side_by_side(calls), 5.0)
        assert loop.now == 5.0
        loop.sleep(100.0)
        assert loop.now == 105.0
        assert group.run(lambda: group.side_by_side(calls), 30.0)
        assert loop.now == 114.0

    lived(loop, live)
    assert seen == ["slept 1.0", "slept 1.0", "slept 7.0", "slept 9.0"]


def test_who_is_killed_cannot_pass_it_over_as_an_error() -> None:
    assert not issubclass(Killed, Exception)


# SQS


def queue(loop: Loop, visibility: float = 180.0) -> SimulatedSqs:
    return SimulatedSqs(loop, random.Random(1), visibility, [])


def send(sqs: SimulatedSqs, body: str = "text", group: str = "loc", delay: int = 0) -> None:
    sqs.call("SendMessage", QueueUrl=RETRY_URL, MessageBody=body, MessageGroupId=group, DelaySeconds=delay)


def postpone(sqs: SimulatedSqs, record: dict[str, Any], seconds: int) -> None:
    handle = record["receiptHandle"]
    sqs.call("ChangeMessageVisibility", QueueUrl=RETRY_URL, ReceiptHandle=handle, VisibilityTimeout=seconds)


def test_a_message_is_visible_after_its_delay_and_then_after_each_visibility() -> None:
    loop = Loop()
    sqs, seen = queue(loop), list[tuple[int, str]]()

    def live() -> None:
        send(sqs, delay=5)
        for seconds in (60, None, 1):
            (record,) = sqs.receive()
            seen.append((round(loop.now), record["attributes"]["ApproximateReceiveCount"]))
            if seconds is not None:
                postpone(sqs, record, seconds)
        sqs.delete([record["messageId"]])

    lived(loop, live)
    assert seen == [(5, "1"), (65, "2"), (245, "3")]
    assert (sqs.messages, sqs.receives) == ({}, [3])


def test_sqs_moves_a_message_that_would_be_received_once_too_often() -> None:
    loop = Loop()
    sqs = queue(loop, visibility=1.0)

    def live() -> None:
        while True:
            sqs.receive()

    send(sqs)
    loop.start(live)
    loop.run(2 * MAX_RECEIVES)
    assert ([message.receives for message in sqs.moved], sqs.messages) == ([MAX_RECEIVES], {})


def test_sqs_deletes_what_is_older_than_its_retention() -> None:
    loop = Loop()
    sqs = queue(loop)

    def live() -> None:
        (record,) = sqs.receive()
        postpone(sqs, record, round(RETENTION_SECONDS + 60))
        sqs.receive()

    send(sqs)
    loop.start(live)
    loop.run(RETENTION_SECONDS + HOUR)
    assert ([message.number for message in sqs.expired], sqs.messages) == ([1], {})


def test_a_batch_has_ten_and_the_group_with_the_fewest_in_flight_is_first() -> None:
    loop = Loop()
    sqs, groups = queue(loop), list[list[str]]()

    def live() -> None:
        for number in range(15):
            send(sqs, f"{number}", "noisy")
        groups.append([sqs.messages[int(record["messageId"])].group for record in sqs.receive()])
        send(sqs, "quiet", "quiet")
        groups.append([sqs.messages[int(record["messageId"])].group for record in sqs.receive()])

    lived(loop, live)
    assert groups == [["noisy"] * 10, ["quiet"] + ["noisy"] * 5]


def test_several_consumers_never_hold_the_same_message() -> None:
    loop = Loop()
    sqs, held = queue(loop), list[str]()

    def consumer() -> None:
        while True:
            records = sqs.receive()
            held.extend(record["messageId"] for record in records)
            loop.sleep(1.0)
            sqs.delete([record["messageId"] for record in records])

    for number in range(100):
        send(sqs, f"{number}", f"loc-{number % 7}")
    for _ in range(3):
        loop.start(consumer)
    loop.run(100.0)
    assert sorted(held, key=int) == [f"{number}" for number in range(1, 101)]


# HighLevel


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        (None, "opened", ""),
        (Fault("status", 0, 9), "deferred", "upstream_error"),
        (Fault("status", 0, 9, status=429, retry_after="7"), "deferred", "rate_limited"),
        (Fault("hang", 0, 9), "deferred", "upstream_timeout"),
        (Fault("reset", 0, 9), "deferred", "upstream_connection_lost"),
        (Fault("refuse", 0, 9), "deferred", "upstream_unreachable"),
        (Fault("status", 0, 9, locations=frozenset({"another"})), "opened", ""),
        (Fault("status", 5, 9), "opened", ""),
    ],
    ids=str,
)
def test_each_fault_is_what_the_real_client_takes_it_for(fault: Fault | None, outcome: str, reason: str) -> None:
    loop = Loop()
    client = SimulatedHighLevel(HighLevelModel(loop, random.Random(1), [fault] if fault else []))
    api_result = client.create_conversation("token", "loc", "contact", within=2.0)
    assert (api_result.outcome, api_result.reason) == (outcome, reason)
    assert 0 < loop.now <= 2.0


def create(location: str, contact: str) -> Asked:
    return Asked("/conversations/", "POST", location, contact)


def test_a_location_has_a_hundred_calls_in_ten_seconds() -> None:
    loop = Loop()
    model = HighLevelModel(loop, random.Random(1), [])
    statuses = [model.answer(create("loc", f"contact-{number}")).status for number in range(101)]
    assert statuses == [201] * 100 + [429]
    assert model.answer(create("another", "contact")).status == 201
    loop.sleep(10.0)
    assert model.answer(create("loc", "contact-0")).status == 400
    assert model.answer(create("loc", "contact-100")).status == 201


# The whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if s.name in ("drain", "killed", "sqs-throttled")], ids=lambda s: s.name
)
def test_the_same_seed_gives_the_same_run(scenario: Scenario) -> None:
    results = [run(scenario, 20, seed) for seed in (1, 1, 2)]
    prints = [result.fingerprint for result in results]
    assert prints[0] == prints[1] != prints[2]
    assert all((result.opened, result.lost, result.twice) == (20, 0, 0) for result in results)
