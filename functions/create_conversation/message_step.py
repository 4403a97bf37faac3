"""Write the submission's words into the contact's conversation, once: the message step of the use case.

A message is claimed before the call (`message_claims`), because HighLevel would write it twice. An attempt whose end is
not known is taken over after TAKE_OVER_SECONDS, by an attempt that has looked whether its words are there: every text
ends with a reference that is computed from the claim's key.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from create_conversation.errors import DeferredError, MessageStatus, OutcomeName, RejectedError, SubmissionError
from create_conversation.highlevel_calls import Call, Deadline, HighLevelCalls
from create_conversation.message_claims import Claim, ClaimItem, ClaimStore
from create_conversation.outcome import Outcome
from create_conversation.senders.mapping import Message, Target
from shared.clock import Clock
from shared.cooldown import Cooldown
from shared.lru_cache import LruCache
from shared.observability import internal_error, logger

COMMENT, NOTE, OFF = "comment", "note", "off"
PLACES = (COMMENT, NOTE, OFF)
# No message begins with less time than this: its claim and its call.
MIN_MESSAGE_SECONDS = 1.2
# Comments are looked for from this long before the claim: HighLevel's clock may differ.
READ_BACK_SECONDS = 300.0
REFUSED_SECONDS = 3600.0
MAX_LOCATIONS = 1000
# Equal bodies without an id are one delivery only within this time.
SAME_BODY_SECONDS = 86_400.0
REASONS_OF_THE_LOCATION = ("scope_missing", "token_kind_refused")
# After these the stack cannot know whether a thread shows the words: no scope to read it, or the conversation is gone.
REASONS_NOT_TO_READ = (*REASONS_OF_THE_LOCATION, "ids_refused")


@dataclass(frozen=True, slots=True)
class MessageResult:
    """What became of the words. `is_own`: this attempt has written them. `unfinished`: why they are not written.

    `conversation`: its id, where the call has shown it. `complete`: to be called when nothing else is left to do.
    """

    status: MessageStatus
    is_own: bool = False
    is_complete: bool = False
    unfinished: Outcome | None = None
    conversation: str | None = None
    upstream: Outcome | None = None
    complete: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to write one message. `find_conversation`: found (with the id), missing, or why neither."""

    location: str
    contact: str
    message: Message
    deadline: Deadline
    find_conversation: Callable[[], Outcome]
    has_more: bool  # tags or fields, after the message

    @property
    def key(self) -> str:
        """Return the key of its claim."""
        return message_key(self.location, self.contact, self.message)


class MessageStep:
    """Writes messages to `place` (a comment, a note, or nothing at all). All threads may share it."""

    def __init__(self, calls: HighLevelCalls, claims: ClaimStore, place: str = COMMENT, clock: Clock = time) -> None:
        self._calls = calls
        self._claims = claims
        self._place = place
        self._refusing = LruCache(MAX_LOCATIONS, lambda: Cooldown(REFUSED_SECONDS, clock))

    def is_wanted(self, target: Target) -> bool:
        """Return whether words may be written for this submission."""
        return self._place != OFF and target.message is not None

    def write(self, attempt: Attempt) -> MessageResult:
        """Write the message, if no other attempt has. Raises nothing."""
        try:
            return self._write(attempt)
        except SubmissionError as error:
            return _unfinished(Outcome.from_error(error))
        except Exception as error:  # noqa: BLE001 the conversation is open: its outcome stays
            internal_error(error)
            return _unfinished(Outcome("deferred", "internal_error"))

    def _write(self, attempt: Attempt) -> MessageResult:
        if not attempt.message.render():
            return MessageResult(MessageStatus.OFF, is_complete=not attempt.has_more)
        deadline = attempt.deadline
        if wait := self._calls.must_wait(
            attempt.location, in_background=deadline.in_background, despite_breaker=deadline.despite_breaker
        ):
            return _unfinished(wait)
        if self._calls.seconds_left(deadline) < MIN_MESSAGE_SECONDS:
            return _unfinished(Outcome("deferred", "deadline"))
        claim = self._claims.new(self._place_now(attempt.location), attempt.message.received_at)
        item = self._claims.write(ClaimItem(attempt.key), claim)  # most messages are new: one write, and no read
        return self._send(attempt, item, claim, None) if item else self._write_again(attempt, claim)

    def _write_again(self, attempt: Attempt, own: Claim) -> MessageResult:
        """Write a message whose key has been claimed before, where that is due.

        By this attempt, if the connection sent its claim twice, as one that stayed open may do.
        """
        item = self._claims.read(attempt.key)
        if own in item.claims:
            return self._send(attempt, item, own, None)
        earlier = item.of(attempt.message.received_at, window(attempt.message))
        if earlier and earlier.result:
            return self._known(attempt, item, earlier)
        if earlier and self._claims.is_held(earlier):
            return _unfinished(Outcome("deferred", "already_claimed", retry_after=self._claims.retry_after(earlier)))
        if earlier and self._is_written(attempt, earlier):
            return self._written(attempt, item, earlier, MessageResult(_status(earlier.place)))
        claim = self._claims.new(self._place_now(attempt.location), attempt.message.received_at, earlier)
        taken = self._claims.write(item, claim, earlier)
        if taken is None:  # by another attempt, since the read
            return _unfinished(Outcome("deferred", "already_claimed"))
        return self._send(attempt, taken, claim, earlier)

    # --- take-over: has the earlier attempt written it? ---------------------------------------------------------------

    def _is_written(self, attempt: Attempt, earlier: Claim) -> bool:
        """Return whether HighLevel shows the words of an earlier attempt.

        Raises DeferredError if it cannot say now, RejectedError if an operator must first fix why.
        """
        outcome = self._read_back(attempt, earlier)
        if outcome.name == OutcomeName.FOUND and outcome.upstream:
            mark = reference(attempt.key, attempt.message, earlier)
            return any(mark in text for text in outcome.upstream.texts)
        if outcome.reason in REASONS_NOT_TO_READ:
            logger.warning("possible_duplicate", location_id=attempt.location, reason=outcome.reason)
            return False
        if outcome.name == OutcomeName.REJECTED:
            raise RejectedError(outcome.reason, outcome.detail, upstream=outcome.upstream)
        raise DeferredError(
            outcome.reason or "not_readable", retry_after=outcome.retry_after, upstream=outcome.upstream
        )

    def _read_back(self, attempt: Attempt, earlier: Claim) -> Outcome:
        """Read the place of the earlier attempt; of comments it needs the conversation's id."""
        highlevel, since = self._calls.highlevel, earlier.claimed_at - READ_BACK_SECONDS
        if earlier.place == NOTE:
            return self._calls.call(
                attempt.location,
                attempt.deadline,
                lambda token, within: highlevel.list_notes(token, attempt.contact, since=since, within=within),
            )
        found = attempt.find_conversation()
        conversation = found.upstream.conversation if found.upstream else None
        if conversation is None:
            return found
        return self._calls.call(
            attempt.location,
            attempt.deadline,
            lambda token, within: highlevel.list_comments(token, conversation, since=since, within=within),
        )

    # --- the call -----------------------------------------------------------------------------------------------------

    def _send(self, attempt: Attempt, item: ClaimItem, claim: Claim, earlier: Claim | None) -> MessageResult:
        """Write the words. `earlier`: the claim of unknown end that this one has taken over."""
        outcome = self._call(attempt, item, claim, earlier)
        if outcome.name == OutcomeName.WRITTEN:
            result = MessageResult(_status(claim.place), is_own=True, upstream=outcome)
            return self._written(attempt, item, claim, result)
        if outcome.name != OutcomeName.REJECTED:
            return _unfinished(outcome)
        if _may_be_written(claim, outcome) and self._is_written(attempt, claim):
            return self._written(attempt, item, claim, MessageResult(MessageStatus.WRITTEN, is_own=True))
        if claim.place == COMMENT:
            why = outcome.upstream.message if outcome.upstream else ""
            logger.warning("comment_refused", location_id=attempt.location, reason=outcome.reason, detail=why or None)
            return self._send_note(attempt, item, claim, earlier, outcome.reason)
        self._claims.release(item, claim, earlier)  # a redrive writes it
        return MessageResult(MessageStatus.REFUSED, unfinished=_refusal_explained(outcome), upstream=outcome)

    def _send_note(
        self, attempt: Attempt, item: ClaimItem, refused: Claim, earlier: Claim | None, reason: str
    ) -> MessageResult:
        """Write a note instead of the comment that HighLevel refuses."""
        claim = self._claims.new(NOTE, attempt.message.received_at, refused)
        taken = self._claims.write(item, claim, refused)
        if taken is None:
            return _unfinished(Outcome("deferred", "already_claimed"))
        result = self._send(attempt, taken, claim, earlier)
        if result.status == MessageStatus.NOTE and reason in REASONS_OF_THE_LOCATION:
            self._refusing.get(attempt.location).start()
        return result

    def _call(self, attempt: Attempt, item: ClaimItem, claim: Claim, earlier: Claim | None) -> Outcome:
        """Make the call; release the claim if HighLevel has certainly not carried it out."""
        text = attempt.message.render(reference(attempt.key, attempt.message, claim))
        try:
            outcome = self._calls.call(attempt.location, attempt.deadline, self._write_call(attempt, claim, text))
        except SubmissionError:  # before the call
            self._claims.release(item, claim, earlier)
            raise
        if _is_certainly_not_written(outcome):
            self._claims.release(item, claim, earlier)
        return outcome

    def _write_call(self, attempt: Attempt, claim: Claim, text: str) -> Call:
        highlevel, message, contact = self._calls.highlevel, attempt.message, attempt.contact
        user, not_after = message.user_id, claim.not_after
        if claim.place == NOTE:
            return lambda token, within: highlevel.add_note(
                token, contact, text, user_id=user, within=within, not_after=not_after
            )
        return lambda token, within: highlevel.add_comment(
            token, contact, text, user_id=user, mentions=message.mentions, within=within, not_after=not_after
        )

    # --- the result ---------------------------------------------------------------------------------------------------

    def _written(self, attempt: Attempt, item: ClaimItem, claim: Claim, result: MessageResult) -> MessageResult:
        """Save the result in the claim. If that fails, the next attempt finds the words in HighLevel."""
        saved = self._save(item, claim, replace(claim, result=result.status, is_complete=not attempt.has_more))
        found = result.upstream.upstream if result.upstream else None
        result = replace(result, conversation=found.conversation if found else None)
        return self._to_complete(attempt, saved, result)

    def _known(self, attempt: Attempt, item: ClaimItem, claim: Claim) -> MessageResult:
        result = MessageResult(MessageStatus(claim.result), is_complete=claim.is_complete)
        return result if claim.is_complete else self._to_complete(attempt, (item, claim), result)

    def _to_complete(
        self, attempt: Attempt, saved: tuple[ClaimItem, Claim] | None, result: MessageResult
    ) -> MessageResult:
        if not attempt.has_more:
            return replace(result, is_complete=True)
        if saved is None:
            return result
        item, claim = saved
        return replace(result, complete=lambda: self._complete(item, claim))

    def _complete(self, item: ClaimItem, claim: Claim) -> None:
        self._save(item, claim, replace(claim, is_complete=True))

    def _save(self, item: ClaimItem, claim: Claim, changed: Claim) -> tuple[ClaimItem, Claim] | None:
        try:
            saved = self._claims.write(item, changed, claim)
            if saved is None:  # the claim of another submission with the same body is in the same item
                item = self._claims.read(item.key)
                saved = self._claims.write(item, changed, claim) if claim in item.claims else None
        except DeferredError:
            return None
        return (saved, changed) if saved else None

    def _place_now(self, location: str) -> str:
        refusing = self._refusing.peek(location)
        return NOTE if refusing and refusing.is_active else self._place


def message_key(location: str, contact: str, message: Message) -> str:
    """Return the key of a message's claim: the contact's id, because a person's addresses may change their spelling."""
    return f"message#{location}#{contact}#{message.delivery}"


def window(message: Message) -> float:
    """Return within how many seconds two submissions of one key are the same delivery."""
    return SAME_BODY_SECONDS if message.is_by_body else math.inf


def reference(key: str, message: Message, claim: Claim) -> str:
    """Return what ends the text, the same for each attempt. Another submission of the same body has another one."""
    of = f"{key}#{claim.received_at:.3f}" if message.is_by_body else key
    return f"ref {hashlib.sha256(of.encode()).hexdigest()[:16]}"


def _is_certainly_not_written(outcome: Outcome) -> bool:
    """Return whether a deferred call left nothing behind: it was not made, not sent, or refused for now."""
    if outcome.name != OutcomeName.DEFERRED:
        return False
    return outcome.upstream is None or not outcome.upstream.is_sent or outcome.upstream.status in (401, 429)


def _may_be_written(claim: Claim, refusal: Outcome) -> bool:
    """Return whether a refused comment may be in the thread: HighLevel has answered 422 to a write and done it."""
    return claim.place == COMMENT and refusal.upstream is not None and refusal.upstream.status == 422


def _status(place: str) -> MessageStatus:
    return MessageStatus.NOTE if place == NOTE else MessageStatus.WRITTEN


def _refusal_explained(outcome: Outcome) -> Outcome:
    """Say why HighLevel refuses the note, as far as its answer may be shown."""
    if outcome.reason == "scope_missing":
        return replace(outcome, detail="A note needs the scope contacts.write.")
    message = outcome.upstream.message if outcome.upstream else ""
    return replace(outcome, detail=f"HighLevel: {message}.") if message else outcome


def _unfinished(outcome: Outcome) -> MessageResult:
    is_refused = outcome.name == OutcomeName.REJECTED
    status = MessageStatus.REFUSED if is_refused else MessageStatus.DEFERRED
    return MessageResult(status, unfinished=outcome, upstream=outcome)
