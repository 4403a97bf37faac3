"""Calls in worker threads: one call with a time limit, or several calls at the same time.

Idle workers are reused: starting a thread for each call costs four times the CPU of handing it over.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

type Call = Callable[[], object]


class TimeLimit(Protocol):
    """Runs a call with a time limit: `call_with_time_limit`, or a simulation's in virtual time."""

    def __call__[Result](self, call: Callable[[], Result], seconds: float, /) -> Result:
        """Return or raise as the call does. Raises TimeoutError after so many seconds."""


def call_with_time_limit[Result](call: Callable[[], Result], seconds: float) -> Result:
    """Run `call` in a worker thread and return or raise as it does.

    Socket timeouts bound one operation each: neither a name resolution that hangs nor headers that drip. Raises
    TimeoutError after `seconds`: the call is left to end later, and its result is dropped.
    """
    results: list[Result] = []
    done = _start(lambda: results.append(call()))
    try:
        error = done.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return results[0]


def call_all(calls: Sequence[Call], at_most: int | None = None) -> None:
    """Run the calls at the same time, each in a worker thread, and return when all have ended.

    `at_most`: how many run at the same time; the others wait for their turn. After one has raised, those that wait do
    not begin, and its exception is raised here.
    """
    waiting = deque(calls)
    failures: list[BaseException] = []

    def run_in_turn() -> None:
        while waiting and not failures:
            try:
                call = waiting.popleft()
            except IndexError:  # another worker took the last one
                return
            try:
                call()
            except BaseException as error:  # noqa: BLE001 raised again below
                failures.append(error)

    running = [_start(run_in_turn) for _ in range(min(len(calls), at_most or len(calls)))]
    for done in running:
        done.get()
    if failures:
        raise failures[0]


def _start(call: Call) -> queue.SimpleQueue[BaseException | None]:
    """Let an idle worker run the call; the queue then gets its exception, or None."""
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 raised again by the caller
            done.put(error)
        else:
            done.put(None)

    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.calls.put(run)
    return done


class _Worker(threading.Thread):
    """Runs one call after another."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.calls: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            self.calls.get()()
            _idle.append(self)


_idle: list[_Worker] = []
