"""What became of a submission, as an event on the bus. Best effort: the canonical line is the record."""

import itertools
import json
import time
from collections.abc import Iterable

from create_conversation import submission_log
from create_conversation.aws_client import AwsError, AwsService
from create_conversation.clock import Clock
from create_conversation.submission_log import SubmissionLog
from shared.connection_pool import call_with_time_limit

SOURCE = "highlevel-conversations"  # the rule of our own event door excludes it
# What is deferred has not ended, what is not stored comes again, and who is unauthorized shall not make events.
DETAIL_TYPES = {
    "opened": "ConversationOpened",
    "existing": "ConversationExisting",
    "rejected": "ConversationRejected",
    "invalid": "ConversationRejected",
}
BACKGROUND_SECONDS = 2.0  # where nobody waits for an answer
# After trouble EventBridge is left alone for so long: one submission has waited for it, the next ones do not.
SKIP_SECONDS = 5.0


class ResultEvents:
    """Publishes to the bus of that name; without one, nothing."""

    def __init__(self, eventbridge: AwsService, bus: str | None, metrics_namespace: str, clock: Clock = time) -> None:
        self._eventbridge = eventbridge
        self._bus = bus
        self._metrics_namespace = metrics_namespace
        self._clock = clock
        self._skip_until = 0.0

    def publish(self, lines: Iterable[SubmissionLog], within: float) -> None:
        """Put an event for each of the lines whose submission has come to its end. Raises nothing, and returns after
        `within` seconds at the latest: what EventBridge has not confirmed by then may still arrive, or be lost."""
        entries = [entry for line in lines if (entry := self._entry(line))] if self._bus else []
        if not entries:
            return
        if self._clock.monotonic() < self._skip_until:
            submission_log.unpublished(len(entries), "skipped", self._metrics_namespace)
            return
        try:
            failed = call_with_time_limit(lambda: self._put(entries), within)
        except Exception as error:  # noqa: BLE001 whatever it is, it must not fail the submission
            self._skip_until = self._clock.monotonic() + SKIP_SECONDS
            if isinstance(error, AwsError):
                submission_log.aws_request_failed("EventBridge", error)
            submission_log.unpublished(len(entries), type(error).__name__, self._metrics_namespace)
        else:
            if failed:
                submission_log.unpublished(len(failed), failed[0], self._metrics_namespace)

    def _entry(self, line: SubmissionLog) -> dict[str, str] | None:
        outcome = line.outcome
        if outcome is None or outcome.name not in DETAIL_TYPES:
            return None
        detail = {
            "locationId": line.location(outcome),
            "contactId": line.contact(outcome),
            "conversationId": outcome.conversation,
            "outcome": outcome.name,
            "reason": outcome.reason,
            "sender": line.sender,
            "trigger": line.trigger,
            "requestId": line.request_id,
        }
        return {
            "Source": SOURCE,
            "DetailType": DETAIL_TYPES[outcome.name],
            "Detail": json.dumps({name: value for name, value in detail.items() if value}),
            "EventBusName": str(self._bus),
        }

    def _put(self, entries: list[dict[str, str]]) -> list[str]:
        """The error codes of the events that EventBridge did not take."""
        chunks = itertools.batched(entries, 10, strict=False)
        answers = [self._eventbridge.call("PutEvents", Entries=chunk) for chunk in chunks]
        return [entry["ErrorCode"] for answer in answers for entry in answer["Entries"] if "ErrorCode" in entry]
