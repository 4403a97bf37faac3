"""What this environment knows of each location's rate limit: a location that is out of quota is not called."""

import time
from dataclasses import dataclass

from create_conversation.clock import Clock
from highlevel.responses import ApiResult

# HighLevel's documented interval, for a 429 without any header.
DEFAULT_INTERVAL_SECONDS = 10.0
# HighLevel's documented rate, for a location whose headers were not seen yet.
DEFAULT_PACE_SECONDS = 0.1
# No header tells when the day ends: an empty day is asked again this often.
DAY_EMPTY_SECONDS = 900.0
MAX_LOCATIONS = 1000
# Calls of a window that retries leave to callers. Five instances (RetryConcurrency) that each know only their own last
# response overshoot by four at most, so that callers always find four.
RESERVE = 8


@dataclass(slots=True)
class _Window:
    max: int = 0
    remaining: int | None = None
    interval: float = DEFAULT_INTERVAL_SECONDS
    ends_at: float = 0.0
    blocked_until: float = 0.0


class RateLimits:
    """Learns from the rate-limit headers of every answer. Times are monotonic seconds."""

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def delay(self, location: str, *, in_background: bool = False) -> float:
        """Seconds until the location may be called; 0 for now.

        In the background the last RESERVE calls of a window are left to callers who wait, and neighbours racing for the
        last calls meet no 429.
        """
        window = self._windows.get(location)
        if window is None:
            return 0.0
        now = self._clock.monotonic()
        reserve = min(RESERVE, window.max // 2) if in_background else 0
        spent = window.remaining is not None and window.remaining <= reserve
        return max(0.0, window.blocked_until - now, window.ends_at - now if spent else 0.0)

    def min_interval(self, location: str) -> float:
        """Seconds between two calls that use up the location's limit evenly."""
        window = self._windows.get(location)
        return window.interval / window.max if window and window.max else DEFAULT_PACE_SECONDS

    def record_response(self, location: str, api_result: ApiResult) -> None:
        """Take note of an answer. The window's start is not announced: it is taken to be the first answer that shows
        more calls left than the one before, so an end is never expected too early."""
        limit, now = api_result.rate_limit, self._clock.monotonic()
        if limit is None and api_result.status != 429:
            return
        window = self._windows.pop(location, None) or _Window()
        self._windows[location] = window
        if len(self._windows) > MAX_LOCATIONS:
            del self._windows[next(iter(self._windows))]
        if limit is not None:
            window.interval = (limit.interval_ms or 1000 * DEFAULT_INTERVAL_SECONDS) / 1000
            window.max = limit.max or 0
            if limit.remaining is not None:
                if now >= window.ends_at or window.remaining is None or limit.remaining > window.remaining:
                    window.ends_at = now + window.interval
                window.remaining = limit.remaining
            if limit.daily_remaining == 0:
                window.blocked_until = now + DAY_EMPTY_SECONDS
        if api_result.status == 429:
            until = window.ends_at if window.ends_at > now else now + window.interval
            window.blocked_until = max(
                window.blocked_until, until if api_result.retry_after is None else now + api_result.retry_after
            )
