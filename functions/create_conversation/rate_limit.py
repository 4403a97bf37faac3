"""What this instance knows of each location's rate limit at HighLevel: a location without quota is not called."""

import math
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
# Calls of a window that retries leave to callers.
CALLS_FOR_CALLERS = 4


@dataclass(slots=True)
class _Window:
    """The current window of one location. Times are monotonic seconds.

    `began`: when it is expected to have begun, halfway through the time of its first call: HighLevel counts a call when
    it arrives; if that was too early, the latest possible time. `known_at`: when the response to that call came.
    `fastest`: the shortest time that a call has taken.
    """

    max: int = 0
    remaining: int | None = None
    seconds: float = DEFAULT_INTERVAL_SECONDS
    began: float = 0.0
    known_at: float = 0.0
    fastest: float = math.inf
    blocked_until: float = 0.0
    calls: int = 0

    @property
    def ends_at(self) -> float:
        """Return when it has certainly ended."""
        return self.known_at + self.seconds

    @property
    def opens_at(self) -> float:
        """Return when to send a call that arrives after its end, and is the first of the next window.

        To arrive takes half of what the fastest call took, or longer.
        """
        return self.began + self.seconds - self.fastest / 2


class RateLimits:
    """Learns from the rate-limit headers of every response. All threads may share it.

    `retry_concurrency`: how many instances work on the retry queue at most. Each knows only its own last response: when
    one has stopped at the reserve, each of the others may make one more call before it stops too. CALLS_FOR_CALLERS are
    left then.
    """

    def __init__(self, clock: Clock = time, retry_concurrency: int = 2) -> None:
        self._clock = clock
        self._reserve = CALLS_FOR_CALLERS + retry_concurrency - 1
        self._windows = LruCache(MAX_LOCATIONS, _Window)

    def delay(self, location: str, *, in_background: bool = False) -> float:
        """Return the seconds until the location may be called; 0 for now.

        `in_background`: leave the last calls of a window to callers, and be the first in the next one.
        """
        window = self._windows.peek(location)
        if window is None:
            return 0.0
        now = self._clock.monotonic()
        reserve = min(self._reserve, window.max // 2) if in_background else 0
        is_spent = window.remaining is not None and window.remaining <= reserve
        until = window.opens_at if in_background else window.ends_at
        return max(0.0, window.blocked_until - now, until - now if is_spent else 0.0)

    def min_interval(self, location: str) -> float:
        """Return the seconds between two calls that use up the location's limit evenly."""
        window = self._windows.peek(location)
        return window.seconds / window.max if window and window.max else DEFAULT_MIN_INTERVAL_SECONDS

    def calls_made(self, location: str) -> int:
        """Return how many calls this instance has made for the location."""
        window = self._windows.peek(location)
        return window.calls if window else 0

    def record_response(self, location: str, api_result: ApiResult, seconds: float = 0.0) -> None:
        """Record the rate-limit headers and a 429 of HighLevel's response to a call that took so many seconds."""
        limit, now = api_result.rate_limit, self._clock.monotonic()
        is_refused = api_result.status == 429
        window = self._windows.get(location)
        window.calls += 1
        if limit is not None:
            _record_limit(window, limit, now - seconds, now)
        if is_refused:
            until = window.ends_at if window.ends_at > now else now + window.seconds
            if api_result.retry_after is not None:
                until = now + api_result.retry_after
            window.blocked_until = max(window.blocked_until, until)


def _record_limit(window: _Window, limit: RateLimit, sent: float, now: float) -> None:
    """Record the headers of a response that came at `now` to a call that was sent at `sent`.

    HighLevel does not say when a window began. It is taken to begin with the first response that shows more calls left
    than the one before, or whose call was sent to be the first in it. If that call shows fewer, it may have arrived
    before the end: the next is sent when the window has certainly ended.
    """
    is_next = sent >= window.opens_at
    has_ended = sent >= window.ends_at
    window.fastest = min(window.fastest, now - sent)
    window.seconds = (limit.interval_ms or 1000 * DEFAULT_INTERVAL_SECONDS) / 1000
    window.max = limit.max or 0
    if limit.remaining is not None:
        if is_next and not has_ended and limit.remaining < (window.remaining or 0):
            window.began = window.known_at + window.fastest / 2  # so that the next one opens at `ends_at`
        elif is_next or window.remaining is None or limit.remaining > window.remaining:
            window.began, window.known_at = (sent + now) / 2, now
        window.remaining = limit.remaining
    if limit.daily_remaining == 0:
        window.blocked_until = now + DAY_EMPTY_SECONDS
