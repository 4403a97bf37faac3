"""The two SQS queues: the retry queue for transient failures, the dead-letter queue for what needs an operator."""

import contextlib
import itertools
import math
import random
import time
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

from create_conversation.aws_client import AwsError, AwsService
from create_conversation.errors import NotStoredError
from create_conversation.submission import Submission
from shared.clock import Clock
from shared.observability import aws_request_failed
from shared.time_limit import call_all

MIN_DELAY_SECONDS = 5
MAX_CONCURRENT_CALLS = 8
MAX_DELAY_SECONDS = 900  # of SQS, for DelaySeconds
MIN_WAIT_SECONDS = 5.0
AGE_SHARE = 0.05
JITTER = 0.3
MAX_WAIT_SECONDS = 3600.0  # that a Retry-After may ask for


class Queues:
    """Both queues, by URL. Every method but `change_visibility_batch` raises NotStoredError when SQS fails."""

    def __init__(self, sqs: AwsService, retry_url: str, dead_letter_url: str, clock: Clock = time) -> None:
        self._sqs = sqs
        self._retry_url = retry_url
        self._dead_letter_url = dead_letter_url
        self._clock = clock

    def enqueue(self, submission: Submission, location: str, retry_after: float | None) -> None:
        """Store a submission for another attempt, in `retry_after` seconds at the earliest (900 at most).

        The message group makes the standard queue a fair one: a location with a backlog does not delay the others.
        """
        delay = min(max(math.ceil(retry_after or 0), MIN_DELAY_SECONDS), MAX_DELAY_SECONDS)
        self._call(
            "SendMessage",
            QueueUrl=self._retry_url,
            MessageBody=submission.to_message(),
            MessageGroupId=location,
            DelaySeconds=delay,
        )

    def enqueue_batch(self, submissions: Iterable[tuple[Submission, str]], until: float) -> None:
        """Store all submissions of one webhook, each with its location, several calls at a time.

        Ten of them always fit into a call; one call after another would take longer than a sender waits. No call begins
        after `until` (monotonic seconds): the sender has been asked to send the webhook again.
        """
        chunks = itertools.batched(submissions, 10, strict=False)
        call_all([partial(self._enqueue_chunk, chunk, until) for chunk in chunks], MAX_CONCURRENT_CALLS)

    def _enqueue_chunk(self, chunk: Iterable[tuple[Submission, str]], until: float) -> None:
        if self._clock.monotonic() > until:
            raise _not_stored()
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
            raise _not_stored()

    def dead_letter(self, message: str, **attributes: str | int | None) -> None:
        """Store a message for an operator; its attributes (see `SubmissionLog.dead_letter`) say why."""
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

    def change_visibility(self, receipt_handle: str, seconds: float) -> None:
        """Make a received message visible again after that many seconds."""
        self._call(
            "ChangeMessageVisibility",
            QueueUrl=self._retry_url,
            ReceiptHandle=receipt_handle,
            VisibilityTimeout=max(1, round(seconds)),
        )

    def change_visibility_batch(self, seconds: dict[str, float]) -> None:
        """Do the same in one call for up to 10 messages, by receipt handle.

        If SQS fails, the messages are visible again after the queue's own visibility timeout; nothing is raised.
        """
        if not seconds:  # SQS would refuse an empty batch, and that would be logged
            return
        entries = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": max(1, round(wait))}
            for number, (handle, wait) in enumerate(seconds.items())
        ]
        with contextlib.suppress(NotStoredError):
            self._call("ChangeMessageVisibilityBatch", QueueUrl=self._retry_url, Entries=entries)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._sqs.call(operation, **arguments)
        except AwsError as error:
            aws_request_failed("SQS", error.operation, error.code)
            raise _not_stored() from None


def _not_stored() -> NotStoredError:
    return NotStoredError("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS)


def backoff(
    age: float, cap: float, retry_after: float | None, rng: random.Random, *, may_be_early: bool = False
) -> float:
    """Return the seconds until a message of that age is visible again: about 5 % of its age, from 5 s up to `cap`.

    Thus a message reaches its age limit before SQS's limit of 1,000 receives. The result is at least `retry_after`
    seconds, of which an hour counts at most. `may_be_early`: any time before the planned one, for one message of a
    backlog that must not all come back in the same minutes.
    """
    planned, least = _planned(age, cap), _planned(0.0, cap)
    earliest, latest = max(least, (1 - JITTER) * planned), min((1 + JITTER) * planned, cap)
    wait = rng.uniform(0.0, earliest) if may_be_early else rng.uniform(earliest, latest)
    if not retry_after:
        return wait
    return max(wait, min(retry_after, MAX_WAIT_SECONDS) + rng.uniform(0, JITTER * planned))


@lru_cache(maxsize=1024)
def receives_within(seconds: int, cap: float) -> int:
    """Return how often `backoff` lets a message be received in that time."""
    age, receives = 0.0, 0
    while age < seconds:
        age += _planned(age, cap)
        receives += 1
    return receives


def _planned(age: float, cap: float) -> float:
    return min(max(AGE_SHARE * age, MIN_WAIT_SECONDS), cap)
