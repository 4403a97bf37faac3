"""What both functions log and measure with: one logger, the cold start, stack frames and metrics.

No line ever holds a secret or the text of an exception: that text may quote what was sent.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

# Powertools' key "location" is a place in the code; a reader would take it for HighLevel's location.
# Its formatter looks for JSON in each message (here they are words) and for a stack trace (none is logged, see below).
logger = Logger(
    service="highlevel-conversations",
    location=None,
    use_rfc3339=True,
    utc=True,
    json_deserializer=str,
    serialize_stacktrace=False,
)
# At DEBUG these two print headers and bodies, tokens included, whatever level the function is set to.
logging.getLogger("botocore").setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.WARNING)

_is_cold = True


def take_cold_start() -> bool:
    """Return True for the first call in this process, False for each later one."""
    global _is_cold
    was_cold, _is_cold = _is_cold, False
    return was_cold


def internal_error(error: BaseException) -> None:
    """Log a mistake in this code: the class of the exception and its stack frames, without its text."""
    logger.error("internal_error", extra={"error": type(error).__name__, "frames": frames(error)})


def frames(error: BaseException) -> list[str]:
    """Return the stack frames of an exception as `function:line`, the outermost first."""
    return [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]


def aws_request_failed(service: str, operation: str, error: str) -> None:
    """Log that a service of AWS refused a request or did not answer. `error`: AWS's code or the exception's class."""
    logger.warning("aws_request_failed", extra={"service": service, "operation": operation, "error": error})


def write_metrics(
    namespace: str,
    metrics: Mapping[str, tuple[MetricUnit, float]],
    dimensions: Mapping[str, str] | None = None,
    totals: Mapping[str, str] | None = None,
) -> None:
    """Write one EMF line to the standard output: CloudWatch makes metrics of it. Values by the metric's name.

    `totals`: metrics that are also counted by one dimension alone, which the alarms read. Powertools' own second
    dimension set would apply to all metrics of the line, at 0.30 $ for each.
    """
    provider = AmazonCloudWatchEMFProvider(namespace=namespace)
    for name, value in (dimensions or {}).items():
        provider.add_dimension(name, value)
    for name, (unit, number) in metrics.items():
        provider.add_metric(name, unit, number)
    line: dict[str, Any] = dict(provider.serialize_metric_set())
    for name, dimension in (totals or {}).items():
        total = {"Name": name, "Unit": metrics[name][0].value}
        line["_aws"]["CloudWatchMetrics"] += [{"Namespace": namespace, "Dimensions": [[dimension]], "Metrics": [total]}]
    # One write: Powertools' own print makes two, and two threads would write into each other's line.
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
