"""The token that each location is called with: out of the secret HighLevelToken, or minted by an agency's connection.

An agency's access token opens no conversation: it mints a token of each location, which lives a day. One is minted for
each location and day. It is held in memory and shared with the other environments in the table `Records`, sealed with
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
from create_conversation.errors import REASONS, Deferred, Rejected, SubmissionError
from create_conversation.records import Records
from create_conversation.secrets import Secret, SecretError, SecretMissing, SecretUnavailable
from highlevel.client import HighLevel
from highlevel.oauth import OAuth, OAuthDeferred, OAuthError, mint_location_token
from highlevel.tokens import TokenError, Tokens, read_tokens
from highlevel.verdict import Verdict

# This long before a token expires, nobody begins a call with it, and the secret is read again for a rotated one.
MARGIN_SECONDS = 60.0
# A minted token is renewed when this part of its life is over: 72 minutes before the end of a day.
RENEW_AFTER = 0.95
# For an answer that does not say how long its token lives; HighLevel documents a day.
ASSUMED_LIFE_SECONDS = 6 * 3600.0
# Refused sooner after its minting, a token is not replaced: the next one would be refused too.
MIN_AGE_SECONDS = 60.0
MINT_SECONDS = 2.5
# With less than this nobody begins to mint: a token whose answer is cut off is minted in vain, and once more.
MIN_MINT_SECONDS = 1.0
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
    is_minted: bool = False


@dataclass(frozen=True, slots=True)
class _Minted:
    """Times are Unix times: an environment that is frozen for hours must notice that they have passed."""

    text: str = field(repr=False)
    minted_at: float
    expires_at: float

    def is_alive(self, now: float) -> bool:
        return now < self.expires_at - min(MARGIN_SECONDS, 0.5 * (self.expires_at - self.minted_at))

    def is_fresh(self, now: float) -> bool:
        return now < self.minted_at + RENEW_AFTER * (self.expires_at - self.minted_at)


@dataclass(slots=True)
class _Slot:
    """What this environment has of one location. `lock`: whoever looks for a new token holds it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    minted: _Minted | None = None
    failure: SubmissionError | None = None
    failed_until: float = 0.0


class LocationTokens:
    """Gives the token for a location. Safe to use from several threads; `until` is always in monotonic seconds."""

    def __init__(
        self, secret: Secret, highlevel: HighLevel, records: Records, breaker: CircuitBreaker, clock: Clock = time
    ) -> None:
        self._secret = secret
        self._highlevel = highlevel
        self._records = records
        self._breaker = breaker
        self._clock = clock
        self._slots: dict[str, _Slot] = {}
        self._slots_lock = threading.Lock()

    def of(self, location: str, until: float) -> Token:
        """The token to call HighLevel with for that location; never one that is known to have expired. Raises Deferred
        or Rejected."""
        secret = self._text()
        tokens = _read(secret)
        if tokens.oauth is None:
            return Token(_plain(tokens, location), secret)
        if tokens.oauth.user_type == "Company":
            return Token(self._minted(location, secret, tokens.oauth, until), secret, is_minted=True)
        secret, tokens = self._unexpired(secret, tokens)
        return Token(_plain(tokens, location), secret)

    def instead_of(self, refused: Token, location: str, until: float) -> Token | None:
        """A token other than this one, which HighLevel has just refused; None when there is none. Raises Deferred or
        Rejected for what prevents minting one."""
        oauth = _read(refused.secret).oauth
        if oauth and oauth.user_type == "Company":
            minted = self._minted(location, refused.secret, oauth, until, refused.text)
            return None if minted == refused.text else Token(minted, refused.secret, is_minted=True)
        newer = self._newer_than(refused.secret)
        return self.of(location, until) if newer else None

    # The secret

    def _text(self) -> str:
        try:
            return self._secret.get()
        except SecretMissing:
            raise Rejected("no_token", "The secret HighLevelToken has no value yet: run make token.") from None
        except SecretUnavailable:
            raise Deferred("token_unavailable") from None

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
            raise Deferred("token_expired")
        return secret, tokens

    # Minted tokens

    def _minted(self, location: str, secret: str, oauth: OAuth, until: float, refused: str | None = None) -> str:
        """The location's minted token, if need be a new one: whoever has none waits for the one who gets it, whoever
        has one that still lives goes on with it. The refused one only where it was minted a moment ago."""
        slot = self._slot(location)
        usable = self._usable(slot.minted, refused)
        if usable and usable.is_fresh(self._clock.time()):
            return usable.text
        # Only one renews it, and nobody right after that has failed.
        if usable and (self._clock.monotonic() < slot.failed_until or slot.lock.locked()):
            return usable.text
        if not slot.lock.acquire(timeout=max(0.0, until - MIN_CALL_SECONDS - self._clock.monotonic())):
            raise Deferred("token_unavailable", retry_after=PAUSE_SECONDS)
        try:
            slot.minted = self._found_or_new(slot, location, secret, oauth, until, refused)
        except SubmissionError as error:
            if error.upstream:
                slot.failure = error
                slot.failed_until = self._clock.monotonic() + max(PAUSE_SECONDS, error.retry_after or 0.0)
            if usable and usable.is_alive(self._clock.time()):
                return usable.text
            raise
        finally:
            slot.lock.release()
        return slot.minted.text

    def _slot(self, location: str) -> _Slot:
        with self._slots_lock:
            slot = self._slots[location] = self._slots.pop(location) if location in self._slots else _Slot()
            if len(self._slots) > MAX_LOCATIONS:
                del self._slots[next(iter(self._slots))]
            return slot

    def _found_or_new(
        self, slot: _Slot, location: str, secret: str, oauth: OAuth, until: float, refused: str | None
    ) -> _Minted:
        held = self._usable(slot.minted, refused)
        if held and held.is_fresh(self._clock.time()):  # whoever held the lock has got it
            return held
        if slot.minted and slot.minted.text == refused and self._clock.time() < slot.minted.minted_at + MIN_AGE_SECONDS:
            return slot.minted
        failure = slot.failure
        if failure and self._clock.monotonic() < slot.failed_until:
            raise type(failure)(failure.reason, failure.detail, failure.retry_after)  # no `upstream`: no call was made
        found = self._shared(location, oauth, held, until, refused)
        return found or self._mint(location, secret, oauth, until)

    def _shared(
        self, location: str, oauth: OAuth, held: _Minted | None, until: float, refused: str | None
    ) -> _Minted | None:
        """The token that another environment has minted, waited for while one is at it; None for the one who is to
        mint. While the records cannot be read, each environment mints for itself."""
        key = _key(location)
        poll = _FIRST_POLL_SECONDS
        waited = False
        while True:
            item = self._records.call("GetItem", Key=key)
            if item is None:
                if waited:  # somebody is minting: a second token would be one too many
                    raise Deferred("token_unavailable", retry_after=PAUSE_SECONDS)
                return None
            found = self._usable(_opened(item.get("Item"), oauth, location), refused)
            if found and found.is_fresh(self._clock.time()):
                return found
            if _number(item.get("Item"), "minting_until") <= self._clock.time():
                self._seconds_to_mint(until)
                leased = self._lease(key)
                if leased is not None:
                    # Between the look and the lease somebody may have been faster.
                    found = self._usable(_opened(leased, oauth, location), refused)
                    return found if found and found.is_fresh(self._clock.time()) else None
            if found := found or held:
                return found
            if self._clock.monotonic() + poll > until - MIN_CALL_SECONDS:
                raise Deferred("token_unavailable", retry_after=PAUSE_SECONDS)
            self._clock.sleep(poll)
            waited, poll = True, min(2 * poll, _LAST_POLL_SECONDS)

    def _usable(self, minted: _Minted | None, refused: str | None) -> _Minted | None:
        return minted if minted and minted.text != refused and minted.is_alive(self._clock.time()) else None

    def _seconds_to_mint(self, until: float) -> float:
        """Seconds for a call. Raises Deferred if there is no time."""
        within = min(MINT_SECONDS, until - self._clock.monotonic() - CALL_SECONDS)
        if within < MIN_MINT_SECONDS:
            raise Deferred("deadline")
        return within

    def _lease(self, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take the right to mint; the item as it then is, or None if another environment has it, or so many want it
        that DynamoDB throttles. A failed minting leaves it to run out: nobody repeats it at once."""
        now = self._clock.time()
        answer = self._records.call(
            "UpdateItem",
            Key=key,
            UpdateExpression="SET minting_until = :until, expires_at = if_not_exists(expires_at, :until)",
            ConditionExpression="attribute_not_exists(minting_until) OR minting_until <= :now",
            ExpressionAttributeValues={
                ":until": {"N": str(math.ceil(now + LEASE_SECONDS))},
                ":now": {"N": f"{now:.3f}"},
            },
            ReturnValues="ALL_NEW",
        )
        return (answer or {}).get("Attributes")

    def _mint(self, location: str, secret: str, oauth: OAuth, until: float) -> _Minted:
        secret, tokens = self._unexpired(secret, Tokens({}, oauth))
        oauth = _agency(tokens)
        try:
            minted = self._ask(location, oauth, until)
        except Deferred as error:
            newer = self._newer_than(secret) if error.reason == "token_refused" else None
            if newer is None:
                raise
            oauth = _agency(_read(newer))
            minted = self._ask(location, oauth, until)
        self._records.call(
            "UpdateItem",
            Key=_key(location),
            UpdateExpression=(
                "SET sealed = :sealed, minted_at = :minted_at, expires_at = :expires_at REMOVE minting_until"
            ),
            ExpressionAttributeValues={
                ":sealed": {"B": _seal(minted.text, oauth, location)},
                ":minted_at": {"N": f"{minted.minted_at:.0f}"},
                ":expires_at": {"N": f"{minted.expires_at:.0f}"},
            },
        )
        return minted

    def _ask(self, location: str, oauth: OAuth, until: float) -> _Minted:
        within = self._seconds_to_mint(until)
        asked_at = self._clock.time()
        try:
            token = mint_location_token(
                self._highlevel, str(oauth.access_token), str(oauth.company_id), location, within=within
            )
        except OAuthError as error:
            self._breaker.record(location, failed=isinstance(error, OAuthDeferred) and (error.status or 500) >= 500)
            raise _refusal(error) from None
        self._breaker.record(location, failed=False)
        text = _plain(Tokens({location: token.access_token}), location)
        return _Minted(text, asked_at, float(token.expires_at or asked_at + ASSUMED_LIFE_SECONDS))


def _read(secret: str) -> Tokens:
    try:
        return read_tokens(secret)
    except TokenError as error:
        raise Rejected(error.reason, f"HighLevelToken: {error}.") from None


def _agency(tokens: Tokens) -> OAuth:
    """The agency's connection, fit to mint with."""
    oauth = tokens.oauth
    if oauth is None or oauth.access_token is None or oauth.user_type != "Company":
        raise Deferred("token_refused")  # the secret has become one of another kind: the next try reads it as such
    if oauth.company_id is None:
        raise Rejected("token_malformed", "HighLevelToken: oauth.company_id is missing.")
    return oauth


def _plain(tokens: Tokens, location: str) -> str:
    try:
        return tokens.of(location)
    except TokenError as error:
        raise Rejected(error.reason, f"HighLevelToken: {error}.") from None


def _refusal(error: OAuthError) -> SubmissionError:
    """The outcome of a submission whose location's token HighLevel does not mint."""
    if isinstance(error, OAuthDeferred):
        asked = Verdict("deferred", error.reason, status=error.status)
        return Deferred(error.reason, _DETAILS.get(error.reason, ""), error.retry_after, upstream=asked)
    reason = error.reason if error.reason in REASONS else "upstream_refused"
    asked = Verdict("rejected", reason, status=error.status)
    return Rejected(reason, _DETAILS.get(reason, ""), upstream=asked)


# The shared record: `sealed` (the token), `minted_at`, `expires_at` (the table's time to live too), `minting_until`.


def _key(location: str) -> dict[str, Any]:
    return {"pk": {"S": f"token#{location}"}}


def _number(item: Mapping[str, Any] | None, name: str) -> float:
    return float((item or {}).get(name, {}).get("N", 0))


def _sealing_key(oauth: OAuth, location: str) -> bytes:
    """32 bytes for this connection and location alone: a record moved to another location opens nothing."""
    about = f"token of a location\n{oauth.client_id}\n{oauth.company_id}\n{location}"
    return hmac.digest(oauth.client_secret.encode(), about.encode(), "sha256")


def _seal(token: str, oauth: OAuth, location: str) -> str:
    """In base64, as DynamoDB takes bytes."""
    from nacl.secret import SecretBox  # only agencies need it

    return base64.b64encode(SecretBox(_sealing_key(oauth, location)).encrypt(token.encode())).decode("ascii")


def _opened(item: Mapping[str, Any] | None, oauth: OAuth, location: str) -> _Minted | None:
    """The token of a record; None where there is none, or none of this connection's."""
    sealed = (item or {}).get("sealed", {}).get("B")
    if sealed is None:
        return None
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        text = SecretBox(_sealing_key(oauth, location)).decrypt(base64.b64decode(sealed)).decode()
    except (CryptoError, ValueError):
        return None
    return _Minted(text, _number(item, "minted_at"), _number(item, "expires_at"))
