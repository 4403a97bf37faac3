"""Try dead letters again: `python -m cli.redrive [STACK] [--reason R] [--sender S] [--wait SECONDS]`."""

import argparse
import difflib
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cli.dead_letter_reader import HIDDEN_SECONDS, DeadLetter, DeadLetterReader
from cli.pausing import is_retrying_paused
from cli.results import ResultEvents
from cli.stack import Stack, for_stack, parser, printable, run

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the dead letters that match to the retry queue, delete them here, and wait for their results.

    Returns 0 if all have a conversation (also if the queue was empty), 1 if some failed, came back or are still open,
    or if none matches. If the process is killed, nothing is lost: a message that was sent and not deleted is tried
    twice, which ends in the same conversation.
    """
    options = _options(arguments)
    stack = Stack.connect(options.stack)
    which = " and ".join(f"{name} {value}" for name, value in _filters(options).items())

    about, now = _look(stack)
    redrive = _Redrive(stack, sent_until=now, reason=options.reason, sender=options.sender)
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
        print(redrive.report(which, interrupted=interrupted))
        if reader.unreleased:
            print(
                f"SQS cannot be reached: {reader.unreleased} stay hidden for {HIDDEN_SECONDS // 60} minutes",
                file=sys.stderr,
            )
    if not redrive.done:
        return 1 if redrive.failed or redrive.others else 0
    if is_retrying_paused(stack):
        print(for_stack("retrying is paused: they stay in the retry queue until make resume", stack.argument))
        return 1
    if options.wait:
        try:
            results.wait(redrive.sent, options.wait)
        finally:
            print(results.report(stack.argument))
    return 0 if results.complete and not redrive.failed else 1


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Send the messages of the dead-letter queue to the retry queue, which tries them again like new ones, then\n"
        "wait for the results and show them. Fix the cause first: a message that fails again comes back. You can\n"
        "interrupt the command; nothing is lost."
    )
    options.add_argument("--reason", metavar="CODE", help="only messages with this reason code")
    options.add_argument("--sender", metavar="NAME", help="only messages of this sender")
    options.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=WAIT_SECONDS,
        help="how long to wait for the results; 0: do not wait (default: %(default)s)",
    )
    return options.parse_args(arguments)


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return int(text)


def _filters(options: Any) -> dict[str, str]:
    return {name: getattr(options, name) for name in ("reason", "sender") if getattr(options, name)}


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

    def report(self, which: str, *, interrupted: bool) -> str:
        """Return the totals in one line. `which`: the filters in words."""
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
        close = difflib.get_close_matches(self.reason or "", reasons, 1) if self.reason not in reasons else []
        there = ", ".join(
            printable(f"{count} with reason {reason} of {sender or 'an unknown sender'}")
            for (reason, sender), count in self.others.most_common()
        )
        return f"the queue has {there}{f'; did you mean {close[0]}?' if close else ''}"

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


if __name__ == "__main__":
    run(main)
