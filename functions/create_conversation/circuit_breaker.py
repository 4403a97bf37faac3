"""Stop asking a HighLevel that is down."""

import time
from collections import deque

from create_conversation.clock import Clock

FAILURES = 5
WITHIN_SECONDS = 10.0
OPEN_SECONDS = 5.0
ALL_FROM_LOCATIONS = 3


class CircuitBreaker:
    """Opens for OPEN_SECONDS after FAILURES failures in a row WITHIN_SECONDS; one success closes the count.

    If they are of one or two locations, it opens for these only: a sick location harms only itself.
    """

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._failed: deque[tuple[float, str]] = deque(maxlen=FAILURES)
        self._open_until: dict[str | None, float] = {}  # by location; None: for all

    def wait(self, location: str) -> float:
        """Seconds until HighLevel may be called for this location again; 0 for now."""
        until = max(self._open_until.get(location, 0.0), self._open_until.get(None, 0.0))
        return max(0.0, until - self._clock.monotonic())

    def record(self, location: str, *, failed: bool) -> None:
        """Take note of a call: failed means no connection, no answer or a 5xx."""
        if not failed:
            self._failed.clear()
            return
        now = self._clock.monotonic()
        self._failed.append((now, location))
        if len(self._failed) == FAILURES and now - self._failed[0][0] <= WITHIN_SECONDS:
            locations = {failed_for for _, failed_for in self._failed}
            opening: set[str | None] = {None} if len(locations) >= ALL_FROM_LOCATIONS else {*locations}
            still_open = {opened: until for opened, until in self._open_until.items() if until > now}
            self._open_until = still_open | dict.fromkeys(opening, now + OPEN_SECONDS)
            self._failed.clear()
