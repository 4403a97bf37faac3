"""Result events: how each submission ended, as an event on a bus. An event may be lost, a canonical log line not."""

import itertools
import json
import time
from collections.abc import Iterable, Mapping

from aws_lambda_powertools.metrics import MetricUnit

from create_conversation.aws_client import AwsError, AwsService
from shared.clock import Clock
from shared.cooldown import Cooldown
from shared.observability import aws_request_failed, logger, write_metrics
from shared.time_limit import call_with_time_limit

SOURCE = "highlevel-conversations"  # the EventBridge rule that triggers this function excludes it
# No event: a deferred submission has not ended, one that is not stored comes again, and an unauthorized sender must
# not cause events.
DETAIL_TYPES = {
    "opened": "ConversationOpened",
    "existing": "ConversationExisting",
    "rejected": "ConversationRejected",
    "invalid": "ConversationRejected",
}
BACKGROUND_SECONDS = 2.0  # where no caller waits for a response
MAX_ENTRIES = 10  # of one call to EventBridge
# After a failure EventBridge is left alone this long: one submission has waited for it, the next ones do not.
SKIP_SECONDS = 5.0


class ResultEvents:
    """Publishes to the event bus of that name; without one it does nothing."""

    def __init__(self, eventbridge: AwsService, bus: str | None, metrics_namespace: str, clock: Clock = time) -> None:
        self._eventbridge = eventbridge
        self._bus = bus
        self._metrics_namespace = metrics_namespace
        self._cooldown = Cooldown(SKIP_SECONDS, clock)

    def publish(self, details: Iterable[Mapping[str, str | None]], within: float) -> None:
        """Publish an event for each submission that has ended; `details`: see `SubmissionLog.result_detail`.

        Raises nothing, and returns after `within` seconds at the latest: an event that EventBridge has not confirmed by
        then may still arrive, or be lost.
        """
        if not self._bus:
            return
        entries = [_entry(detail, self._bus) for detail in details if detail.get("outcome") in DETAIL_TYPES]
        if not entries:
            return
        if self._cooldown.is_active:
            self._not_confirmed(len(entries), "skipped")
            return
        try:
            refused = call_with_time_limit(lambda: self._put(entries), within)
        except Exception as error:  # noqa: BLE001 no error here may fail the submission
            self._cooldown.start()
            if isinstance(error, AwsError):
                aws_request_failed("EventBridge", error.operation, error.code)
            self._not_confirmed(len(entries), type(error).__name__)
        else:
            if refused:
                self._not_confirmed(len(refused), refused[0])

    def _put(self, entries: list[dict[str, str]]) -> list[str]:
        """Send the events and return the error codes of those that EventBridge refused."""
        refused: list[str] = []
        for batch in itertools.batched(entries, MAX_ENTRIES, strict=False):
            response = self._eventbridge.call("PutEvents", Entries=batch)
            refused += [entry["ErrorCode"] for entry in response["Entries"] if "ErrorCode" in entry]
        return refused

    def _not_confirmed(self, events: int, error: str) -> None:
        """Log and count events that come late, or never."""
        logger.warning("result_events_not_confirmed", extra={"events": events, "error": error})
        write_metrics(self._metrics_namespace, {"ResultEventsNotConfirmed": (MetricUnit.Count, events)})


def _entry(detail: Mapping[str, str | None], bus: str) -> dict[str, str]:
    """Return the event as PutEvents takes it."""
    return {
        "Source": SOURCE,
        "DetailType": DETAIL_TYPES[str(detail["outcome"])],
        "Detail": json.dumps({name: value for name, value in detail.items() if value}),
        "EventBusName": bus,
    }
