"""What was accepted is done or kept: through outages, poisonous messages and processes that die half-way.

A batch whose process dies comes back when its lease ends, LEASE_SECONDS
plus a jitter of up to 10 s at the first receive, hence the minute that some of these tests take.
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
# A lease with its jitter, and what a busy machine needs to begin anew.
BACK_WITHIN_SECONDS = LEASE_SECONDS + FIRST_JITTER_SECONDS + 10


@pytest.fixture(scope="module")
def _faulty_world() -> Iterator[FaultyWorld]:
    with faulty_world() as world:
        yield world


@pytest.fixture
def world(_faulty_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """The module's application, each test with processes of its own: they remember trouble."""
    yield _faulty_world
    _faulty_world.recover()


def some(contact: str, kind: str, count: int) -> list[str]:
    return [f"{contact}-{kind}{number}" for number in range(count)]


def kill_at_every_call(world: FaultyWorld, contact: str) -> threading.Event:
    """As a message that kills the process: HighLevel never answers for that contact, and whoever asks is killed.
    Until the event that is returned is set."""
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
def test_an_outage_longer_than_the_age_limit(world: FaultyWorld, location: str, contact: str) -> None:
    """Who came early is a dead letter, reason expired; who came late is opened by itself; a redrive opens the rest."""
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
    world.line(late[0], "retry")  # the late ones have met the outage too
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
    """Not one behind it in the queue, not one that is posted: all are opened before it is tried again."""
    poison, queued, posted = f"{contact}-poison", some(contact, "queued", 10), some(contact, "posted", 10)
    world.highlevel.fail("status", status=500, contact=poison)
    assert world.post(location, poison).status == 202
    with world.consumer_paused():
        world.keep(location, poison, *queued)
    for each in posted:
        assert world.post(location, each).status == 201
    eventually(lambda: world.is_open(location, *queued), within=10)
    for each in queued:
        assert world.line(each, "retry")["attempts"] == 1
    assert world.creations(location) == sorted(queued + posted)
    assert world.application.count("RetryQueue") == 2  # both of the poison's


def test_a_location_that_gets_500_for_everything_harms_only_itself(
    world: FaultyWorld, location: str, contact: str
) -> None:
    """As HighLevel answers for one wrong token of several."""
    sick = f"{location}-sick"
    world.highlevel.fail("status", status=500, location=sick)
    for each in some(contact, "sick", 6):
        assert world.post(sick, each).status == 202
    assert world.post(location, contact).status == 201


def test_a_message_that_kills_the_process_delays_its_batch_by_a_lease_and_nobody_else(
    world: FaultyWorld, location: str, contact: str
) -> None:
    """Promised: what shared the batch is opened when its lease has ended, not after the queue's 450 s (each comes back
    at its own time; who shares a batch with the deadly one again waits once more, and not a third time); what comes
    later is not delayed; the message itself stays, and counts its receives."""
    deadly, before, behind, later = (
        f"{contact}-deadly",
        some(contact, "before", 4),
        some(contact, "behind", 5),
        some(contact, "later", 5),
    )
    over = kill_at_every_call(world, deadly)
    with world.consumer_paused():
        world.keep(location, *before, deadly, *behind)
    eventually(lambda: world.calls(deadly) == 1)
    killed_at = time.monotonic()
    time.sleep(1)
    assert world.is_open(location, *before)
    assert not world.is_open(location, behind[0])
    assert world.application.count("RetryQueue") == 10

    world.keep(location, *later)
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
    """So one that kills the process takes at most those along that have been received as often."""
    deadly, others = f"{contact}-deadly", some(contact, "other", 9)
    over = kill_at_every_call(world, deadly)
    with world.consumer_paused():
        world.keep(location, deadly)
        world.receive(FRESH_RECEIVES)
        world.keep(location, *others)
    eventually(lambda: world.calls(deadly) == 1)
    over.set()
    assert world.is_open(location, *others)
