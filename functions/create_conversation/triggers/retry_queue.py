"""The retry queue's trigger: each message is tried again until it succeeds, is too old, or needs an operator."""

import json
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from create_conversation.errors import (
    DeferredError,
    InvalidError,
    MessageStatus,
    NotStoredError,
    OutcomeName,
    SubmissionError,
)
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import MAX_WAIT_SECONDS, Queues, backoff, receives_within
from create_conversation.result_events import BACKGROUND_SECONDS, ResultEvents
from create_conversation.senders.config import Sender
from create_conversation.senders.mapping import target_of
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from create_conversation.submission_log import SubmissionLog
from shared.clock import Clock
from shared.observability import internal_error
from shared.time_limit import call_all

ATTEMPT_SECONDS = 10.0
# No attempt begins later in a batch: with the last one's time it ends well before the function's timeout, 30 s.
BATCH_SECONDS = 12.0
# No attempt for a location begins later than this after its first one of a batch: a location that answers slowly would
# hold the batch, and others would wait for one of few consumers (RetryConcurrency).
LOCATION_SECONDS = 4.0
# For a window of the rate limit that ends this soon an attempt waits here: a message that is put back may be received
# much later, and until then the new window would be unused.
WINDOW_SECONDS = 1.0
# A call may arrive a little sooner than the fastest one before it. In the old window it would use up one of the
# CALLS_FOR_CALLERS.
MARGIN_SECONDS = 0.005
# No call to SQS begins later than this after the last attempt: the rest of a batch would otherwise wait for a slow SQS
# until Lambda ends the function.
STORE_SECONDS = 1.0
# If the process dies, its messages are visible again after this, not after the queue's 450 s.
LEASE_SECONDS = 35.0
# Messages that shared a batch with the one that killed the process come back at different times, so in other batches.
LEASE_JITTER_SECONDS = 10.0
# The share of the planned receives that a message must have had before it may expire. With fewer, it waited while
# nothing was received (a pause).
MIN_RECEIVES_SHARE = 0.5
# Above this age the share does not count: SQS deletes a message at 14 days, without a reason. (A pause of 12 days.)
LAST_AGE_SECONDS = 13 * 86_400.0
# A message that was received more often may be what kills the process: it waits until the others are processed.
FRESH_RECEIVES = 2
_IN_FLIGHT = Outcome("deferred")
# `./hlc pause` turns the event source mapping off. A message that comes all the same waits, however old it is.
_PAUSED = Outcome("deferred", "paused", retry_after=MAX_WAIT_SECONDS)
# These deferrals cost no call to HighLevel: they get no log line, or there would be one for each waiting message.
_REASONS_NOT_LOGGED = ("quota_exhausted", "breaker_open", "deadline")

type CallAll = Callable[[list[Callable[[], None]]], None]


@dataclass(frozen=True, slots=True)
class _Message:
    """One received message: SQS's attributes, and its submission or why that cannot be used (`unusable`).

    `number`: its place in the batch. `sent_at`: Unix time.
    """

    number: int
    id: str
    receipt_handle: str
    text: str
    sent_at: float
    receives: int
    line: SubmissionLog
    unusable: Outcome | None

    @property
    def location(self) -> str:
        """The id of its location, empty if it has none."""
        return self.line.target.location if self.line.target else ""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the threads of one batch share.

    `until`: no attempt begins later; `store_until`: no call to SQS begins later (both monotonic seconds).
    `location_until`: no attempt for that location begins later. `processed`: the numbers of the messages that may leave
    the queue. `sqs_failed`: once set, no message of the batch waits for SQS again.
    """

    until: float
    store_until: float
    location_until: dict[str, float]
    processed: set[int]
    sqs_failed: threading.Event


@dataclass(frozen=True, slots=True)
class RetryQueueHandler:
    """Processes batches of the retry queue. `call_all` runs calls at the same time and returns when all have ended."""

    settings: Settings
    senders: Mapping[str, Sender]
    opener: ConversationOpener
    queues: Queues
    rng: random.Random
    results: ResultEvents
    clock: Clock = time
    call_all: CallAll = call_all

    def handle(self, event: dict[str, Any], _context: Any) -> dict[str, Any]:
        """Process an SQS batch and return the ids of the messages that stay in the queue. Raises nothing for a message.

        Locations are processed at the same time, the messages of one location one after another at the min interval of
        its rate limit: neither a slow nor a large location delays the others.
        """
        until = self.clock.monotonic() + BATCH_SECONDS
        batch = _Batch(until, until + ATTEMPT_SECONDS + STORE_SECONDS, {}, set(), threading.Event())
        messages = [self._read(number, record) for number, record in enumerate(event["Records"])]
        backed_off = self._lease(messages)
        to_try = [message for message in messages if message.number not in backed_off]
        self._process_all([message for message in to_try if message.receives <= FRESH_RECEIVES], batch)
        self._process_all([message for message in to_try if message.receives > FRESH_RECEIVES], batch)
        self.results.publish([message.line.result_detail() for message in messages], BACKGROUND_SECONDS)
        # SQS deletes the messages that are not named here. An empty id, of a malformed record, keeps the whole batch.
        stay = [message.id for message in messages if message.number not in batch.processed]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in stay]}

    # --- what a record contains ---------------------------------------------------------------------------------------

    def _read(self, number: int, record: Any) -> _Message:
        """Read one record. Any member may be missing or malformed if it is not from SQS: the others must not suffer."""
        members = record if isinstance(record, dict) else {}
        attributes = members["attributes"] if isinstance(members.get("attributes"), dict) else {}
        receives = _whole(attributes.get("ApproximateReceiveCount"), 1)
        message_id = _text(members.get("messageId"))
        text = _text(members.get("body")) or json.dumps(record)
        sent_at = _whole(attributes.get("SentTimestamp"), round(1000 * self.clock.time())) / 1000
        # A redrive sends both attributes: the attempts go on, and the first time stays.
        attempts = receives + _whole(_attribute(members, "attempts"), 0)
        first_time = _whole(_attribute(members, "first_time"), 0)
        age = round(self._seconds_since(sent_at))
        line = SubmissionLog("retry", message_id, attempts=attempts, age_seconds=age, first_time=first_time)
        unusable = self._read_submission(text, line)
        line.first_time = line.first_time or sent_at
        receipt_handle = _text(members.get("receiptHandle"))
        return _Message(number, message_id, receipt_handle, text, sent_at, receives, line, unusable)

    def _read_submission(self, text: str, line: SubmissionLog) -> Outcome | None:
        """Complete the line with the submission in the message; return an outcome if it cannot be used."""
        try:
            submission = Submission.from_message(text)
            line.sender = submission.sender
            line.request_id = submission.request_id or line.request_id
            line.first_time = line.first_time or self._past(submission.received_at)
            line.is_reported = submission.is_reported
            line.target = target_of(
                submission,
                self.senders,
                self.settings.location_id,
                self.settings.writes_messages,
            )
        except ValueError:
            return Outcome.from_error(InvalidError("unreadable"))
        except SubmissionError as error:
            return Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 a mistake in this code keeps this message, and no other
            internal_error(error)
            return Outcome.from_error(DeferredError("internal_error"))
        return None

    def _past(self, seconds: float) -> float:
        """Return a Unix time that has passed, else 0: the message may be from elsewhere."""
        return seconds if 0 < seconds <= self.clock.time() else 0.0

    # --- when it is visible again -------------------------------------------------------------------------------------

    def _lease(self, messages: list[_Message]) -> set[int]:
        """Set in one call when each message is visible again, and return the numbers of those that are backed off.

        These are the messages whose location must not be called now: they wait. The others are in flight: they are
        visible again when their lease ends.
        """
        backed_off: set[int] = set()
        visible_in: dict[str, float] = {}
        for message in messages:
            outcome = self._must_wait(message)
            if outcome:
                backed_off.add(message.number)
                visible_in[message.receipt_handle] = self._wait(message, outcome)
            else:
                lease = LEASE_SECONDS + self.rng.uniform(0, LEASE_JITTER_SECONDS)
                visible_in[message.receipt_handle] = lease + self._wait(message, _IN_FLIGHT)
        self.queues.change_visibility_batch(visible_in)
        return backed_off

    def _must_wait(self, message: _Message) -> Outcome | None:
        if self.opener.pause.is_active:
            return _PAUSED
        if not message.line.target:
            return None
        is_too_old = self._is_too_old(message)
        outcome = self.opener.must_wait(message.location, in_background=True, despite_breaker=is_too_old)
        is_short = outcome and outcome.reason == "quota_exhausted" and self._window_wait(message.location)
        return None if is_short else outcome

    def _window_wait(self, location: str) -> float:
        """Return the seconds until the location's next window, if they are so few that an attempt waits for it here."""
        wait = self.opener.rate_limits.delay(location, in_background=True)
        return wait + MARGIN_SECONDS if 0 < wait <= WINDOW_SECONDS else 0.0

    def _wait(self, message: _Message, outcome: Outcome) -> float:
        """Return the seconds until the message is visible again."""
        age, cap = self._seconds_since(message.sent_at), self.settings.backoff_cap
        # A backlog whose messages all came at the same moment, as after a pause, is spread and uses each window: it has
        # been received less often than planned, so it may come early.
        planned = receives_within(round(age), cap) if outcome.reason == "quota_exhausted" else 0
        return backoff(age, cap, outcome.retry_after, self.rng, may_be_early=message.receives < planned)

    # --- attempts -----------------------------------------------------------------------------------------------------

    def _process_all(self, messages: list[_Message], batch: _Batch) -> None:
        by_location: defaultdict[str, list[_Message]] = defaultdict(list)
        for message in messages:
            by_location[message.location].append(message)
        self.call_all([partial(self._process_location, each, batch) for each in by_location.values()])

    def _process_location(self, messages: list[_Message], batch: _Batch) -> None:
        """Process one location's messages in turn, as many as begin within LOCATION_SECONDS."""
        until = self.clock.monotonic() + LOCATION_SECONDS
        until = min(batch.until, batch.location_until.setdefault(messages[0].location, until))
        not_before = 0.0
        for message in messages:
            limits, now = self.opener.rate_limits, self.clock.monotonic()
            not_before = max(not_before, now + self._window_wait(message.location))
            self.clock.sleep(max(0.0, min(not_before, until) - now))
            started = self.clock.monotonic()
            calls_before = limits.calls_made(message.location)
            try:
                outcome = message.unusable or self._try(message, until)
                calls = limits.calls_made(message.location) - calls_before
                not_before = started + calls * limits.min_interval(message.location)
                if self._finish(message, outcome, batch):
                    batch.processed.add(message.number)
            except Exception as error:  # noqa: BLE001 a mistake in this code keeps this message, and no other
                internal_error(error)

    def _try(self, message: _Message, until: float) -> Outcome:
        target = message.line.target
        if target is None or self.clock.monotonic() > until:
            return Outcome("deferred", "deadline")
        is_too_old = self._is_too_old(message)
        end = min(self.clock.monotonic(), until) + ATTEMPT_SECONDS
        deadline = Deadline(end, ATTEMPT_SECONDS, in_background=True, despite_breaker=is_too_old)
        outcome = self.opener.process(target, deadline)
        return _given_up(outcome) if is_too_old else outcome

    def _is_too_old(self, message: _Message) -> bool:
        age, limit = self._seconds_since(message.sent_at), self.settings.give_up_after
        planned = receives_within(round(limit), self.settings.backoff_cap)
        had_its_receives = message.receives >= MIN_RECEIVES_SHARE * planned
        return age > limit and (had_its_receives or age > LAST_AGE_SECONDS)

    def _seconds_since(self, sent_at: float) -> float:
        return max(0.0, self.clock.time() - sent_at)

    def _finish(self, message: _Message, outcome: Outcome, batch: _Batch) -> bool:
        """Store and log the outcome; return whether the message may leave the queue. Else it waits for its backoff."""
        line, records = message.line, self.opener.records
        needs_record = outcome.is_open and not line.is_reported  # the message itself does not say that it is reported
        if needs_record and message.receives > 1:
            line.is_reported = records.get(_reported_key(message)) is not None
        try:
            outcome = self._store(message, outcome, batch)
        except NotStoredError as error:  # it stays, and is visible again when its lease ends
            batch.sqs_failed.set()
            outcome = Outcome.from_error(error)
        deferred = outcome.to_retry
        is_news = outcome.is_open and not line.is_reported
        if is_news or (deferred or outcome).reason not in _REASONS_NOT_LOGGED:
            line.write(outcome, self.settings.metrics_namespace)
        if needs_record and deferred:  # the next attempt writes the message only
            records.save(_reported_key(message), None)
        return deferred is None and outcome.name != OutcomeName.NOT_STORED

    def _store(self, message: _Message, outcome: Outcome, batch: _Batch) -> Outcome:
        """Store the outcome in SQS and return it, or a deferral if there is no time for that. Raises NotStoredError."""
        if outcome.is_open and outcome.unfinished is None:
            return outcome
        if batch.sqs_failed.is_set():
            raise NotStoredError("not_stored")
        deferred = outcome.to_retry
        if self.clock.monotonic() > batch.store_until:  # it stays, and is visible again when its lease ends
            return outcome if deferred else Outcome("deferred", "deadline")
        if deferred:
            self.queues.change_visibility(message.receipt_handle, self._wait(message, deferred))
        elif failed := outcome.to_dead_letter:
            text = _reported(message.text) if outcome.is_open else message.text
            self.queues.dead_letter(text, **message.line.dead_letter(failed))
        elif outcome.name == OutcomeName.IGNORED:  # the sender's `when` was changed since
            self.queues.dead_letter(message.text, **message.line.dead_letter(outcome))
        return outcome


def _given_up(outcome: Outcome) -> Outcome:
    """Return the outcome of a submission over its age limit: given up, if what is left of it was tried just now."""
    if outcome.name == OutcomeName.DEFERRED and outcome.was_tried:
        return replace(outcome, name=OutcomeName.REJECTED, reason="expired", detail=outcome.reason)
    deferred = outcome.to_retry
    if not outcome.is_open or deferred is None or not deferred.was_tried:
        return outcome
    given_up = replace(deferred, name=OutcomeName.REJECTED)
    return replace(outcome, message=MessageStatus.REFUSED, unfinished=given_up)


def _reported_key(message: _Message) -> str:
    """Return the key of the record that a message's conversation was logged and counted."""
    return f"reported#{message.id}"


def _reported(text: str) -> str:
    """Mark the submission in a queue message: its conversation was logged and counted."""
    return replace(Submission.from_message(text), is_reported=True).to_message()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _attribute(record: dict[str, Any], name: str) -> object:
    """Return the text of an attribute that the message was sent with."""
    given = record.get("messageAttributes")
    attribute = given.get(name) if isinstance(given, dict) else None
    return attribute.get("stringValue") if isinstance(attribute, dict) else None


def _whole(value: object, otherwise: int) -> int:
    """Return a number that SQS gives as text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value) else otherwise
