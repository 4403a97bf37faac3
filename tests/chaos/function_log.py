"""What the functions logged, read while it grows."""

import collections
import json
import re
import threading
from dataclasses import dataclass
from typing import Any

from local.application import Application

AT_ONCE = 10_000  # the local CloudWatch gives no more, and no token for the rest
OVERLAP_MS = 2_000
# What the local Lambda says of a process that is gone: at its start, before and after it was given the event.
DIED = ("Worker process exited immediately", "Broken pipe", "Worker process died", "Worker returned no response")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a function: when it ended (Unix time, seconds) and all its lines."""

    ended: float
    text: str

    @property
    def began(self) -> float:
        """By the platform's own line."""
        told = re.search(r"^REPORT .*\tDuration: (\d+) ms", self.text, re.MULTILINE)
        return self.ended - int(told[1]) / 1000 if told else self.ended

    @property
    def died(self) -> bool:
        """Its process ended under it."""
        return any(sign in self.text for sign in DIED)

    @property
    def handed_back(self) -> bool:
        """The event's door raised on purpose, so that Lambda tries again: it could not keep the event."""
        return "create_conversation.errors.NotStored" in self.text

    @property
    def failed(self) -> bool:
        signs = ("[ERROR]", "Traceback (most recent", "Task timed out", '"internal_error"', '"level":"ERROR"')
        return self.died or any(sign in self.text for sign in signs)


class Log:
    """Every invocation's lines, those at DEBUG, the metrics and the platform's included."""

    def __init__(self, application: Application) -> None:
        self.invocations: list[Invocation] = []
        self._client = application.aws.client("logs")
        self._group = application.stack.outputs["LogGroupName"]
        self._seen: set[str] = set()
        self._since = 0
        self._lock = threading.Lock()

    def read_on(self) -> None:
        """Read what was logged since the last time. On the local AWS a stream is one invocation, written at once."""
        with self._lock:
            while True:
                events = self._client.filter_log_events(
                    logGroupName=self._group, startTime=max(0, self._since - OVERLAP_MS), limit=AT_ONCE
                )["events"]
                lines: dict[str, list[Any]] = collections.defaultdict(list)
                for event in events:
                    if event["logStreamName"] not in self._seen:
                        lines[event["logStreamName"]].append(event)
                if len(events) == AT_ONCE:  # the last one may be cut
                    lines.pop(events[-1]["logStreamName"], None)
                for stream, of_one in lines.items():
                    self._seen.add(stream)
                    text = "\n".join(event["message"] for event in of_one)
                    self.invocations.append(Invocation(of_one[0]["timestamp"] / 1000, text))
                if events:
                    self._since = events[-1]["timestamp"]
                if len(events) < AT_ONCE:
                    return

    def submissions(self) -> list[dict[str, Any]]:
        """The canonical lines."""
        return [
            json.loads(line)
            for invocation in self.invocations
            for line in invocation.text.splitlines()
            if '"message":"submission"' in line
        ]
