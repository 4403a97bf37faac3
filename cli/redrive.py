"""`./hlc redrive`: try dead letters again."""

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cli.dead_letter_reader import HIDDEN_SECONDS, DeadLetter, DeadLetterReader
from cli.options import Settings, print_json
from cli.pausing import is_retrying_paused
from cli.results import ResultEvents
from cli.stack import Stack, for_stack, printable, suggestion

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

# SQS's limits for a batch and for each message in it. The attributes that are sent have less than ATTRIBUTE_BYTES.
MAX_BATCH_BYTES = 1024 * 1024
ATTRIBUTE_BYTES = 128
MAX_BATCH_MESSAGES = 10
# SQS's clock is known to the second: a message that fails immediately must be dead-lettered after the start.
DELAY_SECONDS = 2
WAIT_SECONDS = 120
UNKNOWN_GROUP = "unknown"
_GROUP = re.compile(r"[!-~]{1,128}")


def run(settings: Settings, reason: str | None, sender: str | None, wait: int) -> int:
    """Send the dead letters that match to the retry queue, delete them here, and wait for their results.

    Returns 0 if all have a conversation (also if the queue was empty), 1 if some failed, came back or are still open,
    or if none matches. If the process is killed, nothing is lost: a message that was sent and not deleted is tried
    twice, which ends in the same conversation.
    """
    stack = settings.connect()
    about, now = _look(stack)
    redrive = _Redrive(stack, sent_until=now, reason=reason, sender=sender)
    progress = _Progress(redrive, about)
    reader = DeadLetterReader(stack.sqs, stack.output("DeadLetterQueueUrl"))
    results = ResultEvents(stack, now.timestamp())  # because of DELAY_SECONDS no result is earlier
    interrupted = True
    try:
        with reader:
            reader.run(redrive.handle, progress.show)
        interrupted = False
    finally:
        progress.end()
        settings.say(redrive.report(interrupted=interrupted))
        if reader.unreleased:
            print(
                f"SQS cannot be reached: {reader.unreleased} stay hidden for {HIDDEN_SECONDS // 60} minutes",
                file=sys.stderr,
            )
    code = _finish(settings, stack, redrive, results, wait)
    if settings.json:
        print_json(redrive.facts() | {"results": results.facts() if redrive.done else []})
    return code


def _finish(settings: Settings, stack: Stack, redrive: "_Redrive", results: ResultEvents, wait: int) -> int:
    """Wait for the results and print them. Returns the exit code."""
    if not redrive.done:
        return 1 if redrive.failed or redrive.others else 0
    if is_retrying_paused(stack):
        settings.say(for_stack("retrying is paused: they stay in the retry queue until ./hlc resume", stack.hlc))
        return 1
    if wait:
        try:
            results.wait(redrive.sent, wait)
        finally:
            settings.say(results.report(stack.hlc))
    return 0 if results.complete and not redrive.failed else 1


def _look(stack: Stack) -> tuple[int, datetime]:
    """Return about how many dead letters there are, and SQS's time, rounded up to the next second."""
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=stack.output("DeadLetterQueueUrl"), AttributeNames=["ApproximateNumberOfMessages"]
    )
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) + timedelta(seconds=1) if date else datetime.now(UTC)
    return int(answer["Attributes"]["ApproximateNumberOfMessages"]), now


@dataclass
class _Redrive:
    """Sends batches of dead letters to the retry queue; several threads call it at the same time."""

    stack: Stack
    sent_until: datetime
    reason: str | None
    sender: str | None
    done: int = 0
    failed: int = 0
    newer: int = 0
    others: Counter[tuple[str, str]] = field(default_factory=Counter)  # by reason and sender: not matching, they stay
    sent: list[str] = field(default_factory=list)  # the request id of each one's log line
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, letters: list[DeadLetter]) -> list[str]:
        """Redrive the letters that match. Returns the ids of those that are deleted here."""
        removed: list[str] = []
        matching = [letter for letter in letters if self._matches(letter)]
        for batch in _batches(matching):
            sent = self._send(batch)
            deleted = self._delete(sent) if sent else []
            removed += deleted
            with self._lock:
                self.done += len(deleted)
                self.failed += len(batch) - len(deleted)
        return removed

    def facts(self) -> dict[str, Any]:
        """Return the totals for `--json`."""
        others = [
            {"reason": reason, "sender": sender or None, "count": count}
            for (reason, sender), count in self.others.most_common()
        ]
        return {"redriven": self.done, "failed": self.failed, "newer": self.newer, "others": others}

    def report(self, *, interrupted: bool) -> str:
        """Return the totals in one line."""
        which = " and ".join(
            printable(f"{name} {value}") for name, value in (("reason", self.reason), ("sender", self.sender)) if value
        )
        if interrupted:
            return f"interrupted: {self.done} redriven, the others stay"
        if not self.done and not self.failed:
            parts = [f"nothing to redrive{f' with {which}' if which else ''}"]
            if self.others:
                return f"{parts[0]}: {self._others()}"
        else:
            parts = [f"{self.done} redriven"]
        if self.failed:
            parts.append(f"{self.failed} failed and stay")
        if self.others:
            parts.append(f"{self.others.total()} others stay")
        if self.newer:
            parts.append(f"{self.newer} arrived meanwhile")
        return ", ".join(parts)

    def _others(self) -> str:
        """List the reasons and senders that exist, and a suggestion for a mistyped reason."""
        reasons = [reason for reason, _sender in self.others]
        senders = [sender for _reason, sender in self.others]
        meant = "" if self.reason in (None, *reasons) else suggestion(str(self.reason), reasons)
        meant = meant or ("" if self.sender in (None, *senders) else suggestion(str(self.sender), senders))
        there = ", ".join(
            printable(f"{count} with reason {reason} of {sender or 'an unknown sender'}")
            for (reason, sender), count in self.others.most_common()
        )
        return f"the queue has {there}{meant}"

    def _matches(self, letter: DeadLetter) -> bool:
        wanted = self.reason in (None, letter.reason) and self.sender in (None, letter.sender)
        newer = letter.sent_at > self.sent_until
        with self._lock:
            self.newer += newer
            if not wanted and not newer:
                self.others[letter.reason, letter.sender or ""] += 1
        return wanted and not newer

    def _send(self, batch: list[DeadLetter]) -> list[DeadLetter]:
        """Send a batch. Returns the letters that are in the retry queue now."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": letter.id,
                "MessageBody": letter.body,
                "MessageGroupId": _group(letter),
                "DelaySeconds": DELAY_SECONDS,
                "MessageAttributes": _attributes(letter),
            }
            for letter in batch
        ]
        answer = self.stack.sqs.send_message_batch(QueueUrl=self.stack.output("RetryQueueUrl"), Entries=entries)
        sent = {entry["Id"]: entry["MessageId"] for entry in answer.get("Successful", [])}
        with self._lock:
            self.sent += [_request_id(letter) or sent[letter.id] for letter in batch if letter.id in sent]
        return [letter for letter in batch if letter.id in sent]

    def _delete(self, letters: list[DeadLetter]) -> list[str]:
        answer = self.stack.sqs.delete_message_batch(
            QueueUrl=self.stack.output("DeadLetterQueueUrl"),
            Entries=[{"Id": letter.id, "ReceiptHandle": letter.receipt_handle} for letter in letters],
        )
        return [entry["Id"] for entry in answer.get("Successful", [])]


def _attributes(letter: DeadLetter) -> dict[str, "MessageAttributeValueTypeDef"]:
    """Return the attributes from which the retry queue continues; {} for a message that fills SQS's limit alone."""
    if _size(letter) > MAX_BATCH_BYTES:
        return {}
    numbers = {"attempts": letter.attempts or 0, "first_time": int(letter.first_time.timestamp())}
    return {name: {"DataType": "String", "StringValue": str(number)} for name, number in numbers.items()}


def _request_id(letter: DeadLetter) -> str:
    """Return the request id of the submission's log line; "" if the retry queue uses the message id."""
    return letter.submission.request_id if letter.submission else ""


def _size(letter: DeadLetter) -> int:
    return len(letter.body.encode()) + ATTRIBUTE_BYTES


def _group(letter: DeadLetter) -> str:
    """Return the message group of the fair queue: the location, where it is known."""
    group = letter.location or letter.group or ""
    return group if _GROUP.fullmatch(group) else UNKNOWN_GROUP


def _batches(letters: list[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Split the letters into as few batches as SQS's limits allow."""
    batch: list[DeadLetter] = []
    size = 0
    for letter in letters:
        length = _size(letter)
        if batch and (len(batch) == MAX_BATCH_MESSAGES or size + length > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += length
    if batch:
        yield batch


class _Progress:
    """Shows the progress on standard error: on a terminal in one line, else in a new line every 10 seconds."""

    def __init__(self, redrive: _Redrive, about: int) -> None:
        self._redrive = redrive
        self._about = about
        self._in_place = sys.stderr.isatty()
        self._shown_at = time.monotonic()

    def show(self) -> None:
        if self._in_place:
            print(f"\r{self._text()}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._shown_at >= 10:
            self._shown_at = time.monotonic()
            print(self._text(), file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._in_place:
            print("\r" + " " * len(self._text()) + "\r", end="", file=sys.stderr, flush=True)

    def _text(self) -> str:
        return f"{self._redrive.done} of about {self._about} redriven"
