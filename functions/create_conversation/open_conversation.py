"""The use case: open the conversation of one contact at HighLevel, and write the submission's words into it.

It knows no trigger. The steps: idempotency record? -> contact -> conversation -> message -> id -> badge -> tags and
fields.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

from create_conversation.contact_step import (
    ContactStep,
    has_fields,
    person_addresses,
    without,
)
from create_conversation.errors import DeferredError, MessageStatus, OutcomeName, SubmissionError
from create_conversation.highlevel_calls import Deadline, HighLevelCalls
from create_conversation.idempotency import IdempotencyRecord, IdempotencyStore, contact_key, delivery_key
from create_conversation.message_step import Attempt, MessageResult, MessageStep, message_key, window
from create_conversation.outcome import Outcome
from create_conversation.pause import Pause
from create_conversation.rate_limit import RateLimits
from create_conversation.senders.mapping import Target
from highlevel.responses import ApiResult
from shared.clock import Clock
from shared.observability import internal_error

__all__ = ["ConversationOpener", "Deadline"]

# After these the submission goes on with the person's e-mail address or phone number instead of the contact's id.
CONTACT_UNUSABLE = ("ids_refused", "scope_missing")


@dataclass(frozen=True, slots=True)
class ConversationOpener:
    """Opens conversations. All threads may share it. `mark_unread`: show them as unread in HighLevel's inbox."""

    calls: HighLevelCalls
    records: IdempotencyStore
    contacts: ContactStep
    messages: MessageStep
    mark_unread: bool = True
    clock: Clock = time

    @property
    def pause(self) -> Pause:
        """Whether sending is paused."""
        return self.calls.pause

    @property
    def rate_limits(self) -> RateLimits:
        """What is known of each location's rate limit."""
        return self.calls.rate_limits

    def must_wait(self, location: str, *, in_background: bool, despite_breaker: bool = False) -> Outcome | None:
        """Return why, and for how long, HighLevel must not be called for this location; None if it may be called."""
        return self.calls.must_wait(location, in_background=in_background, despite_breaker=despite_breaker)

    def process(self, target: Target, deadline: Deadline) -> Outcome:
        """Open the conversation and finish the submission: both steps, where no caller waits; raises nothing."""
        return self.known_outcome(target) or self.finish(target, self.open(target, deadline), deadline)

    def known_outcome(self, target: Target) -> Outcome | None:
        """Return the outcome of a submission of which this instance has in memory that nothing is left to do.

        It has the conversation's id, makes no call and raises nothing. None: `open` and `finish` ask what other
        instances have saved, too.
        """
        record = self.records.in_memory(self._record_key(target))
        if record is None:
            return None
        outcome = _recorded(target, record)
        if outcome.message is None and not self.messages.is_wanted(target) and not has_fields(target):
            return replace(outcome, message=MessageStatus.OFF)
        return outcome if outcome.message else None

    def open(self, target: Target, deadline: Deadline) -> Outcome:
        """Open the conversation of that contact or person: opened, existing, deferred or rejected; raises nothing."""
        try:
            if target.contact is None:
                return self._open_for_person(target, deadline)
            if target.person is None:
                return self._open_for_contact(target, deadline)
            return self._open_for_contact_or_person(target, deadline)
        except SubmissionError as error:
            return Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 a mistake in this code must not lose a submission
            internal_error(error)
            return Outcome.from_error(DeferredError("internal_error"))

    def finish(self, target: Target, outcome: Outcome, deadline: Deadline, *, need_id: bool = False) -> Outcome:
        """Write message, badge, tags and fields of a submission whose conversation is open; raises nothing.

        A failure of these never changes the outcome's name: it is its `unfinished`. `need_id`: look for the id of a
        conversation that exists already.
        """
        if not outcome.is_open:
            return self.not_finished(target, outcome)
        known = replace(target, contact=outcome.contact) if outcome.contact else target
        try:
            if outcome.message is not None:  # a record says that nothing is left to do
                return self._with_searched_id(known, outcome, deadline) if need_id else outcome
            return self._finish(known, outcome, deadline, need_id)
        except Exception as error:  # noqa: BLE001 the conversation is open all the same
            internal_error(error)
            return self.not_finished(target, outcome, Outcome("deferred", "internal_error"))

    def not_finished(self, target: Target, outcome: Outcome, reason: Outcome | None = None) -> Outcome:
        """Return the outcome of a submission whose message was not tried, for that reason where it is open."""
        is_wanted = self.messages.is_wanted(target)
        if outcome.name == OutcomeName.DEFERRED or (outcome.is_open and reason):
            return replace(outcome, message=_not_tried(is_wanted), unfinished=reason)
        return outcome

    # --- idempotency record? -> contact -> conversation ---------------------------------------------------------------

    def _record_key(self, target: Target) -> str:
        """Return the key of the record that says most of this submission."""
        if target.contact is None or target.is_unverified:
            return _delivery_key(target)
        if target.message is not None and self.messages.is_wanted(target):
            return message_key(target.location, target.contact, target.message)
        return contact_key(target.location, target.contact)

    def _open_for_contact_or_person(self, target: Target, deadline: Deadline) -> Outcome:
        """Open the contact's conversation, or the person's if HighLevel refuses the id or it is another person's."""
        if target.is_unverified:
            outcome = self._verify_contact(target, deadline)
        else:
            outcome = self._open_for_contact(target, deadline)
        if outcome.reason not in CONTACT_UNUSABLE:
            return outcome
        outcome = self._open_for_person(replace(target, contact=None), deadline)
        return without(outcome, "contact_id: not_used")

    def _verify_contact(self, target: Target, deadline: Deadline) -> Outcome:
        """Open the conversation of a contact id that a visitor may have filled in.

        Only if the contact has the person's e-mail address or phone number.
        """
        from create_conversation.senders.contact_details import is_same_person  # the target has loaded it

        if record := self.records.get(_delivery_key(target)):
            return _recorded(target, record)
        contact = str(target.contact)
        outcome = self.calls.call(
            target.location,
            deadline,
            lambda token, within: self.calls.highlevel.get_contact(token, target.location, contact, within=within),
        )
        if outcome.name != OutcomeName.FOUND or not outcome.upstream or not target.person:
            return outcome
        if not is_same_person(target.person, outcome.upstream.email, outcome.upstream.phone):
            return Outcome(OutcomeName.REJECTED, "ids_refused")
        return replace(self._open_for_contact(target, deadline), contact=contact)

    def _open_for_contact(self, target: Target, deadline: Deadline) -> Outcome:
        """Open the conversation of a known contact; existing, if the message is known to be written."""
        record, message = self._recall(target)
        if record or message:
            body = _body(target.location, target.contact, record.conversation_id) if record else None
            return Outcome(OutcomeName.EXISTING, body=body, message=message)
        outcome = self._create(target, deadline)
        if outcome.is_open:
            self.records.save(contact_key(target.location, str(target.contact)), outcome.conversation)
        return outcome

    def _recall(self, target: Target) -> tuple[IdempotencyRecord | None, MessageStatus | None]:
        """Return the contact's record, and what became of this delivery's message if nothing is left to do for it.

        By one read, unless the contact's record is in memory: then the claim of the message says the rest.
        """
        contact, message = str(target.contact), target.message
        key = contact_key(target.location, contact)
        if message is None or not self.messages.is_wanted(target):
            return self.records.get(key), None
        claim_key = message_key(target.location, contact, message)
        if record := self.records.in_memory(key):
            return record, None
        record, item = self.records.get_with_claim(key, claim_key)
        claim = item.of(message.received_at, window(message))
        return record, MessageStatus(claim.result) if claim and claim.is_complete else None

    def _open_for_person(self, target: Target, deadline: Deadline) -> Outcome:
        if record := self.records.get(_delivery_key(target)):
            return _recorded(target, record)
        outcome = self.contacts.find_or_create(target, deadline)
        contact, done_without = outcome.contact, outcome.explanation
        if outcome.name != OutcomeName.FOUND or contact is None:
            return outcome
        outcome = self._open_for_contact(replace(target, contact=contact), deadline)
        return replace(outcome, contact=contact, explanation=outcome.explanation + done_without)

    def _create(self, target: Target, deadline: Deadline) -> Outcome:
        contact = str(target.contact)

        def call(token: str, within: float) -> ApiResult:
            return self.calls.highlevel.create_conversation(token, target.location, contact, within=within)

        return self.calls.call(target.location, deadline, call)

    # --- message -> id -> badge -> tags, fields -----------------------------------------------------------------------

    def _finish(self, target: Target, outcome: Outcome, deadline: Deadline, need_id: bool) -> Outcome:
        result = self._write_message(target, outcome, deadline)
        needs_badge = result.is_own and self.mark_unread
        conversation, unread = outcome.conversation or result.conversation, None
        if conversation is None and (need_id or needs_badge):
            conversation, unread = _found(self._search(target, deadline))
        outcome = self._with_id(target, outcome, conversation)
        if needs_badge:
            self._mark_unread(target, outcome, unread, deadline)
        failure = result.unfinished or self._write_fields(target, result, deadline)
        return self._finished(target, replace(outcome, message=result.status, unfinished=failure))

    def _write_fields(self, target: Target, result: MessageResult, deadline: Deadline) -> Outcome | None:
        """Write tags and fields once the message is written. None, or why that is not done."""
        if result.is_complete or not has_fields(target):
            return None
        failure = self.contacts.write_fields(target, str(target.contact), deadline)
        if failure is None:
            result.complete()
        return failure

    def _write_message(self, target: Target, outcome: Outcome, deadline: Deadline) -> MessageResult:
        message = target.message
        if message is None or not self.messages.is_wanted(target):
            return MessageResult(MessageStatus.OFF)

        def find_conversation() -> Outcome:
            return _conversation(outcome.conversation) or self._search(target, deadline)

        contact = str(target.contact)
        return self.messages.write(
            Attempt(target.location, contact, message, deadline, find_conversation, has_fields(target))
        )

    def _finished(self, target: Target, outcome: Outcome) -> Outcome:
        """Save a looked-up contact's delivery, with the message's status where nothing is left to do."""
        status = outcome.message if outcome.unfinished is None else None
        message = target.message
        received_at = message.received_at if message else 0.0
        if message and status:
            record = IdempotencyRecord(outcome.conversation, outcome.contact, status, received_at)
            self.records.hold(message_key(target.location, str(target.contact), message), record)
        if outcome.contact is not None and target.person is not None:
            self.records.save(_delivery_key(target), outcome.conversation, outcome.contact, status, received_at)
        return outcome

    def _mark_unread(self, target: Target, outcome: Outcome, unread: int | None, deadline: Deadline) -> None:
        """Show the conversation as unread; a failure changes nothing. `unread`: its count, where it is known."""
        conversation, highlevel = outcome.conversation, self.calls.highlevel
        if conversation is None:
            return
        count = 0 if outcome.name == OutcomeName.OPENED else unread
        try:
            if count is None:
                read = self.calls.call(
                    target.location,
                    deadline,
                    lambda token, within: highlevel.get_conversation(token, conversation, within=within),
                )
                count = read.upstream.unread_count if read.upstream else None
            if count is None:  # it sets the count: a guess could hide unread messages
                return
            new_count = count + 1
            self.calls.call(
                target.location,
                deadline,
                lambda token, within: highlevel.mark_unread(
                    token, target.location, conversation, new_count, within=within
                ),
            )
        except SubmissionError:  # no time, or no token, any more
            return

    # --- the id of a conversation that exists already -----------------------------------------------------------------

    def _with_id(self, target: Target, outcome: Outcome, conversation: str | None) -> Outcome:
        """Add the conversation's id, which HighLevel's "already exists" does not contain, and save it."""
        if outcome.body is not None or conversation is None:
            return outcome
        self.records.save(contact_key(target.location, str(target.contact)), conversation)
        return replace(outcome, body=_body(target.location, target.contact, conversation))

    def _with_searched_id(self, target: Target, outcome: Outcome, deadline: Deadline) -> Outcome:
        if outcome.body is not None:
            return outcome
        return self._with_id(target, outcome, _found(self._search(target, deadline))[0])

    def _search(self, target: Target, deadline: Deadline) -> Outcome:
        """Look for a conversation's id: in the record, which another instance may have saved, then at HighLevel.

        Found, missing or why neither; raises nothing, because an error in the look-up never changes an outcome.
        """
        contact = str(target.contact)
        try:
            record = self.records.get(contact_key(target.location, contact), consistent=True)
            return _conversation(record.conversation_id if record else None) or self.calls.call(
                target.location,
                deadline,
                lambda token, within: self.calls.highlevel.search_conversation(
                    token, target.location, contact, within=within
                ),
            )
        except SubmissionError as error:
            return Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 the conversation exists all the same
            internal_error(error)
            return Outcome("deferred", "internal_error")


def _conversation(identifier: str | None) -> Outcome | None:
    """Return the outcome of a conversation whose id is known without a call."""
    if identifier is None:
        return None
    return Outcome(OutcomeName.FOUND, upstream=ApiResult("found", conversation=identifier))


def _found(outcome: Outcome) -> tuple[str | None, int | None]:
    """Return the id and the unread count of a conversation that was looked for."""
    return (outcome.upstream.conversation, outcome.upstream.unread_count) if outcome.upstream else (None, None)


def _not_tried(is_wanted: bool) -> MessageStatus:
    return MessageStatus.DEFERRED if is_wanted else MessageStatus.OFF


def _delivery_key(target: Target) -> str:
    return delivery_key(target.delivery, *person_addresses(target))


def _recorded(target: Target, record: IdempotencyRecord) -> Outcome:
    body = _body(target.location, record.contact or target.contact, record.conversation_id)
    return Outcome(OutcomeName.EXISTING, body=body, contact=record.contact, message=_recorded_status(target, record))


def _recorded_status(target: Target, record: IdempotencyRecord) -> MessageStatus | None:
    """Return what became of this delivery's words; None if the record is of an earlier one with the same body."""
    message = target.message
    is_same = message is None or abs(record.received_at - message.received_at) <= window(message)
    status = record.message or ""
    return MessageStatus(status) if status in MessageStatus and is_same else None  # a later version may know others


def _body(location: str, contact: str | None, conversation_id: str | None) -> dict[str, Any] | None:
    """Return HighLevel's response body for a conversation whose id is known."""
    if conversation_id is None:
        return None
    conversation = {"id": conversation_id, "contactId": contact, "locationId": location}
    return {"success": True, "conversation": conversation}
