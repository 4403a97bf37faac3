"""Virtual time: ordinary blocking code runs in greenlets, one at a time; one that sleeps lets the next one go on."""

import heapq
import itertools
from collections.abc import Callable

from greenlet import getcurrent, greenlet

START = 1_800_000_000.0  # Unix time of the first second


class Killed(BaseException):
    """The process ends here: out of time, or out of luck."""


class Loop:
    """A `Clock` whose hours pass as soon as all greenlets sleep. Of two events of one instant the older is first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._hub = getcurrent()
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, list[Callable[[], object]]]] = []
        self._is_running = False

    def time(self) -> float:
        return START + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        at = self.now + max(0.0, seconds)
        if self._events and self._events[0][0] <= at:
            self.wait(self.at(at, getcurrent().switch))
        else:
            self.now = at

    def at(self, when: float, call: Callable[[], object]) -> list[Callable[[], object]]:
        """Call it then. `clear()` of what is returned takes it back."""
        event = [call]
        heapq.heappush(self._events, (when, next(self._numbers), event))
        return event

    def start(self, call: Callable[[], None]) -> greenlet:
        """Run it side by side with the others, from now on."""
        started = greenlet(call, self._hub)
        self.at(self.now, started.switch)
        return started

    def run(self, until: float) -> None:
        """Let time pass."""
        self._is_running = True
        self.at(until, self.stop)
        while self._is_running:
            self.now, _, event = heapq.heappop(self._events)
            for call in event:
                call()

    def stop(self) -> None:
        self._is_running = False

    def wait(self, event: list[Callable[[], object]]) -> None:
        """Wait until a call of the event switches back; take the event back if an exception does."""
        try:
            self._hub.switch()
        except BaseException:
            event.clear()
            raise


class Group:
    """The greenlets of one process: it waits for them, and they end with it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._main: greenlet | None = None
        self._children: list[greenlet] = []

    def run(self, call: Callable[[], None], seconds: float) -> bool:
        """Call it in the current greenlet. False if it was killed, after that many seconds at the latest."""
        self._main = getcurrent()
        end = self._loop.at(self._loop.now + seconds, self.kill)
        try:
            call()
        except Killed:
            return False
        finally:
            end.clear()
            self._main = None
        return True

    def kill(self) -> None:
        """To be called by the loop, as an event."""
        main, children = self._main, self._children
        self._children = []
        for child in children:
            if not child.dead:
                child.throw(Killed)
        if main is not None:
            main.throw(Killed)

    def crash(self) -> None:
        """End the process here, in the midst of a call of its own."""
        self._loop.at(self._loop.now, self.kill)
        self._loop.sleep(1.0)

    def side_by_side(self, calls: list[Callable[[], None]]) -> None:
        """Run them in greenlets of their own; return when all have returned."""
        if len(calls) < 2:
            for call in calls:
                call()
            return
        left = len(calls)
        done = [getcurrent().switch]

        def run(call: Callable[[], None]) -> None:
            nonlocal left
            try:
                call()
            except Killed:
                return
            left -= 1
            if not left:
                self._loop.at(self._loop.now, lambda: [switch() for switch in done])

        self._children = [self._loop.start(lambda call=call: run(call)) for call in calls]  # type: ignore[misc]
        self._loop.wait(done)
