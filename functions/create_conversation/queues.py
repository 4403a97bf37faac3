"""What is kept: the retry queue for what time mends, the dead-letter queue for what a person mends."""

import contextlib
import itertools
import math
import random
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from create_conversation import submission_log
from create_conversation.aws_client import AwsError, AwsService
from create_conversation.clock import Clock
from create_conversation.errors import NotStoredError
from create_conversation.submission import Submission

MIN_DELAY_SECONDS = 5
CALLS_AT_ONCE = 8
MAX_DELAY_SECONDS = 900  # of SQS, for DelaySeconds
MIN_WAIT_SECONDS = 5.0
AGE_SHARE = 0.05
JITTER = 0.3
MAX_WAIT_SECONDS = 3600.0  # that a Retry-After may ask for


class Queues:
    """Both SQS queues, by URL. Every method raises NotStored when SQS cannot be reached or refuses."""

    def __init__(self, sqs: AwsService, retry_url: str, dead_letter_url: str, clock: Clock = time) -> None:
        self._sqs = sqs
        self._retry_url = retry_url
        self._dead_letter_url = dead_letter_url
        self._clock = clock

    def enqueue(self, submission: Submission, location: str, retry_after: float | None) -> None:
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

    def enqueue_batch(self, submissions: Iterable[tuple[Submission, str]], until: float) -> None:
        """Store several submissions, each with its location (all of one webhook: ten always fit into a call), several
        calls at a time: one after another, thousands would take longer than a sender waits. No call begins after
        `until` (monotonic seconds): then the sender has been told to come again."""
        from concurrent.futures import ThreadPoolExecutor  # only large arrays need it

        chunks = itertools.batched(submissions, 10, strict=False)
        with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
            for _ in threads.map(lambda chunk: self._enqueue_chunk(chunk, until), chunks):
                pass

    def _enqueue_chunk(self, chunk: Iterable[tuple[Submission, str]], until: float) -> None:
        if self._clock.monotonic() > until:
            raise NotStoredError("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS)
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
            raise NotStoredError("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS)

    def dead_letter(self, message: str, **attributes: str | int | None) -> None:
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

    def change_visibility(self, receipt_handle: str, seconds: float) -> None:
        """Let a received message be visible again after that many seconds."""
        self._call(
            "ChangeMessageVisibility",
            QueueUrl=self._retry_url,
            ReceiptHandle=receipt_handle,
            VisibilityTimeout=max(1, round(seconds)),
        )

    def change_visibility_batch(self, seconds: dict[str, float]) -> None:
        """The same for several messages, by receipt handle (10 at most), in one call. Trouble is passed over: the
        messages then keep the queue's own visibility timeout."""
        if not seconds:  # SQS would refuse it, and the log tell of a trouble that is none
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
            submission_log.aws_request_failed("SQS", error)
            raise NotStoredError("not_stored", "Send it again.", retry_after=MIN_DELAY_SECONDS) from None


def backoff(
    age: float, cap: float, retry_after: float | None, rng: random.Random, *, may_be_early: bool = False
) -> float:
    """Seconds until a message of that age is visible again, whatever it waits for: about 5 % of its age, from 5 s up to
    `cap`, so that SQS's 1,000 receives never come before the age limit. `retry_after`: not sooner, up to an hour.
    `may_be_early`: at any time before that, for one of many that must not all come in the same minutes."""
    base, least = _planned(age, cap), _planned(0.0, cap)
    earliest, latest = max(least, (1 - JITTER) * base), min((1 + JITTER) * base, cap)
    wait = rng.uniform(least, earliest) if may_be_early else rng.uniform(earliest, latest)
    bound = min(retry_after or 0.0, MAX_WAIT_SECONDS)
    return max(wait, bound + rng.uniform(0, JITTER * base)) if bound else wait


@lru_cache(maxsize=1024)
def receives_within(seconds: int, cap: float) -> int:
    """How often `backoff` lets a message be received in that time."""
    age, receives = 0.0, 0
    while age < seconds:
        age += _planned(age, cap)
        receives += 1
    return receives


def _planned(age: float, cap: float) -> float:
    return min(max(AGE_SHARE * age, MIN_WAIT_SECONDS), cap)
