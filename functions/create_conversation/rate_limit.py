"""What this instance knows of each location's rate limit at HighLevel: a location without quota is not called."""

import time
from dataclasses import dataclass

from highlevel.responses import ApiResult, RateLimit
from shared.clock import Clock
from shared.lru_cache import LruCache

# HighLevel's documented interval, for a 429 without any header.
DEFAULT_INTERVAL_SECONDS = 10.0
# HighLevel's documented rate, for a location whose headers this instance has not seen yet.
DEFAULT_MIN_INTERVAL_SECONDS = 0.1
# No header says when the day ends: after an empty day the location is called again this often.
DAY_EMPTY_SECONDS = 900.0
MAX_LOCATIONS = 1000
# Calls of a window that retries leave to callers. Five instances (RetryConcurrency) each know only their own last
# response and overshoot by four at most, so callers always find four.
RESERVE = 8


@dataclass(slots=True)
class _Window:
    """The current window of one location. Times are monotonic seconds."""

    max: int = 0
    remaining: int | None = None
    seconds: float = DEFAULT_INTERVAL_SECONDS
    ends_at: float = 0.0
    blocked_until: float = 0.0
    calls: int = 0


class RateLimits:
    """Learns from the rate-limit headers of every response. All threads may share it."""

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._windows = LruCache(MAX_LOCATIONS, _Window)

    def delay(self, location: str, *, in_background: bool = False) -> float:
        """Return the seconds until the location may be called; 0 for now.

        `in_background`: leave the last RESERVE calls of a window to callers who wait.
        """
        window = self._windows.peek(location)
        if window is None:
            return 0.0
        now = self._clock.monotonic()
        reserve = min(RESERVE, window.max // 2) if in_background else 0
        is_spent = window.remaining is not None and window.remaining <= reserve
        return max(0.0, window.blocked_until - now, window.ends_at - now if is_spent else 0.0)

    def min_interval(self, location: str) -> float:
        """Return the seconds between two calls that use up the location's limit evenly."""
        window = self._windows.peek(location)
        return window.seconds / window.max if window and window.max else DEFAULT_MIN_INTERVAL_SECONDS

    def calls_made(self, location: str) -> int:
        """Return how many calls this instance has made for the location."""
        window = self._windows.peek(location)
        return window.calls if window else 0

    def record_response(self, location: str, api_result: ApiResult) -> None:
        """Record the rate-limit headers and a 429 of HighLevel's response for that location."""
        limit, now = api_result.rate_limit, self._clock.monotonic()
        is_refused = api_result.status == 429
        window = self._windows.get(location)
        window.calls += 1
        if limit is not None:
            _record_limit(window, limit, now)
        if is_refused:
            until = window.ends_at if window.ends_at > now else now + window.seconds
            if api_result.retry_after is not None:
                until = now + api_result.retry_after
            window.blocked_until = max(window.blocked_until, until)


def _record_limit(window: _Window, limit: RateLimit, now: float) -> None:
    """Record the headers of a response that came at `now`.

    HighLevel does not say when a window began. It is taken to begin with the first response that shows more calls left
    than the one before, so that its end is never expected too early.
    """
    window.seconds = (limit.interval_ms or 1000 * DEFAULT_INTERVAL_SECONDS) / 1000
    window.max = limit.max or 0
    if limit.remaining is not None:
        if now >= window.ends_at or window.remaining is None or limit.remaining > window.remaining:
            window.ends_at = now + window.seconds
        window.remaining = limit.remaining
    if limit.daily_remaining == 0:
        window.blocked_until = now + DAY_EMPTY_SECONDS
