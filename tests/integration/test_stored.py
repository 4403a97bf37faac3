"""An accepted submission is never lost: outages, poison messages and processes that die in the middle.

A batch whose process dies comes back when its lease ends: after LEASE_SECONDS plus a jitter of up to 10 s at the first
receive. Some of these tests therefore take a minute.
"""

import threading
import time
from collections.abc import Iterator

import pytest

from create_conversation.triggers.retry_queue import FRESH_RECEIVES, LEASE_JITTER_SECONDS, LEASE_SECONDS
from tests.integration.aws_faults import FaultyWorld, faulty_world
from tests.integration.world import eventually

GIVE_UP_AFTER_SECONDS = 15.0
FIRST_JITTER_SECONDS = LEASE_JITTER_SECONDS + 6.5
# A lease with its jitter, and the time of a cold start on a busy machine.
BACK_WITHIN_SECONDS = LEASE_SECONDS + FIRST_JITTER_SECONDS + 10


@pytest.fixture(scope="module")
def _faulty_world() -> Iterator[FaultyWorld]:
    with faulty_world() as world:
        yield world


@pytest.fixture
def world(_faulty_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """The module's application. Each test has processes of its own, because a process backs off after failures."""
    yield _faulty_world
    _faulty_world.recover()


def some(contact: str, kind: str, count: int) -> list[str]:
    return [f"{contact}-{kind}{number}" for number in range(count)]


def kill_at_every_call(world: FaultyWorld, contact: str) -> threading.Event:
    """A message that kills the process: HighLevel never answers for that contact, and the calling process is killed,
    until the returned event is set."""
    world.highlevel.fail("hang", contact=contact)
    killed, over = world.calls(contact), threading.Event()

    def watch() -> None:
        nonlocal killed
        while not over.wait(0.02):
            if world.calls(contact) > killed:
                killed += 1
                world.kill()

    threading.Thread(target=watch, daemon=True).start()
    return over


# --- an outage that outlasts the age limit ----------------------------------------------------------------------------


@pytest.fixture
def soon_given_up(world: FaultyWorld) -> Iterator[None]:
    hours = str(GIVE_UP_AFTER_SECONDS / 3600)
    with world.configured(GIVE_UP_AFTER_HOURS=hours, BACKOFF_CAP_SECONDS="2"):
        yield


@pytest.mark.usefixtures("soon_given_up")
def test_an_outage_longer_than_the_age_limit_loses_nothing(world: FaultyWorld, location: str, contact: str) -> None:
    """Early submissions become dead letters, reason expired; late ones are opened automatically; a redrive opens the
    rest."""
    posted, event, late = some(contact, "early", 4), f"{contact}-event", some(contact, "late", 4)
    outage = world.highlevel.fail("status", status=503, location=location)
    began = time.monotonic()
    for each in posted:
        assert world.post(location, each).status == 202
    world.put_event(location, event)

    eventually(lambda: world.application.count("DeadLetterQueue") == len(posted) + 1, within=60)
    assert time.monotonic() - began > GIVE_UP_AFTER_SECONDS
    for each in late:
        assert world.post(location, each).status == 202
    world.line(late[0], "retry")  # the late ones met the outage too
    world.highlevel.faults.remove(outage)
    eventually(lambda: world.is_open(location, *late))
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert world.creations(location) == late

    letters = [letter["attributes"] for letter in world.dead_letters()]
    for letter in letters:
        assert (letter["reason"], letter["location"]) == ("expired", location)
        assert int(letter["attempts"]) >= 2
        assert letter["last_error"] in ("upstream_error", "breaker_open")
    assert sorted(letter["sender"] for letter in letters) == ["api"] * len(posted) + ["event"]

    assert "5 redriven" in world.redrive("--reason", "expired")
    eventually(lambda: world.is_open(location, event, *posted))
    eventually(lambda: world.application.count("DeadLetterQueue") + world.application.count("RetryQueue") == 0)
    assert world.creations(location) == sorted([event, *posted, *late])  # one conversation each


# --- poison -----------------------------------------------------------------------------------------------------------


def test_a_contact_that_always_gets_500_delays_no_other(world: FaultyWorld, location: str, contact: str) -> None:
    """Those behind it in the queue and those that are posted are opened before its next try."""
    poison, queued, posted = f"{contact}-poison", some(contact, "queued", 10), some(contact, "posted", 10)
    world.highlevel.fail("status", status=500, contact=poison)
    assert world.post(location, poison).status == 202
    with world.consumer_paused():
        world.enqueue(location, poison, *queued)
    for each in posted:
        assert world.post(location, each).status == 201
    eventually(lambda: world.is_open(location, *queued), within=10)
    for each in queued:
        assert world.line(each, "retry")["attempts"] == 1
    assert world.creations(location) == sorted(queued + posted)
    assert world.application.count("RetryQueue") == 2  # both are the poison's


def test_a_location_that_always_gets_500_delays_no_other(world: FaultyWorld, location: str, contact: str) -> None:
    """HighLevel answers like that for one wrong token of several."""
    sick = f"{location}-sick"
    world.highlevel.fail("status", status=500, location=sick)
    for each in some(contact, "sick", 6):
        assert world.post(sick, each).status == 202
    assert world.post(location, contact).status == 201


def test_a_message_that_kills_the_process_delays_only_its_batch(
    world: FaultyWorld, location: str, contact: str
) -> None:
    """The others of the batch are opened when their leases have ended, not after the queue's 450 s. A message that
    shares a batch with the deadly one again waits one more lease, and no third one. Later messages are not delayed. The
    deadly message stays and counts its receives."""
    deadly, before, behind, later = (
        f"{contact}-deadly",
        some(contact, "before", 4),
        some(contact, "behind", 5),
        some(contact, "later", 5),
    )
    over = kill_at_every_call(world, deadly)
    with world.consumer_paused():
        world.enqueue(location, *before, deadly, *behind)
    eventually(lambda: world.calls(deadly) == 1)
    killed_at = time.monotonic()
    time.sleep(1)
    assert world.is_open(location, *before)
    assert not world.is_open(location, behind[0])
    assert world.application.count("RetryQueue") == 10

    world.enqueue(location, *later)
    eventually(lambda: world.is_open(location, *later), within=10)
    assert world.calls(deadly) == 1

    back_at = killed_at + FRESH_RECEIVES * BACK_WITHIN_SECONDS
    eventually(lambda: world.is_open(location, *behind), within=back_at - time.monotonic())
    eventually(lambda: world.calls(deadly) >= 2, within=back_at - time.monotonic())
    eventually(lambda: world.application.count("RetryQueue") == 1, within=BACK_WITHIN_SECONDS)
    over.set()
    assert world.creations(location) == sorted(before + behind + later)


def test_a_message_received_often_waits_until_its_batch_is_done(
    world: FaultyWorld, location: str, contact: str
) -> None:
    """A message that kills the process then delays only messages that were received as often."""
    deadly, others = f"{contact}-deadly", some(contact, "other", 9)
    over = kill_at_every_call(world, deadly)
    with world.consumer_paused():
        world.enqueue(location, deadly)
        world.receive(FRESH_RECEIVES)
        world.enqueue(location, *others)
    eventually(lambda: world.calls(deadly) == 1)
    over.set()
    assert world.is_open(location, *others)
