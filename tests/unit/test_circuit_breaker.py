"""A HighLevel that is down is left alone for a while."""

import pytest

from create_conversation import circuit_breaker as module
from create_conversation.circuit_breaker import FAILURES, OPEN_SECONDS, WITHIN_SECONDS, CircuitBreaker
from tests.unit.fakes import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def fail(breaker: CircuitBreaker, clock: Clock, times: int = FAILURES, every: float = 1.0) -> None:
    for _ in range(times):
        clock.now += every
        breaker.record(failed=True)


def test_it_opens_after_five_failures_and_closes_after_five_seconds(clock: Clock) -> None:
    breaker = CircuitBreaker()
    fail(breaker, clock, FAILURES - 1)
    assert breaker.wait() == 0
    fail(breaker, clock, 1)
    assert breaker.wait() == OPEN_SECONDS == 5
    clock.now += OPEN_SECONDS
    assert breaker.wait() == 0


def test_one_success_starts_the_count_anew(clock: Clock) -> None:
    breaker = CircuitBreaker()
    fail(breaker, clock, FAILURES - 1)
    breaker.record(failed=False)
    fail(breaker, clock, FAILURES - 1)
    assert breaker.wait() == 0


def test_failures_spread_over_a_longer_time_do_not_open_it(clock: Clock) -> None:
    breaker = CircuitBreaker()
    fail(breaker, clock, 50, every=WITHIN_SECONDS / (FAILURES - 1) + 0.1)
    assert breaker.wait() == 0


def test_it_opens_again_while_highlevel_stays_down(clock: Clock) -> None:
    breaker = CircuitBreaker()
    for _ in range(3):
        fail(breaker, clock, every=0.1)
        assert breaker.wait() > 0
        clock.now += OPEN_SECONDS
        assert breaker.wait() == 0
