"""Try dead letters again: `python -m operate.redrive [STACK] [--reason R] [--sender S] [--wait SECONDS]`."""

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

from operate.dead_letter_reader import HIDDEN_SECONDS, DeadLetter, DeadLetterReader
from operate.results import ResultEvents
from operate.sender import stack_name
from operate.stack import Stack, parser, printable, run

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

# Of SQS, for a batch and for each message in it. Attributes count too: ours have less than ATTRIBUTE_BYTES.
MAX_BATCH_BYTES = 1024 * 1024
ATTRIBUTE_BYTES = 128
MAX_BATCH_MESSAGES = 10
# What is sent now and fails at once is parked after the run's beginning, whose time we know to the second.
DELAY_SECONDS = 2
WAIT_SECONDS = 120
UNKNOWN_GROUP = "unknown"
_GROUP = re.compile(r"[!-~]{1,128}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the dead letters that match to the retry queue, delete them there, and wait for what becomes of them.
    Returns 0 if all are done (also if the queue was empty), 1 if some failed, came back or are still open, or if none
    matches.

    Killed at any point, nothing is lost: what was sent and not deleted is tried twice, which ends in the same
    conversation.
    """
    options = _options(arguments)
    stack = Stack.connect(options.stack)
    which = " and ".join(f"{name} {value}" for name, value in _filters(options).items())

    about, now = _look(stack)
    redrive = _Redrive(stack, parked_until=now, reason=options.reason, sender=options.sender)
    progress = _Progress(redrive, about)
    sweep = DeadLetterReader(stack.sqs, stack.output("DeadLetterQueueUrl"))
    results = ResultEvents(stack, now.timestamp())  # with DELAY_SECONDS, no line of ours is earlier
    interrupted = True
    try:
        with sweep:
            sweep.run(redrive.take, progress.show)
        interrupted = False
    finally:
        progress.end()
        print(redrive.report(which, interrupted=interrupted))
        if sweep.unreleased:
            print(
                f"{sweep.unreleased} stay hidden for {HIDDEN_SECONDS // 60} minutes: SQS cannot be reached",
                file=sys.stderr,
            )
    if not redrive.done:
        return 1 if redrive.failed or redrive.others else 0
    if stack.parameters.get("Paused") == "true":
        print("sending is paused: they stay in the retry queue until make deploy PARAMETERS=Paused=false")
        return 1
    if options.wait:
        try:
            results.wait(redrive.sent, options.wait)
        finally:
            print(results.report(stack_name(stack)))
    return 0 if results.complete and not redrive.failed else 1


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Send what lies in the dead-letter queue to the retry queue, to be tried again as if it were new.\n"
        "Fix the reason first: what fails again comes back. Then wait for the results, and show them. Interrupting\n"
        "it loses nothing."
    )
    options.add_argument("--reason", metavar="CODE", help="only those with this reason")
    options.add_argument("--sender", metavar="NAME", help="only those of this sender")
    options.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=WAIT_SECONDS,
        help="how long to wait for the results at most; 0: do not wait (default: %(default)s)",
    )
    return options.parse_args(arguments)


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return int(text)


def _filters(options: Any) -> dict[str, str]:
    return {name: getattr(options, name) for name in ("reason", "sender") if getattr(options, name)}


def _look(stack: Stack) -> tuple[int, datetime]:
    """About how many dead letters there are, and a time by SQS's clock that is at most a second in the future."""
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=stack.output("DeadLetterQueueUrl"), AttributeNames=["ApproximateNumberOfMessages"]
    )
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) + timedelta(seconds=1) if date else datetime.now(UTC)
    return int(answer["Attributes"]["ApproximateNumberOfMessages"]), now


@dataclass
class _Redrive:
    """Takes batches from the sweep, by several threads at once."""

    stack: Stack
    parked_until: datetime
    reason: str | None
    sender: str | None
    done: int = 0
    failed: int = 0
    newer: int = 0
    others: Counter[tuple[str, str]] = field(default_factory=Counter)  # that stay: reason and sender
    sent: list[str] = field(default_factory=list)  # the request id under which each is logged
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, letters: list[DeadLetter]) -> list[str]:
        """Redrive what matches; the ids of what is done."""
        settled: list[str] = []
        matching = [letter for letter in letters if self._matches(letter)]
        for batch in _batches(matching):
            sent = self._send(batch)
            deleted = self._delete(sent) if sent else []
            settled += deleted
            with self._lock:
                self.done += len(deleted)
                self.failed += len(batch) - len(deleted)
        return settled

    def report(self, which: str, *, interrupted: bool) -> str:
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
            parts.append(f"{self.newer} came meanwhile")
        return ", ".join(parts)

    def _others(self) -> str:
        """Which there are, and what was perhaps meant."""
        reasons = [reason for reason, _sender in self.others]
        close = difflib.get_close_matches(self.reason or "", reasons, 1) if self.reason not in reasons else []
        there = ", ".join(
            printable(f"{count} with reason {reason} of {sender or 'an unknown sender'}")
            for (reason, sender), count in self.others.most_common()
        )
        return f"there are {there}{f'; did you mean {close[0]}?' if close else ''}"

    def _matches(self, letter: DeadLetter) -> bool:
        wanted = self.reason in (None, letter.reason) and self.sender in (None, letter.sender)
        newer = letter.sent_at > self.parked_until
        with self._lock:
            self.newer += newer
            if not wanted and not newer:
                self.others[letter.reason, letter.sender or ""] += 1
        return wanted and not newer

    def _send(self, batch: list[DeadLetter]) -> list[DeadLetter]:
        """Those that are in the retry queue now."""
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
    """What the retry queue's trigger goes on from; none for a message that fills SQS's limit alone."""
    if _size(letter) > MAX_BATCH_BYTES:
        return {}
    numbers = {"attempts": letter.attempts or 0, "first_time": int(letter.first_time.timestamp())}
    return {name: {"DataType": "String", "StringValue": str(number)} for name, number in numbers.items()}


def _request_id(letter: DeadLetter) -> str:
    """The id under which the retry queue's trigger logs it; "": the message's."""
    return letter.submission.request_id if letter.submission else ""


def _size(letter: DeadLetter) -> int:
    return len(letter.body.encode()) + ATTRIBUTE_BYTES


def _group(letter: DeadLetter) -> str:
    """The fair queue's tenant: the location, where it is known."""
    group = letter.location or letter.group or ""
    return group if _GROUP.fullmatch(group) else UNKNOWN_GROUP


def _batches(letters: list[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """As few batches as SQS's limits allow."""
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
    """On a terminal one line that is written over, else a line every 10 seconds; on standard error."""

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
