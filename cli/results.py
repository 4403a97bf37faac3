"""Read the results of redriven dead letters from the log."""

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from cli.log_reader import LogReader
from cli.stack import Stack, printable
from create_conversation.errors import REASONS

POLL_SECONDS = 1.0
MAX_SHOWN = 20
_SHOWN_AS = {
    "opened": "opened",
    "existing": "existing",
    "rejected": "came back",
    "invalid": "came back",
    "ignored": "came back",
    "open": "still open",
}


class ResultEvents:
    """The results of submissions, by request id. The elements of one array share a request id."""

    def __init__(self, stack: Stack, since: float) -> None:
        wanted = {"message": "submission", "trigger": "retry"}
        self._reader = LogReader(stack.logs, stack.output("LogGroupName"), since, wanted)
        self._expected: Counter[str] = Counter()
        self._ended: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._latest: dict[str, dict[str, Any]] = {}  # of those that have not ended

    @property
    def complete(self) -> bool:
        """Whether each submission has a conversation now."""
        return all(line["outcome"] in ("opened", "existing") for line in self._all())

    def wait(self, request_ids: Iterable[str], seconds: float) -> None:
        """Wait until all of these have ended, at most this many seconds."""
        self._expected.update(request_ids)
        until = time.monotonic() + seconds
        in_place = sys.stderr.isatty()
        self._read()
        while (still_open := self._open().total()) and time.monotonic() < until:
            if in_place:
                print(f"\rwaiting for the results of {still_open:<6}", end="", file=sys.stderr, flush=True)
            time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic())))
            self._read()
        if in_place:
            print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)

    def facts(self) -> list[dict[str, Any]]:
        """Return the result of each submission for `--json`."""
        members = ("request_id", "sender", "location_id", "reason", "conversation_id")
        return [
            {"result": _SHOWN_AS[line["outcome"]]} | {member: line.get(member) for member in members}
            for line in self._all()
        ]

    def report(self, hlc: str) -> str:
        """Return the first lines of each kind, and the totals. `hlc`: how a command for this stack begins."""
        groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in self._all():
            groups[_SHOWN_AS[line["outcome"]]].append(line)
        rows = []
        for name, lines in groups.items():
            rows += [printable(f"  {name:12}{_describe(line)}") for line in lines[:MAX_SHOWN]]
            if len(lines) > MAX_SHOWN:
                rows.append(f"  {name:12}and {len(lines) - MAX_SHOWN} more")
        todo = {
            "came back": f": fix the cause ({hlc} dead-letters list), then {hlc} redrive",
            "still open": f": tried again automatically, see {hlc} logs",
        }
        sums = [f"{len(lines)} {name}{todo.get(name, '')}" for name, lines in groups.items()]
        return "\n".join([*rows, *sums])

    def _all(self) -> list[dict[str, Any]]:
        ended = [line for lines in self._ended.values() for line in lines]
        still_open = [
            self._latest.get(request_id, {"request_id": request_id}) | {"outcome": "open"}
            for request_id in self._open().elements()
        ]
        return sorted(ended + still_open, key=lambda line: list(_SHOWN_AS).index(line["outcome"]))

    def _open(self) -> Counter[str]:
        """Count the submissions of each request id that have not ended."""
        return self._expected - Counter({request_id: len(lines) for request_id, lines in self._ended.items()})

    def _read(self) -> None:
        for event in self._reader.new():
            line = _canonical(event["message"])
            request_id = str(line.get("request_id"))
            if request_id not in self._expected or line.get("trigger") != "retry":
                continue
            if line.get("outcome") not in _SHOWN_AS:
                self._latest[request_id] = line
            elif len(self._ended[request_id]) < self._expected[request_id]:
                self._ended[request_id].append(line)


def _canonical(text: str) -> dict[str, Any]:
    """Parse a canonical log line; {} for any other line."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) and line.get("message") == "submission" else {}


def _describe(line: Mapping[str, Any]) -> str:
    """Return request id, sender, and the reason or the conversation."""
    reason = line.get("reason")
    title = f"{reason}: {REASONS[reason].title}" if reason in REASONS else reason
    conversation = f"conversation {line['conversation_id']}" if line.get("conversation_id") else None
    why = title or conversation or ("no try is logged yet" if line["outcome"] == "open" else None)
    return "  ".join(str(part) for part in (line["request_id"], line.get("sender"), why) if part)
