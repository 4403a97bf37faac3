"""A location that is out of quota is not called until its window ends."""

import random
from typing import Any

import pytest

from create_conversation.rate_limit import DAY_EMPTY_SECONDS, MAX_LOCATIONS, RateLimits
from highlevel.responses import ApiResult, RateLimit
from tests.unit.fakes import Clock


def answer(remaining: int | None = 50, status: int = 201, daily: int | None = 1000, **changes: Any) -> ApiResult:
    values: dict[str, Any] = {"max": 100, "interval_ms": 10_000} | changes
    limit = RateLimit(values["max"], remaining, values["interval_ms"], daily)
    return ApiResult("opened", status=status, rate_limit=limit, retry_after=values.get("retry_after"))


def test_a_location_without_a_response_may_be_called(clock: Clock) -> None:
    quota = RateLimits(clock)
    assert (quota.delay("loc"), quota.delay("loc", in_background=True)) == (0, 0)
    assert quota.min_interval("loc") == 0.1


def test_the_pace_is_what_was_announced(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(interval_ms=20_000))
    assert (quota.delay("loc"), quota.min_interval("loc")) == (0, 0.2)
    quota.record_response("sandbox", answer(max=25))
    assert quota.min_interval("sandbox") == 0.4
    quota.record_response("silent", answer(max=None, interval_ms=None))
    quota.record_response("down", ApiResult("deferred", "upstream_timeout"))
    assert (quota.min_interval("silent"), quota.min_interval("down")) == (0.1, 0.1)


def test_calls_are_counted_by_location_whatever_the_response(clock: Clock) -> None:
    quota = RateLimits(clock)
    for api_result in (answer(), answer(status=429), ApiResult("deferred", "upstream_timeout")):
        quota.record_response("loc", api_result)
    assert (quota.calls_made("loc"), quota.calls_made("another")) == (3, 0)
    assert quota.delay("another") == 0


def test_an_empty_window_waits_for_its_end_alone(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("noisy", answer(remaining=3))
    clock.now += 4
    quota.record_response("noisy", answer(remaining=0))
    assert quota.delay("noisy") == 6
    assert quota.delay("quiet") == 0
    clock.now += 6
    assert quota.delay("noisy") == 0


def test_a_window_that_shows_more_calls_left_is_a_new_one(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=1))
    clock.now += 9
    quota.record_response("loc", answer(remaining=99))
    quota.record_response("loc", answer(remaining=0))
    assert quota.delay("loc") == 10


@pytest.mark.parametrize("remaining", [5, None], ids=["as many left", "not said"])
def test_a_response_that_shows_no_more_calls_left_begins_no_window(clock: Clock, remaining: int | None) -> None:
    """Two instances may read the same number, and a response may lack it."""
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=5))
    clock.now += 4
    quota.record_response("loc", answer(remaining=remaining))
    assert quota.delay("loc", in_background=True) == 6


def test_a_window_of_unknown_length_has_the_documented_one(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=0, interval_ms=None))
    assert quota.delay("loc") == 10


@pytest.mark.parametrize(
    ("instances", "limit", "reserve"),
    [(2, 100, 5), (5, 100, 8), (10, 100, 13), (2, 25, 5), (10, 25, 12), (2, 10, 5), (2, 2, 1), (2, 1, 0), (2, None, 0)],
)
def test_in_the_background_the_last_of_a_window_is_left_to_others(
    clock: Clock, instances: int, limit: int | None, reserve: int
) -> None:
    quota = RateLimits(clock, instances)
    quota.record_response("loc", answer(remaining=reserve + 1, max=limit))
    assert quota.delay("loc", in_background=True) == 0
    quota.record_response("loc", answer(remaining=reserve, max=limit))
    assert quota.delay("loc", in_background=True) == 10
    assert quota.delay("loc") == (0 if reserve else 10)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("instances", [2, 3, 5, 10])
def test_instances_that_know_only_their_own_responses_leave_exactly_four_calls(instances: int, seed: int) -> None:
    rng, left = random.Random(seed), 100
    quotas = [RateLimits(Clock(), instances) for _ in range(instances)]
    while ready := [quota for quota in quotas if not quota.delay("loc", in_background=True)]:
        left -= 1
        rng.choice(ready).record_response("loc", answer(remaining=left))
    assert left == 4


def test_the_next_window_is_expected_as_soon_as_a_call_can_be_the_first_in_it(clock: Clock) -> None:
    """It is counted halfway: 10 s after half the first call's time, less half the fastest call's time."""
    quota = RateLimits(clock)
    clock.now += 0.2
    quota.record_response("loc", answer(remaining=99), 0.2)
    clock.now += 0.1
    quota.record_response("loc", answer(remaining=98), 0.1)
    clock.now += 0.2
    quota.record_response("loc", answer(remaining=4), 0.2)
    began, arrives, now = 0.1, 0.05, 0.5
    assert quota.delay("loc", in_background=True) == pytest.approx(began + 10 - arrives - now)


def test_after_a_call_that_was_too_early_for_the_next_window_its_certain_end_is_awaited(clock: Clock) -> None:
    """The first call's connection took long: it was counted late in its 0.2 s. The next window is not lost."""
    quota = RateLimits(clock)
    clock.now += 0.2
    quota.record_response("loc", answer(remaining=5), 0.2)
    certain_end = clock.now + 10
    clock.now += 9.81
    assert quota.delay("loc", in_background=True) == 0
    clock.now += 0.1
    quota.record_response("loc", answer(remaining=4), 0.1)
    assert quota.delay("loc", in_background=True) == pytest.approx(certain_end - clock.now)
    clock.now = certain_end + 0.1
    quota.record_response("loc", answer(remaining=4), 0.1)
    assert quota.delay("loc", in_background=True) > 9, "others have used this window"


@pytest.mark.parametrize("limit", [1, 2])
def test_a_window_of_one_or_two_calls_begins_with_as_many_left_as_the_one_before(clock: Clock, limit: int) -> None:
    quota = RateLimits(clock)
    clock.now += 0.2
    quota.record_response("loc", answer(remaining=limit - 1, max=limit), 0.2)
    clock.now += 9.81
    assert quota.delay("loc", in_background=True) == 0
    clock.now += 0.1
    quota.record_response("loc", answer(remaining=limit - 1, max=limit), 0.1)
    assert quota.delay("loc", in_background=True) > 9


def test_a_caller_waits_for_the_certain_end_of_a_window(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=0), 0.2)
    assert quota.delay("loc") == 10
    assert quota.delay("loc", in_background=True) == pytest.approx(9.8)


def test_a_response_to_a_call_of_the_old_window_does_not_begin_a_new_one(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=50))
    clock.now += 10.1
    quota.record_response("loc", answer(remaining=4), 0.3)
    assert quota.delay("loc", in_background=True) == 0


def test_an_empty_day_is_asked_again_a_quarter_of_an_hour_later(clock: Clock) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=40, daily=0))
    assert quota.delay("loc") == DAY_EMPTY_SECONDS


@pytest.mark.parametrize(
    ("api_result", "wait"),
    [
        (ApiResult("deferred", status=429), 10),
        (ApiResult("deferred", status=429, retry_after=42.0), 42),
        (ApiResult("deferred", status=429, retry_after=0.0), 0),
        (answer(remaining=0, status=429, interval_ms=20_000), 20),
        (answer(remaining=7, status=429), 10),
        (answer(remaining=7, status=429, retry_after=42.0), 42),
        (ApiResult("deferred", status=503, retry_after=42.0), 0),
        (ApiResult("deferred"), 0),
    ],
)
def test_a_429_closes_the_location_as_long_as_it_says(clock: Clock, api_result: ApiResult, wait: float) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", api_result)
    assert quota.delay("loc") == wait
    clock.now += wait
    assert quota.delay("loc") == 0


@pytest.mark.parametrize(("known_for", "wait"), [(4.0, 6), (12.0, 10)], ids=["in the window", "after its end"])
def test_a_429_without_a_time_waits_for_the_end_of_the_window(clock: Clock, known_for: float, wait: float) -> None:
    quota = RateLimits(clock)
    quota.record_response("loc", answer(remaining=50))
    clock.now += known_for
    quota.record_response("loc", ApiResult("deferred", status=429))
    assert quota.delay("loc") == wait


def test_only_so_many_locations_are_known_and_the_last_asked_stay(clock: Clock) -> None:
    quota = RateLimits(clock)
    for number in range(MAX_LOCATIONS):
        quota.record_response(f"loc-{number}", answer(remaining=0))
    quota.record_response("loc-0", answer(remaining=0))
    quota.record_response("one-more", answer(remaining=0))
    assert quota.delay("loc-0") > 0
    assert quota.delay("loc-1") == 0
    assert quota.delay("loc-2") > 0
