"""Stop asking a HighLevel that is down."""

import threading
import time
from collections import deque

from create_conversation.clock import Clock

FAILURES = 5
WITHIN_SECONDS = 10.0
OPEN_SECONDS = 5.0
ALL_FROM_LOCATIONS = 3
MAX_LOCATIONS = 1000


class CircuitBreaker:
    """Opens after FAILURES failures in a row WITHIN_SECONDS. While it is open, one call in OPEN_SECONDS is let through
    as a probe; the first that succeeds closes it.

    If the failures are of one or two locations, it opens for these only: a sick location harms only itself.
    """

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._failed: deque[tuple[float, str]] = deque(maxlen=FAILURES)
        self._entering = threading.Lock()
        self._next_probe: dict[str | None, float] = {}  # where it is open: by location; None: for all

    def delay(self, location: str) -> float:
        """Seconds until HighLevel may be called for this location again; 0 for now."""
        at = max(self._next_probe.get(location, 0.0), self._next_probe.get(None, 0.0))
        return max(0.0, at - self._clock.monotonic())

    def enter(self, location: str) -> float:
        """The same, immediately before a call: where the breaker is open and it is 0, the call is the probe, and all
        others wait."""
        with self._entering:
            wait = self.delay(location)
            if not wait:
                self._delay_probes(location)
        return wait

    def record(self, location: str, *, failed: bool) -> None:
        """Take note of a call: failed means no connection, no answer or a 5xx."""
        if not failed:
            self._failed.clear()
            self._next_probe.pop(location, None)
            self._next_probe.pop(None, None)
            return
        self._delay_probes(location)
        now = self._clock.monotonic()
        self._failed.append((now, location))
        if len(self._failed) == FAILURES and now - self._failed[0][0] <= WITHIN_SECONDS:
            locations = {failed_for for _, failed_for in self._failed}
            opening: set[str | None] = {None} if len(locations) >= ALL_FROM_LOCATIONS else {*locations}
            self._next_probe |= dict.fromkeys(opening, now + OPEN_SECONDS)
            self._failed.clear()
            if len(self._next_probe) > MAX_LOCATIONS:
                del self._next_probe[next(iter(self._next_probe))]

    def _delay_probes(self, location: str) -> None:
        at = self._clock.monotonic() + OPEN_SECONDS
        self._next_probe |= {place: at for place in (location, None) if place in self._next_probe}
