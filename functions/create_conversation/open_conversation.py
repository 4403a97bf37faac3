"""The one way of every submission: recorded? → token → HighLevel → record. Knows no door."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from create_conversation import submission_log
from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.clock import Clock
from create_conversation.errors import DeferredError, SubmissionError
from create_conversation.idempotency import IdempotencyStore, contact_key, delivery_key
from create_conversation.outcome import Outcome
from create_conversation.rate_limit import RateLimits
from create_conversation.senders.mapping import Target
from create_conversation.token_provider import Token, TokenProvider
from highlevel.client import HighLevel
from highlevel.responses import ApiResult

# Less than this is not worth a call to HighLevel.
MIN_CALL_SECONDS = 0.1
# Nobody knows for how long: what a caller is told, and how late what came last is sent when the pause ends.
PAUSED = Outcome("deferred", "paused", retry_after=60.0)


# A minted token keeps the scopes, and the location's consent, that its app had then: a new one may have more.
OF_A_MINTED_TOKEN = ("scope_missing", "location_refused")

type Call = Callable[[str, float], ApiResult]  # with a token, within so many seconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a try may take: `until` (monotonic seconds) bounds the whole, `attempt_seconds` each call to HighLevel.
    `in_background`: nobody waits, so leave the window's last calls, and write no names into the contact anew.
    `despite_breaker`: call HighLevel although the circuit breaker is open, for a submission over its time."""

    until: float
    attempt_seconds: float
    in_background: bool = False
    despite_breaker: bool = False


class ConversationOpener:
    """Opens conversations. Safe to use from several threads."""

    def __init__(
        self,
        highlevel: HighLevel,
        tokens: TokenProvider,
        records: IdempotencyStore,
        breaker: CircuitBreaker,
        quota: RateLimits,
        *,
        paused: bool = False,
        clock: Clock = time,
    ) -> None:
        self._highlevel = highlevel
        self._tokens = tokens
        self._records = records
        self._breaker = breaker
        self.quota = quota
        self._paused = paused
        self._clock = clock

    def open(self, target: Target, deadline: Deadline, *, need_id: bool = False) -> Outcome:
        """Open the conversation of that contact or person: opened, existing, deferred or rejected; raises nothing.

        `need_id`: look for the id of a conversation that exists already.
        """
        try:
            if target.contact is None:
                return self._open_for_person(target, deadline)
            return self._open(target, deadline, need_id)
        except SubmissionError as error:
            return Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 a mistake of ours must not lose a submission
            submission_log.failure(error)
            return Outcome.from_error(DeferredError("internal_error"))

    def must_wait(self, location: str, *, in_background: bool, despite_breaker: bool = False) -> Outcome | None:
        """Why, and how long, HighLevel is not to be called for this location; None if it may be."""
        if self._paused:
            return PAUSED
        if not despite_breaker and (wait := self._breaker.delay(location)):
            return _breaker_open(wait)
        wait = self.quota.delay(location, in_background=in_background)
        return Outcome("deferred", "quota_exhausted", retry_after=wait) if wait else None

    def _open_for_person(self, target: Target, deadline: Deadline) -> Outcome:
        key = delivery_key(target.delivery, *_details(target, with_names=False).values())
        if record := self._records.get(key):
            known = replace(target, contact=record.contact)
            return Outcome("existing", body=_body(known, record.conversation_id), contact=record.contact)
        details = _details(target, with_names=not deadline.in_background)
        outcome = self._ask(
            target,
            deadline,
            lambda token, within: self._highlevel.upsert_contact(token, target.location, details, within=within),
        )
        if outcome.name != "found" or not outcome.upstream:
            return outcome
        contact = outcome.upstream.contact
        outcome = replace(self._open(replace(target, contact=contact), deadline, need_id=False), contact=contact)
        if outcome.name in ("opened", "existing"):
            self._records.save(key, outcome.conversation, contact)
        return outcome

    def _open(self, target: Target, deadline: Deadline, need_id: bool) -> Outcome:
        contact = str(target.contact)
        key = contact_key(target.location, contact)
        record = self._records.get(key)
        if record and (record.conversation_id or not need_id):
            return Outcome("existing", body=_body(target, record.conversation_id))
        if record:
            return Outcome("existing", body=self._look_up(target, deadline))
        outcome = self._ask(
            target,
            deadline,
            lambda token, within: self._highlevel.create_conversation(token, target.location, contact, within=within),
        )
        if outcome.name in ("opened", "existing"):
            self._records.save(key, outcome.conversation)
            if need_id and outcome.body is None:
                return replace(outcome, body=self._look_up(target, deadline))
        return outcome

    def _ask(self, target: Target, deadline: Deadline, call: Call) -> Outcome:
        """Call HighLevel with the location's token; once more with a newer one, if it refuses this one."""
        if outcome := self._enter(target, deadline):  # before the token: issuing one is a call too
            return outcome
        token = self._tokens.token_for(target.location, deadline.until)
        outcome = self._ask_once(target, deadline, call, token)
        if (
            outcome.upstream
            and (outcome.upstream.token_suspect or (token.is_issued and outcome.reason in OF_A_MINTED_TOKEN))
            and (newer := self._tokens.replacement_token(token, target.location, deadline.until))
        ):
            outcome = self._ask_once(target, deadline, call, newer)
        return outcome

    def _enter(self, target: Target, deadline: Deadline) -> Outcome | None:
        """None for whoever may call now, as the circuit breaker's probe where that is open."""
        location, despite_breaker = target.location, deadline.despite_breaker
        if outcome := self.must_wait(location, in_background=deadline.in_background, despite_breaker=despite_breaker):
            return outcome
        wait = 0.0 if despite_breaker else self._breaker.enter(location)
        return _breaker_open(wait) if wait else None

    def _ask_once(self, target: Target, deadline: Deadline, call: Call, token: Token) -> Outcome:
        # The breaker has let it in; the window may have been used up since, by others or by the call before.
        if outcome := self.must_wait(target.location, in_background=deadline.in_background, despite_breaker=True):
            return outcome
        started = self._clock.monotonic()
        within = min(deadline.attempt_seconds, deadline.until - started)
        if within < MIN_CALL_SECONDS:
            raise DeferredError("deadline")
        api_result = call(token.text, within)
        self.quota.record_response(target.location, api_result)
        self._breaker.record(
            target.location, failed=api_result.outcome == "deferred" and (api_result.status or 500) >= 500
        )
        limited = api_result.status == 429
        return Outcome(
            api_result.outcome,
            api_result.reason,
            body=api_result.body,
            retry_after=self.quota.delay(target.location) if limited else api_result.retry_after,
            upstream=api_result,
            upstream_ms=round(1000 * (self._clock.monotonic() - started)),
        )

    def _look_up(self, target: Target, deadline: Deadline) -> dict[str, Any] | None:
        """The id of a conversation that exists: HighLevel's "already exists" names none. Whoever opened it may have it
        on record by now; else HighLevel's search. Trouble in looking never changes the outcome: None, then."""
        try:
            return self._found(target, str(target.contact), deadline)
        except SubmissionError:
            return None
        except Exception as error:  # noqa: BLE001 it exists all the same
            submission_log.failure(error)
            return None

    def _found(self, target: Target, contact: str, deadline: Deadline) -> dict[str, Any] | None:
        key = contact_key(target.location, contact)
        record = self._records.get(key, consistent=True)
        if record and record.conversation_id:
            return _body(target, record.conversation_id)
        if self.must_wait(target.location, in_background=False):
            return None
        token = self._tokens.token_for(target.location, deadline.until)
        within = deadline.until - self._clock.monotonic()
        if within < MIN_CALL_SECONDS:
            return None
        found = self._highlevel.find_conversation(token.text, target.location, contact, within=within)
        if found is None:
            return None
        self._records.save(key, found["id"])
        return _body(target, found["id"])


def _breaker_open(wait: float) -> Outcome:
    return Outcome("deferred", "breaker_open", retry_after=wait)


def _details(target: Target, *, with_names: bool) -> dict[str, str]:
    person = target.person
    if person is None:
        return {}
    details = {"email": person.email, "phone": person.phone}
    if with_names:
        details |= {"firstName": person.first_name, "lastName": person.last_name, "name": person.full_name}
    return {name: value for name, value in details.items() if value}


def _body(target: Target, conversation_id: str | None) -> dict[str, Any] | None:
    if conversation_id is None:
        return None
    conversation = {"id": conversation_id, "contactId": target.contact, "locationId": target.location}
    return {"success": True, "conversation": conversation}
