"""`./hlc logs`: follow the canonical log lines."""

import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.exceptions import HTTPClientError

from cli.log_reader import LogReader
from cli.options import Settings
from cli.stack import explain, printable, suggestion
from create_conversation.errors import REASONS

if TYPE_CHECKING:
    from types_boto3_logs.type_defs import FilteredLogEventTypeDef

POLL_SECONDS = 2.0
# The columns: members of a canonical log line, with their usual width.
_COLUMNS = {
    "outcome": 8,
    "reason": 15,
    "trigger": 7,
    "sender": 7,
    "location_id": 20,
    "contact_id": 20,
    "conversation_id": 20,
    "upstream_status": 15,
    "upstream_ms": 11,
    "duration_ms": 11,
    "attempts": 8,
    "request_id": 0,
}
_LEVELS = ("WARNING", "ERROR", "CRITICAL")
_NOT_SHOWN = ("level", "message", "timestamp")
# Powertools' own `service`. In the line of a failed request `service` is the AWS service.
_FUNCTION = ("service", "highlevel-conversations")
# The Lambda runtime writes one of these when a function cannot start, is killed or takes too long.
_RUNTIME_ERROR = re.compile(r"\[ERROR\]|Task timed out|Runtime exited|Runtime\.\w+Error|Status: (?:timeout|error)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are shown: those with these values, from `since` seconds ago on; `follow`: until Ctrl-C."""

    contact: str | None
    request: str | None
    reason: str | None
    since: float
    follow: bool

    @property
    def members(self) -> dict[str, str]:
        """The members that a line must have."""
        values = (("contact_id", self.contact), ("request_id", self.request), ("reason", self.reason))
        return {member: value for member, value in values if value}


def run(settings: Settings, wanted: Wanted) -> int:
    """Print one line for each submission until Ctrl-C. Returns 0. Raises UsageError for an unknown reason code."""
    if wanted.reason and wanted.reason not in REASONS:
        raise click.UsageError(
            f"there is no reason code {printable(wanted.reason)}"
            f"{suggestion(wanted.reason, REASONS) or '; docs/api.md#reason-codes lists them'}"
        )
    stack = settings.connect()
    members = wanted.members
    reader = LogReader(stack.logs, stack.output("LogGroupName"), time.time() - wanted.since, members)
    show = _Json(members) if settings.json else _Rows(members)
    try:
        while True:
            try:
                for event in reader.new():
                    show.event(event)
            except (AwsConnectionError, HTTPClientError) as error:
                if stack.is_local or not wanted.follow:
                    raise
                print(f"{explain(error)}; trying again", file=sys.stderr)
            if not wanted.follow:
                return 0
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return 0


class _Rows:
    """Prints a table whose columns grow with the content."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._wanted = wanted
        self._widths = dict(_COLUMNS)
        print(_row("time", {name: name for name in _COLUMNS}, self._widths), flush=True)

    def event(self, event: "FilteredLogEventTypeDef") -> None:
        if line := _line(event, self._wanted, self._widths):
            print(line, flush=True)


class _Json:
    """Prints the canonical log lines as they are, one JSON object in each line."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._wanted = wanted

    def event(self, event: "FilteredLogEventTypeDef") -> None:
        line = _parsed(event["message"])
        if line is not None and _is_wanted(line, self._wanted):
            print(json.dumps(line), flush=True)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _is_wanted(line: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return line.get("message") == "submission" and all(line.get(member) == value for member, value in wanted.items())


def _line(event: "FilteredLogEventTypeDef", wanted: Mapping[str, str], widths: dict[str, int]) -> str | None:
    """Format a log line; None for one that is not shown. `widths` grow with the content."""
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = event["message"].strip()
    line = _parsed(text)
    if line is None:
        is_error = not wanted and _RUNTIME_ERROR.search(text)
        return f"{at}  {printable(' '.join(text.split()))[:400]}" if is_error else None
    if line.get("message") == "submission":
        return _row(at, line, widths) if _is_wanted(line, wanted) else None
    if wanted or line.get("level") not in _LEVELS:
        return None
    members = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in line.items()
        if name not in _NOT_SHOWN and (name, value) != _FUNCTION and value is not None
    ]
    return f"{at}  {printable(' '.join([line['level'], str(line.get('message')), *members]))}"


def _row(at: str, line: Mapping[str, Any], widths: dict[str, int]) -> str:
    cells = []
    for name in widths:
        value = line.get(name)
        cell = "-" if value is None else printable(str(value))
        widths[name] = max(widths[name], len(cell))
        cells.append(cell.ljust(widths[name]))
    return f"{at:20}  {'  '.join(cells)}".rstrip()
