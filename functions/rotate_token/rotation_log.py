"""The log of a rotation: one canonical line for each step, and the metric that the alarm watches. Never a token."""

import json
import logging
import sys
import traceback
from dataclasses import dataclass, field
from time import monotonic

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from rotate_token.secret_versions import BotoError, code_of

_logger = Logger(service="highlevel-conversations", location=None, use_rfc3339=True, utc=True)
# At DEBUG these two print headers and bodies, tokens included, whatever level the function is set to.
logging.getLogger("botocore").setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.WARNING)

_cold = True


@dataclass(slots=True)
class RotationLog:
    """What is known of a step while it runs. `seconds_left`: of the access token that it left pending or current."""

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
        """The step has ended: write its line; when it ended the rotation, the metric too."""
        global _cold
        _logger.info(
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
            cold_start=_cold,
            request_id=self.request_id,
        )
        _cold = False
        if self.outcome == "finished":
            metrics = AmazonCloudWatchEMFProvider(namespace=metrics_namespace)
            metrics.add_dimension("outcome", self.outcome)
            metrics.add_metric("Rotations", MetricUnit.Count, 1)
            sys.stdout.write(json.dumps(metrics.serialize_metric_set(), separators=(",", ":")) + "\n")

    def not_stored_yet(self, error: BotoError) -> None:
        """A new pair is in this function's memory only."""
        _logger.error("token_pair_not_stored", extra={"error": code_of(error), "request_id": self.request_id})

    def mistake(self, error: Exception) -> None:
        """A mistake of ours: its class and the way to it, without its text."""
        frames = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        _logger.error("internal_error", extra={"error": type(error).__name__, "frames": frames})
