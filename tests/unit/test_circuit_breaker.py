"""A HighLevel that is down is left alone for a while; a location that is, alone."""

import pytest

from create_conversation.circuit_breaker import FAILURES, OPEN_SECONDS, WITHIN_SECONDS, CircuitBreaker
from tests.unit.fakes import Clock

# Failures of three locations are HighLevel's own.
PLACES = ("loc-1", "loc-2", "loc-3")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(
    breaker: CircuitBreaker,
    clock: Clock,
    times: int = FAILURES,
    every: float = 1.0,
    locations: tuple[str, ...] = PLACES,
) -> None:
    """Failures of the locations by turns."""
    for number in range(times):
        clock.now += every
        breaker.record(locations[number % len(locations)], failed=True)


def waits(breaker: CircuitBreaker, *locations: str) -> list[float]:
    return [breaker.wait(location) for location in locations]


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_it_opens_after_five_failures_and_closes_after_five_seconds(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, FAILURES - 1, locations=locations)
    assert breaker.wait("loc-1") == 0
    fail(breaker, clock, 1, locations=locations)
    assert breaker.wait("loc-1") == OPEN_SECONDS == 5
    clock.now += OPEN_SECONDS
    assert breaker.wait("loc-1") == 0


@pytest.mark.parametrize("succeeds", ["loc-1", "another"])
def test_one_success_starts_the_count_anew(clock: Clock, succeeds: str) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, FAILURES - 1)
    breaker.record(succeeds, failed=False)
    fail(breaker, clock, FAILURES - 1)
    assert not any(waits(breaker, *PLACES))


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_failures_spread_over_a_longer_time_do_not_open_it(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, 50, every=WITHIN_SECONDS / (FAILURES - 1) + 0.1, locations=locations)
    assert not any(waits(breaker, *PLACES))


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_it_opens_again_while_highlevel_stays_down(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    for _ in range(3):
        fail(breaker, clock, every=0.1, locations=locations)
        assert breaker.wait("loc-1") > 0
        clock.now += OPEN_SECONDS
        assert breaker.wait("loc-1") == 0


def test_a_sick_location_is_left_alone_and_no_other(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=("sick",))
    assert waits(breaker, "sick", "another") == [OPEN_SECONDS, 0]


def test_failures_of_two_locations_open_it_for_both_and_of_three_for_all(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=("sick", "sick-too"))
    assert waits(breaker, "sick", "sick-too", "never seen") == [OPEN_SECONDS, OPEN_SECONDS, 0]
    breaker = CircuitBreaker(clock)
    fail(breaker, clock)
    assert waits(breaker, "loc-1", "never seen") == [OPEN_SECONDS] * 2


def test_open_for_one_location_it_still_opens_for_all(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, every=0.1, locations=("sick",))
    fail(breaker, clock, every=0.1)
    assert waits(breaker, "loc-1", "never seen") == [OPEN_SECONDS] * 2


def test_two_sick_locations_are_both_left_alone(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, every=0.1, locations=("sick",))
    fail(breaker, clock, every=0.1, locations=("sick-too",))
    assert breaker.wait("sick") > 0
    assert breaker.wait("sick-too") > 0
    assert breaker.wait("another") == 0
