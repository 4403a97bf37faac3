"""`./hlc connect` on a terminal: against secrets and a stack that are really there, and HighLevel's OAuth server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from highlevel.oauth import OAuth, read_oauth
from local.fault_proxy import FaultProxy
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, clean_environment, free_port
from tests.integration.connecting import App, Terminal, asked

ROOT = Path(__file__).parents[2]
LOCATION = "ve9EPM428h8vShlRW1KT"
PIT = "pit-01234567-89ab-cdef-0123-456789abcdef"
REDIRECT = "https://localhost/oauth/callback"

# What the command reads and changes. The parameter exists, so that the template decides what it attaches.
TEMPLATE = {
    "Parameters": {
        "HighLevelBaseUrl": {"Type": "String"},
        "LocationId": {"Type": "String", "Default": ""},
        "RotateToken": {"Type": "String", "Default": "false", "AllowedValues": ["true", "false"]},
    },
    "Conditions": {"Rotates": {"Fn::Equals": [{"Ref": "RotateToken"}, "true"]}},
    "Resources": {
        "Token": {"Type": "AWS::SecretsManager::Secret", "Properties": {}},
        "Attached": {"Type": "AWS::SNS::Topic", "Condition": "Rotates", "Properties": {}},
    },
    "Outputs": {"HighLevelTokenArn": {"Value": {"Fn::GetAtt": ["Token", "Id"]}}},
}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def proxy(port: int) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def aws(port: int, proxy: FaultProxy) -> Iterator[LocalAws]:
    with LocalAws(port=port, endpoint_for_functions=proxy.url) as local:
        yield local


@pytest.fixture(scope="module")
def highlevel() -> Iterator[LocalHighLevel]:
    with LocalHighLevel() as running:
        yield running


class Stack:
    def __init__(self, aws: LocalAws, highlevel: LocalHighLevel, **parameters: str) -> None:
        self.aws, self.highlevel = aws, highlevel
        self.name = f"connect-{uuid.uuid4().hex[:8]}"
        self._formation, self._secrets = aws.client("cloudformation"), aws.client("secretsmanager")
        given = {"HighLevelBaseUrl": highlevel.url} | parameters
        self._formation.create_stack(
            StackName=self.name,
            TemplateBody=json.dumps(TEMPLATE),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        )
        until = time.monotonic() + 20
        while self._described()["StackStatus"] != "CREATE_COMPLETE":
            assert time.monotonic() < until
            time.sleep(0.05)
        self.arn = self._described()["Outputs"][0]["OutputValue"]

    def _described(self) -> dict[str, Any]:
        described: dict[str, Any] = self._formation.describe_stacks(StackName=self.name)["Stacks"][0]
        return described

    @property
    def parameters(self) -> dict[str, str]:
        return {each["ParameterKey"]: each["ParameterValue"] for each in self._described()["Parameters"]}

    @property
    def resources(self) -> set[str]:
        found = self._formation.describe_stack_resources(StackName=self.name)["StackResources"]
        return {each["LogicalResourceId"] for each in found}

    @property
    def secret(self) -> str | None:
        with contextlib.suppress(self._secrets.exceptions.ResourceNotFoundException):
            return str(self._secrets.get_secret_value(SecretId=self.arn).get("SecretString", "")) or None
        return None

    @property
    def oauth(self) -> OAuth:
        oauth = read_oauth(self.secret or "")
        assert oauth is not None
        return oauth

    def store(self, text: str, *labels: str) -> str:
        stages = {"VersionStages": list(labels)} if labels else {}
        return str(self._secrets.put_secret_value(SecretId=self.arn, SecretString=text, **stages)["VersionId"])

    def labels(self) -> dict[str, list[str]]:
        stages: dict[str, list[str]] = self._secrets.describe_secret(SecretId=self.arn)["VersionIdsToStages"]
        return stages


@pytest.fixture
def stack(aws: LocalAws, highlevel: LocalHighLevel) -> Stack:
    highlevel.heal()
    highlevel.calls.clear()
    return Stack(aws, highlevel)


def nothing_secret(terminal: Terminal, stack: Stack, app: App, *more: str) -> None:
    secrets = [app.secret, app.installation.access_token, app.installation.refresh_token, *more]
    assert not [secret for secret in secrets if secret in terminal.shown]
    environ = Path(f"/proc/{os.getpid()}/cmdline").read_text()
    assert app.secret not in environ


def test_first_connection(stack: Stack, highlevel: LocalHighLevel) -> None:
    app = App(highlevel, location=LOCATION)
    terminal = asked(stack.aws, stack.name, app)
    address = app.approve(terminal.shown)
    query = parse_qs(urlsplit(re.search(r"http\S+chooselocation\S+", terminal.shown)[0]).query)  # type: ignore[index]
    assert set(query["scope"][0].split()) == {
        "conversations.write",
        "conversations.readonly",
        "conversations/message.write",
        "conversations/message.readonly",
        "contacts.write",
        "contacts.readonly",
    }
    assert query["response_type"] == ["code"]
    assert query["redirect_uri"] == [REDIRECT]
    terminal.paste(address)
    assert terminal.end() == 0, terminal.shown
    assert stack.oauth.access_token == app.installation.access_token
    assert stack.oauth.refresh_token == app.installation.refresh_token
    assert stack.oauth.client_secret == app.secret
    assert stack.oauth.user_type == "Location"
    assert stack.parameters == {"HighLevelBaseUrl": highlevel.url, "LocationId": "", "RotateToken": "true"}
    assert stack.resources == {"Token", "Attached"}
    assert f"stored the connection of the sub-account {LOCATION} in {stack.arn}" in terminal.shown
    assert f"./hlc --stack {stack.name} doctor" in terminal.shown
    nothing_secret(terminal, stack, app, parse_qs(urlsplit(address).query)["code"][0])


def test_connection_of_an_agency(stack: Stack, highlevel: LocalHighLevel) -> None:
    app = App(highlevel, "Company", company="company7")
    terminal = asked(stack.aws, stack.name, app, agency=True)
    assert "oauth.write" in terminal.shown
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 0, terminal.shown
    assert (stack.oauth.user_type, stack.oauth.company_id) == ("Company", "company7")
    assert "the agency company7" in terminal.shown


def test_second_connection_knows_the_app_and_removes_a_stuck_rotation(stack: Stack, highlevel: LocalHighLevel) -> None:
    app = App(highlevel, location=LOCATION)
    terminal = asked(stack.aws, stack.name, app)
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 0, terminal.shown
    stuck = stack.store("{}", "AWSPENDING")
    assert stack.labels()[stuck] == ["AWSPENDING"]
    again = Terminal(stack.aws, stack.name)
    again.type("one sub-account? [y/N]: ", "")
    again.type(f"client id [{app.id}]: ", "")
    again.type("Enter for the stored one): ", "")
    again.type("redirect URL [https://localhost/oauth/callback]: ", "")
    again.until("redirected address")
    again.paste(app.approve(again.shown))
    assert again.end() == 0, again.shown
    assert stack.oauth.refresh_token == app.installation.refresh_token
    assert stack.labels().get(stuck, []) == []
    assert "removed the label AWSPENDING" in again.shown
    assert "its rotation is attached" in again.shown


def test_running_rotation_cannot_replace_the_new_connection(
    stack: Stack, highlevel: LocalHighLevel, proxy: FaultProxy
) -> None:
    """Once the connection is stored, no other version has the label AWSPENDING."""
    stack.store(PIT)
    pending = stack.store("{}", "AWSPENDING")
    seen: list[dict[str, list[str]]] = []
    app = App(highlevel, location=LOCATION)
    proxy.on("secretsmanager", "PutSecretValue", after=lambda _: seen.append(stack.labels()))
    through = SimpleNamespace(env={**stack.aws.env, "AWS_ENDPOINT_URL": proxy.url})
    terminal = asked(through, stack.name, app, first="y")  # type: ignore[arg-type]
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 0, terminal.shown
    proxy.heal()
    assert ["AWSCURRENT", "AWSPENDING"] in map(sorted, seen[0].values())
    assert not seen[0].get(pending)
    assert sorted(filter(None, stack.labels().values())) == [["AWSCURRENT"], ["AWSPREVIOUS"]]


def test_token_is_replaced_only_after_confirmation(stack: Stack, highlevel: LocalHighLevel) -> None:
    app = App(highlevel, location=LOCATION)
    stack.store(PIT)
    refused = Terminal(stack.aws, stack.name)
    refused.type("Continue? [y/N]: ", "")
    assert refused.end() == 1
    assert stack.secret == PIT
    terminal = asked(stack.aws, stack.name, app, first="y")
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 0, terminal.shown
    assert stack.oauth.access_token == app.installation.access_token
    assert PIT not in terminal.shown + refused.shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "this is not the address"),
        ("https://elsewhere.example/?code=hush-code", "this is not the address"),
        ("hush-code", "this is not the address"),
        (REDIRECT, "this is not the address"),
        (f"{REDIRECT}?error=access_denied", "not approved"),
        (f"{REDIRECT}?state=x", "contains no code"),
        (f"{REDIRECT}?code=hush-code&state=hush-state", "its state differs"),
    ],
)
def test_wrong_address_changes_nothing(stack: Stack, highlevel: LocalHighLevel, address: str, expected: str) -> None:
    app = App(highlevel, location=LOCATION)
    terminal = asked(stack.aws, stack.name, app)
    terminal.paste(address)
    assert terminal.end() == 1
    assert expected in terminal.shown
    assert "nothing was changed" in terminal.shown
    assert "hush" not in terminal.shown
    assert "Traceback" not in terminal.shown
    assert stack.secret is None
    assert not [call for call in highlevel.calls if call.path == "/oauth/token"]


def test_address_without_state_needs_confirmation(stack: Stack, highlevel: LocalHighLevel) -> None:
    app = App(highlevel, location=LOCATION)
    for answer, code in (("", 1), ("y", 0)):
        terminal = asked(stack.aws, stack.name, app)
        terminal.paste(f"{REDIRECT}?code={app.server.authorize(app.installation)}")
        terminal.type("open the address printed above yourself? [y/N]: ", answer)
        assert terminal.end() == code, terminal.shown
        assert (stack.secret is None) == bool(code)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, "works once"),
        ({"kind": "status", "status": 503}, "no usable answer"),
        ({"kind": "status", "status": 401, "message": "client is unknown"}, "does not accept this client id"),
        ({"kind": "html"}, "no usable answer"),
        ({"kind": "reset"}, "no usable answer"),
    ],
    ids=str,
)
def test_failed_exchange_stores_nothing(
    stack: Stack, highlevel: LocalHighLevel, fault: dict[str, Any] | None, expected: str
) -> None:
    app = App(highlevel, location=LOCATION)
    terminal = asked(stack.aws, stack.name, app)
    address = app.approve(terminal.shown)
    if fault:
        highlevel.fail(path="/oauth/token", **fault)
    else:
        address = address.replace("code=", "code=0")
    terminal.paste(address)
    assert terminal.end() == 1
    assert expected in terminal.shown
    assert f"nothing was stored: run ./hlc --stack {stack.name} connect again" in " ".join(terminal.shown.split())
    assert stack.secret is None
    assert stack.parameters["RotateToken"] == "false"
    nothing_secret(terminal, stack, app)


@pytest.mark.parametrize("agency", [True, False], ids=["agency", "sub-account"])
def test_wrong_kind_of_installation_is_refused(stack: Stack, highlevel: LocalHighLevel, agency: bool) -> None:
    app = App(highlevel, "Location" if agency else "Company", location=LOCATION if agency else None)
    terminal = asked(stack.aws, stack.name, app, agency=agency)
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 1
    assert "you approved another kind of account" in terminal.shown
    assert stack.secret is None


def test_location_of_another_stack_is_refused(aws: LocalAws, highlevel: LocalHighLevel) -> None:
    highlevel.heal()
    stack = Stack(aws, highlevel, LocationId="mine")
    app = App(highlevel, location=LOCATION)
    terminal = asked(stack.aws, stack.name, app)
    terminal.paste(app.approve(terminal.shown))
    assert terminal.end() == 1
    assert f"you chose the sub-account {LOCATION}" in terminal.shown
    assert stack.secret is None


@pytest.mark.parametrize("prompt", ["one sub-account?", "client id", "client secret", "redirect URL", "redirected"])
def test_ctrl_c_before_the_exchange_changes_nothing(stack: Stack, highlevel: LocalHighLevel, prompt: str) -> None:
    app = App(highlevel, location=LOCATION)
    terminal = Terminal(stack.aws, stack.name)
    for ask, answer in (
        ("one sub-account?", ""),
        ("client id: ", app.id),
        ("client secret (is", app.secret),
        ("redirect URL [", ""),
        ("redirected address (is", ""),
    ):
        if ask.startswith(prompt):
            terminal.until(ask)
            time.sleep(0.2)
            terminal.process.send_signal(signal.SIGINT)
            break
        terminal.type(ask, answer)
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert stack.secret is None
    assert highlevel.calls == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_between_exchange_and_store_loses_nothing(
    stack: Stack, highlevel: LocalHighLevel, number: signal.Signals
) -> None:
    """For instance Ctrl-C, a shutdown of the machine, a closed terminal or a lost ssh connection."""
    app = App(highlevel, location=LOCATION)
    terminal = asked(stack.aws, stack.name, app)
    address = app.approve(terminal.shown)
    highlevel.fail("slow", path="/oauth/token", seconds=1.5)
    terminal.paste(address)
    until = time.monotonic() + 10
    while not [call for call in highlevel.calls if call.path == "/oauth/token"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    terminal.process.send_signal(number)
    assert terminal.end() == 130
    assert stack.oauth.refresh_token == app.installation.refresh_token
    assert "the connection is stored" in terminal.shown
    assert stack.parameters["RotateToken"] == "false"


def test_command_needs_a_terminal(stack: Stack) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "cli", "connect", "--stack", stack.name],
        cwd=ROOT,
        env={**clean_environment(), **stack.aws.env, "PYTHONPATH": "functions:."},
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "in a terminal" in finished.stderr
