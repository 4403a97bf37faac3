"""Follow the canonical lines: `python -m operate.logs [STACK] [--contact ID] [--since 15m] …`."""

import argparse
import json
import re
import sys
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.exceptions import HTTPClientError

from operate.stack import Stack, explain, parser, printable, run

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_logs.type_defs import FilteredLogEventTypeDef

POLL_SECONDS = 2.0
# CloudWatch shows a line up to this long after the time that the line bears.
LATE_SECONDS = 75.0
_SINCE = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# The members of a canonical line, in the order of the columns, with the usual width.
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
_FUNCTION = ("service", "highlevel-conversations")  # in other lines `service` is the service of AWS that failed
# What the Lambda runtime writes when a function cannot start, is killed or takes too long.
_RUNTIME_TROUBLE = re.compile(r"\[ERROR\]|Task timed out|Runtime exited|Runtime\.\w+Error|Status: (?:timeout|error)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each submission, as they come, until Ctrl-C. Returns 0."""
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
    lines = Lines(stack.logs, stack.output("LogGroupName"), time.time() - options.since, wanted)
    widths = dict(_COLUMNS)
    print(_row("time", {name: name for name in _COLUMNS}, widths), flush=True)
    try:
        while True:
            try:
                for event in lines.new():
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
    options = parser("Show one line for each submission, and warnings and errors, as they come; Ctrl-C ends it.")
    options.add_argument("--contact", metavar="ID", help="only submissions for this contact id")
    options.add_argument("--request", metavar="ID", help="only the submission with this request id")
    options.add_argument("--reason", metavar="WORD", help="only submissions that ended for this reason")
    options.add_argument(
        "--since", metavar="15m", type=_duration, default="15m", help="begin so long ago: 30s, 15m, 6h, 2d"
    )
    options.add_argument("--no-follow", dest="follow", action="store_false", help="end when all up to now are shown")
    return options.parse_args(arguments)


def _duration(text: str) -> float:
    if not (match := _SINCE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30s, 15m, 6h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


class Lines:
    """A log group's lines from `since` (Unix time) on, each of them once, late ones too.

    `wanted` (member of a JSON line → value) lets CloudWatch leave out others; it need not.
    """

    def __init__(self, logs: "CloudWatchLogsClient", group: str, since: float, wanted: Mapping[str, str]) -> None:
        self._logs = logs
        self._group = group
        self._from = int(since * 1000)
        self._seen: dict[Hashable, int] = {}
        # Without a filter the runtime's own lines come too, which are not JSON: a function that cannot start.
        conditions = " && ".join(f"($.{member} = {json.dumps(value)})" for member, value in wanted.items())
        self._pattern = f"{{ {conditions} }}" if wanted else ""

    def new(self) -> Iterator["FilteredLogEventTypeDef"]:
        """What was not given out yet, page by page, each page in order. Raises what CloudWatch Logs raises."""
        began = time.time()
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._group, startTime=self._from, filterPattern=self._pattern
        )
        for page in pages:
            events = [event for event in page["events"] if _identity(event) not in self._seen]
            self._seen.update((_identity(event), event["timestamp"]) for event in events)
            yield from sorted(events, key=lambda event: event["timestamp"])
        self._from = max(self._from, int((began - LATE_SECONDS) * 1000))
        self._seen = {name: at for name, at in self._seen.items() if at >= self._from}


def _identity(event: "FilteredLogEventTypeDef") -> Hashable:
    """What tells a log event from all others; the local AWS gives what a function logs no id."""
    return event.get("eventId") or (event.get("logStreamName"), event["timestamp"], hash(event["message"]))


def _line(event: "FilteredLogEventTypeDef", wanted: Mapping[str, str], widths: dict[str, int]) -> str | None:
    """What to show of a log line, None for nothing. `widths` grow with what is shown."""
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = event["message"].strip()
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        trouble = not wanted and _RUNTIME_TROUBLE.search(text)
        return f"{at}  {printable(' '.join(text.split()))[:400]}" if trouble else None
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
