"""A location with many submissions does not delay the others."""

import time
import uuid
from collections.abc import Iterator
from itertools import pairwise

import pytest

from local.highlevel import Limits
from tests.factories import make_submission
from tests.integration.world import World, deployed_world, eventually

LIMITS = Limits()  # HighLevel's documented ones
NOISY, QUIET, EACH = 450, 20, 10


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with deployed_world() as world:
        world.highlevel.limits = LIMITS
        yield world


def defer(world: World, location: str, count: int) -> None:
    """Put that many submissions of a location into the retry queue, as a handler that defers them does."""
    queue, url = world.application.aws.client("sqs"), world.application.stack.outputs["RetryQueueUrl"]
    messages = [
        make_submission(location, f"{location}-{number}", request_id=str(uuid.uuid4())).to_message()
        for number in range(count)
    ]
    for start in range(0, count, 10):
        queue.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "MessageBody": message, "MessageGroupId": location}
                for number, message in enumerate(messages[start : start + 10])
            ],
        )


def seconds_until_opened(world: World, locations: list[str], within: float) -> float:
    started = time.monotonic()
    wanted = len(locations) * EACH
    eventually(lambda: sum(key[0] in locations for key in list(world.highlevel.conversations)) == wanted, within)
    return time.monotonic() - started


def windows_of(times: list[float]) -> list[list[float]]:
    """Sort calls by HighLevel's windows: one begins with the first call after the end of the one before."""
    windows: list[list[float]] = []
    for at in sorted(times):
        if not windows or at - windows[-1][0] >= LIMITS.interval_ms / 1000:
            windows.append([])
        windows[-1].append(at)
    return windows


def test_a_backlog_of_one_location_does_not_delay_others_and_uses_its_limit(world: World) -> None:
    alone = [f"alone{number}" for number in range(QUIET)]
    for location in alone:
        defer(world, location, EACH)
    needed = seconds_until_opened(world, alone, 60)

    defer(world, "noisy", NOISY)
    beside = [f"beside{number}" for number in range(QUIET)]
    for location in beside:
        defer(world, location, EACH)
    took = seconds_until_opened(world, beside, 60)
    print(f"the quiet ones: {needed:.1f} s alone, {took:.1f} s beside the noisy one")
    assert took <= needed + 10

    eventually(lambda: sum(key[0] == "noisy" for key in list(world.highlevel.conversations)) == NOISY, 180)
    calls = [call for call in world.highlevel.calls if call.location == "noisy"]
    refused = sum(call.status == 429 for call in calls)
    windows = windows_of([call.at for call in calls])
    seconds = windows[-1][0] - windows[0][0]  # the last one is not full
    used = sum(map(len, windows[:-1])) / seconds / (LIMITS.max / (LIMITS.interval_ms / 1000))
    gaps = [later[0] - window[0] - LIMITS.interval_ms / 1000 for window, later in pairwise(windows)]
    print(f"calls of each window: {[len(window) for window in windows]}")
    print(f"seconds from the end of each window to the next call: {[round(gap, 2) for gap in gaps]}")
    print(f"the noisy one: {used:.1%} of the announced limit, {refused / len(calls):.2%} refused")
    # The simulation asserts 95 %. Here the time between two windows is added that a loaded machine needs.
    assert all(len(window) == LIMITS.max - 4 for window in windows[:-1]), "callers find four"
    assert used >= 0.92
    assert refused <= 0.005 * len(calls)
