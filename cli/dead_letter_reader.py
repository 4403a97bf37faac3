"""Read the messages of the dead-letter queue without consuming them, whichever service sent them."""

import json
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from create_conversation.submission import Submission

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

# A message that a killed command has received is visible again after this time.
HIDDEN_SECONDS = 300
READERS = 8
# SQS moves a message out of the retry queue after this many receives (template.yaml).
MAX_RECEIVES = 1000
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WHOLE = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of the dead-letter queue. Unknown values are None.

    `reason`: the reason code of the log, or `receives` (SQS moved it after 1000 receives), `undelivered` (sent by
    EventBridge), `unhandled` (sent by Lambda, because the function raised), `unreadable`. `sent_at`: when it was sent
    to the dead-letter queue; for `receives` to the retry queue, as SQS preserves that time. `first_time`: when the
    submission was first received. `attempts`: how often it was tried. Both include the time before a redrive.
    """

    id: str
    receipt_handle: str = field(repr=False)
    body: str = field(repr=False)
    attributes: dict[str, str]
    sent_at: datetime
    group: str | None
    reason: str
    sender: str | None
    location: str | None
    attempts: int | None
    last_error: str | None
    first_time: datetime

    @property
    def submission(self) -> Submission | None:
        """The submission, or None if the body cannot be read."""
        return _submission(self.body)

    @classmethod
    def read(cls, message: "MessageTypeDef") -> "DeadLetter":
        """Read a received message, which must have its attributes of both kinds. No content makes it raise."""
        system = message["Attributes"]
        body = message["Body"]
        attributes = {
            name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()
        }
        submission = _submission(body)
        group = system.get("MessageGroupId")
        reason = attributes.get("reason")
        sender = attributes.get("sender") or (submission.sender if submission else None)
        attempts, last_error = attributes.get("attempts"), attributes.get("last_error")
        if reason:
            pass  # sent by create_conversation
        elif "ERROR_CODE" in attributes or "RULE_ARN" in attributes:
            reason, sender, attempts = "undelivered", "event", attributes.get("RETRY_ATTEMPTS")
            last_error = ": ".join(filter(None, (attributes.get("ERROR_CODE"), attributes.get("ERROR_MESSAGE"))))
        elif record := _failure_record(body):
            reason, sender = "unhandled", "event"
            context, answer = _object(record.get("requestContext")), _object(record.get("responsePayload"))
            attempts = str(context.get("approximateInvokeCount", ""))
            last_error = ": ".join(str(part) for part in (context.get("condition"), answer.get("errorType")) if part)
        elif submission:
            reason, attempts = "receives", str(_number(attempts) + MAX_RECEIVES)
        else:
            reason = "unreadable"
        sent_at = datetime.fromtimestamp(int(system["SentTimestamp"]) / 1000, UTC)
        return cls(
            id=message["MessageId"],
            receipt_handle=message["ReceiptHandle"],
            body=body,
            attributes=attributes,
            sent_at=sent_at,
            group=group,
            reason=reason,
            sender=sender or None,
            location=attributes.get("location") or group or _location(submission),
            attempts=_number(attempts) or None,
            last_error=last_error or None,
            first_time=_first_time(_number(attributes.get("first_time")), submission, sent_at),
        )


class DeadLetterReader:
    """Receives every message of a queue once. The messages are hidden from other readers meanwhile.

    A context manager: the messages that were not removed are visible again when the block ends, also by an exception.
    """

    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs = sqs
        self._url = queue_url
        self._held: dict[str, str] = {}  # newest receipt handle of each message not removed, by id
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._readers = ThreadPoolExecutor(READERS)
        self.unreleased = 0

    def __enter__(self) -> "DeadLetterReader":
        return self

    def __exit__(self, *_: object) -> None:
        """Make the remaining messages visible. `unreleased` counts those that stay hidden for HIDDEN_SECONDS."""
        self._stop.set()
        self._readers.shutdown(cancel_futures=True)
        with ThreadPoolExecutor(READERS) as pool:
            self.unreleased = sum(pool.map(self._release, batched(list(self._held.values()), 10, strict=False)))

    def run(
        self, handle: Callable[[list[DeadLetter]], Iterable[str]], progress: Callable[[], None] = lambda: None
    ) -> None:
        """Receive until the queue is empty.

        `handle` gets the messages of each batch and returns the ids of those that it has removed from the queue.
        Several threads call it at the same time. `progress` is called about twice a second. Raises what `handle` and
        SQS raise.
        """
        waiting = {self._readers.submit(self._read, handle) for _ in range(READERS)}
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when="FIRST_EXCEPTION")
            progress()
            for reader in done:
                reader.result()

    def _read(self, handle: Callable[[list[DeadLetter]], Iterable[str]]) -> None:
        while not self._stop.is_set():
            # A long poll, however short, makes SQS ask all its servers instead of a sample.
            received = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            letters = [DeadLetter.read(message) for message in received.get("Messages", [])]
            with self._lock:
                new = [letter for letter in letters if letter.id not in self._seen]  # SQS may show a message twice
                self._seen.update(letter.id for letter in letters)
                self._held.update((letter.id, letter.receipt_handle) for letter in letters)
            if not new:  # the queue is empty, or the first messages are visible again
                return
            for removed in handle(new):
                self._held.pop(removed, None)

    def _release(self, handles: tuple[str, ...]) -> int:
        try:
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                    for number, handle in enumerate(handles)
                ],
            )
        except (BotoCoreError, ClientError):
            return len(handles)
        return 0


def _submission(body: str) -> Submission | None:
    try:
        return Submission.from_message(body)
    except ValueError:
        return None


def _number(text: str | None) -> int:
    """Parse an attribute that is a whole number; 0 for any other."""
    return int(text) if text and _WHOLE.fullmatch(text) else 0


def _first_time(attribute: int, submission: Submission | None, sent_at: datetime) -> datetime:
    """Return the time of the attribute, else of the submission, else of its event, else when the message was sent."""
    seconds = attribute or (submission.received_at if submission else 0.0)
    try:
        if seconds > 0:
            return datetime.fromtimestamp(seconds, UTC)
        return datetime.fromisoformat(_event(submission)["time"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return sent_at


def _event(submission: Submission | None) -> dict[str, Any]:
    """Return the EventBridge event of a submission; {} if it is not one."""
    if submission is None or submission.trigger != "event":
        return {}
    try:
        return _object(json.loads(submission.body))
    except (ValueError, RecursionError):
        return {}


def _failure_record(body: str) -> dict[str, Any] | None:
    """Parse Lambda's record of a failed asynchronous invocation; None if the body is something else."""
    try:
        record = _object(json.loads(body))
    except (ValueError, RecursionError):
        return None
    return record if "requestPayload" in record and "requestContext" in record else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _location(submission: Submission | None) -> str | None:
    """Return the location id in an event that has not been mapped yet."""
    location = _object(_event(submission).get("detail")).get("locationId")
    return location if isinstance(location, str) and _ID.fullmatch(location) else None
