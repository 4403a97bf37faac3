"""Both kinds of token and any number of locations, through the deployed stack with its roles enforced."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli import stack as stack_module
from cli.app import main
from highlevel.oauth import OAuth, read_oauth
from local.application import Answer
from local.highlevel import Call
from local.serve import announcement
from tests.factories import make_oauth
from tests.integration.connecting import App, asked
from tests.integration.world import World, deployed_world, eventually

LOCATIONS = [f"location{number:04d}" for number in range(500)]
FUNCTION = "CreateConversation"

type Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    with deployed_world() as world:
        where = tmp_path_factory.mktemp("serve") / "serve.json"
        where.write_text(json.dumps(announcement(world.application)))
        yield world, where


@pytest.fixture
def world(served: tuple[World, Path]) -> World:
    """No environment has a cached secret, because each test stores its own."""
    world, _ = served
    world.highlevel.reset()
    world.highlevel.tokens = {}
    world.highlevel.oauth.access_seconds = 86_399
    kill(world)
    return world


@pytest.fixture
def run(served: tuple[World, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`./hlc doctor` in this process: its exit code and what it printed."""
    monkeypatch.setattr(stack_module, "SERVE_FILE", served[1])
    served[0].delete_logs()

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["doctor", "--stack", "local", *arguments])
        return code, capsys.readouterr().out

    return run


def kill(world: World) -> None:
    """End every process of the function, with the secrets that it has read, and start one."""
    world.application.aws.kill_workers()
    time.sleep(0.2)  # a call that reaches a dying process would end as a crash
    world.application.start_function()


def connect(world: World, user_type: str = "Company", **installed: Any) -> App:
    app = App(world.highlevel, user_type, **installed)
    world.application.store_token(make_oauth(app.installation, app.secret).to_secret())
    return app


def post(world: World, location: str, contact: str = "contact1") -> Answer:
    """Post as a sender does, which repeats a 503 (not stored: on a busy machine SQS may be late too)."""
    for _ in range(10):
        answer = world.application.post({"locationId": location, "contactId": contact})
        if answer.status != 503:
            return answer
    return answer


def opens(world: World, location: str, contact: str = "contact1") -> bool:
    """Post, and wait for the conversation: a cold start on a busy machine may take all the time that a caller has."""
    answer = post(world, location, contact)
    assert answer.status in (201, 202), answer.text
    eventually(lambda: (location, contact) in world.highlevel.conversations, within=60)
    return True


def posted(world: World, requests: list[tuple[str, str]], threads: int = 8) -> list[Answer]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda request: post(world, *request), requests))


def creations(world: World) -> list[Call]:
    return [call for call in world.highlevel.calls if call.path == "/conversations/"]


def issued(world: World, location: str) -> int:
    """How many tokens of that location HighLevel was asked for; calls that were interrupted count too."""
    issues = [call for call in world.highlevel.calls if call.path == "/oauth/locationToken"]
    return len([call for call in issues if call.location == location])


def failing(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("✗")]


# Five hundred locations


def test_500_locations_in_one_secret_each_use_their_token(world: World) -> None:
    tokens = {location: f"pit-{uuid.uuid4()}" for location in LOCATIONS}
    world.highlevel.tokens = {token: location for location, token in tokens.items()}
    text = json.dumps({"tokens": tokens})
    assert len(text.encode()) < 65_536
    world.application.store_token(text)
    answers = posted(world, [(location, "contact1") for location in LOCATIONS])
    assert {answer.status for answer in answers} <= {200, 201, 202}, "202: a start on a busy machine took all the time"
    eventually(lambda: len(world.highlevel.conversations) == 500, within=90)
    assert {call.location: call.token for call in creations(world)} == tokens


def test_500_locations_of_an_agency_each_get_one_token(world: World) -> None:
    connect(world)
    answers = posted(world, [(location, f"agency{number}") for number in (1, 2) for location in LOCATIONS])
    assert {answer.status for answer in answers} <= {200, 201, 202}, "202: a start on a busy machine took all the time"
    eventually(lambda: len(world.highlevel.conversations) == 1000, within=90)
    assert sorted(world.highlevel.oauth.issued) == LOCATIONS
    calls = creations(world)
    assert len(calls) == 1000
    for call in calls:
        access = world.highlevel.oauth.access(call.token or "")
        assert access is not None
        assert access.location == call.location
    assert len({call.token for call in calls}) == 500
    assert not [call for call in calls if call.status != 201]
    kill(world)
    assert post(world, LOCATIONS[7], "agency3").status in (201, 202)
    assert len(world.highlevel.oauth.issued) == 500, "a new environment finds them"
    table = world.application.stack.resource("IdempotencyTable")
    items = str(world.application.aws.client("dynamodb").scan(TableName=table))
    assert "encrypted" in items
    assert not [call.token for call in calls if call.token and call.token in items]
    log = "\n".join(world.application.stack.log_lines())
    assert not [call.token for call in calls if call.token and call.token in log]


def test_a_thousand_simultaneous_requests_issue_one_token(world: World) -> None:
    connect(world)
    world.highlevel.fail("slow", path="/oauth/locationToken", seconds=0.5)
    world.highlevel.limits.max = 10_000
    since = time.time()
    answers = posted(world, [("busy", f"contact{number}") for number in range(1000)], threads=16)
    world.highlevel.limits.max = 100
    world.highlevel.heal()
    assert {answer.status for answer in answers} <= {200, 201, 202}
    unanswered = [line for line in world.application.stack.logs(since) if line.get("message") == "aws_request_failed"]
    assert issued(world, "busy") == 1, unanswered  # an instance that DynamoDB does not answer issues one of its own
    cold = [line for line in world.application.lines(since, location_id="busy") if line["cold_start"]]
    assert len(cold) >= 2, "several environments"
    eventually(lambda: len([key for key in world.highlevel.conversations if key[0] == "busy"]) == 1000, within=90)
    assert issued(world, "busy") == 1


# A token that is rotated


def rotate(world: World) -> None:
    """What Secrets Manager does every few hours, with the real function."""
    client, arn = world.application.aws.client("secretsmanager"), world.application.stack.outputs["HighLevelTokenArn"]
    before = world.application.secret("HighLevelTokenArn")
    function = world.application.stack.outputs["TokenRotationArn"]
    client.rotate_secret(SecretId=arn, RotationLambdaARN=function, RotationRules={"AutomaticallyAfterDays": 1})
    eventually(lambda: world.application.secret("HighLevelTokenArn") != before)


@pytest.mark.parametrize("user_type", ["Location", "Company"])
def test_no_submission_fails_when_a_token_is_rotated(world: World, user_type: str) -> None:
    location = f"of-{user_type}"
    world.highlevel.oauth.access_seconds = 64
    app = connect(world, user_type, location=location if user_type == "Location" else None)
    old = app.installation.access_token
    assert opens(world, location)  # the environment now caches the old one for 5 minutes
    world.highlevel.oauth.access_seconds = 86_399
    rotate(world)
    time.sleep(5)  # the old one is valid for less than another minute
    others = [location if user_type == "Location" else f"{location}{number}" for number in range(20)]
    requests = [(other, f"contact{number}") for number, other in enumerate(others, 2)]
    assert {answer.status for answer in posted(world, requests, threads=2)} <= {201, 202}
    eventually(lambda: set(requests) <= world.highlevel.conversations.keys(), within=60)
    used_by_function = ("/conversations/", "/oauth/locationToken")
    assert not [call for call in world.highlevel.calls if call.path in used_by_function and call.status != 201]
    path = "/conversations/" if user_type == "Location" else "/oauth/locationToken"
    used = [call.token for call in world.highlevel.calls if call.path == path]
    assert used[0] == old
    assert set(used[1:]) == {app.installation.access_token}


def test_a_refused_token_is_replaced_in_the_same_request(world: World) -> None:
    app = connect(world, "Location", location="here")
    assert opens(world, "here")
    old = app.installation.access_token
    rotate(world)
    del world.highlevel.oauth._access[old]
    assert opens(world, "here", "contact2")
    assert [call.status for call in creations(world)] in ([201, 401, 201], [201, 201]), "or its environment was new"


def test_a_submission_with_an_expired_token_waits_for_the_rotation(world: World) -> None:
    app = App(world.highlevel, "Location", location="waits")
    world.application.store_token(
        replace(make_oauth(app.installation, app.secret), expires_at=int(time.time()) - 1).to_secret()
    )
    kill(world)  # a retry of another test may have read the previous secret
    since = time.time() - 1
    answer = post(world, "waits")
    assert (answer.status, answer.body["status"]) == (202, "deferred")
    # Only since then, because the emulator returns the first ten thousand lines of a log.
    eventually(lambda: world.application.lines(since, location_id="waits", reason="token_expired"), within=60)
    assert not creations(world)
    rotate(world)
    eventually(lambda: ("waits", "contact1") in world.highlevel.conversations, within=90)


# Connect and doctor, with the real rotation


def test_connect_attaches_the_rotation_and_doctor_finds_no_problem(world: World, run: Run) -> None:
    app = App(world.highlevel, "Company", company="company9")
    world.application.store_token(f"pit-{uuid.uuid4()}")
    terminal = asked(world.application.aws, world.application.stack.name, app, agency=True, first="y")
    first = app.installation.refresh_token
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 0, terminal.shown
    # Attaching rotates immediately: the stored refresh token is used, and replaced by another one.
    eventually(lambda: world.highlevel.oauth.sent)
    eventually(lambda: _stored(world).refresh_token == app.installation.refresh_token)
    assert _stored(world).refresh_token != first
    assert opens(world, "there")

    code, printed = run("--location", "there")
    assert code == 0, printed
    assert "✓ HighLevelToken: the connection of the agency company9; its access token expires in 24 h" in printed
    assert "✓ rotation: renewed 0 min ago" in printed
    assert "✓ token of there: HighLevel accepts it" in printed
    assert len(world.highlevel.oauth.sent) == 1, "the doctor uses no refresh token"
    for secret in (app.secret, app.installation.access_token, app.installation.refresh_token):
        assert secret not in printed

    # The pair is lost: another client used the refresh token, and its window is over.
    used = world.highlevel.oauth.window_seconds
    world.highlevel.oauth.window_seconds = 0
    app.server.revoke(app.installation)
    client, arn = world.application.aws.client("secretsmanager"), world.application.stack.outputs["HighLevelTokenArn"]
    client.rotate_secret(SecretId=arn)
    eventually(lambda: any(line.startswith("✗ rotation: failed") for line in failing(run("--location", "there")[1])))
    world.highlevel.oauth.window_seconds = used
    code, printed = run("--location", "there")
    assert code == 1
    (line,) = [line for line in failing(printed) if line.startswith("✗ rotation")]
    assert "grant_refused" in line
    assert "Retries cannot fix this: ./hlc --stack local connect" in line
    for secret in (app.secret, app.installation.access_token, app.installation.refresh_token):
        assert secret not in printed

    # The command that doctor names fixes it.
    again = App(world.highlevel, "Company", company="company9")
    terminal = asked(world.application.aws, world.application.stack.name, again, known=app.id, agency=None)
    time.sleep(1.1)  # the emulator stores the time of a value in seconds
    terminal.paste(again.approve(terminal.shown))
    assert terminal.end() == 0, terminal.shown
    assert "removed the label AWSPENDING" in terminal.shown
    code, printed = run("--location", "there")
    assert code == 0, printed
    kill(world)
    assert opens(world, "there", "contact2")

    # A private token is stored by hand, and the rotation stays attached.
    world.application.store_token(f"pit-{uuid.uuid4()}")
    assert "✗ rotation: attached, but the secret contains no connection" in run("--location", "there")[1]


def test_doctor_shows_the_connection_of_a_sub_account(world: World, run: Run) -> None:
    app = connect(world, "Location")
    assert "✓ HighLevelToken: the connection of a sub-account; its access token" in run("--location", "there")[1]
    world.application.store_token(
        replace(make_oauth(app.installation, app.secret), access_token="no(bearer)token").to_secret()
    )
    (line,) = [line for line in failing(run("--location", "there")[1]) if line.startswith("✗ token")]
    assert line.endswith("./hlc --stack local connect"), "./hlc token set would refuse to replace it"


def _stored(world: World) -> OAuth:
    stored = read_oauth(world.application.secret("HighLevelTokenArn"))
    assert stored is not None
    return stored


INCOMPLETE: dict[str, tuple[Any, ...]] = {
    "expired": (
        {"expires_at": 1_000_000_000},
        "HighLevelToken: the connection of the agency company0000000000001: its access token expired",
    ),
    "no-access-token": ({"access_token": None, "expires_at": None}, "has no access token yet"),
    "no-company": ({"company_id": None}, "has no company_id: ./hlc --stack local connect"),
}


@pytest.mark.parametrize(("changes", "said"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_doctor_shows_a_connection_that_cannot_issue_tokens(
    world: World, run: Run, changes: dict[str, Any], said: str
) -> None:
    app = connect(world)
    world.application.store_token(replace(make_oauth(app.installation, app.secret), **changes).to_secret())
    code, printed = run("--location", "there")
    assert code == 1
    assert said in "\n".join(failing(printed))
    assert world.highlevel.calls == []
    assert app.secret not in printed


def test_doctor_shows_an_invalid_connection(world: World, run: Run) -> None:
    world.application.store_token(json.dumps({"oauth": {"client_id": "x", "client_secret": "hush"}}))
    code, printed = run("--location", "there")
    assert code == 1
    assert "✗ HighLevelToken: oauth.refresh_token is missing: ./hlc --stack local connect" in printed
    assert "hush" not in printed


def test_doctor_shows_a_location_without_the_app(world: World, run: Run) -> None:
    connect(world, locations={"elsewhere"})
    code, printed = run("--location", "there")
    assert code == 1
    assert "✗ token of there: HighLevel does not issue it (403): the app is not installed there" in printed
    world.highlevel.fail("status", path="/oauth/locationToken", status=503)
    code, printed = run("--location", "there")
    assert "✗ token of there: HighLevel does not issue it (503): HighLevel answered with an error" in printed
    world.highlevel.heal()
    assert run()[0] == 1
    assert "enter one: ./hlc --stack local doctor --location " in run()[1]
