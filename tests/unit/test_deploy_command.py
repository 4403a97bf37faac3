"""`make deploy`: which environment, stack and parameters SAM is given, and what is refused before it builds.

SAM is a script that notes its arguments; the AWS that is asked who signs in is a server of this file.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test starts make and a Python
ROOT = Path(__file__).parents[2]
NOTE = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >> "{calls}"\n'
SIGNED_IN = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush"}
REGION = {"AWS_REGION": "eu-central-1"}


@dataclass
class Sts:
    """Answers GetCallerIdentity, with an account or with this error, and Lambda's GetAccountSettings."""

    url: str = ""
    error: str = ""
    concurrency: int | None = 1000  # None: it may not be read
    reserved: int = 0
    calls: int = 0


@pytest.fixture(scope="module")
def server() -> Iterator[Sts]:
    sts = Sts()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            sts.calls += 1
            error = f"<ErrorResponse><Error><Code>{sts.error}</Code><Message>no</Message></Error></ErrorResponse>"
            body = (error if sts.error else SIGNED_IN).encode()
            self.send_response(403 if sts.error else 200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            assert self.path == "/2016-08-19/account-settings"
            unreserved = (sts.concurrency or 0) - sts.reserved
            limits = {"ConcurrentExecutions": sts.concurrency, "UnreservedConcurrentExecutions": unreserved}
            denied = {"Message": "User: x is not authorized to perform: lambda:GetAccountSettings on resource: *"}
            is_denied = sts.concurrency is None
            body = json.dumps(denied if is_denied else {"AccountLimit": limits}).encode()
            self.send_response(403 if is_denied else 200)
            if is_denied:
                self.send_header("x-amzn-ErrorType", "AccessDeniedException")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        sts.url = f"http://127.0.0.1:{http.server_port}"
        yield sts
        http.shutdown()
        thread.join()


@pytest.fixture
def sts(server: Sts) -> Sts:
    server.error, server.calls, server.concurrency, server.reserved = "", 0, 1000, 0
    return server


@pytest.fixture
def clone(tmp_path: Path, sts: Sts) -> Path:
    for name in ("Makefile", "samconfig.toml", "uv.lock", ".python-version", "template.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("cli", "functions"):
        (tmp_path / name).symlink_to(ROOT / name)
    note = NOTE.format(calls=tmp_path / "calls")
    for tool, text in (("sam/bin/sam", note), ("cli/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')):
        script = tmp_path / ".tools" / tool
        script.parent.mkdir(parents=True)
        script.write_text(text)
        script.chmod(0o755)
    for ready in ("uv/bin/uv", "sam/ready", "cli/ready"):
        (tmp_path / ".tools" / ready).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".tools" / ready).touch()
    (tmp_path / "aws").write_text(f"[default]\nendpoint_url = {sts.url}\n")
    return tmp_path


def make(clone: Path, *words: str, environment: dict[str, str] | None = None) -> tuple[list[str], str]:
    """What SAM was called with, in turn, and what was said on standard error."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(clone),
        "AWS_CONFIG_FILE": str(clone / "aws"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **(KEYS | REGION if environment is None else environment),
    }
    finished = subprocess.run(
        ["make", *words], cwd=clone, env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    calls = (clone / "calls").read_text().splitlines() if (clone / "calls").exists() else []
    assert (finished.returncode == 0) == bool(calls)
    assert "hush" not in finished.stdout + finished.stderr
    return calls, re.sub(r"make: \*\*\* .*\n", "", finished.stderr)


def test_default_options(clone: Path) -> None:
    (build, deploy), said = make(clone, "deploy")
    given = '--region eu-central-1 --parameter-overrides Architecture="arm64"'
    assert build == f"sam build --config-env default {given}"
    assert deploy == f"sam deploy --config-env default --stack-name highlevel-conversations {given}"
    assert said == "deploying highlevel-conversations to eu-central-1, account 123456789012\n"


@pytest.mark.parametrize(
    ("concurrency", "reserved", "parameter", "expected"),
    [
        pytest.param(10, 0, "", "may run 10 functions at the same time; this stack needs 12:", id="a new account"),
        pytest.param(11, 0, "", "this stack needs 12", id="one too few"),
        pytest.param(12, 0, "", "", id="just enough"),
        pytest.param(100, 0, "RetryConcurrency=100", "this stack needs 110", id="many retries"),
        pytest.param(1000, 995, "", "of which other functions have reserved 995; this stack", id="reserved by others"),
        pytest.param(None, 0, "", "these AWS credentials may not lambda:GetAccountSettings", id="not allowed"),
    ],
)
def test_too_little_concurrency_is_reported_and_the_deployment_goes_on(
    clone: Path, sts: Sts, concurrency: int | None, reserved: int, parameter: str, expected: str
) -> None:
    sts.concurrency, sts.reserved = concurrency, reserved
    calls, said = make(clone, "deploy", f"PARAMETERS={parameter}")
    assert len(calls) == 2
    _deploying, *warnings = said.splitlines()
    assert len(warnings) == bool(expected)
    assert expected in said
    assert ("--quota-code L-B99A9384 --desired-value 1000" in said) == said.count("warning: ")


def test_environment_sets_stack_name_and_parameters(clone: Path) -> None:
    _build, deploy = make(clone, "deploy", "CONFIG_ENV=production")[0]
    assert deploy.startswith("sam deploy --config-env production --stack-name highlevel-conversations-production --reg")
    assert ' Architecture="arm64" EventDetailType="ConversationRequested-production"' in deploy
    assert ' DeploymentPreference="Canary10Percent5Minutes"' in deploy
    deploy = make(clone, "deploy", "CONFIG_ENV=staging")[0][-1]
    assert "--stack-name highlevel-conversations-staging" in deploy
    assert ' EventDetailType="ConversationRequested-staging"' in deploy


def test_later_parameters_override_earlier_ones(clone: Path) -> None:
    words = ["PARAMETERS=DeploymentPreference=AllAtOnce LocationId=one LocationId=two", "STACK=mine"]
    build, deploy = make(clone, "deploy", "CONFIG_ENV=production", *words)[0]
    assert deploy.startswith("sam deploy --config-env production --stack-name mine --region eu-central-1 ")
    for call in (build, deploy):
        given = dict(word.split("=", 1) for word in call.partition("--parameter-overrides ")[2].split())
        assert given["Architecture"] == '"arm64"'
        assert given["DeploymentPreference"] == '"AllAtOnce"'
        assert given["LocationId"] == '"two"'
        assert call.count("DeploymentPreference=") == 1


@pytest.mark.parametrize(
    ("parameter", "given"),
    [
        pytest.param("EventDetailType='two words'", 'EventDetailType="two words"', id="blanks"),
        pytest.param('EventDetailType="two words"', 'EventDetailType="two words"', id="blanks in double quotes"),
        pytest.param("AlarmEmail='\"a\"@b.example'", r'AlarmEmail="\"a\"@b.example"', id="quotation marks"),
        pytest.param("AlarmEmail=o\\'neil@b.example", 'AlarmEmail="o\'neil@b.example"', id="an apostrophe"),
        pytest.param("AlarmEmail=`id`@b.example", 'AlarmEmail="`id`@b.example"', id="no shell runs it"),
        pytest.param("AlarmEmail=a;touch&x@b.example", 'AlarmEmail="a;touch&x@b.example"', id="no shell splits it"),
        pytest.param("LocationId=", 'LocationId=""', id="nothing"),
        pytest.param("GiveUpAfterHours=1", 'GiveUpAfterHours="1"', id="the smallest"),
    ],
)
def test_values_reach_sam_unchanged(clone: Path, parameter: str, given: str) -> None:
    calls, _ = make(clone, "deploy", f"PARAMETERS={parameter}")
    assert [given in call for call in calls] == [True, True]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["CONFIG_ENV=prod"], "no environment prod; it has default, staging, production", id="environment"),
        pytest.param(["CONFIG_ENV=stagin"], "did you mean staging?", id="mistyped environment"),
        pytest.param(["PARAMETERS=LocationId"], "LocationId is not of the form Name=value", id="no value"),
        pytest.param(["PARAMETERS=LocationID=x"], "no parameter LocationID; did you mean LocationId?", id="case"),
        pytest.param(["PARAMETERS=Locaton=x"], "no parameter Locaton; did you mean LocationId?", id="mistyped"),
        pytest.param(["PARAMETERS=Xyz=1"], "no parameter Xyz; it has LocationId, RotateToken, ", id="unknown"),
        pytest.param(["PARAMETERS=RotateToken=false Bogus=1"], "no parameter Bogus", id="the second"),
        pytest.param(
            ["PARAMETERS=LocationId='a b'"], "LocationId=a b is not allowed: LocationId must be", id="pattern"
        ),
        pytest.param(["PARAMETERS=RotateToken=True"], "RotateToken must be true or false", id="allowed values"),
        pytest.param(["PARAMETERS=GiveUpAfterHours=0"], "GiveUpAfterHours must be from 1 to", id="too small"),
        pytest.param(["PARAMETERS=GiveUpAfterHours=313"], "GiveUpAfterHours must be from 1 to", id="too large"),
        pytest.param(["PARAMETERS=GiveUpAfterHours=3d"], "GiveUpAfterHours must be from 1 to", id="no number"),
        pytest.param(["PARAMETERS=GiveUpAfterHours=inf"], "GiveUpAfterHours must be from 1 to", id="infinity"),
        pytest.param([f"PARAMETERS=EventBusName={'b' * 93}"], "EventBusName must be the name", id="too long"),
        pytest.param(["PARAMETERS=LocationId='a"], "a quotation mark is not closed", id="quotes"),
        pytest.param(["STACK=local"], "STACK=local means the local stack", id="local"),
        pytest.param(["STACK=Local"], "STACK=Local means the local stack", id="local in capitals"),
        pytest.param(["STACK=aws-sam-cli-managed-default"], "of SAM CLI's artifact bucket", id="SAM's own stack"),
        pytest.param(["STACK=1st"], "STACK=1st cannot be the name of a stack", id="a digit first"),
        pytest.param(["STACK=my_stack"], "STACK=my_stack cannot be the name of a stack", id="underscore"),
        pytest.param(["STACK=a b"], "STACK=a b cannot be the name of a stack", id="blank"),
        pytest.param([f"STACK={'a' * 129}"], "use up to 128 letters", id="too long a name"),
        pytest.param(["STACK="], "STACK= cannot be the name of a stack", id="no name"),
    ],
)
def test_mistake_is_refused_before_the_build(clone: Path, sts: Sts, words: list[str], expected: str) -> None:
    calls, said = make(clone, "deploy", *words)
    assert calls == []
    assert expected in said
    assert said.count("\n") == 1
    assert sts.calls == 0


@pytest.mark.parametrize(
    ("section", "overrides"),
    [
        pytest.param("global", '"Architecture=arm64 LocationID=x"', id="global"),
        pytest.param("deploy", "'LocationID=x'", id="deploy"),
        pytest.param("global", '["Architecture=arm64", "LocationID=x"]', id="a list"),
        pytest.param("deploy", '{ LocationID = "x" }', id="a table"),
    ],
)
def test_parameters_of_an_environment_are_checked(clone: Path, section: str, overrides: str) -> None:
    with (clone / "samconfig.toml").open("a") as config:
        config.write(f"\n[mine.{section}.parameters]\nparameter_overrides = {overrides}\n")
    calls, said = make(clone, "deploy", "CONFIG_ENV=mine")
    assert calls == []
    assert said == (
        "samconfig.toml, environment mine: the template has no parameter LocationID; did you mean LocationId?\n"
    )


def test_values_of_an_environment_reach_sam(clone: Path) -> None:
    with (clone / "samconfig.toml").open("a") as config:
        config.write(
            "\n[mine.global.parameters]\nparameter_overrides = \"EventDetailType='two words' ResultEvents=off\"\n"
        )
        config.write('[mine.deploy.parameters]\nregion = "eu-north-1"\nparameter_overrides = { ResultEvents = "on" }\n')
    calls, _ = make(clone, "deploy", "CONFIG_ENV=mine", environment=KEYS)
    given = '--region eu-north-1 --parameter-overrides EventDetailType="two words" ResultEvents="on"'
    assert calls[0] == f"sam build --config-env mine {given}"


@pytest.mark.parametrize(
    ("environment", "error", "expected"),
    [
        pytest.param(REGION, "", "no AWS credentials found: set AWS_PROFILE", id="no credentials"),
        pytest.param(KEYS, "", "no AWS region is set: set AWS_REGION", id="no region"),
        pytest.param(KEYS | REGION, "ExpiredToken", "the AWS credentials have expired", id="expired"),
        pytest.param(KEYS | REGION, "InvalidClientTokenId", "AWS does not know these credentials", id="unknown key"),
        pytest.param(KEYS | REGION | {"AWS_PROFILE": "unknown"}, "", "(unknown) could not be found", id="no profile"),
    ],
)
def test_nothing_is_built_without_credentials(
    clone: Path, sts: Sts, environment: dict[str, str], error: str, expected: str
) -> None:
    sts.error = error
    calls, said = make(clone, "deploy", environment=environment)
    assert calls == []
    assert expected in said
    assert said.count("\n") == 1
    assert "sam deploy" not in said


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        pytest.param({"AWS_REGION": "eu-west-1"}, "eu-west-1", id="AWS_REGION"),
        pytest.param({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2", id="AWS_DEFAULT_REGION"),
        pytest.param(
            {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1", id="AWS_REGION is preferred"
        ),
        pytest.param({"AWS_PROFILE": "shop"}, "eu-west-3", id="a profile"),
    ],
)
def test_source_of_the_region(clone: Path, sts: Sts, environment: dict[str, str], region: str) -> None:
    with (clone / "aws").open("a") as config:
        config.write(f"[profile shop]\nregion = eu-west-3\nendpoint_url = {sts.url}\n")
    calls, said = make(clone, "deploy", environment=KEYS | environment)
    assert [f"--region {region} " in call for call in calls] == [True, True]
    assert f" to {region}, account 123456789012" in said


def test_unknown_region(clone: Path) -> None:
    (clone / "aws").write_text("")
    calls, said = make(clone, "deploy", environment=KEYS | {"AWS_REGION": "eu-wset-1"})
    assert calls == []
    assert said.startswith(
        "there is no AWS region eu-wset-1: correct AWS_REGION, or the region of the AWS profile; did"
    )
    assert said.endswith("did you mean eu-west-1?\n")


def test_make_and_samconfig_use_the_same_stack_names() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert set(config) == {"version", "default", "staging", "production"}
    for name in ("staging", "production"):
        assert config[name]["deploy"]["parameters"]["stack_name"] == f"highlevel-conversations-{name}"
        assert {**config[name]["deploy"]["parameters"], "stack_name": ""} == {
            **config["default"]["deploy"]["parameters"],
            "stack_name": "",
        }
        assert config[name]["build"] == config["default"]["build"]
