"""What the doctor makes of entries, answers, quotas and the log."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from create_conversation.errors import REASONS
from create_conversation.senders.config import load
from highlevel.responses import ApiResult, RateLimit
from operate import doctor

SENDERS = {name: sender for name, sender in load().items() if sender.scheme != "event"}


@pytest.mark.parametrize(
    ("name", "entry", "said"),
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
)
def test_entries(name: str, entry: object, said: str) -> None:
    told = doctor._wrong(name, entry, SENDERS)
    assert said in told
    assert bool(told) is bool(said)
    assert "hush" not in told


@pytest.mark.parametrize(
    ("location", "closed"), [("", ["typeform", "our-shop"]), ("loc1", [])], ids=["no LocationId", "LocationId"]
)
def test_a_sender_that_nothing_gives_a_location(
    location: str, closed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {name: SENDERS[name] for name in ("api", "typeform", "tally", "jotform", "highlevel-workflow")}
    known["tally"] = replace(known["tally"], locations=("*",))
    known["our-shop"] = replace(known["jotform"], name="our-shop")
    secrets = dict.fromkeys(("api", "typeform", "tally", "highlevel-workflow", "our-shop"), "a-secret-of-theirs")
    monkeypatch.setattr(doctor, "all_senders", lambda: known)
    monkeypatch.setattr(doctor, "read_secrets", lambda _stack: (json.dumps(secrets), "v"))
    report = doctor.Report("mine")
    doctor._check_senders(SimpleNamespace(parameters={"LocationId": location}), report)  # type: ignore[arg-type]
    opened, *lines = capsys.readouterr().out.splitlines()
    assert opened.startswith("✓ senders: api, ")
    assert opened.endswith("; closed, until make sender STACK=mine NAME=…: jotform")
    assert [line.partition(":")[0] for line in lines] == [f"✗ sender {name}" for name in closed]
    for name, line in zip(closed, lines, strict=True):
        assert name not in opened
        assert "has no LocationId" in line
        assert f'locations = ["<location id>"] under [{name}]' in line
        assert "make deploy STACK=mine PARAMETERS=LocationId=" in line
        assert "a-secret" not in line
    assert report.failed is bool(closed)


@pytest.mark.parametrize("reason", [*REASONS, ""])
@pytest.mark.parametrize("outcome", get_args(ApiResult.__annotations__["outcome"]))
def test_every_verdict_is_told_with_what_to_do(reason: str, outcome: str) -> None:
    told = doctor._explain(ApiResult(outcome, reason, status=401))  # type: ignore[arg-type]
    title, _, todo = told.partition(" (401): ")
    assert title
    assert todo


def test_what_helps_names_only_known_reasons() -> None:
    assert doctor._TODO.keys() <= REASONS.keys()


@pytest.mark.parametrize(
    ("limit", "refused", "mark", "said"),
    [
        (None, False, "✓", "announces none"),
        (RateLimit(100, 97, 10_000, 199_997), False, "✓", "97 of 100 calls left in this 10 s, 199,997 left today"),
        (RateLimit(None, 3, None, None), False, "✓", "3 of ? calls left in this window, ? left today"),
        (RateLimit(100, 97, 10_000, 0), False, "✗", "none left today"),
        (RateLimit(100, 97, 10_000, 0), True, "✗", "none left today"),
        (RateLimit(100, 0, 10_000, 17), True, "✗", "0 of 100 calls left in this 10 s: used up for now"),
        (None, True, "✗", "used up (429)"),
    ],
)
def test_quota(
    limit: RateLimit | None, refused: bool, mark: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = doctor.Report("local")
    doctor._check_quota("ve9", limit, report, refused=refused)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{mark} quota of ve9: ")
    assert said in printed
    assert report.failed is (mark == "✗")


def test_each_command_names_the_stack(capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor.Report("shop-production")
    report.bad("dead-letter queue", "2 need you: make dead-letters, mend, make redrive; or make token LOCATION=ve9")
    assert capsys.readouterr().out == (
        "✗ dead-letter queue: 2 need you: make dead-letters STACK=shop-production, mend, make redrive "
        "STACK=shop-production; or make token STACK=shop-production LOCATION=ve9\n"
    )


@pytest.fixture(autouse=True)
def _a_moment_after_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "time", SimpleNamespace(time=lambda: 1_700_000_060.0))


def stack_that_logged(*lines: object) -> Any:
    """A stack whose log holds these lines; 1.5 s lie between them."""
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
    ("lines", "said"),
    [
        ((), ["✓ log: no failed AWS request"]),
        (
            ("START RequestId: 1", "[1]", "{", {"message": "submission", "outcome": "opened"}),
            ["✓ log: no failed AWS request"],
        ),
        (
            (failure("AccessDeniedException"), "REPORT", failure("AccessDeniedException")),
            ["✗ AWS, DynamoDB: GetItem: AccessDeniedException, in the last hour 2 times, at 22:13:23 UTC the last; "],
        ),
        (
            (failure("AccessDenied", "SQS", "SendMessage"), failure("ReadTimeoutError", operation=None)),
            [
                "✗ AWS, SQS: SendMessage: AccessDenied, in the last hour once, at",
                "✗ AWS, DynamoDB: a call: ReadTimeoutError, in the last hour once, at",
            ],
        ),
        (
            (failure("ResourceNotFoundException"),),
            ["✗ AWS, DynamoDB: GetItem: ResourceNotFoundException, in the last hour once, at 22:13:20 UTC; it was "],
        ),
        (
            ({"level": "ERROR", "message": "internal_error", "error": "KeyError", "frames": ["a:1"]},),
            ["✗ internal error: KeyError, in the last hour once, at"],
        ),
        ((failure("\x1b[2J"),), ["✗ AWS, DynamoDB: GetItem: \\x1b[2J, in the last hour once, at"]),
    ],
)
def test_the_log(lines: tuple[object, ...], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor.Report("local")
    doctor._check_log(stack_that_logged(*lines), report)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(said)
    for line, begin in zip(printed, said, strict=True):
        assert line.startswith(begin)
    assert report.failed is printed[0].startswith("✗")


def submission(outcome: str, sender: str | None = "typeform", trigger: str = "webhook") -> dict[str, object]:
    return {"message": "submission", "outcome": outcome, "sender": sender, "trigger": trigger}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((submission("unauthorized"),), "✗ sender typeform: refused, in the last hour once, at 22:13:20 UTC, and not"),
        ((submission("unauthorized"), submission("existing")), "✓ log: "),
        ((submission("opened"), submission("unauthorized")), "✗ sender typeform: "),
        ((submission("unauthorized"), submission("opened", "tally")), "✗ sender typeform: "),
        # What was kept before and is opened now says nothing of its sender's secret.
        ((submission("unauthorized"), submission("opened", trigger="retry")), "✗ sender typeform: "),
        ((submission("unauthorized", None),), "✓ log: "),  # a scanner
    ],
)
def test_a_sender_that_is_locked_out(lines: tuple[object, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    doctor._check_log(stack_that_logged(*lines), doctor.Report("local"))
    printed = capsys.readouterr().out
    assert printed.startswith(said)
    assert "make sender STACK=local NAME=typeform" in printed or said.startswith("✓")


@pytest.mark.parametrize(
    ("name", "told", "not_told"),
    [
        pytest.param(
            "highlevel-app", "app_id under [highlevel-app] in functions/senders.toml", "make sender", id="app"
        ),
        pytest.param("standard-webhooks-v1a", "make sender NAME=standard-webhooks-v1a", "GIVEN", id="a public key"),
        pytest.param("typeform", "make sender NAME=typeform, and paste the new one", "app_id", id="a secret"),
        pytest.param("gone", "functions/senders.toml has no such sender", "make sender", id="no entry any more"),
    ],
)
def test_what_to_do_about_a_refused_sender(name: str, told: str, not_told: str) -> None:
    advice = doctor._why_refused(name, SENDERS)
    assert told in advice
    assert not_told not in advice


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "✓ dead-letter queue: empty"),
        (1, "✗ dead-letter queue: 1 submission failed and needs you: make dead-letters STACK=mine, fix the cause, "),
        (2, "✗ dead-letter queue: 2 submissions failed and need you: make dead-letters STACK=mine, fix the cause, "),
    ],
)
def test_the_dead_letters(
    count: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"RetryQueueUrl": 0, "DeadLetterQueueUrl": count}
    monkeypatch.setattr(doctor, "_count", lambda _stack, output: counts[output])
    doctor._check_queues(stack_that_logged(), doctor.Report("mine"))
    assert capsys.readouterr().out.splitlines()[1].startswith(told)


def test_the_local_stack_is_not_deployed_to(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.Report("local").bad("sender", "app_id under [x]; then make deploy")
    assert capsys.readouterr().out == "✗ sender: app_id under [x]; then start make serve again\n"


def test_why_submissions_wait() -> None:
    deferred = {"message": "submission", "outcome": "deferred", "location_id": "ve9", "reason": "rate_limited"}
    opened = {"message": "submission", "outcome": "opened", "location_id": "ve9"}
    metrics = {"_aws": {}, "outcome": "deferred", "Submissions": [1.0]}
    stack = stack_that_logged(deferred, deferred, metrics, opened, {**deferred, "reason": "token_refused"})
    assert doctor._why(stack) == (
        "deferred in the last hour: token_refused in ve9 (once, at 22:13:26 UTC), "
        "rate_limited in ve9 (2 times, at 22:13:21 UTC the last)"
    )
    assert doctor._why(stack_that_logged(opened)).startswith("none was tried in the last hour")
