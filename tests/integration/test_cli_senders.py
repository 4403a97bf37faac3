"""`./hlc sender`, `./hlc send` and `./hlc doctor` against the served stack."""

import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli import redrive, send
from cli import stack as stack_module
from cli.app import main
from cli.options import NeedsYesError, Settings
from cli.token_check import MESSAGE_SCOPES, NO_SUCH_ID, SCOPES
from create_conversation.errors import REASONS
from create_conversation.senders.config import load
from local.application import Answer, Application
from local.highlevel import Limits, LocalHighLevel
from local.serve import announcement
from local.stack import ROOT, LocalAws, clean_environment
from tests.integration.packaged import deploy_packaged
from tests.integration.world import World, eventually

LOCATION = "ve9EPM428h8vShlRW1KT"
FIX = "fix the cause (./hlc --stack local dead-letters list), then ./hlc --stack local redrive"
TOKEN = f"pit-{uuid.uuid4()}"
SENT = ("typeform", "tally", "standard-webhooks", "highlevel-workflow", "token", "api")
OTHERS = sorted({name for name, entry in load().items() if entry.scheme in ("token", "mac")} - {*SENT})

type Run = Callable[..., tuple[int, str]]
type RunAll = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    """The stack, and the file in which the commands find its address."""
    with LocalHighLevel(tokens={TOKEN: LOCATION}) as highlevel, LocalAws(enforce_iam=True) as aws:
        application = Application(
            aws, deploy_packaged(aws, {"HighLevelBaseUrl": highlevel.url, "LocationId": LOCATION})
        )
        application.store_token(TOKEN)
        application.start_function()
        where = tmp_path_factory.mktemp("serve") / "serve.json"
        where.write_text(json.dumps(announcement(application)))
        yield World(highlevel, application), where


@pytest.fixture
def world(served: tuple[World, Path]) -> Iterator[World]:
    world, _ = served
    world.highlevel.reset()
    world.delete_logs()
    queues = world.application.aws.client("sqs")
    queues.purge_queue(QueueUrl=world.application.stack.outputs["DeadLetterQueueUrl"])
    yield world
    world.highlevel.reset()
    world.highlevel.envelope = "nest"
    world.application.store_token(TOKEN)


@pytest.fixture
def run_all(served: tuple[World, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunAll:
    """Run a command in this process. Returns exit code, standard output and standard error."""
    monkeypatch.setattr(stack_module, "SERVE_FILE", served[1])

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--stack", "local", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def run(run_all: RunAll) -> Run:
    """Run a command in this process. Returns exit code and standard output."""
    return lambda *words: run_all(*words)[:2]


def command(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in its own process as `./hlc` does, with another file of `make serve`."""
    code = (
        "import pathlib, runpy, sys, cli.stack\n"
        f"cli.stack.SERVE_FILE = pathlib.Path({str(where)!r})\n"
        "runpy.run_module('cli', run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--stack", "local", *words],
        cwd=ROOT,
        env={
            **clean_environment(),
            "PYTHONPATH": f"functions{os.pathsep}.",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "NO_PROXY": "",
            "no_proxy": "",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def secrets(world: World) -> dict[str, list[str] | str]:
    return dict(json.loads(world.application.secret("SenderSecretsArn")))


def test_first_secret_and_sample_open_a_conversation(world: World, served: tuple[World, Path], run_all: RunAll) -> None:
    """The commands for Typeform run in processes of their own, as an operator runs them; the others in this one."""
    _, where = served

    def operate(name: str, *words: str) -> tuple[int, str, str]:
        if name != "typeform":
            return run_all(*words)
        finished = command(where, *words)
        return finished.returncode, finished.stdout, finished.stderr

    refused = command(where, "send", "typeform")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "typeform has no secret yet: ./hlc --stack local sender add typeform\n"
    made = {name: operate(name, "sender", "rotate" if name == "api" else "add", name) for name in SENT}
    stored = secrets(world)
    for name, (code, printed, said) in made.items():
        assert (code, said) == (0, "")
        assert stored[name][0] not in printed
        shown = json.loads(operate(name, "sender", "show", name, "--reveal", "--json", "--yes")[1])
        assert shown["secret"] == stored[name][0]
    assert isinstance(stored["api"], list)
    assert stored["api"][1] == world.application.api_secret
    for name in SENT:
        code, printed, said = operate(name, "send", name)
        assert code == 0, printed + said
        status, request_id, body, *more = printed.splitlines()
        assert status.startswith("201  " if name == "api" else "200  ")
        assert json.loads(body).get("outcome") == (None if name == "api" else "opened")
        assert more == []
        line = world.application.wait_for_line(request_id=request_id.removeprefix("x-request-id: "))
        assert (line["sender"], line["outcome"], line["location_id"]) == (name, "opened", LOCATION)
        assert stored[name][0] not in printed + said
    assert len(world.highlevel.conversations) == len(SENT)


def test_every_other_preset_opens_a_conversation(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # All samples name one location, at up to five calls each.
    monkeypatch.setattr(world.highlevel, "limits", Limits(max=1000))
    for name in OTHERS:
        code, printed = run("sender", "add", name)
        assert code == 0
        assert f"/webhooks/{name}" in printed
        assert "senders.toml" not in printed, "the output says where to paste it"
    for name in OTHERS:
        code, printed = run("send", name)
        assert (code, json.loads(printed.splitlines()[2])["outcome"]) == (0, "opened")
    assert len(world.highlevel.conversations) == len(OTHERS)


def test_secret_is_rotated_and_revoked(world: World, run: Run) -> None:
    first = secrets(world).get("tally", [])
    if not first:
        run("sender", "add", "tally")
    run("sender", "rotate", "tally")
    run("sender", "rotate", "tally")
    stored = secrets(world)
    assert len(stored["tally"]) == 2
    assert stored["tally"][0] not in first
    assert run("send", "tally")[0] == 0
    assert run("sender", "retire", "tally")[0] == 0
    assert secrets(world) == {**stored, "tally": [stored["tally"][0]]}
    assert run("send", "tally")[0] == 0


def test_wrong_secret_is_tried_twice_and_explained(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if "token" not in secrets(world):
        run("sender", "add", "token")
    monkeypatch.setattr(send, "NOTICED_SECONDS", 0.1)
    monkeypatch.setattr(send, "_secret", lambda *_: "hush-hush-hush-hush")
    code, printed = run("send", "token")
    assert code == 1
    assert printed.startswith("401  ")
    assert "start make serve again" in printed
    assert "hlc deploy" not in printed
    assert "hush" not in printed


def test_location_of_another_stack(world: World, run: Run) -> None:
    if "highlevel-workflow" not in secrets(world):
        run("sender", "add", "highlevel-workflow")
    code, printed = run("send", "highlevel-workflow", "--location", "elsewhere")
    assert code == 0
    assert '"outcome": "rejected"' in printed
    assert "./hlc --stack local dead-letters list" in printed
    code, printed = run("doctor")
    assert code == 1
    assert (
        "✗ dead-letter queue: 1 submission failed and needs you: run ./hlc --stack local dead-letters list" in printed
    )


def accepted(world: World, body: bytes, headers: dict[str, str]) -> Answer:
    """The answer, as soon as the function has noticed the new secret."""
    answers: list[Answer] = []

    def is_accepted() -> bool:
        answers.append(world.application.deliver("token", body, headers))
        return answers[-1].status == 200

    eventually(is_accepted)
    return answers[-1]


def letters(run: Run) -> list[dict[str, object]]:
    return list(json.loads(run("dead-letters", "list", "--json")[1])["dead_letters"])


def test_redrive_waits_and_shows_each_result(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = uuid.uuid4().hex
    world.application.store_sender_secret("token", secret)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    world.highlevel.fail("status", status=422, message="no such contact")
    bodies = (b'{"contactId": "cured"}', b'{"note": "none"}')
    cured, hopeless = (accepted(world, body, headers).headers["x-request-id"] for body in bodies)
    eventually(lambda: len(letters(run)) == 2)
    before = {str(letter["request_id"]): letter for letter in letters(run)}
    assert [before[name]["attempts"] for name in (cured, hopeless)] == [1, 1]

    world.highlevel.reset()
    code, printed = run("redrive")
    assert code == 1
    assert printed.splitlines()[0] == "2 redriven"
    assert f"  opened      {cured}  token  conversation " in printed
    assert f"  came back   {hopeless}  token  no_contact: No contact is named" in printed
    assert printed.endswith(f"1 opened\n1 came back: {FIX}\n")
    eventually(lambda: len(letters(run)) == 1)
    (letter,) = letters(run)
    assert letter["first_time"] == before[hopeless]["first_time"]
    assert letter["attempts"] == 2
    code, printed = run("redrive", "--reason", "no_contacts")
    assert code == 1
    assert printed.endswith(": the queue has 1 with reason no_contact of token; did you mean no_contact?\n")
    monkeypatch.setattr(redrive, "DELAY_SECONDS", 5)  # however busy the machine is, it is open after a second
    code, printed = run("redrive", "--wait", "1")
    assert code == 1
    assert f"  still open  {hopeless}  no try is logged yet" in printed
    assert printed.endswith("1 still open: tried again automatically, see ./hlc --stack local logs\n")
    eventually(lambda: len(letters(run)) == 1)
    assert letters(run)[0]["attempts"] == 3


def test_doctor_on_a_healthy_stack(world: World, served: tuple[World, Path]) -> None:
    _, where = served
    finished = command(where, "doctor")
    assert (finished.returncode, finished.stderr) == (0, ""), finished.stdout
    assert "✗" not in finished.stdout
    names = [line.partition(":")[0] for line in finished.stdout.splitlines()]
    assert names == [
        "✓ stack",
        "✓ senders",
        "✓ HighLevelToken",
        f"✓ token of {LOCATION}",
        "✓ scope conversations.write",
        "✓ scope conversations.readonly",
        "✓ scope contacts.write",
        "✓ scope contacts.readonly",
        "✓ scope conversations/message.write",
        "✓ scope conversations/message.readonly",
        f"✓ quota of {LOCATION}",
        "✓ retry queue",
        "✓ dead-letter queue",
        "✓ log",
        "✓ messages",
        "✓ concurrency",
        "✓ pauses",
    ]
    assert "94 of 100 calls left in this 10 s, 199,994 left today" in finished.stdout
    assert TOKEN not in finished.stdout
    assert world.application.api_secret not in finished.stdout
    # Nothing was written.
    assert [(call.method, call.path, call.status) for call in world.highlevel.calls] == [
        ("GET", "/conversations/search", 200),
        ("POST", "/conversations/", 422),
        ("POST", "/contacts/upsert", 422),
        ("GET", f"/contacts/{NO_SUCH_ID}", 400),
        ("POST", "/conversations/messages", 422),
        ("GET", f"/conversations/{NO_SUCH_ID}/messages", 400),
    ]
    assert not world.highlevel.conversations
    assert not world.highlevel.contacts


def test_token_is_tried_on_the_local_highlevel(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = f"pit-{uuid.uuid4()}"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{wrong}\n"))
    with pytest.raises(NeedsYesError, match="nothing was stored; the stored value did not change"):
        run("token", "set")
    assert world.application.secret("HighLevelTokenArn") == TOKEN
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    code, printed = run("token", "set")
    assert code == 0
    assert printed.startswith(f"✓ token of {LOCATION}: HighLevel accepts it\n✓ scope conversations.write: ")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    with pytest.raises(NeedsYesError, match="nothing was stored"):
        run("token", "set", "--location", "elsewhere")
    assert not world.highlevel.conversations


def failing(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("✗")]


@pytest.mark.parametrize("scope", [scope.name for scope in (*SCOPES, *MESSAGE_SCOPES)])
@pytest.mark.parametrize("envelope", ["nest", "http_exception"])
def test_doctor_reports_a_missing_scope(world: World, run: Run, scope: str, envelope: str) -> None:
    world.highlevel.envelope = envelope  # type: ignore[assignment]
    world.highlevel.scopes[TOKEN] = {each.name for each in (*SCOPES, *MESSAGE_SCOPES)} - {scope}
    code, printed = run("doctor")
    assert code == 1
    (line,) = failing(printed)
    assert line.startswith(f"✗ scope {scope}: the token lacks this scope")
    assert not world.highlevel.conversations


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ("agency", f"token of {LOCATION}: {REASONS['token_kind_refused'].title}"),
        ("revoked", f"token of {LOCATION}: {REASONS['token_refused'].title}"),
        ("inactive", f"token of {LOCATION}: {REASONS['location_inactive'].title}"),
        ("blocked", f"HighLevel: {REASONS['upstream_unexpected'].title}"),
        ("down", f"HighLevel: {REASONS['upstream_error'].title} (503): nothing to do"),
        ("reset", f"HighLevel: {REASONS['upstream_connection_lost'].title}"),
        ("limited", f"quota of {LOCATION}: used up (429)"),
        ("no call left", f"quota of {LOCATION}: 0 of 1 calls left in this 10 s: used up for now"),
        ("no call left today", f"quota of {LOCATION}: none left today"),
    ],
)
def test_doctor_reports_what_highlevel_refuses(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch, failure: str, expected: str
) -> None:
    store_token = f"pit-{uuid.uuid4()}"
    match failure:
        case "agency":
            world.highlevel.agency_tokens.add(store_token)
            world.application.store_token(store_token)
        case "revoked":
            world.application.store_token(store_token)
        case "inactive":
            world.highlevel.inactive_locations.add(LOCATION)
        case "blocked":
            world.highlevel.fail("html")
        case "down":
            world.highlevel.fail("status", status=503)
        case "reset":
            world.highlevel.fail("reset")
        case "limited":
            world.highlevel.fail("status", status=429)
        case "no call left":
            monkeypatch.setattr(world.highlevel, "limits", Limits(max=1))
            run("doctor")
        case "no call left today":
            monkeypatch.setattr(world.highlevel, "limits", Limits(daily=0))
    code, printed = run("doctor")
    assert code == 1
    (line,) = failing(printed)
    assert line.startswith(f"✗ {expected}")
    assert store_token not in printed


def test_the_local_stack_is_paused_and_resumed(world: World, run: Run) -> None:
    code, printed = run("pause")
    assert code == 0
    assert "to continue: ./hlc --stack local resume" in printed
    code, printed = run("doctor")
    assert code == 1
    (line,) = failing(printed)
    assert line.startswith("✗ sending: paused")
    assert run("pause", "accepting")[0] == 0
    assert world.application.post({}).status == 429
    assert run("resume") == (0, "resumed: sending, retrying, accepting; 0 submissions wait\n")
    assert failing(run("doctor")[1]) == []


def test_doctor_checks_each_location_with_its_own_token(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = stack_module.Stack.connect(Settings("local"))
    without_default = replace(stack, parameters={**stack.parameters, "LocationId": ""})
    monkeypatch.setattr(Settings, "connect", lambda _settings: without_default)
    world.application.store_token(json.dumps({"tokens": {LOCATION: TOKEN, "elsewhere": TOKEN, "*": "x y"}}))
    code, printed = run("doctor")
    assert code == 1
    assert f"✓ token of {LOCATION}: " in printed
    *closed, line = failing(printed)
    assert {each.partition(": ")[2][:12] for each in closed} <= {"closed (401)"}, "the stack has no LocationId"
    assert line.startswith(f"✗ token of elsewhere: {REASONS['location_refused'].title} (403)")
    code, printed = run("doctor", "--location", "third")
    assert failing(printed)[-1].startswith("✗ token of third: the token holds characters")
    world.application.store_token(TOKEN)
    code, printed = run("doctor")
    assert failing(printed)[len(closed) :] == [
        "✗ location: enter one: ./hlc --stack local doctor --location <location id>"
    ]


def test_doctor_reports_unusable_secrets(world: World, run: Run) -> None:
    client = world.application.aws.client("secretsmanager")
    arn = world.application.stack.outputs["SenderSecretsArn"]
    before = world.application.secret("SenderSecretsArn")
    wrong = {"api": "generated-and-long", "typefrom": ["hush"], "tally": 17}
    try:
        client.put_secret_value(SecretId=arn, SecretString=json.dumps(wrong))
        code, printed = run("doctor")
        assert code == 1
        assert [line.split("'s")[0][:40] for line in failing(printed)] == [
            "✗ SenderSecrets: unknown sender 'typefrom'"[:40],
            "✗ SenderSecrets: tally must be a text or"[:40],
        ]
        assert "hush" not in printed
        client.put_secret_value(SecretId=arn, SecretString="hush")
        code, printed = run("doctor")
        assert failing(printed)[0].startswith("✗ senders: SenderSecrets is not a JSON object")
        assert "hush" not in printed
        assert "✓ quota" in printed
    finally:
        client.put_secret_value(SecretId=arn, SecretString=before)


def test_doctor_without_a_stack(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stack_module, "SERVE_FILE", tmp_path / "serve.json")
    assert run("doctor") == (1, "✗ stack: the local stack is not running: make serve\n")
