"""Try dead letters again: `python -m operate.redrive [STACK] [--reason R] [--sender S]`."""

import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from operate.parked import HIDDEN_SECONDS, DeadLetter, Sweep
from operate.stack import Stack, parser, run

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

# Of SQS, for a batch and for each message in it. Attributes count too; we send none.
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_MESSAGES = 10
# What is sent now and fails at once is parked after the run's beginning, whose time we know to the second.
DELAY_SECONDS = 2
UNKNOWN_GROUP = "unknown"
_GROUP = re.compile(r"[!-~]{1,128}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the dead letters that match to the retry queue, then delete them. Returns 0 if all are done (also if there
    were none), 1 if some failed.

    Killed at any point, nothing is lost: what was sent and not deleted is tried twice, which ends in the same
    conversation.
    """
    options = _options(arguments)
    stack = Stack.connect(options.stack)
    which = " and ".join(f"{name} {value}" for name, value in _filters(options).items())

    about, now = _look(stack)
    redrive = _Redrive(stack, parked_until=now, reason=options.reason, sender=options.sender)
    progress = _Progress(redrive, about)
    sweep = Sweep(stack.sqs, stack.output("DeadLetterQueueUrl"))
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
    return 1 if redrive.failed else 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Send what lies in the dead-letter queue to the retry queue, to be tried again as if it were new.\n"
        "Mend the reason first: what fails again is parked again. Interrupting it loses nothing."
    )
    options.add_argument("--reason", metavar="WORD", help="only what was parked for this reason")
    options.add_argument("--sender", metavar="NAME", help="only what this sender sent")
    return options.parse_args(arguments)


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
    left: int = 0
    newer: int = 0
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
        else:
            parts = [f"{self.done} redriven"]
        if self.failed:
            parts.append(f"{self.failed} failed and stay")
        if self.left:
            parts.append(f"{self.left} others stay")
        if self.newer:
            parts.append(f"{self.newer} parked meanwhile")
        return ", ".join(parts)

    def _matches(self, letter: DeadLetter) -> bool:
        wanted = self.reason in (None, letter.reason) and self.sender in (None, letter.sender)
        newer = letter.sent_at > self.parked_until
        with self._lock:
            self.newer += newer
            self.left += not wanted and not newer
        return wanted and not newer

    def _send(self, batch: list[DeadLetter]) -> list[DeadLetter]:
        """Those that are in the retry queue now."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": letter.id,
                "MessageBody": letter.body,
                "MessageGroupId": _group(letter),
                "DelaySeconds": DELAY_SECONDS,
            }
            for letter in batch
        ]
        answer = self.stack.sqs.send_message_batch(QueueUrl=self.stack.output("RetryQueueUrl"), Entries=entries)
        sent = {entry["Id"] for entry in answer.get("Successful", [])}
        return [letter for letter in batch if letter.id in sent]

    def _delete(self, letters: list[DeadLetter]) -> list[str]:
        answer = self.stack.sqs.delete_message_batch(
            QueueUrl=self.stack.output("DeadLetterQueueUrl"),
            Entries=[{"Id": letter.id, "ReceiptHandle": letter.receipt_handle} for letter in letters],
        )
        return [entry["Id"] for entry in answer.get("Successful", [])]


def _group(letter: DeadLetter) -> str:
    """The fair queue's tenant: the location, where it is known."""
    group = letter.location or letter.group or ""
    return group if _GROUP.fullmatch(group) else UNKNOWN_GROUP


def _batches(letters: list[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """As few batches as SQS's limits allow."""
    batch: list[DeadLetter] = []
    size = 0
    for letter in letters:
        length = len(letter.body.encode())
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
