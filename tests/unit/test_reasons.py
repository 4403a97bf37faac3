"""Outcomes, triggers and reason codes: one table, and everything that names one of them names one of the table."""

import ast
import re
from pathlib import Path

import pytest

from create_conversation.errors import REASONS, OutcomeName, ReasonCode, SubmissionError, Trigger
from create_conversation.outcome import Outcome

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "api.md"
STATUS = {
    OutcomeName.IGNORED: {200},
    OutcomeName.DEFERRED: {202},
    OutcomeName.UNAUTHORIZED: {401},
    OutcomeName.NOT_STORED: {503},
    OutcomeName.INVALID: {400, 413, 415, 422},
    OutcomeName.REJECTED: {403, 422, 502},
}


def test_each_reason_has_an_outcome_and_a_status_of_it() -> None:
    assert {name for name, reason in REASONS.items() if reason.status not in STATUS[reason.outcome]} == set()
    assert {str(code) for code in ReasonCode} == REASONS.keys()


def test_each_exception_has_an_outcome_of_its_own() -> None:
    errors = SubmissionError.__subclasses__()
    assert len({error.outcome for error in errors}) == len(errors) == 6
    assert all(error.__name__.endswith("Error") for error in errors)


def test_an_outcome_has_a_name_of_the_table() -> None:
    assert Outcome("opened").name is OutcomeName.OPENED
    with pytest.raises(ValueError, match="done"):
        Outcome("done")


def test_every_reason_in_the_code_is_in_the_table() -> None:
    """By the first argument of an exception, and the second of an outcome or an API result."""
    places = {"Outcome": 1, "ApiResult": 1, **{error.__name__: 0 for error in SubmissionError.__subclasses__()}}
    named: set[str] = set()
    for file in (ROOT / "functions").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places:
                given = node.args[places[node.func.id] : places[node.func.id] + 1]
                named |= {str(each.value) for each in given if isinstance(each, ast.Constant) and each.value}
    assert named - REASONS.keys() == set()
    assert len(named) > 20


def test_the_triggers_are_those_of_the_log() -> None:
    assert {*Trigger} == {"http", "webhook", "event", "retry"}


def test_each_reason_is_documented_with_its_outcome_and_status() -> None:
    """The status is a dash where only the log and the dead letter have the code."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\d\u2013]+) \| [^|]{10,} \|$", API.read_text("utf-8"), re.MULTILINE)
    assert {code: outcome for code, outcome, _ in rows} == {code: str(each.outcome) for code, each in REASONS.items()}
    assert len(rows) == len(REASONS)
    statuses = {code: status for code, _, status in rows if status != "\u2013"}
    assert statuses == {code: str(REASONS[code].status) for code in statuses}
