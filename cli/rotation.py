"""The state of the rotation of HighLevelToken, read from Secrets Manager and the log."""

import json
import time
from dataclasses import dataclass
from datetime import datetime

from cli.stack import Stack, printable

LOOK_BACK_SECONDS = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state of a secret's rotation.

    `is_attached`: Secrets Manager rotates it automatically, next at `next_at`. `is_pending`: a rotation has begun and
    has not ended. `at`: time of the last attempt (Unix time), None if there was none since the secret was stored.
    `failure`: the reason code of that attempt, None if it succeeded.
    """

    is_attached: bool
    is_pending: bool
    next_at: datetime | None
    at: float | None
    failure: str | None


def rotation_of(stack: Stack, arn: str, stored_at: float) -> Rotation:
    """Read the rotation of the value that was stored at that Unix time. Earlier failures concern another value."""
    described = stack.secrets_manager.describe_secret(SecretId=arn)
    labels = described.get("VersionIdsToStages", {}).values()
    at, failure = _last_attempt(stack, max(stored_at, time.time() - LOOK_BACK_SECONDS))
    return Rotation(
        is_attached=described.get("RotationEnabled", False),
        is_pending=any("AWSPENDING" in of_version and "AWSCURRENT" not in of_version for of_version in labels),
        next_at=described.get("NextRotationDate"),
        at=at,
        failure=failure,
    )


def _last_attempt(stack: Stack, since: float) -> tuple[float | None, str | None]:
    """Return when the rotation function last wrote a line, and the reason code if that reports a failure."""
    group = stack.formation.describe_stack_resource(StackName=stack.name, LogicalResourceId="TokenRotationLogs")
    pages = stack.logs.get_paginator("filter_log_events").paginate(
        logGroupName=group["StackResourceDetail"]["PhysicalResourceId"],
        startTime=int(1000 * since),
        filterPattern='{ $.message = "rotation" }',
    )
    last: tuple[float, str | None] | None = None
    for event in (event for page in pages for event in page["events"]):
        try:
            line = json.loads(event["message"])
        except ValueError:
            continue
        at = event["timestamp"] / 1000
        if isinstance(line, dict) and line.get("message") == "rotation" and (last is None or at >= last[0]):
            failed = line.get("outcome") == "failed"
            last = at, printable(str(line.get("reason") or "failed"))[:64] if failed else None
    return last or (None, None)
