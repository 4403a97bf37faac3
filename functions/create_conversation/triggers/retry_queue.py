"""The door of the retry queue: what was kept is tried again, until it is done, or too old, or a person must mend it."""

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

from create_conversation import submission_log
from create_conversation.clock import Clock
from create_conversation.errors import DeferredError, InvalidError, NotStoredError, SubmissionError
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import MAX_WAIT_SECONDS, Queues, backoff, receives_within
from create_conversation.result_events import BACKGROUND_SECONDS, ResultEvents
from create_conversation.senders.config import Sender
from create_conversation.senders.mapping import target_of
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from create_conversation.submission_log import SubmissionLog

ATTEMPT_SECONDS = 10.0
# No attempt begins later in a batch: with the last one's time it ends well before the function's timeout, 30 s.
BATCH_SECONDS = 12.0
# A process that dies takes its batch along: the messages come back after this, not after the queue's 450 s.
LEASE_SECONDS = 35.0
# Messages that shared a batch with the one that killed the process come back at different times, so in other batches.
LEASE_JITTER_SECONDS = 10.0
# Of the receives that the schedule makes within the age limit. With fewer, the message waited while nothing was
# received (a pause), and is not given up yet.
MIN_RECEIVES_SHARE = 0.5
# Received more often than this, a message may be what kills the process: it waits until the others are done.
FRESH_RECEIVES = 2
_NOT_ANSWERED = Outcome("deferred")
# Lambda does not poll the queue of a paused stack. What still comes, or is let in by hand, waits, however old it is.
_PAUSED = Outcome("deferred", "paused", retry_after=MAX_WAIT_SECONDS)
# Ends that cost no call to HighLevel and say nothing new: no line in the log for each of a thousand waiting messages.
_NOT_TRIED = ("quota_exhausted", "breaker_open", "deadline")

type SideBySide = Callable[[list[Callable[[], None]]], None]


def in_threads(calls: list[Callable[[], None]]) -> None:
    """Run each call in a thread of its own; return when all have returned."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass(frozen=True, slots=True)
class _Message:
    """One received message: what SQS says of it, and what it holds or why that cannot be used (`unusable`)."""

    number: int  # in the batch
    id: str
    receipt_handle: str
    text: str
    sent_at: float
    receives: int
    line: SubmissionLog
    unusable: Outcome | None


@dataclass(frozen=True, slots=True)
class RetryQueueHandler:
    settings: Settings
    senders: Mapping[str, Sender]
    flow: ConversationOpener
    queue: Queues
    rng: random.Random
    results: ResultEvents
    clock: Clock = time
    side_by_side: SideBySide = in_threads

    def handle(self, event: dict[str, Any], _context: Any) -> dict[str, Any]:
        """Take an SQS batch; give the ids of the messages that stay in the queue. Raises nothing for any of them.

        Locations run side by side, the messages of one location after each other at the pace of its rate limit:
        neither a slow nor a large location holds up the others.
        """
        until = self.clock.monotonic() + BATCH_SECONDS
        messages = [self._read(number, record) for number, record in enumerate(event["Records"])]
        resting = self._lease(messages)
        to_try = [message for message in messages if message.number not in resting]
        settled: set[int] = set()
        unreachable = threading.Event()  # SQS: once seen, no message of the batch waits for it again
        for wave in (
            [message for message in to_try if message.receives <= FRESH_RECEIVES],
            [message for message in to_try if message.receives > FRESH_RECEIVES],
        ):
            by_location: defaultdict[str, list[_Message]] = defaultdict(list)
            for message in wave:
                by_location[message.line.target.location if message.line.target else ""].append(message)
            self.side_by_side(
                [partial(self._drain, batch, until, settled, unreachable) for batch in by_location.values()]
            )
        self.results.publish([message.line for message in messages], BACKGROUND_SECONDS)
        # Whatever is not known to be settled stays: SQS deletes what this answer does not name. An empty id keeps all.
        return {
            "batchItemFailures": [
                {"itemIdentifier": message.id} for message in messages if message.number not in settled
            ]
        }

    def _read(self, number: int, record: Any) -> _Message:
        """Any piece may be missing or malformed, if somebody else than SQS invokes us: the others must not suffer."""
        told = record if isinstance(record, dict) else {}
        attributes = told["attributes"] if isinstance(told.get("attributes"), dict) else {}
        receives = _whole(attributes.get("ApproximateReceiveCount"), 1)
        message_id = _text(told.get("messageId"))
        text = _text(told.get("body")) or json.dumps(record)
        sent_at = _whole(attributes.get("SentTimestamp"), round(1000 * self.clock.time())) / 1000
        # A redrive sends both along: the attempts go on, and the first time stays.
        attempts = receives + _whole(_attribute(told, "attempts"), 0)
        first_time = _whole(_attribute(told, "first_time"), 0)
        age = round(self._seconds_since(sent_at))
        line = SubmissionLog("retry", message_id, attempts=attempts, age_seconds=age, first_time=first_time)
        unusable = None
        try:
            submission = Submission.from_message(text)
            line.sender = submission.sender
            line.request_id = submission.request_id or message_id
            line.first_time = line.first_time or _past(submission.received_at)
            line.target = target_of(submission, self.senders, self.settings.location_id)
        except ValueError:
            unusable = Outcome.from_error(InvalidError("unreadable"))
        except SubmissionError as error:
            unusable = Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 a mistake of ours keeps this message, and no other
            submission_log.failure(error)
            unusable = Outcome.from_error(DeferredError("internal_error"))
        line.first_time = line.first_time or sent_at
        return _Message(
            number,
            message_id,
            _text(told.get("receiptHandle")),
            text,
            sent_at,
            receives,
            line,
            unusable,
        )

    def _lease(self, messages: list[_Message]) -> set[int]:
        """Say in one call when each message is visible again: the lease of those that are now tried, or the end of
        the wait of those whose location must not be called. Gives the numbers of the latter."""
        resting: set[int] = set()
        visible_in: dict[str, float] = {}
        for message in messages:
            outcome = _PAUSED if self.settings.paused else None
            if not outcome and message.line.target:
                outcome = self.flow.must_wait(
                    message.line.target.location, in_background=True, despite_breaker=self._is_too_old(message)
                )
            if outcome:
                resting.add(message.number)
                visible_in[message.receipt_handle] = self._wait(message, outcome)
            else:
                lease = LEASE_SECONDS + self.rng.uniform(0, LEASE_JITTER_SECONDS)
                visible_in[message.receipt_handle] = lease + self._wait(message, _NOT_ANSWERED)
        self.queue.change_visibility_batch(visible_in)
        return resting

    def _drain(self, messages: list[_Message], until: float, settled: set[int], unreachable: threading.Event) -> None:
        """Settle one location's messages in turn; the numbers of those that may leave the queue are added to
        `settled`."""
        not_before = 0.0
        for message in messages:
            self.clock.sleep(max(0.0, min(not_before, until) - self.clock.monotonic()))
            started = self.clock.monotonic()
            try:
                outcome = message.unusable or self._try(message, until)
                if outcome.upstream and message.line.target:
                    not_before = started + self.flow.quota.min_interval(message.line.target.location)
                if self._is_settled(message, outcome, unreachable):
                    settled.add(message.number)
            except Exception as error:  # noqa: BLE001 a mistake of ours keeps this message, and no other
                submission_log.failure(error)

    def _try(self, message: _Message, until: float) -> Outcome:
        target = message.line.target
        if target is None or self.clock.monotonic() > until:
            return Outcome("deferred", "deadline")
        is_too_old = self._is_too_old(message)
        deadline = Deadline(until + ATTEMPT_SECONDS, ATTEMPT_SECONDS, in_background=True, despite_breaker=is_too_old)
        outcome = self.flow.open(target, deadline)
        if is_too_old and outcome.name == "deferred" and outcome.was_tried:
            return replace(outcome, name="rejected", reason="expired", detail=outcome.reason)
        return outcome

    def _is_too_old(self, message: _Message) -> bool:
        limit = self.settings.give_up_after
        planned = receives_within(round(limit), self.settings.backoff_cap)
        return self._seconds_since(message.sent_at) > limit and message.receives >= MIN_RECEIVES_SHARE * planned

    def _seconds_since(self, sent_at: float) -> float:
        return max(0.0, self.clock.time() - sent_at)

    def _is_settled(self, message: _Message, outcome: Outcome, unreachable: threading.Event) -> bool:
        """Whether the message may leave the queue: done, or parked. Else it is visible again after its own backoff."""
        try:
            if unreachable.is_set() and outcome.name not in ("opened", "existing"):
                raise NotStoredError("not_stored")
            if outcome.name == "deferred":
                self.queue.change_visibility(message.receipt_handle, self._wait(message, outcome))
            elif outcome.name in ("rejected", "invalid", "ignored"):  # ignored only now: `when` was changed meanwhile
                self.queue.dead_letter(message.text, **message.line.dead_letter(outcome))
        except NotStoredError as error:  # it stays, and comes back when its lease ends
            unreachable.set()
            outcome = Outcome.from_error(error)
        if outcome.reason not in _NOT_TRIED:
            message.line.write(outcome, self.settings.metrics_namespace)
        return outcome.name not in ("deferred", "not_stored")

    def _wait(self, message: _Message, outcome: Outcome) -> float:
        age, cap = self._seconds_since(message.sent_at), self.settings.backoff_cap
        # A backlog that all came at the same moment, as after a pause, spreads and uses each window. It may: it was
        # received less often than planned.
        planned = receives_within(100 * round(age / 100), cap) if outcome.reason == "quota_exhausted" else 0
        return backoff(age, cap, outcome.retry_after, self.rng, may_be_early=message.receives < planned)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _attribute(record: dict[str, Any], name: str) -> object:
    """The text of an attribute that the message was sent with."""
    given = record.get("messageAttributes")
    attribute = given.get(name) if isinstance(given, dict) else None
    return attribute.get("stringValue") if isinstance(attribute, dict) else None


def _past(seconds: float) -> float:
    """A time that can have been, else 0: a message may come from elsewhere."""
    return seconds if 0 < seconds <= time.time() else 0.0


def _whole(value: object, otherwise: int) -> int:
    """A number that SQS gives as a text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value) else otherwise
