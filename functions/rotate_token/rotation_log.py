"""The canonical log line of each rotation step, and the metric that the alarm watches. Never a token."""

from dataclasses import dataclass, field
from time import monotonic

from aws_lambda_powertools.metrics import MetricUnit

from rotate_token.secret_versions import BotoError, code_of
from shared.observability import logger, take_cold_start, write_metrics


@dataclass(slots=True)
class RotationLog:
    """What is known of a step while it runs.

    `version`: the new version's id. `seconds_left`: until the access token expires that the step left pending or
    current. `started`: monotonic seconds.
    """

    step: str
    version: str
    request_id: str
    outcome: str = ""
    reason: str | None = None
    detail: str | None = None
    attempts: int = 0
    upstream_status: int | None = None
    upstream_ms: int | None = None
    seconds_left: int | None = None
    started: float = field(default_factory=monotonic)

    def write(self, metrics_namespace: str) -> None:
        """Write the line of a step that has ended; if it ended the rotation, the metric too."""
        logger.info(
            "rotation",
            step=self.step,
            outcome=self.outcome,
            reason=self.reason,
            detail=self.detail,
            version=self.version,
            attempts=self.attempts or None,
            upstream_status=self.upstream_status,
            upstream_ms=self.upstream_ms,
            seconds_left=self.seconds_left,
            duration_ms=round(1000 * (monotonic() - self.started)),
            cold_start=take_cold_start(),
            request_id=self.request_id,
        )
        if self.outcome == "finished":
            write_metrics(metrics_namespace, {"Rotations": (MetricUnit.Count, 1)}, {"outcome": self.outcome})

    def token_pair_not_stored(self, error: BotoError) -> None:
        """Log that Secrets Manager did not store a new token pair, which is in this function's memory only."""
        logger.error("token_pair_not_stored", extra={"error": code_of(error), "request_id": self.request_id})
