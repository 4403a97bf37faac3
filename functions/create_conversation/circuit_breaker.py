"""Stop asking a HighLevel that is down."""

import time
from collections import deque

FAILURES = 5
WITHIN_SECONDS = 10.0
OPEN_SECONDS = 5.0


class CircuitBreaker:
    """Opens for OPEN_SECONDS after FAILURES failures in a row WITHIN_SECONDS; one success closes the count."""

    def __init__(self) -> None:
        self._failed_at: deque[float] = deque(maxlen=FAILURES)
        self._open_until = 0.0

    def wait(self) -> float:
        """Seconds until HighLevel may be called again; 0 for now."""
        return max(0.0, self._open_until - time.monotonic())

    def record(self, *, failed: bool) -> None:
        """Take note of a call: failed means no connection, no answer or a 5xx."""
        if not failed:
            self._failed_at.clear()
            return
        now = time.monotonic()
        self._failed_at.append(now)
        if len(self._failed_at) == FAILURES and now - self._failed_at[0] <= WITHIN_SECONDS:
            self._open_until = now + OPEN_SECONDS
            self._failed_at.clear()
