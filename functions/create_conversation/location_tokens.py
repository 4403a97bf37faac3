"""The tokens that HighLevel issues for an agency's connection, one for each location.

An agency's access token opens no conversation. The token of a location lives a day; it is issued once for all
instances, held in memory, and shared with the other instances by `IssuedTokenCache`.
"""

import threading
import time
from dataclasses import dataclass, field

from create_conversation import token_secret
from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.errors import HLC, REASONS, DeferredError, RejectedError, SubmissionError
from create_conversation.idempotency import IdempotencyStore
from create_conversation.issued_token_cache import IssuedToken, IssuedTokenCache
from create_conversation.secret_cache import CachedSecret
from highlevel.client import HighLevel
from highlevel.oauth import OAuth, OAuthDeferredError, OAuthError, issue_location_token
from highlevel.responses import ApiResult
from highlevel.tokens import Tokens
from shared.clock import Clock
from shared.cooldown import Cooldown
from shared.lru_cache import LruCache

# For a response that does not say how long its token lives; HighLevel documents a day.
ASSUMED_LIFE_SECONDS = 6 * 3600.0
# A token that is refused this soon after it was issued is not replaced: the next one would be refused, too.
MIN_AGE_SECONDS = 60.0
ISSUE_SECONDS = 2.5
# No request for a token begins with less time than this: if its response is cut off, the token is lost.
MIN_ISSUE_SECONDS = 1.0
CALL_SECONDS = 0.5  # left for the call that the token is for
# After a failure this instance asks for no token of that location for this long.
COOLDOWN_SECONDS = 5.0
MIN_CALL_SECONDS = 0.1
MAX_LOCATIONS = 1000
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.1, 0.5
_DETAILS = {
    "location_refused": "The app is not installed in this location, or the location is another agency's.",
    "scope_missing": "The agency's connection lacks the scope oauth.write, which issues the tokens of its locations.",
    "token_kind_refused": f"The connection is a sub-account's, not the agency's: {HLC} connect, for the whole agency.",
}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token is needed: for a location, from the connection in that text of the secret, until monotonic seconds.

    `refused`: the token that HighLevel has just refused, if there was one.
    """

    location: str
    secret: str = field(repr=False)
    oauth: OAuth
    until: float
    refused: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class CacheEntry:
    """What this instance knows of one location. The thread that looks for a new token holds `lock`."""

    cooldown: Cooldown
    lock: threading.Lock = field(default_factory=threading.Lock)
    issued: IssuedToken | None = None
    failure: OAuthError | None = None


class LocationTokens:
    """Gives an agency's token for a location. All threads may share it."""

    def __init__(
        self,
        secret: CachedSecret,
        highlevel: HighLevel,
        records: IdempotencyStore,
        breaker: CircuitBreaker,
        clock: Clock = time,
    ) -> None:
        self._secret = secret
        self._highlevel = highlevel
        self._shared = IssuedTokenCache(records, clock)
        self._breaker = breaker
        self._clock = clock
        self.entries = LruCache(MAX_LOCATIONS, lambda: CacheEntry(Cooldown(COOLDOWN_SECONDS, clock)))

    def get(self, request: TokenRequest) -> str:
        """Return the location's token, a new one where it is needed.

        A thread without a usable token waits for the one that gets it; a thread with a usable one goes on with that.
        The refused token is returned again only if it was issued less than MIN_AGE_SECONDS ago. Raises DeferredError or
        RejectedError.
        """
        entry = self.entries.get(request.location)
        usable = self._usable(entry.issued, request)
        if usable and usable.is_fresh(self._clock.time()):
            return usable.text
        # One thread renews it, and none right after a failure.
        if usable and (entry.cooldown.is_active or entry.lock.locked()):
            return usable.text
        if not entry.lock.acquire(timeout=max(0.0, request.until - MIN_CALL_SECONDS - self._clock.monotonic())):
            raise _unavailable()
        try:
            entry.issued = self._find_or_issue(entry, request)
        except SubmissionError:
            if usable and usable.is_alive(self._clock.time()):
                return usable.text
            raise
        finally:
            entry.lock.release()
        return entry.issued.text

    def _find_or_issue(self, entry: CacheEntry, request: TokenRequest) -> IssuedToken:
        held = self._usable(entry.issued, request)
        if held and held.is_fresh(self._clock.time()):  # the thread that held the lock has got it
            return held
        is_refused = entry.issued is not None and entry.issued.text == request.refused
        if entry.issued and is_refused and self._clock.time() < entry.issued.issued_at + MIN_AGE_SECONDS:
            return entry.issued
        if entry.failure and entry.cooldown.is_active:
            raise _submission_error(entry.failure, was_called=False)
        return self._wait_for_other_instance(request, held) or self._issue(entry, request)

    def _wait_for_other_instance(self, request: TokenRequest, held: IssuedToken | None) -> IssuedToken | None:
        """Return the token that another instance issues, waiting for it; `held` if that takes time.

        None: this instance must issue it. While DynamoDB fails, each instance issues its own.
        """
        poll_seconds, has_waited = _FIRST_POLL_SECONDS, False
        while True:
            record = self._shared.read(request.location, request.oauth)
            if record is None:
                if has_waited:  # another instance issues one: a second token would be one too many
                    raise _unavailable()
                return None
            found = self._usable(record.token, request)
            if found and found.is_fresh(self._clock.time()):
                return found
            if record.issuing_until <= self._clock.time():
                self._seconds_to_issue(request.until)
                leased = self._shared.take_lease(request.location, request.oauth)
                if leased is not None:
                    # Another instance may have issued one between the read and the lease.
                    found = self._usable(leased.token, request)
                    return found if found and found.is_fresh(self._clock.time()) else None
            if found or held:
                return found or held
            if self._clock.monotonic() + poll_seconds > request.until - MIN_CALL_SECONDS:
                raise _unavailable()
            self._clock.sleep(poll_seconds)
            poll_seconds, has_waited = min(2 * poll_seconds, _LAST_POLL_SECONDS), True

    def _usable(self, issued: IssuedToken | None, request: TokenRequest) -> IssuedToken | None:
        if issued is None or issued.text == request.refused:
            return None
        return issued if issued.is_alive(self._clock.time()) else None

    def _seconds_to_issue(self, until: float) -> float:
        """Return the seconds that a request for a token may take. Raises DeferredError if there are too few."""
        within = min(ISSUE_SECONDS, until - self._clock.monotonic() - CALL_SECONDS)
        if within < MIN_ISSUE_SECONDS:
            raise DeferredError("deadline")
        return within

    def _issue(self, entry: CacheEntry, request: TokenRequest) -> IssuedToken:
        """Have HighLevel issue a token and share it; after a failed call, start the location's cooldown."""
        secret, tokens = token_secret.unexpired(
            self._secret, request.secret, Tokens({}, request.oauth), self._clock.time()
        )
        try:
            issued, oauth = self._ask(request, secret, token_secret.agency(tokens))
        except OAuthError as error:
            entry.failure = error
            entry.cooldown.start(at_least=(error.retry_after or 0.0) if isinstance(error, OAuthDeferredError) else 0.0)
            raise _submission_error(error, was_called=True) from None
        self._shared.save(request.location, oauth, issued)
        return issued

    def _ask(self, request: TokenRequest, secret: str, oauth: OAuth) -> tuple[IssuedToken, OAuth]:
        """Ask HighLevel for a token, again with a newer access token of the agency if it refuses the first.

        Return the token, and the connection that HighLevel accepted.
        """
        try:
            return self._ask_once(request, oauth), oauth
        except OAuthDeferredError as error:
            newer = token_secret.newer_than(self._secret, secret) if error.reason == "token_refused" else None
            if newer is None:
                raise
        oauth = token_secret.agency(token_secret.read(newer))
        return self._ask_once(request, oauth), oauth

    def _ask_once(self, request: TokenRequest, oauth: OAuth) -> IssuedToken:
        location, within = request.location, self._seconds_to_issue(request.until)
        asked_at = self._clock.time()
        try:
            token = issue_location_token(
                self._highlevel, str(oauth.access_token), str(oauth.company_id), location, within=within
            )
        except OAuthError as error:
            is_failure = isinstance(error, OAuthDeferredError) and (error.status or 500) >= 500
            self._breaker.record(location, failed=is_failure)
            raise
        self._breaker.record(location, failed=False)
        text = token_secret.token_of(Tokens({location: token.access_token}), location)
        return IssuedToken(text, asked_at, float(token.expires_at or asked_at + ASSUMED_LIFE_SECONDS))


def _unavailable() -> DeferredError:
    return DeferredError("token_unavailable", retry_after=COOLDOWN_SECONDS)


def _submission_error(error: OAuthError, *, was_called: bool) -> SubmissionError:
    """Return the error of a submission whose location gets no token. `was_called`: HighLevel was asked for this one."""
    if isinstance(error, OAuthDeferredError):
        upstream = ApiResult("deferred", error.reason, status=error.status) if was_called else None
        return DeferredError(error.reason, _DETAILS.get(error.reason, ""), error.retry_after, upstream=upstream)
    reason = error.reason if error.reason in REASONS else "upstream_refused"
    upstream = ApiResult("rejected", reason, status=error.status) if was_called else None
    return RejectedError(reason, _DETAILS.get(reason, ""), upstream=upstream)
