"""The log: one canonical line for each submission, and its metrics. Ids yes; e-mails, phones, secrets never."""

import json
import logging
import re
import sys
import traceback
from dataclasses import dataclass, field
from time import monotonic, time

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from create_conversation.aws_client import AwsError
from create_conversation.outcome import Outcome
from create_conversation.senders.mapping import Target

# Powertools' key "location" is a place in our code; it would read like HighLevel's.
_logger = Logger(service="highlevel-conversations", location=None, use_rfc3339=True, utc=True)
# At DEBUG these two print headers and bodies, tokens included, whatever level the function is set to.
logging.getLogger("botocore").setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.WARNING)

_cold = True


@dataclass(slots=True)
class SubmissionLog:
    """What is known of a submission while it is under way. `started` is in monotonic seconds, `first_time` is when the
    submission was first received, in Unix seconds."""

    trigger: str
    request_id: str
    sender: str | None = None
    target: Target | None = None
    attempts: int = 1
    age_seconds: int | None = None  # in the retry queue
    started: float = field(default_factory=monotonic)
    first_time: float = field(default_factory=time)
    outcome: Outcome | None = None  # once it has ended

    def location(self, outcome: Outcome) -> str | None:
        """The location's id, where it is known: mapped, or refused."""
        return self.target.location if self.target else outcome.location

    def contact(self, outcome: Outcome) -> str | None:
        """The contact's id, where it is known: looked up, or mapped."""
        return _no_phone(outcome.contact or (self.target.contact if self.target else None))

    def dead_letter(self, outcome: Outcome) -> dict[str, str | int | None]:
        """Why the submission is put aside for a person: the attributes of its dead letter."""
        return {
            "reason": outcome.reason,
            "sender": self.sender,
            "location": self.location(outcome),
            "attempts": self.attempts,
            "first_time": int(self.first_time),
            "last_error": outcome.detail if outcome.reason == "expired" else None,
        }

    def write(self, outcome: Outcome, metrics_namespace: str) -> None:
        """The submission has ended: write its line and its metrics (dimensions outcome and trigger only; a location
        as a dimension would cost by the location)."""
        global _cold
        self.outcome = outcome
        upstream = outcome.upstream
        limit = upstream.rate_limit if upstream else None
        duration = round(1000 * (monotonic() - self.started))
        _logger.info(
            "submission",
            outcome=outcome.name,
            reason=outcome.reason or None,
            trigger=self.trigger,
            sender=self.sender,
            location_id=self.location(outcome),
            contact_id=self.contact(outcome),
            conversation_id=outcome.conversation,
            upstream_status=upstream.status if upstream else None,
            upstream_ms=outcome.upstream_ms,
            upstream_trace_id=upstream.trace_id if upstream else None,
            attempts=self.attempts,
            age_seconds=self.age_seconds,
            rate_limit_remaining=limit.remaining if limit else None,
            duration_ms=duration,
            cold_start=_cold,
            request_id=self.request_id,
        )
        _cold = False
        metrics = AmazonCloudWatchEMFProvider(namespace=metrics_namespace)
        metrics.add_dimension("outcome", outcome.name)
        metrics.add_dimension("trigger", self.trigger)
        metrics.add_metric("Submissions", MetricUnit.Count, 1)
        metrics.add_metric("Duration", MetricUnit.Milliseconds, duration)
        if outcome.upstream_ms is not None:
            metrics.add_metric("UpstreamDuration", MetricUnit.Milliseconds, outcome.upstream_ms)
        _print(metrics)


def _no_phone(contact: str | None) -> str | None:
    """HighLevel's ids have letters: digits alone are a phone number that a wrong mapping takes for one."""
    return None if contact and re.fullmatch(r"[0-9_-]{7,}", contact) else contact


def aws_request_failed(service: str, error: AwsError) -> None:
    """An AWS service refused or could not be reached; we go on, or say so to the sender."""
    _logger.warning("aws_request_failed", extra={"service": service, "operation": error.operation, "error": error.code})


def unpublished(events: int, why: str, metrics_namespace: str) -> None:
    """EventBridge has not confirmed these result events: they come late, or never. The canonical lines have it all."""
    _logger.warning("result_events_not_confirmed", extra={"events": events, "error": why})
    metrics = AmazonCloudWatchEMFProvider(namespace=metrics_namespace)
    metrics.add_metric("ResultEventsNotConfirmed", MetricUnit.Count, events)
    _print(metrics)


def _print(metrics: AmazonCloudWatchEMFProvider) -> None:
    # In one write: Powertools' print makes two, and the retry queue's threads would write into each other's line.
    sys.stdout.write(json.dumps(metrics.serialize_metric_set(), separators=(",", ":")) + "\n")


def failure(error: Exception) -> None:
    """A mistake of ours: its class and the way to it. Its text is left out, it may hold what must not be logged."""
    frames = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    _logger.error("internal_error", extra={"error": type(error).__name__, "frames": frames})
