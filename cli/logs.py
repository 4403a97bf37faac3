"""Follow the canonical log lines: `python -m cli.logs [STACK] [--contact ID] [--since 15m] …`."""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.exceptions import HTTPClientError

from cli.log_reader import LogReader
from cli.stack import Stack, explain, parser, printable, run

if TYPE_CHECKING:
    from types_boto3_logs.type_defs import FilteredLogEventTypeDef

POLL_SECONDS = 2.0
_SINCE = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each submission until Ctrl-C. Returns 0."""
    options = _options(arguments)
    stack = Stack.connect(options.stack)
    wanted = {
        member: value
        for member, value in (
            ("contact_id", options.contact),
            ("request_id", options.request),
            ("reason", options.reason),
        )
        if value
    }
    reader = LogReader(stack.logs, stack.output("LogGroupName"), time.time() - options.since, wanted)
    widths = dict(_COLUMNS)
    print(_row("time", {name: name for name in _COLUMNS}, widths), flush=True)
    try:
        while True:
            try:
                for event in reader.new():
                    if line := _line(event, wanted, widths):
                        print(line, flush=True)
            except (AwsConnectionError, HTTPClientError) as error:
                if stack.is_local or not options.follow:
                    raise
                print(f"{explain(error)}; trying again", file=sys.stderr)
            if not options.follow:
                return 0
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser("Show one line for each submission, and warnings and errors, as they arrive. Ctrl-C ends it.")
    options.add_argument("--contact", metavar="ID", help="only submissions for this contact id")
    options.add_argument("--request", metavar="ID", help="only the submission with this request id")
    options.add_argument("--reason", metavar="CODE", help="only submissions with this reason code")
    options.add_argument(
        "--since", metavar="15m", type=_duration, default="15m", help="begin this long ago: 30s, 15m, 6h, 2d"
    )
    options.add_argument("--no-follow", dest="follow", action="store_false", help="end after the lines up to now")
    return options.parse_args(arguments)


def _duration(text: str) -> float:
    if not (match := _SINCE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30s, 15m, 6h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


def _line(event: "FilteredLogEventTypeDef", wanted: Mapping[str, str], widths: dict[str, int]) -> str | None:
    """Format a log line; None for one that is not shown. `widths` grow with the content."""
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = event["message"].strip()
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        is_error = not wanted and _RUNTIME_ERROR.search(text)
        return f"{at}  {printable(' '.join(text.split()))[:400]}" if is_error else None
    if line.get("message") == "submission":
        if any(line.get(member) != value for member, value in wanted.items()):
            return None
        return _row(at, line, widths)
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


if __name__ == "__main__":
    run(main)
