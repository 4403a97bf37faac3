"""What is kept: the retry queue for what time mends, the dead-letter queue for what a person mends."""

import contextlib
import itertools
import math
import random
import time
from collections.abc import Iterable
from typing import Any

from create_conversation import canonical
from create_conversation.aws import AwsError, Service
from create_conversation.clock import Clock
from create_conversation.errors import NotStored
from create_conversation.submission import Submission

MIN_DELAY_SECONDS = 5
CALLS_AT_ONCE = 8
MAX_DELAY_SECONDS = 900  # of SQS, for DelaySeconds
BACKOFF_BASE_SECONDS = 5.0
MAX_WAIT_SECONDS = 3600.0
SPREAD = 0.3


class Queue:
    """Both SQS queues, by URL. Every method raises NotStored when SQS cannot be reached or refuses."""

    def __init__(self, sqs: Service, retry_url: str, dead_letter_url: str, clock: Clock = time) -> None:
        self._sqs = sqs
        self._retry_url = retry_url
        self._dead_letter_url = dead_letter_url
        self._clock = clock

    def keep(self, submission: Submission, location: str, retry_after: float | None) -> None:
        """Store a submission for another try. The group makes the standard queue a fair one: a location with a
        backlog does not stand in front of the others."""
        delay = min(max(math.ceil(retry_after or 0), MIN_DELAY_SECONDS), MAX_DELAY_SECONDS)
        self._call(
            "SendMessage",
            QueueUrl=self._retry_url,
            MessageBody=submission.to_message(),
            MessageGroupId=location,
            DelaySeconds=delay,
        )

    def keep_all(self, submissions: Iterable[tuple[Submission, str]], until: float) -> None:
        """Store several submissions, each with its location (all of one webhook: ten always fit into a call), several
        calls at a time: one after another, thousands would take longer than a sender waits. No call begins after
        `until` (monotonic seconds): then the sender has been told to come again."""
        from concurrent.futures import ThreadPoolExecutor  # only large arrays need it

        chunks = itertools.batched(submissions, 10, strict=False)
        with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
            for _ in threads.map(lambda chunk: self._keep_chunk(chunk, until), chunks):
                pass

    def _keep_chunk(self, chunk: Iterable[tuple[Submission, str]], until: float) -> None:
        if self._clock.monotonic() > until:
            raise NotStored("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS)
        entries = [
            {
                "Id": str(number),
                "MessageBody": submission.to_message(),
                "MessageGroupId": location,
                "DelaySeconds": MIN_DELAY_SECONDS,
            }
            for number, (submission, location) in enumerate(chunk)
        ]
        if self._call("SendMessageBatch", QueueUrl=self._retry_url, Entries=entries).get("Failed"):
            raise NotStored("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS)

    def park(self, message: str, **attributes: str | int | None) -> None:
        """Put a message aside for a person, with why (reason, sender, location, attempts, last_error) as attributes."""
        self._call(
            "SendMessage",
            QueueUrl=self._dead_letter_url,
            MessageBody=message,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": str(value)}
                for name, value in attributes.items()
                if value not in (None, "")
            },
        )

    def postpone(self, receipt_handle: str, seconds: float) -> None:
        """Let a received message be visible again after that many seconds."""
        self._call(
            "ChangeMessageVisibility",
            QueueUrl=self._retry_url,
            ReceiptHandle=receipt_handle,
            VisibilityTimeout=max(1, round(seconds)),
        )

    def postpone_all(self, seconds: dict[str, float]) -> None:
        """The same for several messages, by receipt handle (10 at most), in one call. Trouble is passed over: the
        messages then keep the queue's own visibility timeout."""
        if not seconds:  # SQS would refuse it, and the log tell of a trouble that is none
            return
        entries = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": max(1, round(wait))}
            for number, (handle, wait) in enumerate(seconds.items())
        ]
        with contextlib.suppress(NotStored):
            self._call("ChangeMessageVisibilityBatch", QueueUrl=self._retry_url, Entries=entries)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._sqs.call(operation, **arguments)
        except AwsError as error:
            canonical.trouble("queues", error)
            raise NotStored("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS) from None


def backoff(attempt: int, cap: float, retry_after: float | None, spread: float, draw: random.Random) -> float:
    """Seconds to wait after that many attempts: exponential with full jitter up to `cap`.

    Where HighLevel, or the rest of its window, names a wait, that comes first (up to an hour), and what waits with it
    spreads over a part of `spread` seconds (one window), so that a backlog neither returns at once nor leaves the next
    window unused. After a hundred windows it spreads wider: a message is received a thousand times at most.
    """
    if retry_after is None:
        return max(1.0, draw.uniform(0, min(cap, BACKOFF_BASE_SECONDS * 2 ** min(attempt, 20))))
    wide = min(SPREAD * spread * max(1.0, attempt / 100), MAX_WAIT_SECONDS)
    return min(retry_after, MAX_WAIT_SECONDS) + draw.uniform(0, wide)
