"""Stop calling HighLevel while it is down."""

import threading
import time
from collections import deque

from shared.clock import Clock

FAILURES = 5
WITHIN_SECONDS = 10.0
OPEN_SECONDS = 5.0
ALL_FROM_LOCATIONS = 3
MAX_LOCATIONS = 1000


class CircuitBreaker:
    """Opens after FAILURES failures in a row WITHIN_SECONDS, for all locations or for the failing ones only.

    While it is open, one call in OPEN_SECONDS is let through as a probe; the first that succeeds closes it. Failures of
    ALL_FROM_LOCATIONS or more locations open it for all; failures of fewer open it for these locations only. All
    threads may share it; times are monotonic seconds.
    """

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque(maxlen=FAILURES)  # (when, location), of the last row
        self._entering = threading.Lock()
        self._probe_of_all_at: float | None = None  # None: not open for all
        self._probe_at: dict[str, float] = {}  # by location, where it is open for single ones

    def delay(self, location: str) -> float:
        """Return the seconds until HighLevel may be called for this location again; 0 for now."""
        at = max(self._probe_at.get(location, 0.0), self._probe_of_all_at or 0.0)
        return max(0.0, at - self._clock.monotonic())

    def enter(self, location: str) -> float:
        """Return `delay`, immediately before a call. Where the breaker is open and it is 0, this call is the probe."""
        with self._entering:
            wait = self.delay(location)
            if not wait:
                self._delay_probes(location)
        return wait

    def record(self, location: str, *, failed: bool) -> None:
        """Record the end of a call. `failed`: no connection, no answer, or a 5xx."""
        if failed:
            self._record_failure(location)
        else:
            self._failures.clear()
            self._probe_at.pop(location, None)
            self._probe_of_all_at = None

    def _record_failure(self, location: str) -> None:
        self._delay_probes(location)
        now = self._clock.monotonic()
        self._failures.append((now, location))
        if len(self._failures) == FAILURES and now - self._failures[0][0] <= WITHIN_SECONDS:
            self._open({failed for _, failed in self._failures}, now + OPEN_SECONDS)
            self._failures.clear()

    def _open(self, locations: set[str], probe_at: float) -> None:
        if len(locations) >= ALL_FROM_LOCATIONS:
            self._probe_of_all_at = probe_at
            return
        self._probe_at |= dict.fromkeys(locations, probe_at)
        while len(self._probe_at) > MAX_LOCATIONS:
            del self._probe_at[next(iter(self._probe_at))]

    def _delay_probes(self, location: str) -> None:
        """Let the next probe wait where the breaker is open: one is under way, or has just failed."""
        probe_at = self._clock.monotonic() + OPEN_SECONDS
        if location in self._probe_at:
            self._probe_at[location] = probe_at
        if self._probe_of_all_at is not None:
            self._probe_of_all_at = probe_at
