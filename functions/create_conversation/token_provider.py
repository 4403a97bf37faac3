"""The token that each location is called with: out of the secret HighLevelToken, or minted by an agency's connection.

An agency's access token opens no conversation: it gets a token for each location, which lives a day. One is issued for
each location and day. It is held in memory and shared with the other environments in the table `Records`, encrypted by
a key made of the connection's client secret: whoever may read the table but not HighLevelToken reads no token, and
whoever may read HighLevelToken could mint one anyway.
"""

import base64
import hmac
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.clock import Clock
from create_conversation.errors import REASONS, DeferredError, RejectedError, SubmissionError
from create_conversation.idempotency import IdempotencyStore
from create_conversation.secret_cache import CachedSecret, SecretError, SecretMissingError, SecretUnavailableError
from highlevel.client import HighLevel
from highlevel.oauth import OAuth, OAuthDeferredError, OAuthError, issue_location_token
from highlevel.responses import ApiResult
from highlevel.tokens import TokenError, Tokens, read_tokens

# This long before a token expires, nobody begins a call with it, and the secret is read again for a rotated one.
MARGIN_SECONDS = 60.0
# A minted token is renewed when this part of its life is over: 72 minutes before the end of a day.
RENEW_AFTER = 0.95
# For an answer that does not say how long its token lives; HighLevel documents a day.
ASSUMED_LIFE_SECONDS = 6 * 3600.0
# Refused sooner after its minting, a token is not replaced: the next one would be refused too.
MIN_AGE_SECONDS = 60.0
ISSUE_SECONDS = 2.5
# With less than this nobody begins to mint: a token whose answer is cut off is minted in vain, and once more.
MIN_ISSUE_SECONDS = 1.0
CALL_SECONDS = 0.5  # left for the call that the token is for
# Of the right to mint, across environments: a call and the writing down. Whoever dies or fails in it blocks no longer.
LEASE_SECONDS = 5.0
# After a failure this environment asks for no token of that location for so long.
PAUSE_SECONDS = 5.0
MIN_CALL_SECONDS = 0.1
MAX_LOCATIONS = 1000
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.1, 0.5
_DETAILS = {
    "location_refused": "The app is not installed in this location, or the location is another agency's.",
    "scope_missing": "The agency's connection lacks the scope oauth.write, which mints the tokens of its locations.",
    "token_kind_refused": "The connection is a sub-account's, not the agency's: make connect, for the whole agency.",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token to call with, and the text of the secret that it comes from."""

    text: str = field(repr=False)
    secret: str = field(repr=False)
    is_issued: bool = False


@dataclass(frozen=True, slots=True)
class _IssuedToken:
    """Times are Unix times: an environment that is frozen for hours must notice that they have passed."""

    text: str = field(repr=False)
    issued_at: float
    expires_at: float

    def is_alive(self, now: float) -> bool:
        return now < self.expires_at - min(MARGIN_SECONDS, 0.5 * (self.expires_at - self.issued_at))

    def is_fresh(self, now: float) -> bool:
        return now < self.issued_at + RENEW_AFTER * (self.expires_at - self.issued_at)


@dataclass(slots=True)
class _CacheEntry:
    """What this environment has of one location. `lock`: whoever looks for a new token holds it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    issued: _IssuedToken | None = None
    failure: SubmissionError | None = None
    failed_until: float = 0.0


class TokenProvider:
    """Gives the token for a location. Safe to use from several threads; `until` is always in monotonic seconds."""

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
        self._records = records
        self._breaker = breaker
        self._clock = clock
        self._entries: dict[str, _CacheEntry] = {}
        self._entries_lock = threading.Lock()

    def token_for(self, location: str, until: float) -> Token:
        """The token to call HighLevel with for that location; never one that is known to have expired. Raises Deferred
        or Rejected."""
        secret = self._text()
        tokens = _read(secret)
        if tokens.oauth is None:
            return Token(_plain(tokens, location), secret)
        if tokens.oauth.user_type == "Company":
            return Token(self._issued_token(location, secret, tokens.oauth, until), secret, is_issued=True)
        secret, tokens = self._unexpired(secret, tokens)
        return Token(_plain(tokens, location), secret)

    def replacement_token(self, refused: Token, location: str, until: float) -> Token | None:
        """A token other than this one, which HighLevel has just refused; None when there is none. Raises Deferred or
        Rejected for what prevents minting one."""
        oauth = _read(refused.secret).oauth
        if oauth and oauth.user_type == "Company":
            issued = self._issued_token(location, refused.secret, oauth, until, refused.text)
            return None if issued == refused.text else Token(issued, refused.secret, is_issued=True)
        newer = self._newer_than(refused.secret)
        return self.token_for(location, until) if newer else None

    # The secret

    def _text(self) -> str:
        try:
            return self._secret.get()
        except SecretMissingError:
            raise RejectedError("no_token", "The secret HighLevelToken has no value yet: run make token.") from None
        except SecretUnavailableError:
            raise DeferredError("token_unavailable") from None

    def _newer_than(self, secret: str) -> str | None:
        try:
            return self._secret.newer_than(secret)
        except SecretError:
            return None

    def _unexpired(self, secret: str, tokens: Tokens) -> tuple[str, Tokens]:
        """The same while the connection's access token lives, else what a rotation has put in its place."""
        now = self._clock.time()
        if (
            tokens.oauth
            and tokens.oauth.has_expired(now + MARGIN_SECONDS)
            and (newer := self._newer_than(secret)) is not None
        ):
            secret, tokens = newer, _read(newer)
        if tokens.oauth and tokens.oauth.has_expired(now):
            raise DeferredError("token_expired")
        return secret, tokens

    # Minted tokens

    def _issued_token(self, location: str, secret: str, oauth: OAuth, until: float, refused: str | None = None) -> str:
        """The location's minted token, if need be a new one: whoever has none waits for the one who gets it, whoever
        has one that still lives goes on with it. The refused one only where it was minted a moment ago."""
        entry = self._slot(location)
        usable = self._usable(entry.issued, refused)
        if usable and usable.is_fresh(self._clock.time()):
            return usable.text
        # Only one renews it, and nobody right after that has failed.
        if usable and (self._clock.monotonic() < entry.failed_until or entry.lock.locked()):
            return usable.text
        if not entry.lock.acquire(timeout=max(0.0, until - MIN_CALL_SECONDS - self._clock.monotonic())):
            raise DeferredError("token_unavailable", retry_after=PAUSE_SECONDS)
        try:
            entry.issued = self._found_or_new(entry, location, secret, oauth, until, refused)
        except SubmissionError as error:
            if error.upstream:
                entry.failure = error
                entry.failed_until = self._clock.monotonic() + max(PAUSE_SECONDS, error.retry_after or 0.0)
            if usable and usable.is_alive(self._clock.time()):
                return usable.text
            raise
        finally:
            entry.lock.release()
        return entry.issued.text

    def _slot(self, location: str) -> _CacheEntry:
        with self._entries_lock:
            entry = self._entries[location] = (
                self._entries.pop(location) if location in self._entries else _CacheEntry()
            )
            if len(self._entries) > MAX_LOCATIONS:
                del self._entries[next(iter(self._entries))]
            return entry

    def _found_or_new(
        self, entry: _CacheEntry, location: str, secret: str, oauth: OAuth, until: float, refused: str | None
    ) -> _IssuedToken:
        held = self._usable(entry.issued, refused)
        if held and held.is_fresh(self._clock.time()):  # whoever held the lock has got it
            return held
        if (
            entry.issued
            and entry.issued.text == refused
            and self._clock.time() < entry.issued.issued_at + MIN_AGE_SECONDS
        ):
            return entry.issued
        failure = entry.failure
        if failure and self._clock.monotonic() < entry.failed_until:
            raise type(failure)(failure.reason, failure.detail, failure.retry_after)  # no `upstream`: no call was made
        found = self._shared(location, oauth, held, until, refused)
        return found or self._issue_token(location, secret, oauth, until)

    def _shared(
        self, location: str, oauth: OAuth, held: _IssuedToken | None, until: float, refused: str | None
    ) -> _IssuedToken | None:
        """The token that another environment has minted, waited for while one is at it; None for the one who is to
        mint. While the records cannot be read, each environment mints for itself."""
        key = _key(location)
        poll = _FIRST_POLL_SECONDS
        waited = False
        while True:
            item = self._records.call("GetItem", Key=key)
            if item is None:
                if waited:  # somebody is minting: a second token would be one too many
                    raise DeferredError("token_unavailable", retry_after=PAUSE_SECONDS)
                return None
            found = self._usable(_decrypt(item.get("Item"), oauth, location), refused)
            if found and found.is_fresh(self._clock.time()):
                return found
            if _number(item.get("Item"), "issuing_until") <= self._clock.time():
                self._seconds_to_mint(until)
                leased = self._lease(key)
                if leased is not None:
                    # Between the look and the lease somebody may have been faster.
                    found = self._usable(_decrypt(leased, oauth, location), refused)
                    return found if found and found.is_fresh(self._clock.time()) else None
            if found := found or held:
                return found
            if self._clock.monotonic() + poll > until - MIN_CALL_SECONDS:
                raise DeferredError("token_unavailable", retry_after=PAUSE_SECONDS)
            self._clock.sleep(poll)
            waited, poll = True, min(2 * poll, _LAST_POLL_SECONDS)

    def _usable(self, issued: _IssuedToken | None, refused: str | None) -> _IssuedToken | None:
        return issued if issued and issued.text != refused and issued.is_alive(self._clock.time()) else None

    def _seconds_to_mint(self, until: float) -> float:
        """Seconds for a call. Raises Deferred if there is no time."""
        within = min(ISSUE_SECONDS, until - self._clock.monotonic() - CALL_SECONDS)
        if within < MIN_ISSUE_SECONDS:
            raise DeferredError("deadline")
        return within

    def _lease(self, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take the right to mint; the item as it then is, or None if another environment has it, or so many want it
        that DynamoDB throttles. A failed minting leaves it to run out: nobody repeats it at once."""
        now = self._clock.time()
        answer = self._records.call(
            "UpdateItem",
            Key=key,
            UpdateExpression="SET issuing_until = :until, expires_at = if_not_exists(expires_at, :until)",
            ConditionExpression="attribute_not_exists(issuing_until) OR issuing_until <= :now",
            ExpressionAttributeValues={
                ":until": {"N": str(math.ceil(now + LEASE_SECONDS))},
                ":now": {"N": f"{now:.3f}"},
            },
            ReturnValues="ALL_NEW",
        )
        return (answer or {}).get("Attributes")

    def _issue_token(self, location: str, secret: str, oauth: OAuth, until: float) -> _IssuedToken:
        secret, tokens = self._unexpired(secret, Tokens({}, oauth))
        oauth = _agency(tokens)
        try:
            issued = self._ask(location, oauth, until)
        except DeferredError as error:
            newer = self._newer_than(secret) if error.reason == "token_refused" else None
            if newer is None:
                raise
            oauth = _agency(_read(newer))
            issued = self._ask(location, oauth, until)
        self._records.call(
            "UpdateItem",
            Key=_key(location),
            UpdateExpression=(
                "SET encrypted = :encrypted, issued_at = :issued_at, expires_at = :expires_at REMOVE issuing_until"
            ),
            ExpressionAttributeValues={
                ":encrypted": {"B": _encrypt(issued.text, oauth, location)},
                ":issued_at": {"N": f"{issued.issued_at:.0f}"},
                ":expires_at": {"N": f"{issued.expires_at:.0f}"},
            },
        )
        return issued

    def _ask(self, location: str, oauth: OAuth, until: float) -> _IssuedToken:
        within = self._seconds_to_mint(until)
        asked_at = self._clock.time()
        try:
            token = issue_location_token(
                self._highlevel, str(oauth.access_token), str(oauth.company_id), location, within=within
            )
        except OAuthError as error:
            self._breaker.record(
                location, failed=isinstance(error, OAuthDeferredError) and (error.status or 500) >= 500
            )
            raise _refusal(error) from None
        self._breaker.record(location, failed=False)
        text = _plain(Tokens({location: token.access_token}), location)
        return _IssuedToken(text, asked_at, float(token.expires_at or asked_at + ASSUMED_LIFE_SECONDS))


def _read(secret: str) -> Tokens:
    try:
        return read_tokens(secret)
    except TokenError as error:
        raise RejectedError(error.reason, f"HighLevelToken: {error}.") from None


def _agency(tokens: Tokens) -> OAuth:
    """The agency's connection, fit to mint with."""
    oauth = tokens.oauth
    if oauth is None or oauth.access_token is None or oauth.user_type != "Company":
        raise DeferredError("token_refused")  # the secret has become one of another kind: the next try reads it as such
    if oauth.company_id is None:
        raise RejectedError("token_malformed", "HighLevelToken: oauth.company_id is missing.")
    return oauth


def _plain(tokens: Tokens, location: str) -> str:
    try:
        return tokens.of(location)
    except TokenError as error:
        raise RejectedError(error.reason, f"HighLevelToken: {error}.") from None


def _refusal(error: OAuthError) -> SubmissionError:
    """The outcome of a submission whose location's token HighLevel does not mint."""
    if isinstance(error, OAuthDeferredError):
        asked = ApiResult("deferred", error.reason, status=error.status)
        return DeferredError(error.reason, _DETAILS.get(error.reason, ""), error.retry_after, upstream=asked)
    reason = error.reason if error.reason in REASONS else "upstream_refused"
    asked = ApiResult("rejected", reason, status=error.status)
    return RejectedError(reason, _DETAILS.get(reason, ""), upstream=asked)


# The shared record: `encrypted` (the token), `issued_at`, `expires_at` (the table's time to live too), `issuing_until`.


def _key(location: str) -> dict[str, Any]:
    return {"pk": {"S": f"token#{location}"}}


def _number(item: Mapping[str, Any] | None, name: str) -> float:
    return float((item or {}).get(name, {}).get("N", 0))


def _encryption_key(oauth: OAuth, location: str) -> bytes:
    """32 bytes for this connection and location alone: a record moved to another location opens nothing."""
    about = f"token of a location\n{oauth.client_id}\n{oauth.company_id}\n{location}"
    return hmac.digest(oauth.client_secret.encode(), about.encode(), "sha256")


def _encrypt(token: str, oauth: OAuth, location: str) -> str:
    """In base64, as DynamoDB takes bytes."""
    from nacl.secret import SecretBox  # only agencies need it

    return base64.b64encode(SecretBox(_encryption_key(oauth, location)).encrypt(token.encode())).decode("ascii")


def _decrypt(item: Mapping[str, Any] | None, oauth: OAuth, location: str) -> _IssuedToken | None:
    """The token of a record; None where there is none, or none of this connection's."""
    encrypted = (item or {}).get("encrypted", {}).get("B")
    if encrypted is None:
        return None
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        text = SecretBox(_encryption_key(oauth, location)).decrypt(base64.b64decode(encrypted)).decode()
    except (CryptoError, ValueError):
        return None
    return _IssuedToken(text, _number(item, "issued_at"), _number(item, "expires_at"))
