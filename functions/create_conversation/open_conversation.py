"""The use case: open the conversation of one contact at HighLevel. It knows no trigger."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.errors import DeferredError, Explanation, OutcomeName, SubmissionError
from create_conversation.idempotency import IdempotencyRecord, IdempotencyStore, contact_key, delivery_key
from create_conversation.outcome import Outcome
from create_conversation.pause import Pause
from create_conversation.rate_limit import RateLimits
from create_conversation.senders.mapping import Target
from create_conversation.token_provider import Token, TokenProvider
from highlevel.client import HighLevel
from highlevel.responses import ApiResult
from shared.clock import Clock
from shared.observability import internal_error

# No call to HighLevel begins with less time than this.
MIN_CALL_SECONDS = 0.1
# The end of a pause is not known. `retry_after`: what a caller reads, and the delay of a submission that came last.
PAUSED = Outcome("deferred", "paused", retry_after=60.0)
# An issued token keeps the scopes and the location's consent that its app had then: a new one may have more.
REASONS_TO_REPLACE_ISSUED_TOKEN = ("scope_missing", "location_refused")

# After these the submission goes on with the person's e-mail address or phone number instead of the contact's id.
CONTACT_UNUSABLE = ("ids_refused", "scope_missing")
MAX_REFUSED_DETAILS = 3  # each costs one more call

type Call = Callable[[str, float], ApiResult]  # with a token, within that many seconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long an attempt may take.

    `until` (monotonic seconds) bounds the whole, `attempt_seconds` each call to HighLevel. `in_background`: no caller
    waits, so leave the last calls of the rate-limit window, and do not write names into a contact again.
    `despite_breaker`: call HighLevel although the circuit breaker is open, for a submission over its age limit.
    """

    until: float
    attempt_seconds: float
    in_background: bool = False
    despite_breaker: bool = False


@dataclass(frozen=True, slots=True)
class ConversationOpener:
    """Opens conversations. All threads may share it."""

    highlevel: HighLevel
    tokens: TokenProvider
    records: IdempotencyStore
    breaker: CircuitBreaker
    rate_limits: RateLimits
    pause: Pause
    clock: Clock = time

    def open(self, target: Target, deadline: Deadline, *, need_id: bool = False) -> Outcome:
        """Open the conversation of that contact or person: opened, existing, deferred or rejected; raises nothing.

        `need_id`: look for the id of a conversation that exists already.
        """
        try:
            if target.contact is None:
                return self._open_for_person(target, deadline)
            if target.person is None:
                return self._open_for_contact(target, deadline, need_id)
            return self._open_for_contact_or_person(target, deadline, need_id)
        except SubmissionError as error:
            return Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 a mistake in this code must not lose a submission
            internal_error(error)
            return Outcome.from_error(DeferredError("internal_error"))

    def must_wait(self, location: str, *, in_background: bool, despite_breaker: bool = False) -> Outcome | None:
        """Return why, and for how long, HighLevel must not be called for this location; None if it may be called."""
        if self.pause.is_active:
            return PAUSED
        if not despite_breaker and (wait := self.breaker.delay(location)):
            return _breaker_open(wait)
        wait = self.rate_limits.delay(location, in_background=in_background)
        return Outcome("deferred", "quota_exhausted", retry_after=wait) if wait else None

    # --- idempotency record? -> contact -> conversation ---------------------------------------------------------------

    def _open_for_contact_or_person(self, target: Target, deadline: Deadline, need_id: bool) -> Outcome:
        """Open the contact's conversation, or the person's if HighLevel refuses the id or it is another person's."""
        if target.is_unverified:
            outcome = self._verify_contact(target, deadline)
        else:
            outcome = self._open_for_contact(target, deadline, need_id)
        if outcome.reason not in CONTACT_UNUSABLE:
            return outcome
        outcome = self._open_for_person(replace(target, contact=None), deadline)
        return _without(outcome, "contact_id: not_used")

    def _verify_contact(self, target: Target, deadline: Deadline) -> Outcome:
        """Open the conversation of a contact id that a visitor may have filled in.

        Only if the contact has the person's e-mail address or phone number.
        """
        from create_conversation.senders.contact_details import is_same_person  # the target has loaded it

        key = delivery_key(target.delivery, *_details(target, with_names=False).values())
        if record := self.records.get(key):
            return _recorded(target, record)
        contact = str(target.contact)
        outcome = self._call(
            target,
            deadline,
            lambda token, within: self.highlevel.get_contact(token, target.location, contact, within=within),
        )
        if outcome.reason == "upstream_refused":  # the contact may not be read; the e-mail address or number may do
            return replace(outcome, reason="ids_refused")
        if outcome.name != OutcomeName.FOUND or not outcome.upstream or not target.person:
            return outcome
        if not is_same_person(target.person, outcome.upstream.email, outcome.upstream.phone):
            return Outcome(OutcomeName.REJECTED, "ids_refused")
        outcome = self._open_for_contact(target, deadline, need_id=False)
        if outcome.name in (OutcomeName.OPENED, OutcomeName.EXISTING):
            self.records.save(key, outcome.conversation, contact)
        return outcome

    def _open_for_contact(self, target: Target, deadline: Deadline, need_id: bool) -> Outcome:
        key = contact_key(target.location, str(target.contact))
        if record := self.records.get(key):
            outcome = Outcome(OutcomeName.EXISTING, body=_body(target, record.conversation_id))
        else:
            outcome = self._create(target, deadline)
            if outcome.name in (OutcomeName.OPENED, OutcomeName.EXISTING):
                self.records.save(key, outcome.conversation)
        if need_id and outcome.name in (OutcomeName.OPENED, OutcomeName.EXISTING) and outcome.body is None:
            return replace(outcome, body=self._look_up(target, deadline))
        return outcome

    def _open_for_person(self, target: Target, deadline: Deadline) -> Outcome:
        key = delivery_key(target.delivery, *_details(target, with_names=False).values())
        if record := self.records.get(key):
            return _recorded(target, record)
        outcome = self._find_or_create_contact(target, deadline)
        if outcome.name != OutcomeName.FOUND or not outcome.upstream:
            return outcome
        contact, done_without = outcome.upstream.contact, outcome.explanation
        outcome = self._open_for_contact(replace(target, contact=contact), deadline, need_id=False)
        if outcome.name in (OutcomeName.OPENED, OutcomeName.EXISTING):
            self.records.save(key, outcome.conversation, contact)
        return replace(outcome, contact=contact, explanation=outcome.explanation + done_without)

    def _find_or_create_contact(self, target: Target, deadline: Deadline) -> Outcome:
        """Find or create the person's contact; go on without what HighLevel refuses, as long as something is left.

        If its message does not say which of the two it refuses, the e-mail address is left out first. If the phone
        number alone is refused too, it was the number: then the e-mail address is tried alone.
        """
        dropped: list[str] = []
        details = _details(target, with_names=not deadline.in_background)
        others = {"email": [*target.more_emails], "phone": [*target.more_phones]}
        doubted: dict[str, str] = {}
        while True:
            outcome = self._upsert(target, details, deadline)
            refused, is_named = _refused_detail(outcome, details)
            if not refused:
                return _refusal_explained(outcome, dropped)
            dropped.append(refused)
            left = {name: value for name, value in details.items() if name != refused}
            if not is_named and not doubted and "phone" in left:
                doubted = {"email": details["email"]}
            elif others[refused]:
                left[refused] = others[refused].pop(0)
            elif refused == "phone" and doubted:
                left, doubted = left | doubted, {}
                dropped.remove("email")
            if not left.keys() & others.keys() or len(dropped) > MAX_REFUSED_DETAILS:
                return _refusal_explained(outcome, dropped)
            details = left

    def _upsert(self, target: Target, details: dict[str, str], deadline: Deadline) -> Outcome:
        return self._call(
            target,
            deadline,
            lambda token, within: self.highlevel.upsert_contact(token, target.location, details, within=within),
        )

    def _create(self, target: Target, deadline: Deadline) -> Outcome:
        contact = str(target.contact)

        def call(token: str, within: float) -> ApiResult:
            return self.highlevel.create_conversation(token, target.location, contact, within=within)

        return self._call(target, deadline, call)

    # --- one call to HighLevel ----------------------------------------------------------------------------------------

    def _call(self, target: Target, deadline: Deadline, call: Call) -> Outcome:
        """Call HighLevel with the location's token, and again with a newer one if it refuses the first."""
        if outcome := self._enter(target, deadline):  # before the token: issuing one is a call too
            return outcome
        token = self.tokens.token_for(target.location, deadline.until)
        outcome = self._call_once(target, deadline, call, token)
        if not _should_retry_with_newer_token(outcome, token):
            return outcome
        newer = self.tokens.replacement_token(token, target.location, deadline.until)
        return self._call_once(target, deadline, call, newer) if newer else outcome

    def _enter(self, target: Target, deadline: Deadline) -> Outcome | None:
        """Return None if the call may begin now (as the probe of an open circuit breaker), else why not."""
        location, despite_breaker = target.location, deadline.despite_breaker
        if outcome := self.must_wait(location, in_background=deadline.in_background, despite_breaker=despite_breaker):
            return outcome
        wait = 0.0 if despite_breaker else self.breaker.enter(location)
        return _breaker_open(wait) if wait else None

    def _call_once(self, target: Target, deadline: Deadline, call: Call, token: Token) -> Outcome:
        # The breaker has let this call in. The window may have been used up since, by other calls or by the one before.
        if outcome := self.must_wait(target.location, in_background=deadline.in_background, despite_breaker=True):
            return outcome
        started = self.clock.monotonic()
        within = min(deadline.attempt_seconds, deadline.until - started)
        if within < MIN_CALL_SECONDS:
            raise DeferredError("deadline")
        api_result = call(token.text, within)
        self.rate_limits.record_response(target.location, api_result)
        is_failure = api_result.outcome == "deferred" and (api_result.status or 500) >= 500
        self.breaker.record(target.location, failed=is_failure)
        is_limited = api_result.status == 429
        return Outcome(
            api_result.outcome,
            api_result.reason,
            body=api_result.body,
            retry_after=self.rate_limits.delay(target.location) if is_limited else api_result.retry_after,
            upstream=api_result,
            upstream_ms=round(1000 * (self.clock.monotonic() - started)),
        )

    # --- the id of a conversation that exists already -----------------------------------------------------------------

    def _look_up(self, target: Target, deadline: Deadline) -> dict[str, Any] | None:
        """Return the conversation with its id, which HighLevel's "already exists" does not contain; None if unknown.

        An error in the look-up never changes the outcome.
        """
        try:
            return self._find_conversation(target, str(target.contact), deadline)
        except SubmissionError:
            return None
        except Exception as error:  # noqa: BLE001 the conversation exists all the same
            internal_error(error)
            return None

    def _find_conversation(self, target: Target, contact: str, deadline: Deadline) -> dict[str, Any] | None:
        """Read the record again, which another instance may have saved meanwhile, then ask HighLevel's search."""
        key = contact_key(target.location, contact)
        record = self.records.get(key, consistent=True)
        if record and record.conversation_id:
            return _body(target, record.conversation_id)
        if self.must_wait(target.location, in_background=False):
            return None
        token = self.tokens.token_for(target.location, deadline.until)
        within = deadline.until - self.clock.monotonic()
        if within < MIN_CALL_SECONDS:
            return None
        found = self.highlevel.find_conversation(token.text, target.location, contact, within=within)
        if found is None:
            return None
        self.records.save(key, found["id"])
        return _body(target, found["id"])


def _should_retry_with_newer_token(outcome: Outcome, token: Token) -> bool:
    if outcome.upstream is None:
        return False
    return outcome.upstream.token_suspect or (token.is_issued and outcome.reason in REASONS_TO_REPLACE_ISSUED_TOKEN)


def _recorded(target: Target, record: IdempotencyRecord) -> Outcome:
    known = replace(target, contact=record.contact)
    return Outcome(OutcomeName.EXISTING, body=_body(known, record.conversation_id), contact=record.contact)


def _refused_detail(outcome: Outcome, details: Mapping[str, str]) -> tuple[str, bool]:
    """Return the detail that HighLevel refuses, and whether that is certain.

    It is the one that HighLevel's message names, or the only one; else the e-mail address is assumed.
    """
    if outcome.reason != "contact_refused" or outcome.upstream is None:
        return "", False
    present = [name for name in ("email", "phone") if name in details]
    named = [name for name in present if name in outcome.upstream.message]
    return next(iter(named or present), ""), bool(named) or len(present) == 1


def _refusal_explained(outcome: Outcome, dropped: list[str]) -> Outcome:
    """Add to the outcome what was dropped before, and to a refusal HighLevel's message."""
    for name in dropped:
        outcome = _without(outcome, f"{name}: refused by HighLevel")
    if outcome.reason != "contact_refused" or outcome.upstream is None:
        return outcome
    message = outcome.upstream.message
    return replace(outcome, detail=f"HighLevel: {message}." if message else "HighLevel's message may not be shown.")


def _without(outcome: Outcome, note: str) -> Outcome:
    return replace(outcome, explanation=outcome.explanation + Explanation(dropped=(note,)))


def _breaker_open(wait: float) -> Outcome:
    return Outcome("deferred", "breaker_open", retry_after=wait)


def _details(target: Target, *, with_names: bool) -> dict[str, str]:
    """Return the members of the person that HighLevel's upsert gets, without empty ones."""
    person = target.person
    if person is None:
        return {}
    details = {"email": person.email, "phone": person.phone}
    if with_names:
        details |= {"firstName": person.first_name, "lastName": person.last_name, "name": person.full_name}
    return {name: value for name, value in details.items() if value}


def _body(target: Target, conversation_id: str | None) -> dict[str, Any] | None:
    """Return HighLevel's response body for a conversation whose id is known."""
    if conversation_id is None:
        return None
    conversation = {"id": conversation_id, "contactId": target.contact, "locationId": target.location}
    return {"success": True, "conversation": conversation}
