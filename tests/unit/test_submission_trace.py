"""The trace that the page of `make serve` shows for a submission, from recordings of a running stack."""

import json
from pathlib import Path
from typing import Any

import pytest

from create_conversation.errors import REASONS
from local.page.submission_trace import ENDS_AT, STEPS, queue_of, trace

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "traces.json").read_text())
BY_NAME = {case["about"]: case for case in RECORDED}


@pytest.mark.parametrize("case", RECORDED, ids=[case["about"] for case in RECORDED])
def test_trace_of_a_recorded_submission(case: dict[str, Any]) -> None:
    steps = trace(case["line"], case["answer"], case["calls"])
    assert {step.name: step.state for step in steps} == case["steps"]
    assert all(step.text for step in steps if step.state != "unreached")


def test_every_reason_has_a_step() -> None:
    assert ENDS_AT.keys() == REASONS.keys()
    assert set(ENDS_AT.values()) <= set(STEPS)


OUTCOMES = {"invalid": 400, "unauthorized": 401, "rejected": 502, "deferred": 202, "not_stored": 503}


@pytest.mark.parametrize("reason", REASONS)
def test_trace_ends_at_the_step_of_the_reason(reason: str) -> None:
    """No later step is shown as passed, and the outcome is never a success."""
    for outcome, status in OUTCOMES.items():
        steps = trace({"outcome": outcome, "reason": reason, "trigger": "http", "sender": "api"}, {"status": status})
        states = {step.name: step.state for step in steps}
        stop = ENDS_AT[reason]
        assert states[stop] in ("failed", "waiting")
        later = STEPS[STEPS.index(stop) + 1 :]
        assert not [name for name in later if states[name] == "passed"]
        assert states["outcome"] in ("failed", "waiting")


def test_unknown_reason_ends_at_the_outcome() -> None:
    [*_, outcome] = trace({"outcome": "rejected", "reason": "of_tomorrow", "trigger": "http", "sender": "api"})
    assert (outcome.state, "of_tomorrow" in outcome.text) == ("failed", True)


def test_trace_without_a_log_line() -> None:
    assert {step.state for step in trace(None)} == {"unreached"}
    steps = trace(None, {"status": 500})
    assert [step.state for step in steps] == ["unreached"] * 5 + ["waiting"]
    assert "500" in steps[-1].text


@pytest.mark.parametrize(
    ("about", "step", "text"),
    [
        ("a form is opened", "contact", "looked up by e-mail or phone"),
        ("a form is opened", "highlevel", "answered 201"),
        ("a wrong signature", "outcome", "answered 401"),
        ("a wrong signature", "outcome", "not stored"),
        ("no contact", "outcome", "reason no_contact: stored in the dead-letter queue"),
        ("no contact, from a caller", "outcome", "not stored"),
        ("half a body", "outcome", "not stored"),
        ("an event without contact", "outcome", "stored in the dead-letter queue"),
        ("the same delivery again", "highlevel", "idempotency record"),
        ("HighLevel fails at the look-up", "highlevel", "(answered 503 to POST /contacts/upsert)"),
        ("HighLevel fails at the look-up", "outcome", "stored in the retry queue"),
        ("and the retry opens it", "outcome", "by the retry queue, attempt 1"),
    ],
)
def test_texts_of_the_steps(about: str, step: str, text: str) -> None:
    case = BY_NAME[about]
    texts = {each.name: each.text for each in trace(case["line"], case["answer"], case["calls"])}
    assert text in texts[step]


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ([{"method": "POST", "path": "/contacts/upsert"}], "c1, looked up by e-mail or phone"),
        ([{"method": "GET", "path": "/contacts/search/duplicate"}], "c1, looked up by e-mail or phone"),
        (
            [{"method": "GET", "path": "/contacts/search/duplicate"}, {"method": "POST", "path": "/contacts/"}],
            "c1, created: no contact has this e-mail address or phone number",
        ),
        ([{"method": "GET", "path": "/contacts/c1"}], "c1"),
        ([], "c1"),
    ],
)
def test_contact_says_how_it_was_found(calls: list[dict[str, Any]], text: str) -> None:
    line = {"outcome": "opened", "trigger": "webhook", "location_id": "l", "contact_id": "c1"}
    assert trace(line, None, calls)[STEPS.index("contact")].text == text


@pytest.mark.parametrize(
    ("reason", "is_dead_letter"),
    [("invalid_json", False), ("body_too_large", False), ("no_contact", True), ("no_token", True)],
)
def test_answer_of_a_webhook_is_derived_from_the_reason(reason: str, is_dead_letter: bool) -> None:
    """A submission that curl has sent: the page knows only its log line."""
    line = {"outcome": "invalid", "reason": reason, "trigger": "webhook", "sender": "tally"}
    assert ("dead-letter queue" in trace(line)[-1].text) is is_dead_letter


NO_CONTACT = {
    "outcome": "invalid",
    "reason": "no_contact",
    "trigger": "webhook",
    "sender": "our-site",
    "location_id": "l",
    "detail": "Name the contact: there is no usable id, e-mail address or phone number.",
}


@pytest.mark.parametrize(
    ("line", "step", "notes"),
    [
        pytest.param(
            NO_CONTACT | {"looked_at": ["contact.mail"], "fields": ["kind", "contact.to"], "dropped": ["tel: x"]},
            "mapped",
            (
                NO_CONTACT["detail"],
                "looked at: contact.mail; the type and label of each field",
                "fields that came: kind; contact.to",
                "not used: tel: x",
            ),
            id="a path that is not there",
        ),
        pytest.param(
            NO_CONTACT | {"detail": None},
            "mapped",
            ("looked at: the type and label of each field",),
            id="an entry without a path",
        ),
        pytest.param(
            NO_CONTACT | {"sender": "api", "trigger": "http", "looked_at": ["contactId"]},
            "mapped",
            (NO_CONTACT["detail"], "looked at: contactId"),
            id="a caller",
        ),
        pytest.param(
            {"outcome": "invalid", "reason": "invalid_json", "trigger": "webhook", "detail": "Line 2, column 3."},
            "mapped",
            ("Line 2, column 3.",),
            id="not JSON",
        ),
        pytest.param(
            {"outcome": "opened", "trigger": "webhook", "location_id": "l", "dropped": ["phone: not_a_number"]},
            "mapped",
            ("not used: phone: not_a_number",),
            id="a number that is left out",
        ),
        pytest.param(
            {
                "outcome": "unauthorized",
                "reason": "credentials_missing",
                "trigger": "webhook",
                "detail": "Looked at x.",
            },
            "verified",
            ("Looked at x.",),
            id="no secret",
        ),
    ],
)
def test_notes_say_what_was_looked_for_and_what_came(line: dict[str, Any], step: str, notes: tuple[str, ...]) -> None:
    assert {each.name: each.notes for each in trace(line) if each.notes} == {step: notes}


@pytest.mark.parametrize(
    ("outcome", "trigger", "status", "queue"),
    [
        ("opened", "webhook", 200, ""),
        ("deferred", "webhook", 200, "retry"),
        ("deferred", "retry", None, "retry"),
        ("invalid", "webhook", 200, "dead"),
        ("invalid", "webhook", 400, ""),
        ("invalid", "http", 422, ""),
        ("rejected", "retry", None, "dead"),
        ("unauthorized", "webhook", 401, ""),
    ],
)
def test_queue_is_that_of_this_submission(outcome: str, trigger: str, status: int | None, queue: str) -> None:
    answer = None if status is None else {"status": status}
    assert queue_of({"outcome": outcome, "trigger": trigger, "reason": "no_contact"}, answer) == queue
    assert queue_of(None, answer) == ""


@pytest.mark.parametrize(
    ("trigger", "status", "queue"),
    [
        ("webhook", "written", ""),
        ("webhook", "deferred", "retry"),
        ("http", "deferred", "retry"),
        ("webhook", "refused", "dead"),
        ("retry", "refused", "dead"),
        ("http", "refused", ""),
        ("webhook", "note", ""),
    ],
)
def test_message_of_an_open_conversation_may_be_in_a_queue(trigger: str, status: str, queue: str) -> None:
    assert queue_of({"outcome": "opened", "trigger": trigger, "message_status": status}) == queue
