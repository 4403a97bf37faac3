"""The one way of every submission: recorded? → token → HighLevel → record. Knows no door."""

import time
from dataclasses import replace
from typing import Any

from create_conversation import canonical
from create_conversation.circuit_breaker import OPEN_SECONDS, CircuitBreaker
from create_conversation.errors import Deferred, Rejected, SubmissionError
from create_conversation.outcome import Outcome
from create_conversation.quota import Quota
from create_conversation.records import Records
from create_conversation.secrets import Secret, SecretMissing, SecretUnavailable
from create_conversation.senders import Target
from highlevel.client import HighLevel
from highlevel.tokens import TokenError, read_tokens

# Less than this is not worth a call to HighLevel.
MIN_CALL_SECONDS = 0.1


class Flow:
    """Opens conversations. Safe to use from several threads."""

    def __init__(
        self, highlevel: HighLevel, token: Secret, records: Records, breaker: CircuitBreaker, quota: Quota
    ) -> None:
        self._highlevel = highlevel
        self._token = token
        self._records = records
        self._breaker = breaker
        self.quota = quota

    def open(
        self,
        target: Target,
        *,
        until: float,
        attempt_seconds: float,
        need_id: bool = False,
        in_background: bool = False,
    ) -> Outcome:
        """Open the conversation of that contact: opened, existing, deferred or rejected; raises nothing.

        `until` (monotonic seconds) bounds the whole, `attempt_seconds` each call to HighLevel. `need_id`: look for the
        id of a conversation that exists already. `in_background`: nobody waits, so leave the window's last calls.
        """
        try:
            return self._open(target, until, attempt_seconds, need_id, in_background)
        except SubmissionError as error:
            return Outcome.of(error)
        except Exception as error:  # noqa: BLE001 a mistake of ours must not lose a submission
            canonical.failure(error)
            return Outcome.of(Deferred("internal_error"))

    def must_wait(self, location: str, *, in_background: bool) -> Outcome | None:
        """Why, and how long, HighLevel is not to be called for this location; None if it may be."""
        if wait := self._breaker.wait():
            return Outcome("deferred", "breaker_open", retry_after=wait, spread=OPEN_SECONDS)
        if wait := self.quota.wait(location, in_background=in_background):
            return Outcome("deferred", "quota_exhausted", retry_after=wait, spread=self.quota.interval(location))
        return None

    def _open(
        self, target: Target, until: float, attempt_seconds: float, need_id: bool, in_background: bool
    ) -> Outcome:
        record = self._records.find(target.location, target.contact)
        if record and (record.conversation_id or not need_id):
            return Outcome("existing", body=_body(target, record.conversation_id))
        secret = self._secret()
        if record:
            return Outcome("existing", body=self._look_up(target, _token(secret, target), until))

        outcome = self._create(target, _token(secret, target), until, attempt_seconds, in_background)
        if outcome.upstream and outcome.upstream.token_suspect and (newer := self._token.newer_than(secret)):
            secret = newer
            outcome = self._create(target, _token(secret, target), until, attempt_seconds, in_background)

        if outcome.name in ("opened", "existing"):
            self._records.remember(target.location, target.contact, _id(outcome.body))
            if need_id and outcome.body is None:
                found = self._look_up(target, _token(secret, target), until)
                return replace(outcome, body=found)
        return outcome

    def _secret(self) -> str:
        try:
            return self._token.get()
        except SecretMissing:
            raise Rejected("no_token", "The secret HighLevelToken has no value yet: run make token.") from None
        except SecretUnavailable:
            raise Deferred("token_unavailable") from None

    def _create(self, target: Target, token: str, until: float, attempt_seconds: float, in_background: bool) -> Outcome:
        if outcome := self.must_wait(target.location, in_background=in_background):
            return outcome
        started = time.monotonic()
        within = min(attempt_seconds, until - started)
        if within < MIN_CALL_SECONDS:
            raise Deferred("deadline")
        verdict = self._highlevel.create_conversation(token, target.location, target.contact, within=within)
        self.quota.learn(target.location, verdict)
        self._breaker.record(failed=verdict.outcome == "deferred" and (verdict.status or 500) >= 500)
        limited = verdict.status == 429
        return Outcome(
            verdict.outcome,
            verdict.reason,
            body=verdict.body,
            retry_after=self.quota.wait(target.location) if limited else verdict.retry_after,
            spread=self.quota.interval(target.location) if limited else 0.0,
            upstream=verdict,
            upstream_ms=round(1000 * (time.monotonic() - started)),
        )

    def _look_up(self, target: Target, token: str, until: float) -> dict[str, Any] | None:
        """HighLevel's "already exists" names no id. Whoever opened it may have it on record by now; else its search."""
        record = self._records.find(target.location, target.contact, consistent=True)
        if record and record.conversation_id:
            return _body(target, record.conversation_id)
        within = until - time.monotonic()
        if within < MIN_CALL_SECONDS or self.must_wait(target.location, in_background=False):
            return None
        found = self._highlevel.find_conversation(token, target.location, target.contact, within=within)
        if found is None:
            return None
        self._records.remember(target.location, target.contact, found["id"])
        return _body(target, found["id"])


def _token(secret: str, target: Target) -> str:
    try:
        return read_tokens(secret).of(target.location)
    except TokenError as error:
        raise Rejected(error.reason, f"HighLevelToken: {error}.") from None


def _body(target: Target, conversation_id: str | None) -> dict[str, Any] | None:
    if conversation_id is None:
        return None
    conversation = {"id": conversation_id, "contactId": target.contact, "locationId": target.location}
    return {"success": True, "conversation": conversation}


def _id(body: dict[str, Any] | None) -> str | None:
    return body["conversation"]["id"] if body else None
