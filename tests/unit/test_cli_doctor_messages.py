"""What `./hlc doctor` says of the submissions' words, and of other stacks."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.doctor_messages import check_messages, check_other_stacks
from cli.options import Settings
from cli.report import Report

LOCATION = "ve9EPM428h8vShlRW1KT"
OURS = ("SenderSecretsArn", "HighLevelTokenArn", "WebhooksUrl")


def line(status: str, reason: str | None = None) -> dict[str, str | None]:
    return {"message_status": status, "message_reason": reason, "location_id": LOCATION}


@pytest.mark.parametrize(
    ("message", "lines", "expected"),
    [
        pytest.param("comment", [], "✓ messages: in the last hour: none\n", id="none"),
        pytest.param("comment", [{"outcome": "opened"}], "✓ messages: in the last hour: none\n", id="other lines"),
        pytest.param("comment", [line("written")] * 2, "✓ messages: in the last hour: 2 written\n", id="written"),
        pytest.param("note", [line("note")], "✓ messages: in the last hour: 1 note\n", id="notes as configured"),
        pytest.param(
            "comment",
            [line("note", "scope_missing"), line("written"), line("note", "scope_missing")],
            f"✗ messages: in the last hour: 2 note, 1 written. HighLevel refused the comment: scope_missing in "
            f"{LOCATION} (2 times). A note",
            id="refused comments",
        ),
        pytest.param("note", [line("refused")], "✗ messages: in the last hour: 1 refused. HighLevel", id="refused"),
        pytest.param("off", [line("note")], "", id="off"),
        pytest.param(None, [line("note")], "", id="an older stack"),
    ],
)
def test_messages(message: str | None, lines: Sequence[Any], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    stack: Any = SimpleNamespace(parameters={"Message": message} if message else {})
    report = Report(Settings())
    check_messages(stack, lines, report)
    printed = capsys.readouterr().out
    assert printed.startswith(expected)
    assert bool(printed) is bool(expected)
    assert report.failed is expected.startswith("✗")


def described(name: str, location: str, outputs: Sequence[str] = OURS) -> dict[str, Any]:
    return {
        "StackName": name,
        "Parameters": [{"ParameterKey": "LocationId", "ParameterValue": location}],
        "Outputs": [{"OutputKey": output, "OutputValue": "x"} for output in outputs],
    }


def stack_beside(*others: dict[str, Any], location: str = LOCATION, denied: str = "") -> Any:
    def paginate() -> list[dict[str, Any]]:
        if denied:
            raise ClientError({"Error": {"Code": denied}}, "DescribeStacks")
        return [{"Stacks": [described("mine", location)]}, {"Stacks": [*others]}]

    formation = SimpleNamespace(get_paginator=lambda _name: SimpleNamespace(paginate=paginate))
    return SimpleNamespace(name="mine", parameters={"LocationId": location}, formation=formation)


@pytest.mark.parametrize(
    ("stack", "warned"),
    [
        pytest.param(stack_beside(described("theirs", LOCATION)), True, id="the same location"),
        pytest.param(stack_beside(described("theirs", "other")), False, id="another location"),
        pytest.param(stack_beside(described("theirs", LOCATION, ["Url"])), False, id="another application"),
        pytest.param(stack_beside(described("theirs", ""), location=""), False, id="no default location"),
        pytest.param(stack_beside(denied="AccessDenied"), False, id="not allowed to look"),
        pytest.param(stack_beside(), False, id="alone"),
    ],
)
def test_a_second_stack_of_the_same_location(stack: Any, warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(Settings())
    check_other_stacks(stack, report)
    printed = capsys.readouterr().out
    assert printed.startswith("! other stacks: theirs serves the same location: ") is warned
    assert bool(printed) is warned
    assert not report.failed
