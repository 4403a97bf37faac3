"""Calls in worker threads."""

import threading
import time

import pytest

from shared.time_limit import call_all, call_with_time_limit
from tests.stopwatch import Stopwatch


def test_a_call_in_time_returns_and_raises_as_it_does() -> None:
    assert call_with_time_limit(lambda: 7, 1) == 7
    assert call_with_time_limit(lambda: None, 1) is None
    with pytest.raises(ZeroDivisionError):
        call_with_time_limit(lambda: 1 // 0, 1)


def test_a_call_that_hangs_is_given_up() -> None:
    hang = threading.Event()
    started, stopwatch = time.monotonic(), Stopwatch()
    with pytest.raises(TimeoutError):
        call_with_time_limit(lambda: hang.wait(5), 0.1)
    assert time.monotonic() - started > 0.09
    assert stopwatch.seconds < 2
    hang.set()


def test_idle_workers_are_used_again() -> None:
    call_with_time_limit(lambda: None, 1)
    before = threading.active_count()
    for _ in range(100):
        assert call_with_time_limit(threading.get_ident, 1) != threading.get_ident()
    assert threading.active_count() <= before + 1


def test_all_calls_run_at_the_same_time() -> None:
    meeting = threading.Barrier(20)
    call_all([lambda: meeting.wait(10)] * 20)


def test_no_more_calls_run_at_the_same_time_than_allowed() -> None:
    running, most = [], []
    ended = []

    def call() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.002)
        running.pop()
        ended.append(1)

    call_all([call] * 40, at_most=4)
    assert len(ended) == 40
    assert max(most) <= 4


def test_no_call_is_not_an_error() -> None:
    call_all([])


def test_after_an_error_no_other_call_begins() -> None:
    ended = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_all([fail, *[lambda: ended.append(1)] * 20], at_most=1)
    assert ended == []


def test_an_error_is_raised_when_the_calls_that_run_have_ended() -> None:
    failed = threading.Event()
    ended = []

    def fail() -> None:
        failed.set()
        raise ZeroDivisionError

    def go_on() -> None:
        failed.wait(10)
        time.sleep(0.05)
        ended.append(1)

    with pytest.raises(ZeroDivisionError):
        call_all([go_on, fail])
    assert ended == [1]
