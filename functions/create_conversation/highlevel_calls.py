"""One call to HighLevel for a location: whether it may be made now, with which token, and what its answer teaches."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.errors import DeferredError
from create_conversation.outcome import Outcome
from create_conversation.pause import Pause
from create_conversation.rate_limit import RateLimits
from create_conversation.token_provider import Token, TokenProvider
from highlevel.client import HighLevel
from highlevel.responses import ApiResult
from shared.clock import Clock

# No call to HighLevel begins with less time than this.
MIN_CALL_SECONDS = 0.1
# The end of a pause is not known. `retry_after`: what a caller reads, and the delay of a submission that came last.
PAUSED = Outcome("deferred", "paused", retry_after=60.0)
# An issued token keeps the scopes and the location's consent that its app had then: a new one may have more.
REASONS_TO_REPLACE_ISSUED_TOKEN = ("scope_missing", "location_refused")

type Call = Callable[[str, float], ApiResult]  # with a token, within that many seconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long an attempt may take.

    `until` (monotonic seconds) bounds the whole, `attempt_seconds` each call to HighLevel. `in_background`: no caller
    waits, so leave the last calls of the rate-limit window. `despite_breaker`: call HighLevel although the circuit
    breaker is open, for a submission over its age limit.
    """

    until: float
    attempt_seconds: float
    in_background: bool = False
    despite_breaker: bool = False


@dataclass(frozen=True, slots=True)
class HighLevelCalls:
    """Makes calls to HighLevel. All threads may share it."""

    highlevel: HighLevel
    tokens: TokenProvider
    breaker: CircuitBreaker
    rate_limits: RateLimits
    pause: Pause
    clock: Clock = time

    def must_wait(self, location: str, *, in_background: bool, despite_breaker: bool = False) -> Outcome | None:
        """Return why, and for how long, HighLevel must not be called for this location; None if it may be called."""
        if self.pause.is_active:
            return PAUSED
        if not despite_breaker and (wait := self.breaker.delay(location)):
            return _breaker_open(wait)
        wait = self.rate_limits.delay(location, in_background=in_background)
        return Outcome("deferred", "quota_exhausted", retry_after=wait) if wait else None

    def call(self, location: str, deadline: Deadline, call: Call) -> Outcome:
        """Call HighLevel with the location's token, and again with a newer one if it refuses the first.

        Raises DeferredError or RejectedError where no call was made: no time, or no token.
        """
        if outcome := self._enter(location, deadline):  # before the token: issuing one is a call too
            return outcome
        token = self.tokens.token_for(location, deadline.until)
        outcome = self._call_once(location, deadline, call, token)
        if not _should_retry_with_newer_token(outcome, token):
            return outcome
        newer = self.tokens.replacement_token(token, location, deadline.until)
        return self._call_once(location, deadline, call, newer) if newer else outcome

    def seconds_left(self, deadline: Deadline) -> float:
        """Return the seconds until the attempt must end."""
        return deadline.until - self.clock.monotonic()

    def _enter(self, location: str, deadline: Deadline) -> Outcome | None:
        """Return None if the call may begin now (as the probe of an open circuit breaker), else why not."""
        despite_breaker = deadline.despite_breaker
        if outcome := self.must_wait(location, in_background=deadline.in_background, despite_breaker=despite_breaker):
            return outcome
        wait = 0.0 if despite_breaker else self.breaker.enter(location)
        return _breaker_open(wait) if wait else None

    def _call_once(self, location: str, deadline: Deadline, call: Call, token: Token) -> Outcome:
        # The breaker has let this call in. The window may have been used up since, by other calls or by the one before.
        if outcome := self.must_wait(location, in_background=deadline.in_background, despite_breaker=True):
            return outcome
        started = self.clock.monotonic()
        within = min(deadline.attempt_seconds, deadline.until - started)
        if within < MIN_CALL_SECONDS:
            raise DeferredError("deadline")
        api_result = call(token.text, within)
        self.rate_limits.record_response(location, api_result, self.clock.monotonic() - started)
        is_failure = api_result.outcome == "deferred" and (api_result.status or 500) >= 500
        self.breaker.record(location, failed=is_failure)
        is_limited = api_result.status == 429
        return Outcome(
            api_result.outcome,
            api_result.reason,
            body=api_result.body,
            retry_after=self.rate_limits.delay(location) if is_limited else api_result.retry_after,
            upstream=api_result,
            upstream_ms=round(1000 * (self.clock.monotonic() - started)),
        )


def _should_retry_with_newer_token(outcome: Outcome, token: Token) -> bool:
    if outcome.upstream is None:
        return False
    return outcome.upstream.token_suspect or (token.is_issued and outcome.reason in REASONS_TO_REPLACE_ISSUED_TOKEN)


def _breaker_open(wait: float) -> Outcome:
    return Outcome("deferred", "breaker_open", retry_after=wait)
