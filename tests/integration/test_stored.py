"""An accepted submission is never lost: outages, poison messages and processes that die in the middle.

A batch whose process dies comes back when its lease ends: after LEASE_SECONDS plus a jitter. The test of such a batch
skips the LEASE_SECONDS.
"""

import threading
import time
from collections.abc import Iterator

import pytest

from create_conversation.triggers.retry_queue import FRESH_RECEIVES, LEASE_JITTER_SECONDS, LEASE_SECONDS
from tests.integration.aws_faults import FaultyWorld
from tests.integration.world import eventually

GIVE_UP_AFTER_SECONDS = 15.0
FIRST_JITTER_SECONDS = LEASE_JITTER_SECONDS + 6.5


def some(contact: str, kind: str, count: int) -> list[str]:
    return [f"{contact}-{kind}{number}" for number in range(count)]


def kill_at_every_call(faulty: FaultyWorld, contact: str) -> threading.Event:
    """A message that kills the process: HighLevel never answers for that contact, and the calling process is killed,
    until the returned event is set."""
    faulty.highlevel.fail("hang", contact=contact)
    killed, over = faulty.calls(contact), threading.Event()

    def watch() -> None:
        nonlocal killed
        while not over.wait(0.02):
            if faulty.calls(contact) > killed:
                killed += 1
                faulty.kill()

    threading.Thread(target=watch, daemon=True).start()
    return over


# --- an outage that outlasts the age limit ----------------------------------------------------------------------------


@pytest.fixture
def soon_given_up(faulty: FaultyWorld) -> Iterator[None]:
    hours = str(GIVE_UP_AFTER_SECONDS / 3600)
    with faulty.configured(GIVE_UP_AFTER_HOURS=hours, BACKOFF_CAP_SECONDS="2"):
        yield


@pytest.mark.usefixtures("soon_given_up")
def test_an_outage_longer_than_the_age_limit_loses_nothing(faulty: FaultyWorld, location: str, contact: str) -> None:
    """Early submissions become dead letters, reason expired; late ones are opened automatically; a redrive opens the
    rest."""
    posted, event, late = some(contact, "early", 4), f"{contact}-event", some(contact, "late", 4)
    outage = faulty.highlevel.fail("status", status=503, location=location)
    began = time.monotonic()
    for each in posted:
        assert faulty.post(location, each).status == 202
    faulty.put_event(location, event)

    eventually(lambda: faulty.application.count("DeadLetterQueue") == len(posted) + 1, within=60)
    assert time.monotonic() - began > GIVE_UP_AFTER_SECONDS
    for each in late:
        assert faulty.post(location, each).status == 202
    faulty.line(late[0], "retry")  # the late ones met the outage too
    faulty.highlevel.faults.remove(outage)
    eventually(lambda: faulty.is_open(location, *late))
    eventually(lambda: faulty.application.count("RetryQueue") == 0)
    assert faulty.creations(location) == late

    letters = [letter["attributes"] for letter in faulty.dead_letters()]
    for letter in letters:
        assert (letter["reason"], letter["location"]) == ("expired", location)
        assert int(letter["attempts"]) >= 2
        assert letter["last_error"] in ("upstream_error", "breaker_open")
    assert sorted(letter["sender"] for letter in letters) == ["api"] * len(posted) + ["event"]

    assert "5 redriven" in faulty.redrive("--reason", "expired")
    eventually(lambda: faulty.is_open(location, event, *posted))
    eventually(lambda: faulty.application.count("DeadLetterQueue") + faulty.application.count("RetryQueue") == 0)
    assert faulty.creations(location) == sorted([event, *posted, *late])  # one conversation each


# --- poison -----------------------------------------------------------------------------------------------------------


def test_a_contact_that_always_gets_500_delays_no_other(faulty: FaultyWorld, location: str, contact: str) -> None:
    """Those behind it in the queue and those that are posted are opened before its next try."""
    poison, queued, posted = f"{contact}-poison", some(contact, "queued", 10), some(contact, "posted", 10)
    faulty.highlevel.fail("status", status=500, contact=poison)
    assert faulty.post(location, poison).status == 202
    with faulty.consumer_paused():
        faulty.enqueue(location, poison, *queued)
    for each in posted:
        assert faulty.post(location, each).status == 201
    eventually(lambda: faulty.is_open(location, *queued), within=10)
    for each in queued:
        assert faulty.line(each, "retry")["attempts"] == 1
    assert faulty.creations(location) == sorted(queued + posted)
    assert faulty.application.count("RetryQueue") == 2  # both are the poison's


def test_a_location_that_always_gets_500_delays_no_other(faulty: FaultyWorld, location: str, contact: str) -> None:
    """HighLevel answers like that for one wrong token of several."""
    sick = f"{location}-sick"
    faulty.highlevel.fail("status", status=500, location=sick)
    for each in some(contact, "sick", 6):
        assert faulty.post(sick, each).status == 202
    assert faulty.post(location, contact).status == 201


def test_a_message_that_kills_the_process_delays_only_its_batch(
    faulty: FaultyWorld, location: str, contact: str
) -> None:
    """The others of the batch are opened when their leases have ended, not after the queue's 450 s. A message that
    is in flight when the deadly one comes again waits one more lease: the emulator kills every process. Later messages
    are not delayed. The deadly message stays and counts its receives."""
    deadly, before, behind, later = (
        f"{contact}-deadly",
        some(contact, "before", 4),
        some(contact, "behind", 5),
        some(contact, "later", 5),
    )
    over, leases = kill_at_every_call(faulty, deadly), faulty.watch_leases()
    with faulty.consumer_paused():
        faulty.enqueue(location, *before, deadly, *behind)
    eventually(lambda: faulty.calls(deadly) == 1)
    time.sleep(1)
    assert faulty.is_open(location, *before)
    assert not faulty.is_open(location, behind[0])
    assert faulty.application.count("RetryQueue") == 10
    assert len(leases) == 10
    assert all(LEASE_SECONDS <= seconds <= LEASE_SECONDS + FIRST_JITTER_SECONDS for _handle, seconds in leases)

    faulty.enqueue(location, *later)
    eventually(lambda: faulty.is_open(location, *later), within=10)
    assert faulty.calls(deadly) == 1

    def the_batch_came_again() -> bool:
        faulty.end_leases(leases)
        return faulty.calls(deadly) >= 2 and faulty.is_open(location, *behind)

    eventually(the_batch_came_again, within=60)

    def only_the_deadly_waits() -> bool:
        faulty.end_leases(leases)
        return faulty.application.count("RetryQueue") == 1

    eventually(only_the_deadly_waits, within=60)
    over.set()
    assert faulty.creations(location) == sorted(before + behind + later)


def test_a_message_received_often_waits_until_its_batch_is_done(
    faulty: FaultyWorld, location: str, contact: str
) -> None:
    """A message that kills the process then delays only messages that were received as often."""
    deadly, others = f"{contact}-deadly", some(contact, "other", 9)
    over = kill_at_every_call(faulty, deadly)
    with faulty.consumer_paused():
        faulty.enqueue(location, deadly)
        faulty.receive(FRESH_RECEIVES)
        faulty.enqueue(location, *others)
    eventually(lambda: faulty.calls(deadly) == 1)
    over.set()
    assert faulty.is_open(location, *others)
