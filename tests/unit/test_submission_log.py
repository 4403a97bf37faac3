"""One line for each submission, its metrics, and nothing in either that must not be logged."""

import json
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from create_conversation.outcome import Outcome
from create_conversation.senders.mapping import Person, Target
from create_conversation.submission_log import SubmissionLog
from highlevel.responses import ApiResult, RateLimit
from shared import observability
from tests.factories import (
    API_SECRET,
    CONTACT,
    LOCATION,
    TOKEN_SECRET,
    make_http_event,
    make_ids,
    make_sqs_record,
    make_submission,
    make_webhook_event,
    sample,
)
from tests.unit.conftest import Log
from tests.unit.fakes import no_answer, refusal
from tests.unit.world import CONTEXT, NEW_TOKEN, TOKEN, World

FIELDS = {
    "outcome",
    "reason",
    "trigger",
    "sender",
    "location_id",
    "contact_id",
    "conversation_id",
    "message_status",
    "upstream_status",
    "upstream_ms",
    "upstream_trace_id",
    "attempts",
    "rate_limit_remaining",
    "duration_ms",
    "cold_start",
    "request_id",
}
OURS = FIELDS | {"level", "message", "timestamp", "service"}


def test_an_opened_submission_has_all_the_fields(world: World, log: Log) -> None:
    world.post(make_http_event())
    line = log.line
    assert line.keys() <= OURS
    assert FIELDS - line.keys() == {"reason"}
    assert (line["outcome"], line["trigger"], line["sender"], line["attempts"]) == ("opened", "http", "api", 1)
    assert (line["location_id"], line["contact_id"]) == (LOCATION, CONTACT)
    assert line["conversation_id"] == world.highlevel.conversations[LOCATION, CONTACT]["id"]
    assert (line["upstream_status"], line["rate_limit_remaining"]) == (201, 99)
    assert 0 <= line["upstream_ms"] <= line["duration_ms"] < 4000
    assert line["request_id"] == sample("http_conversation")["requestContext"]["requestId"]


def test_a_deferred_submission_has_its_reason(log: Log) -> None:
    api_result = ApiResult("deferred", "rate_limited", 429, rate_limit=RateLimit(100, 0, 10_000, 9), trace_id="trace-1")
    SubmissionLog("http", "request-1", "api").write(
        Outcome("deferred", "rate_limited", upstream=api_result, upstream_ms=7), "ns"
    )
    line = log.line
    assert (line["outcome"], line["reason"], line["upstream_status"]) == ("deferred", "rate_limited", 429)
    assert (line["upstream_trace_id"], line["rate_limit_remaining"], line["upstream_ms"]) == ("trace-1", 0, 7)


def test_a_contact_that_was_looked_up_is_logged_and_the_person_is_not(log: Log) -> None:
    person = Person("ada@example.com", "+15550100", "Ada", "Byron")
    target = Target(LOCATION, None, person, "typeform#delivery-1")
    line = SubmissionLog("webhook", "request-1", "typeform", target)
    line.write(Outcome("deferred", "upstream_error"), "ns")
    line.write(Outcome("opened", contact=CONTACT), "ns")
    assert [written.get("contact_id") for written in log.lines] == [None, CONTACT]
    assert {written["location_id"] for written in log.lines} == {LOCATION}
    for private in ("ada@example.com", "+15550100", "Ada", "Byron"):
        assert private not in log.text + repr(line) + repr(target)


def test_only_the_first_line_is_of_a_cold_start(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observability, "_is_cold", True)
    for _ in range(3):
        SubmissionLog("http", "request-1").write(Outcome("opened"), "ns")
    assert [line["cold_start"] for line in log.lines] == [True, False, False]


def test_each_metric_is_one_write(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The retry queue's threads write at the same time: two writes would get into each other, and metrics be lost."""
    written: list[str] = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=written.append, flush=lambda: None))
    SubmissionLog("retry", "request-1").write(Outcome("opened"), "ns")
    assert [json.loads(text)["outcome"] for text in written if "_aws" in text] == ["opened"]
    assert all(text.endswith("\n") for text in written)


def end(world: World, outcome: str) -> None:
    """Bring one submission to that end."""
    match outcome:
        case "deferred":
            world.highlevel.fail(kind="html")
        case "rejected":
            world.secrets.texts["HighLevelToken"] = None
        case "not_stored":
            world.secrets.error = refusal("ThrottlingException")
        case "existing":
            world.dynamodb.put(LOCATION, CONTACT, "conv-1")
    event = make_http_event("{" if outcome == "invalid" else None)
    if outcome == "unauthorized":
        del event["headers"]["authorization"]
    world.post(event)


ENDINGS = ["opened", "existing", "deferred", "rejected", "invalid", "unauthorized", "not_stored"]


@pytest.mark.parametrize("outcome", ENDINGS)
def test_each_ending_writes_one_line_and_one_metric(world: World, log: Log, outcome: str) -> None:
    end(world, outcome)
    assert log.line["outcome"] == outcome
    (metric,) = log.metrics
    assert metric["outcome"] == outcome
    directive, by_outcome = metric["_aws"]["CloudWatchMetrics"]
    assert by_outcome == {
        "Namespace": "unit",
        "Dimensions": [["outcome"]],
        "Metrics": [{"Name": "Submissions", "Unit": "Count"}],
    }
    assert directive["Namespace"] == "unit"
    (dimensions,) = directive["Dimensions"]
    assert set(dimensions) == {"outcome", "trigger"}
    units = {definition["Name"]: definition["Unit"] for definition in directive["Metrics"]}
    assert units.items() >= {"Submissions": "Count", "Duration": "Milliseconds"}.items()
    assert ("UpstreamDuration" in units) == (outcome in ("opened", "deferred"))
    assert metric["Submissions"] == [1.0]
    assert metric.keys() == {"_aws", *dimensions, *units}


def test_an_ignored_webhook_writes_one_line_and_one_metric(world: World, log: Log) -> None:
    other = json.dumps({"event_type": "form_abandoned"}).encode()
    world.retry(make_sqs_record(make_submission(trigger="webhook", sender="typeform", body=other).to_message()))
    assert (log.line["outcome"], log.line["reason"], log.line["sender"]) == ("ignored", "other_event", "typeform")
    (metric,) = log.metrics
    assert metric["outcome"] == "ignored"


def test_no_line_is_more_than_one_line(log: Log) -> None:
    SubmissionLog("http", "a\nb", "c\r\nd").write(Outcome("opened"), "ns")
    assert log.line["request_id"] == "a\nb"


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything is logged that can be: the root and our logger are at DEBUG."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, str(observability.logger.service))
    return caplog


# Each is longer than what random ids hold by chance.
PERSON = {"email": "ada@example.com", "phone": "+15550100", "firstName": "Ada-Augusta"}


def test_at_debug_no_secret_and_no_person_is_logged(world: World, log: Log, debug: pytest.LogCaptureFixture) -> None:
    person = json.dumps(make_ids() | PERSON)
    faults: list[dict[str, Any]] = [
        {},
        {"kind": "status", "status": 401, "message": f"Invalid Private Integration token {TOKEN}"},
        {"kind": "status", "status": 422, "message": ["ada@example.com is not known"]},
        {"kind": "garbage"},
        {"kind": "reset"},
    ]
    for number, fault in enumerate(faults):
        world.highlevel.reset()
        if fault:
            world.highlevel.fail(**fault)
        body = json.dumps(make_ids(contact=f"contact-{number}") | PERSON)
        world.post(make_http_event(body))
        world.events.handle(sample("event_conversation_requested") | {"detail": json.loads(body)}, CONTEXT)
        world.retry(make_sqs_record(make_submission(body=body.encode()).to_message()))
        other_person = json.dumps({"locationId": LOCATION, "token": TOKEN_SECRET} | PERSON)
        world.post(make_webhook_event(other_person, secret=None))
        world.post(make_webhook_event(f"[{other_person}]"))
        world.retry(
            make_sqs_record(make_submission(sender="token", trigger="webhook", body=other_person.encode()).to_message())
        )
    world.post(make_http_event(person, authorization=f"Basic {API_SECRET}"))
    world.post(make_http_event(person, authorization=f"Bearer {API_SECRET}x"))
    world.post(make_http_event(person[:-1]))
    world.secrets.texts["HighLevelToken"] = f"{NEW_TOKEN} {TOKEN}"
    for client in (world.secrets, world.dynamodb, world.sqs):
        client.error = no_answer()
        world.post(make_http_event(person))
    written = log.text + debug.text
    assert "submission" in written
    for forbidden in (TOKEN, NEW_TOKEN, API_SECRET, TOKEN_SECRET, "Authorization", "authorization", *PERSON.values()):
        assert forbidden not in written


@pytest.mark.parametrize("name", ["botocore", "botocore.endpoint", "urllib3", "urllib3.connectionpool"])
def test_the_loggers_that_print_headers_stay_at_warning(name: str, debug: pytest.LogCaptureFixture) -> None:
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.WARNING)


def test_a_failed_aws_request_is_logged_by_its_code_only(log: Log) -> None:
    observability.aws_request_failed("DynamoDB", "GetItem", "ThrottlingException")
    observability.aws_request_failed("SQS", "Operation", "NewConnectionError")
    logged = [(line["service"], line["error"], line.get("operation")) for line in log.failures]
    assert logged == [("DynamoDB", "ThrottlingException", "GetItem"), ("SQS", "NewConnectionError", "Operation")]
    assert {line["level"] for line in log.failures} == {"WARNING"}
    assert TOKEN not in log.text
