"""Instances of the function in virtual time whose calls have time limits, and that may die within any call."""

from collections.abc import Callable
from typing import cast

from greenlet import getcurrent, greenlet

from tests.simulation.loop import Group, Killed, Loop


class Process(Group):
    """One process: its main greenlet, those side by side, and those of calls with a time limit."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self._limited: set[greenlet] = set()

    def die(self) -> None:
        """End the whole process, from within any of its greenlets. Does not return."""
        self._loop.at(self._loop.now, self.kill)
        self._loop.wait([])

    def kill(self) -> None:
        limited, self._limited = self._limited, set()
        for child in limited:
            if not child.dead:
                child.throw(Killed)
        super().kill()

    def call_with_time_limit[Result](self, call: Callable[[], Result], seconds: float, /) -> Result:
        """Do what the function's own does with worker threads: a call that is given up goes on until it ends."""
        results: list[Result] = []
        errors: list[Exception] = []
        waiting: list[Callable[[], object]] = [getcurrent().switch]

        def wake() -> None:
            switches, waiting[:] = [*waiting], []
            for switch in switches:
                switch()

        def run() -> None:
            try:
                results.append(call())
            except Exception as error:  # noqa: BLE001 raised again below
                errors.append(error)
            except Killed:
                return
            self._limited.discard(cast(greenlet, getcurrent()))
            if waiting:
                self._loop.at(self._loop.now, wake)

        self._limited.add(self._loop.start(run))
        end = self._loop.at(self._loop.now + max(seconds, 0.001), wake)
        self._loop.wait(waiting)
        end.clear()
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError
        return results[0]
