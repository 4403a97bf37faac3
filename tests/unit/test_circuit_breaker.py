"""A HighLevel that is down is left alone for a while; a location that is, alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from create_conversation.circuit_breaker import FAILURES, MAX_LOCATIONS, OPEN_SECONDS, WITHIN_SECONDS, CircuitBreaker
from tests.unit.fakes import Clock

# Failures of three locations are HighLevel's own.
PLACES = ("loc-1", "loc-2", "loc-3")


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
    return [breaker.delay(location) for location in locations]


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_it_opens_after_five_failures(clock: Clock, locations: tuple[str, ...]) -> None:
    assert FAILURES == 5
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, FAILURES - 1, locations=locations)
    assert (breaker.delay("loc-1"), breaker.enter("loc-1"), breaker.enter("loc-1")) == (0, 0, 0)
    fail(breaker, clock, 1, locations=locations)
    assert breaker.delay("loc-1") == breaker.enter("loc-1") == OPEN_SECONDS == 5


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_while_it_is_open_one_call_in_five_seconds_is_let_through(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=locations)
    probes = 0
    for _ in range(600):
        clock.now += 0.1
        if not breaker.enter("loc-1"):
            probes += 1
            breaker.record("loc-1", failed=True)
    assert 11 <= probes <= 12


def test_all_locations_share_the_probe_of_a_highlevel_that_is_down(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock)
    clock.now += OPEN_SECONDS
    assert waits(breaker, *PLACES, "never seen") == [0] * 4
    assert [breaker.enter(location) for location in (*PLACES, "never seen")] == [0, 5, 5, 5]


def test_a_probe_without_a_result_is_followed_by_another(clock: Clock) -> None:
    """Its process may have died, or it hangs."""
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=("loc-1",))
    clock.now += OPEN_SECONDS
    assert [breaker.enter("loc-1") for _ in range(2)] == [0, OPEN_SECONDS]
    clock.now += OPEN_SECONDS
    assert [breaker.enter("loc-1") for _ in range(2)] == [0, OPEN_SECONDS]


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_the_next_probe_waits_from_the_failure_of_the_one_before(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=locations)
    clock.now += OPEN_SECONDS
    breaker.enter("loc-1")
    clock.now += 3.0  # HighLevel hangs
    breaker.record("loc-1", failed=True)
    assert breaker.delay("loc-1") == OPEN_SECONDS


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_a_probe_that_succeeds_closes_it(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=locations)
    clock.now += OPEN_SECONDS
    assert breaker.enter("loc-1") == 0
    breaker.record("loc-1", failed=False)
    assert [breaker.enter("loc-1") for _ in range(20)] == [0] * 20
    fail(breaker, clock, FAILURES - 1, locations=locations)
    assert breaker.delay("loc-1") == 0


def test_a_success_of_another_location_does_not_close_it_for_a_sick_one(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, locations=("sick",))
    breaker.record("another", failed=False)
    assert waits(breaker, "sick", "another") == [OPEN_SECONDS, 0]


def test_many_threads_are_given_one_probe() -> None:
    breaker = CircuitBreaker(clock := Clock())
    fail(breaker, clock)
    clock.now += OPEN_SECONDS
    with ThreadPoolExecutor(20) as threads:
        entered = list(threads.map(lambda number: breaker.enter(f"loc-{number}"), range(200)))
    assert entered.count(0) == 1


@pytest.mark.parametrize("succeeds", ["loc-1", "another"])
def test_one_success_starts_the_count_again(clock: Clock, succeeds: str) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, FAILURES - 1)
    breaker.record(succeeds, failed=False)
    fail(breaker, clock, FAILURES - 1)
    assert not any(waits(breaker, *PLACES))


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_failures_spread_over_a_longer_time_do_not_open_it(clock: Clock, locations: tuple[str, ...]) -> None:
    assert WITHIN_SECONDS == 10
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, 50, every=WITHIN_SECONDS / (FAILURES - 1) + 0.1, locations=locations)
    assert not any(waits(breaker, *PLACES))


@pytest.mark.parametrize("locations", [PLACES, ("loc-1",)])
def test_failures_within_just_that_time_open_it(clock: Clock, locations: tuple[str, ...]) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, clock, every=WITHIN_SECONDS / (FAILURES - 1), locations=locations)
    assert breaker.delay("loc-1") == OPEN_SECONDS


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
    assert breaker.delay("sick") > 0
    assert breaker.delay("sick-too") > 0
    assert breaker.delay("another") == 0


def test_only_so_many_sick_locations_are_known_and_the_last_stay(clock: Clock) -> None:
    breaker = CircuitBreaker(clock)
    for number in range(MAX_LOCATIONS + 1):
        fail(breaker, clock, every=0.0, locations=(f"sick-{number}",))
    last = f"sick-{MAX_LOCATIONS}"
    assert waits(breaker, "sick-0", "sick-1", last) == [0, OPEN_SECONDS, OPEN_SECONDS]
