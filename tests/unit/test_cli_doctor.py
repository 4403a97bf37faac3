"""How the doctor reports entries, answers, quotas and the log."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from cli import doctor, token_check
from cli.options import Settings
from cli.report import Report
from create_conversation.errors import REASONS
from create_conversation.senders.config import load
from highlevel.responses import ApiResult, RateLimit

SENDERS = {name: sender for name, sender in load().items() if sender.scheme != "event"}


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("api", "generated", ""),
        ("api", ["new", "old"], ""),
        ("typefrom", ["hush"], "did you mean typeform"),
        ("our-shop", ["hush"], "add it to senders.toml"),
        ("api", [], "a list of texts"),
        ("api", {"hush": 1}, "a list of texts"),
        ("api", ["hush", 17], "a list of texts"),
        ("api", "", "a list of texts"),
        ("api", [" hush"], "cannot work"),
        ("standard-webhooks", "whsec_hush!", "cannot work"),
        ("standard-webhooks-v1a", ["whsk_hush"], "cannot work"),
    ],
    ids=[
        "a text",
        "a list",
        "typo",
        "unknown sender",
        "empty list",
        "object",
        "number in the list",
        "empty text",
        "blank in a token",
        "not base64",
        "not a public key",
    ],
)
def test_entries_of_sender_secrets(name: str, entry: object, expected: str) -> None:
    text = doctor._wrong(name, entry, SENDERS)
    assert expected in text
    assert bool(text) is bool(expected)
    assert "hush" not in text


@pytest.mark.parametrize(
    ("location", "closed"), [("", ["typeform", "our-shop"]), ("loc1", [])], ids=["no LocationId", "LocationId"]
)
def test_sender_without_a_location_is_reported_as_closed(
    location: str, closed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {name: SENDERS[name] for name in ("api", "typeform", "tally", "jotform", "highlevel-workflow")}
    known["tally"] = replace(known["tally"], locations=("*",))
    known["our-shop"] = replace(known["jotform"], name="our-shop")
    secrets = dict.fromkeys(("api", "typeform", "tally", "highlevel-workflow", "our-shop"), "a-secret-of-theirs")
    monkeypatch.setattr(doctor, "all_senders", lambda: known)
    monkeypatch.setattr(doctor, "read_secrets", lambda _stack: (json.dumps(secrets), "v"))
    report = Report(Settings(stack="mine"))
    doctor._check_senders(SimpleNamespace(parameters={"LocationId": location}), report)  # type: ignore[arg-type]
    opened, *lines = capsys.readouterr().out.splitlines()
    assert opened.startswith("✓ senders: api, ")
    assert opened.endswith("; closed: jotform (see ./hlc --stack mine sender list)")
    assert [line.partition(":")[0] for line in lines] == [f"✗ sender {name}" for name in closed]
    for name, line in zip(closed, lines, strict=True):
        assert name not in opened
        assert "has no LocationId" in line
        assert f'locations = ["<location id>"] under [{name}]' in line
        assert "./hlc --stack mine deploy LocationId=" in line
        assert "a-secret" not in line
    assert report.failed is bool(closed)


@pytest.mark.parametrize("reason", [*REASONS, ""])
@pytest.mark.parametrize("outcome", get_args(ApiResult.__annotations__["outcome"]))
def test_every_result_is_explained_with_advice(reason: str, outcome: str) -> None:
    text = token_check.explain_result(ApiResult(outcome, reason, status=401))  # type: ignore[arg-type]
    title, _, todo = text.partition(" (401): ")
    assert title
    assert todo


def test_advice_is_for_known_reasons() -> None:
    assert token_check.ADVICE.keys() <= REASONS.keys()


@pytest.mark.parametrize(
    ("limit", "refused", "mark", "expected"),
    [
        (None, False, "✓", "announces none"),
        (RateLimit(100, 97, 10_000, 199_997), False, "✓", "97 of 100 calls left in this 10 s, 199,997 left today"),
        (RateLimit(None, 3, None, None), False, "✓", "3 of ? calls left in this window, ? left today"),
        (RateLimit(100, 97, 10_000, 0), False, "✗", "none left today"),
        (RateLimit(100, 97, 10_000, 0), True, "✗", "none left today"),
        (RateLimit(100, 0, 10_000, 17), True, "✗", "0 of 100 calls left in this 10 s: used up for now"),
        (None, True, "✗", "used up (429)"),
    ],
    ids=[
        "none announced",
        "calls left",
        "partly unknown",
        "daily quota used up",
        "429, daily quota used up",
        "429, window used up",
        "429 without headers",
    ],
)
def test_quota(
    limit: RateLimit | None, refused: bool, mark: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(Settings(stack="local"))
    token_check._check_quota("ve9", limit, report, refused=refused)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{mark} quota of ve9: ")
    assert expected in printed
    assert report.failed is (mark == "✗")


@pytest.mark.parametrize(("limit", "mark"), [(10, "✗"), (1000, "✓")])
def test_concurrency(limit: int, mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    limits = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit}
    functions = SimpleNamespace(
        get_account_settings=lambda: {"AccountLimit": limits}, meta=SimpleNamespace(region_name="eu-west-1")
    )
    stack: Any = SimpleNamespace(functions=functions, parameters={"RetryConcurrency": "2"})
    doctor._check_concurrency(stack, Report(Settings(stack="mine")))
    printed = capsys.readouterr().out
    assert printed.startswith(f"{mark} concurrency: ")
    assert ("--quota-code L-B99A9384" in printed) == (mark == "✗")


def test_each_command_contains_the_stack(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(Settings(stack="shop"))
    report.bad("queue", "2 failed: ./hlc dead-letters list, fix, ./hlc redrive; or ./hlc token set --location ve9")
    assert capsys.readouterr().out == (
        "✗ queue: 2 failed: ./hlc --stack shop dead-letters list, fix, ./hlc --stack shop redrive; "
        "or ./hlc --stack shop token set --location ve9\n"
    )


@pytest.fixture(autouse=True)
def _a_moment_after_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "time", SimpleNamespace(time=lambda: 1_700_000_060.0))


def stack_that_logged(*lines: object) -> Any:
    """A stack whose log holds these lines; they are 1.5 s apart."""
    messages = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    events: list[dict[str, Any]] = [
        {"timestamp": 1_700_000_000_000 + 1500 * at, "message": text} for at, text in enumerate(messages)
    ]

    def paginate(startTime: int, **_: object) -> list[dict[str, Any]]:
        since = [each for each in events if each["timestamp"] >= startTime]
        return [{"events": since[:1]}, {"events": since[1:]}]

    pages = SimpleNamespace(paginate=paginate)
    logs = SimpleNamespace(get_paginator=lambda _name: pages)
    return SimpleNamespace(logs=logs, output=lambda _name: "group")


def failure(code: str, service: str = "DynamoDB", operation: str | None = "GetItem") -> dict[str, object]:
    return {
        "level": "WARNING",
        "message": "aws_request_failed",
        "service": service,
        "error": code,
        "operation": operation,
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), ["✓ log: no failed AWS request"]),
        (
            ("START RequestId: 1", "[1]", "{", {"message": "submission", "outcome": "opened"}),
            ["✓ log: no failed AWS request"],
        ),
        (
            (failure("AccessDeniedException"), "REPORT", failure("AccessDeniedException")),
            ["✗ AWS, DynamoDB: GetItem: AccessDeniedException in the last hour, 2 times, last at 22:13:23 UTC; "],
        ),
        (
            (failure("AccessDenied", "SQS", "SendMessage"), failure("ReadTimeoutError", operation=None)),
            [
                "✗ AWS, SQS: SendMessage: AccessDenied in the last hour, once, at",
                "✗ AWS, DynamoDB: a call: ReadTimeoutError in the last hour, once, at",
            ],
        ),
        (
            (failure("ResourceNotFoundException"),),
            ["✗ AWS, DynamoDB: GetItem: ResourceNotFoundException in the last hour, once, at 22:13:20 UTC; it was "],
        ),
        (
            ({"level": "ERROR", "message": "internal_error", "error": "KeyError", "frames": ["a:1"]},),
            ["✗ internal error: KeyError in the last hour, once, at"],
        ),
        ((failure("\x1b[2J"),), ["✗ AWS, DynamoDB: GetItem: \\x1b[2J in the last hour, once, at"]),
    ],
    ids=[
        "empty log",
        "other lines",
        "denied twice",
        "two services",
        "deleted table",
        "internal error",
        "control characters",
    ],
)
def test_failures_in_the_log(
    lines: tuple[object, ...], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(Settings(stack="local"))
    doctor._check_log(stack_that_logged(*lines), report)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(expected)
    for line, begin in zip(printed, expected, strict=True):
        assert line.startswith(begin)
    assert report.failed is printed[0].startswith("✗")


def submission(outcome: str, sender: str | None = "typeform", trigger: str = "webhook") -> dict[str, object]:
    return {"message": "submission", "outcome": outcome, "sender": sender, "trigger": trigger}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            (submission("unauthorized"),),
            "✗ sender typeform: requests were refused in the last hour (once, at 22:13:20 UTC), and",
        ),
        ((submission("unauthorized"), submission("existing")), "✓ log: "),
        ((submission("opened"), submission("unauthorized")), "✗ sender typeform: "),
        ((submission("unauthorized"), submission("opened", "tally")), "✗ sender typeform: "),
        # A retry that succeeds now was authenticated before.
        ((submission("unauthorized"), submission("opened", trigger="retry")), "✗ sender typeform: "),
        ((submission("unauthorized", None),), "✓ log: "),  # a scanner
    ],
    ids=["refused", "accepted later", "accepted before", "another sender accepted", "retry", "scanner"],
)
def test_refused_sender_is_reported(
    lines: tuple[object, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor._check_log(stack_that_logged(*lines), Report(Settings(stack="local")))
    printed = capsys.readouterr().out
    assert printed.startswith(expected)
    assert "./hlc --stack local sender rotate typeform" in printed or expected.startswith("✓")


@pytest.mark.parametrize(
    ("reasons", "is_the_secret"),
    [
        pytest.param(["location_not_allowed"], False, id="no location"),
        pytest.param(["unauthorized", "location_not_allowed"], False, id="the right secret, then"),
        pytest.param(["location_not_allowed", "unauthorized"], True, id="a wrong secret, then"),
    ],
)
def test_a_sender_without_locations_is_not_advised_to_change_its_secret(
    reasons: list[str], is_the_secret: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [submission("unauthorized") | {"reason": reason} for reason in reasons]
    doctor._check_log(stack_that_logged(*lines), Report(Settings(stack="local")))
    printed = capsys.readouterr().out
    assert printed.startswith("✗ sender typeform: requests were refused in the last hour ")
    assert ("hlc --stack local sender" in printed) is is_the_secret
    assert ("no location was configured" in printed) is not is_the_secret


@pytest.mark.parametrize(
    ("name", "text", "unexpected"),
    [
        pytest.param(
            "highlevel-app", "app_id under [highlevel-app] in functions/senders.toml", "./hlc sender", id="app"
        ),
        pytest.param("standard-webhooks-v1a", "./hlc sender import standard-webhooks-v1a", "rotate", id="a public key"),
        pytest.param("typeform", "./hlc sender rotate typeform creates a new secret", "app_id", id="a secret"),
        pytest.param("gone", "functions/senders.toml has no such sender", "./hlc sender", id="no entry any more"),
    ],
)
def test_advice_for_a_refused_sender(name: str, text: str, unexpected: str) -> None:
    advice = doctor._why_refused(name, SENDERS)
    assert text in advice
    assert unexpected not in advice


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "✓ dead-letter queue: empty"),
        (
            1,
            "✗ dead-letter queue: 1 submission failed and needs you: run ./hlc --stack mine dead-letters list, fix",
        ),
        (
            2,
            "✗ dead-letter queue: 2 submissions failed and need you: run ./hlc --stack mine dead-letters list, fix",
        ),
    ],
    ids=["none", "one", "two"],
)
def test_dead_letters_are_reported(
    count: int, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"RetryQueueUrl": 0, "DeadLetterQueueUrl": count}
    monkeypatch.setattr(doctor, "_count", lambda _stack, output: counts[output])
    doctor._check_queues(stack_that_logged(), Report(Settings(stack="mine")))
    assert capsys.readouterr().out.splitlines()[1].startswith(text)


def test_local_stack_is_started_again_instead_of_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    Report(Settings(stack="local")).bad("sender", "app_id under [x]; then ./hlc deploy")
    assert capsys.readouterr().out == "✗ sender: app_id under [x]; then start make serve again\n"


def test_reasons_of_waiting_submissions() -> None:
    deferred = {"message": "submission", "outcome": "deferred", "location_id": "ve9", "reason": "rate_limited"}
    opened = {"message": "submission", "outcome": "opened", "location_id": "ve9"}
    metrics = {"_aws": {}, "outcome": "deferred", "Submissions": [1.0]}
    stack = stack_that_logged(deferred, deferred, metrics, opened, {**deferred, "reason": "token_refused"})
    assert doctor._why(stack) == (
        "deferred in the last hour: token_refused in ve9 (once, at 22:13:26 UTC), "
        "rate_limited in ve9 (2 times, last at 22:13:21 UTC)"
    )
    assert doctor._why(stack_that_logged(opened)).startswith("none was tried in the last hour")
