"""The functions' log, read while it grows."""

import collections
import json
import re
import threading
from dataclasses import dataclass
from typing import Any

from local.application import Application

MOST_LINES = 10_000  # the local CloudWatch returns no more, and no token for the rest
OVERLAP_MS = 2_000
# What the local Lambda writes about a process that died: at its start, before and after it received the event.
DIED = ("Worker process exited immediately", "Broken pipe", "Worker process died", "Worker returned no response")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a function: when it ended (Unix time, seconds) and all its lines."""

    ended: float
    text: str

    @property
    def began(self) -> float:
        """From the platform's own line."""
        report = re.search(r"^REPORT .*\tDuration: (\d+) ms", self.text, re.MULTILINE)
        return self.ended - int(report[1]) / 1000 if report else self.ended

    @property
    def died(self) -> bool:
        """Whether its process died."""
        return any(sign in self.text for sign in DIED)

    @property
    def handed_back(self) -> bool:
        """Whether the function raised on purpose, so that Lambda tries again: it could not store the event."""
        return "create_conversation.errors.NotStored" in self.text

    @property
    def failed(self) -> bool:
        signs = ("[ERROR]", "Traceback (most recent", "Task timed out", '"internal_error"', '"level":"ERROR"')
        return self.died or any(sign in self.text for sign in signs)


class FunctionLog:
    """The lines of every invocation, at DEBUG, with metrics and the platform's lines."""

    def __init__(self, application: Application) -> None:
        self.invocations: list[Invocation] = []
        self._client = application.aws.client("logs")
        self._group = application.stack.outputs["LogGroupName"]
        self._seen: set[str] = set()
        self._since = 0
        self._lock = threading.Lock()

    def read_on(self) -> None:
        """Read what was logged since the last call. On the local AWS a stream is one invocation, written in one
        piece."""
        with self._lock:
            while True:
                events = self._client.filter_log_events(
                    logGroupName=self._group, startTime=max(0, self._since - OVERLAP_MS), limit=MOST_LINES
                )["events"]
                lines: dict[str, list[Any]] = collections.defaultdict(list)
                for event in events:
                    if event["logStreamName"] not in self._seen:
                        lines[event["logStreamName"]].append(event)
                if len(events) == MOST_LINES:  # the last one may be cut
                    lines.pop(events[-1]["logStreamName"], None)
                for stream, of_one in lines.items():
                    self._seen.add(stream)
                    text = "\n".join(event["message"] for event in of_one)
                    self.invocations.append(Invocation(of_one[0]["timestamp"] / 1000, text))
                if events:
                    self._since = events[-1]["timestamp"]
                if len(events) < MOST_LINES:
                    return

    def submissions(self) -> list[dict[str, Any]]:
        """The canonical lines."""
        return [
            json.loads(line)
            for invocation in self.invocations
            for line in invocation.text.splitlines()
            if '"message":"submission"' in line
        ]
