"""The canonical log line of each submission, and its metrics: ids, but no e-mail address, phone number or secret."""

import re
from dataclasses import dataclass, field
from time import monotonic, time

from aws_lambda_powertools.metrics import MetricUnit

from create_conversation.errors import NOTHING_TO_EXPLAIN, Explanation, MessageStatus, OutcomeName
from create_conversation.outcome import Outcome
from create_conversation.senders.mapping import Target
from shared.observability import logger, take_cold_start, write_metrics

# The other statuses are the rule, and in the log.
_COUNTED = (MessageStatus.DEFERRED, MessageStatus.NOTE, MessageStatus.REFUSED)
MAX_DETAIL = 1500  # characters, of an attribute of a dead letter


@dataclass(slots=True)
class SubmissionLog:
    """What is known of a submission while it is processed.

    `age_seconds`: how long it has been in the retry queue. `started`: monotonic seconds. `first_time`: when the
    submission was first received, in Unix seconds. `outcome`: once it has ended. `is_reported`: an earlier attempt has
    logged and counted the outcome of its conversation; only its message was missing.
    """

    trigger: str
    request_id: str
    sender: str | None = None
    target: Target | None = None
    attempts: int = 1
    age_seconds: int | None = None
    started: float = field(default_factory=monotonic)
    first_time: float = field(default_factory=time)
    outcome: Outcome | None = None
    is_reported: bool = False

    def location(self, outcome: Outcome) -> str | None:
        """Return the location's id, where it is known: the mapped one, or the one that was refused."""
        return self.target.location if self.target else outcome.location

    def contact(self, outcome: Outcome) -> str | None:
        """Return the contact's id, where it is known: the one that was looked up, or the mapped one."""
        return _no_phone(outcome.contact or (self.target.contact if self.target else None))

    def explanation(self, outcome: Outcome) -> Explanation:
        """Return why the submission was mapped as it was, and what was left out."""
        return (self.target.explanation if self.target else NOTHING_TO_EXPLAIN) + outcome.explanation

    def dead_letter(self, outcome: Outcome) -> dict[str, str | int | None]:
        """Return the attributes of the submission's dead letter: why an operator is needed."""
        return {
            "reason": outcome.reason,
            "sender": self.sender,
            "location": self.location(outcome),
            "attempts": self.attempts,
            "first_time": int(self.first_time),
            "last_error": outcome.detail if outcome.reason in ("expired", "message_failed") else None,
            "detail": f"{outcome.detail} {self.explanation(outcome)}".strip()[:MAX_DETAIL],
        }

    def result_detail(self) -> dict[str, str | None]:
        """Return the detail of the submission's result event; empty while it has not ended."""
        outcome = self.outcome
        if outcome is None or self.is_reported:
            return {}
        return {
            "locationId": self.location(outcome),
            "contactId": self.contact(outcome),
            "conversationId": outcome.conversation,
            "outcome": outcome.name,
            "reason": outcome.reason,
            "sender": self.sender,
            "trigger": self.trigger,
            "requestId": self.request_id,
        }

    def write(self, outcome: Outcome, metrics_namespace: str) -> None:
        """Write the line and the metrics of a submission that has ended.

        The metrics' dimensions are outcome and trigger only: a location as a dimension would cost by the location.
        """
        self.outcome = outcome
        message_status, unfinished = outcome.message, outcome.unfinished
        if self.is_reported:  # what is left is what it is about
            outcome = outcome.to_retry or outcome.to_dead_letter or outcome
        upstream = outcome.upstream
        limit = upstream.rate_limit if upstream else None
        explanation = self.explanation(outcome)
        is_refused = outcome.name in (OutcomeName.INVALID, OutcomeName.REJECTED, OutcomeName.UNAUTHORIZED)
        duration = round(1000 * (monotonic() - self.started))
        logger.info(
            "submission",
            outcome=outcome.name,
            reason=outcome.reason or None,
            trigger=self.trigger,
            sender=self.sender,
            location_id=self.location(outcome),
            contact_id=self.contact(outcome),
            conversation_id=outcome.conversation,
            detail=outcome.detail or (unfinished.detail if unfinished else "") or None,
            message_status=message_status,
            message_reason=unfinished.reason if unfinished else None,
            message_only=self.is_reported or None,
            looked_at=(explanation.looked_at or None) if is_refused else None,
            fields=(explanation.fields or None) if is_refused else None,
            dropped=explanation.dropped or None,
            upstream_status=upstream.status if upstream else None,
            upstream_ms=outcome.upstream_ms,
            upstream_trace_id=upstream.trace_id if upstream else None,
            attempts=self.attempts,
            age_seconds=self.age_seconds,
            rate_limit_remaining=limit.remaining if limit else None,
            duration_ms=duration,
            cold_start=take_cold_start(),
            request_id=self.request_id,
        )
        if message_status in _COUNTED and not self.is_reported:
            write_metrics(metrics_namespace, {"Messages": (MetricUnit.Count, 1)}, {"status": message_status})
        if self.is_reported:  # an earlier attempt has counted the submission
            write_metrics(metrics_namespace, {"MessageRetries": (MetricUnit.Count, 1)}, {"outcome": outcome.name})
            return
        metrics: dict[str, tuple[MetricUnit, float]] = {
            "Submissions": (MetricUnit.Count, 1),
            "Duration": (MetricUnit.Milliseconds, duration),
        }
        if outcome.upstream_ms is not None:
            metrics["UpstreamDuration"] = (MetricUnit.Milliseconds, outcome.upstream_ms)
        dimensions = {"outcome": outcome.name, "trigger": self.trigger}
        write_metrics(metrics_namespace, metrics, dimensions, totals={"Submissions": "outcome"})


def _no_phone(contact: str | None) -> str | None:
    """Return the id, or None for digits alone: HighLevel's ids have letters, so a wrong mapping gave a phone number."""
    return None if contact and re.fullmatch(r"[0-9_-]{7,}", contact) else contact
