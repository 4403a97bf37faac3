"""Read a log group again and again, and return each line once. Shared by `logs` and `redrive`."""

import json
import time
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_logs.type_defs import FilteredLogEventTypeDef

# CloudWatch may show a line this long after the line's own time.
LATE_SECONDS = 75.0


class LogReader:
    """Returns the lines of a log group from `since` (Unix time) on, each once, also those that appear late.

    `wanted`: the members that a JSON line must have, and their values. CloudWatch filters by them; the local AWS may
    return other lines too.
    """

    def __init__(self, logs: "CloudWatchLogsClient", group: str, since: float, wanted: Mapping[str, str]) -> None:
        self._logs = logs
        self._group = group
        self._from = int(since * 1000)
        self._seen: dict[Hashable, int] = {}
        # Without a filter the runtime's own lines, which are not JSON, are included: a function that cannot start.
        conditions = " && ".join(f"($.{member} = {json.dumps(value)})" for member, value in wanted.items())
        self._pattern = f"{{ {conditions} }}" if wanted else ""

    def new(self) -> Iterator["FilteredLogEventTypeDef"]:
        """Yield the lines that are new since the last call, each page in order. Raises what CloudWatch Logs raises."""
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
    """Return a unique key of a log event. The local AWS gives a function's lines no id."""
    return event.get("eventId") or (event.get("logStreamName"), event["timestamp"], hash(event["message"]))
