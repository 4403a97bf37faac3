"""`./hlc logs` shows each line once, and one aligned row for each submission."""

import json
import time
from typing import Any

import click
import pytest

from cli import logs
from cli.app import main
from cli.log_reader import LogReader
from cli.options import Duration

NOW = 1_700_000_000_000


def event(message: object, at: int = NOW, name: str = "e") -> Any:
    return {"eventId": name, "timestamp": at, "message": message if isinstance(message, str) else json.dumps(message)}


def submission(**members: object) -> dict[str, object]:
    return {"level": "INFO", "message": "submission", "outcome": "opened", "trigger": "http", **members}


def shown(message: object, **wanted: str) -> str | None:
    return logs._line(event(message), wanted, dict(logs._COLUMNS))


def test_submission_is_an_aligned_row() -> None:
    widths = dict(logs._COLUMNS)
    line = submission(reason="rate_limited", sender="api", location_id="l" * 24, upstream_status=429, request_id="r1")
    header = logs._row("time", {name: name for name in logs._COLUMNS}, widths)
    row = logs._line(event(line), {}, widths)
    assert row is not None
    assert row.split() == f"2023-11-14T22:13:20Z opened rate_limited http api {'l' * 24} - - 429 - - - r1".split()
    assert row.index("rate_limited") == header.index("reason")
    # The next row is aligned with the column that has grown.
    assert (logs._line(event(submission(contact_id="c")), {}, widths) or "").index(" c ") == row.index(" -  ")


@pytest.mark.parametrize(
    "message",
    [
        {"_aws": {}, "Submissions": 1},
        {"level": "INFO", "message": "other"},
        "START RequestId: 1",
        "REPORT RequestId: 1 Duration: 2 ms",
        "[1]",
        "{",
        "[" * 200_000,
    ],
    ids=["metrics", "another message", "START", "REPORT", "a list", "not JSON", "deeply nested"],
)
def test_other_lines_are_not_shown(message: object) -> None:
    assert shown(message) is None


def test_warnings_of_the_function_are_shown() -> None:
    warning = {"level": "WARNING", "message": "aws_request_failed", "timestamp": "x", "service": "SQS"}
    expected = '2023-11-14T22:13:20Z  WARNING aws_request_failed service=SQS frames=["a:1"]'
    assert shown({**warning, "frames": ["a:1"], "operation": None}) == expected
    assert (
        shown({**warning, "service": "highlevel-conversations"}) == "2023-11-14T22:13:20Z  WARNING aws_request_failed"
    )
    assert shown(warning, reason="rate_limited") is None


@pytest.mark.parametrize(
    "message",
    [
        "[ERROR] Runtime.ImportModuleError: Unable to import module\nTraceback",
        "2023-11-14T22:13:20Z 1 Task timed out after 30.03 seconds\n",
        "RequestId: 1 Error: Runtime exited with error: signal: killed",
        "REPORT RequestId: 1 Duration: 2 ms Status: timeout",
    ],
    ids=["import error", "timeout", "killed", "timeout in REPORT"],
)
def test_runtime_errors_are_shown(message: str) -> None:
    line = shown(message)
    assert line is not None
    assert "\n" not in line
    assert shown(message, contact_id="c") is None


def test_filters() -> None:
    line = submission(contact_id="c1", request_id="r1", reason="no_token")
    assert shown(line, contact_id="c1", request_id="r1", reason="no_token")
    assert not shown(line, contact_id="c2")
    assert not shown(line, contact_id="c1", reason="expired")


def test_control_characters_are_escaped() -> None:
    assert "\x1b" not in (shown(submission(reason="\x1b[2J")) or "")
    assert "\x1b" not in (shown("[ERROR] \x1b[2J") or "")


class Group:
    """CloudWatch Logs with one group, two events a page."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, _name: str) -> "Group":
        return self

    def paginate(self, **asked: Any) -> Any:
        self.asked.append(asked)
        found = [event for event in self.events if event["timestamp"] >= asked["startTime"]]
        for start in range(0, len(found), 2):
            yield {"events": found[start : start + 2]}
        yield {"events": []}


def test_each_line_is_read_once_also_if_it_appears_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = NOW / 1000
    monkeypatch.setattr(time, "time", lambda: now)
    group: Any = Group()
    lines = LogReader(group, "group", now - 900, {})

    def new() -> list[str]:
        return [event["eventId"] for event in lines.new()]

    group.events = [event("", NOW - 800_000, "a"), event("", NOW - 5_000, "c"), event("", NOW - 6_000, "b")]
    assert new() == ["a", "c", "b"]
    now += 2
    group.events.append(event("", NOW - 55_000, "late"))
    assert new() == ["late"]
    now += 2
    assert new() == []
    now += 300
    assert new() == []
    assert lines._seen == {}
    assert group.asked[-2]["startTime"] > group.asked[0]["startTime"]


def test_lines_without_an_event_id() -> None:
    group: Any = Group()
    lines = LogReader(group, "group", 0, {})
    group.events = [event("one", name=""), event("two", name=""), event("one", NOW + 1, "")]
    assert [event["message"] for event in lines.new()] == ["one", "two", "one"]
    assert list(lines.new()) == []


def test_filter_pattern() -> None:
    group: Any = Group()
    list(LogReader(group, "group", 0, {"contact_id": "c", "reason": 'x"'}).new())
    assert group.asked[0]["filterPattern"] == r'{ ($.contact_id = "c") && ($.reason = "x\"") }'


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("6h", 21_600), ("2d", 172_800)])
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-1m", "1w", "1.5h", "9999999s"])
def test_invalid_durations(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time span"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param("no_contac", "there is no reason code no_contac; did you mean no_contact?", id="mistyped"),
        pytest.param("NO_CONTACT", "did you mean no_contact?", id="capitals"),
        pytest.param("xyz", "docs/api.md#reason-codes lists them", id="unknown"),
    ],
)
def test_an_unknown_reason_does_not_wait_forever(reason: str, expected: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        main(["logs", "--stack", "mine", "--reason", reason])
    assert expected in raised.value.message
