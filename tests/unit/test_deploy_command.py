"""`./hlc deploy`: which environment, stack and parameters SAM is given, and what is refused before it builds.

SAM is a script that notes its arguments; the AWS is a server of this file.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import patch
from urllib.parse import parse_qsl

import pytest

from cli.__main__ import run
from cli.deploy import RULE

ROOT = Path(__file__).parents[2]
CHANGE_SET = "arn:aws:cloudformation:eu-central-1:123456789012:changeSet/samcli-deploy1/5f2c"
NOTE = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >> "{calls}"\necho "Changeset created {arn}"\n'
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush"}
REGION = {"AWS_REGION": "eu-central-1"}
CHANGES = {"RetryQueue": "AWS::SQS::Queue", "AlarmTopic": "AWS::SNS::Topic"}


@dataclass
class Aws:
    """Answers what the command asks. `calls`: the names of the operations."""

    url: str = ""
    error: str = ""  # of GetCallerIdentity
    concurrency: int | None = 1000  # None: it may not be read
    reserved: int = 0
    status: str = ""  # of the stack; "" if there is none
    action: str = "Add"  # of each change
    fails: bool = False  # the deployment
    rules: dict[str, str] = field(default_factory=dict)  # detail-types by the rule's name
    bus: bool = True
    calls: list[str] = field(default_factory=list)

    def query(self, action: str) -> str:
        """The XML in the result of an operation; raises LookupError with AWS's error code."""
        if action == "GetCallerIdentity" and self.error:
            raise LookupError(self.error)
        if action == "DescribeStacks" and not self.status:
            raise LookupError("ValidationError")
        if action == "ExecuteChangeSet":
            kind = "UPDATE" if self.status else "CREATE"
            self.status = "ROLLBACK_COMPLETE" if self.fails else f"{kind}_COMPLETE"
        if action == "DeleteStack":
            self.status = ""
        changes = "".join(
            f"<member><Type>Resource</Type><ResourceChange><Action>{self.action}</Action><Replacement>True</Replacement>"
            f"<LogicalResourceId>{name}</LogicalResourceId><ResourceType>{kind}</ResourceType></ResourceChange></member>"
            for name, kind in CHANGES.items()
        )
        output = "<member><OutputKey>WebhooksUrl</OutputKey><OutputValue>https://x/webhooks</OutputValue></member>"
        stack = f"<StackName>s</StackName><StackStatus>{self.status}</StackStatus><Outputs>{output}</Outputs>"
        event = (
            "<member><LogicalResourceId>RetryQueue</LogicalResourceId><ResourceStatus>CREATE_FAILED</ResourceStatus>"
            "<ResourceStatusReason>no such thing</ResourceStatusReason>"
            "<Timestamp>2099-01-01T00:00:00Z</Timestamp></member>"
        )
        names = f"<LogicalResourceId>{RULE}</LogicalResourceId><PhysicalResourceId>own</PhysicalResourceId>"
        return {
            "GetCallerIdentity": "<Account>123456789012</Account>",
            "DescribeStacks": f"<Stacks><member>{stack}</member></Stacks>",
            "DescribeChangeSet": f"<Changes>{changes}</Changes>",
            "DescribeStackEvents": f"<StackEvents>{event}</StackEvents>",
            "DescribeStackResources": f"<StackResources><member>{names}</member></StackResources>",
        }.get(action, "")

    def events(self, operation: str, asked: dict[str, str]) -> dict[str, object]:
        """The answer of EventBridge."""
        if not self.bus:
            raise LookupError("ResourceNotFoundException")
        if operation == "ListRules":
            pattern = {name: json.dumps({"detail-type": [of]}) for name, of in self.rules.items()}
            return {"Rules": [{"Name": name, "EventPattern": text} for name, text in pattern.items()]}
        service = "logs" if asked["Rule"].startswith("audit") else "lambda"
        return {"Targets": [{"Id": "1", "Arn": f"arn:aws:{service}:eu-central-1:123456789012:x"}]}


class Handler(BaseHTTPRequestHandler):
    aws: Aws

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2] or dict(parse_qsl(body))["Action"]
        self.aws.calls.append(operation)
        try:
            if "X-Amz-Target" in self.headers:
                self._answer(200, json.dumps(self.aws.events(operation, json.loads(body))))
            else:
                result = self.aws.query(operation)
                self._answer(200, f"<R><{operation}Result>{result}</{operation}Result></R>")
        except LookupError as error:
            code = error.args[0]
            xml = (
                f"<ErrorResponse><Error><Code>{code}</Code><Message>it does not exist</Message></Error></ErrorResponse>"
            )
            self._answer(400, json.dumps({"__type": code}) if "X-Amz-Target" in self.headers else xml)

    def do_GET(self) -> None:
        assert self.path == "/2016-08-19/account-settings"
        self.aws.calls.append("GetAccountSettings")
        total = self.aws.concurrency
        if total is None:
            denied = {"Message": "User: x is not authorized to perform: lambda:GetAccountSettings on resource: *"}
            self._answer(403, json.dumps(denied), error="AccessDeniedException")
            return
        limits = {"ConcurrentExecutions": total, "UnreservedConcurrentExecutions": total - self.aws.reserved}
        self._answer(200, json.dumps({"AccountLimit": limits}))

    def _answer(self, status: int, body: str, *, error: str = "") -> None:
        self.send_response(status)
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    handler = type("Bound", (Handler,), {"aws": aws})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        aws.url = f"http://127.0.0.1:{http.server_port}"
        yield aws
        http.shutdown()
        thread.join()


@pytest.fixture
def clone(tmp_path: Path, aws: Aws) -> Path:
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("Makefile", "hlc", "samconfig.toml", "uv.lock", ".python-version", "template.yaml"):
        shutil.copy(ROOT / name, clone / name)
    for name in ("cli", "functions"):
        (clone / name).symlink_to(ROOT / name)
    note = NOTE.format(calls=clone / "calls", arn=CHANGE_SET)
    for tool, text in (("sam/bin/sam", note), ("cli/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')):
        script = clone / ".tools" / tool
        script.parent.mkdir(parents=True)
        script.write_text(text)
        script.chmod(0o755)
    for ready in ("uv/bin/uv", "sam/ready", "cli/ready"):
        (clone / ".tools" / ready).parent.mkdir(parents=True, exist_ok=True)
        (clone / ".tools" / ready).touch()
    (clone / "aws").write_text(f"[default]\nendpoint_url = {aws.url}\n")
    return clone


@dataclass
class Finished:
    """What SAM was called with, in turn; the exit code and what was printed."""

    calls: list[str]
    code: int
    out: str
    said: str


def hlc(
    clone: Path, *words: str, environment: dict[str, str] | None = None, yes: bool = True, own_process: bool = False
) -> Finished:
    """Run the command: in this process, as a start of Python takes longer than all else, or as an operator does."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(clone),
        "LANG": "C",
        "AWS_CONFIG_FILE": str(clone / "aws"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **(KEYS | REGION if environment is None else environment),
    }
    arguments = [*words, *(["--yes"] if yes else [])]
    if own_process:
        code, out, said = in_own_process([str(clone / "hlc"), *arguments], clone.parent, variables)
    else:
        code, out, said = in_this_process(arguments, clone, variables)
    calls = (clone / "calls").read_text().splitlines() if (clone / "calls").exists() else []
    assert "hush" not in out + said
    return Finished(calls, code, out, said)


def in_own_process(command: list[str], cwd: Path, variables: dict[str, str]) -> tuple[int, str, str]:
    finished = subprocess.run(
        command,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return finished.returncode, finished.stdout, finished.stderr


def in_this_process(arguments: list[str], clone: Path, variables: dict[str, str]) -> tuple[int, str, str]:
    out, said = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, variables, clear=True),
        patch("cli.deploy.ROOT", clone),
        patch("cli.samconfig.SAMCONFIG", clone / "samconfig.toml"),
        patch("signal.signal"),  # this process keeps its handlers
        patch("sys.stdin", io.StringIO()),  # no terminal, also with `pytest -s`
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(said),
        contextlib.chdir(clone.parent),
    ):
        code = run(arguments)
    return code, out.getvalue(), said.getvalue()


@pytest.mark.parametrize(
    "own_process",
    [
        pytest.param(True, marks=pytest.mark.slow, id="as an operator does"),
        pytest.param(False, id="in this process"),
    ],
)
def test_default_options(clone: Path, own_process: bool) -> None:
    done = hlc(clone, "deploy", own_process=own_process)
    build, deploy = done.calls
    given = '--config-env default --region eu-central-1 --parameter-overrides Architecture="arm64"'
    assert build == f"sam build {given}"
    assert deploy == f"sam deploy --stack-name highlevel-conversations --no-execute-changeset {given}"
    assert (done.code, done.said) == (0, "")
    assert done.out == (
        "deploying highlevel-conversations (a new stack) to eu-central-1, account 123456789012\n"
        "  + create  RetryQueue  AWS::SQS::Queue\n"
        "  + create  AlarmTopic  AWS::SNS::Topic\n"
        "created: highlevel-conversations\n"
        "  WebhooksUrl       https://x/webhooks\n"
        "\nNext: ./hlc token set\n"
    )


def test_an_update_warns_of_what_it_loses_and_names_the_doctor(clone: Path, aws: Aws) -> None:
    aws.status, aws.action = "UPDATE_COMPLETE", "Modify"
    done = hlc(clone, "deploy", "--region", "eu-west-1", environment=KEYS)
    assert done.code == 0
    assert "  ! replace RetryQueue  AWS::SQS::Queue  THIS LOSES WHAT IT HOLDS\n" in done.out
    assert "  ! replace AlarmTopic  AWS::SNS::Topic\n" in done.out
    assert "updated: highlevel-conversations\n" in done.out
    assert done.out.endswith("\nNext: ./hlc --region eu-west-1 doctor\n")


def test_json_is_the_whole_output(clone: Path) -> None:
    done = hlc(clone, "deploy", "--json")
    facts = json.loads(done.out)
    assert (facts["stack"], facts["region"], facts["account"]) == (
        "highlevel-conversations",
        "eu-central-1",
        "123456789012",
    )
    assert (facts["action"], facts["next"]) == ("created", "./hlc token set")
    assert facts["changes"][0] == {"verb": "create", "resource": "RetryQueue", "kind": "AWS::SQS::Queue"}
    assert facts["outputs"] == {"WebhooksUrl": "https://x/webhooks"}


def test_without_a_terminal_it_needs_yes(clone: Path, aws: Aws) -> None:
    done = hlc(clone, "deploy", yes=False)
    assert (done.code, done.calls) == (3, [])
    assert "add --yes" in done.said
    assert "ExecuteChangeSet" not in aws.calls


def test_a_failed_deployment_names_the_first_reason(clone: Path, aws: Aws) -> None:
    aws.fails = True
    done = hlc(clone, "deploy")
    assert done.code == 1
    assert "could not deploy highlevel-conversations (ROLLBACK_COMPLETE): RetryQueue: no such thing\n" in done.said
    assert "created: " not in done.out
    again = hlc(clone, "deploy", "--stack", "mine")
    assert again.code == 1
    assert "the stack mine failed before (ROLLBACK_COMPLETE): ./hlc --stack mine delete, then" in again.said


@pytest.mark.parametrize(
    ("rules", "words", "refused"),
    [
        pytest.param({"other-CreateConversationC-1": "ConversationRequested"}, [], True, id="another stack"),
        pytest.param({"mine": "ConversationRequested"}, [], True, id="a function"),
        pytest.param({"audit": "ConversationRequested"}, [], False, id="a log only"),
        pytest.param({"own": "ConversationRequested"}, [], False, id="its own rule"),
        pytest.param({"mine": "OrderPlaced"}, [], False, id="other events"),
        pytest.param({"mine": "OrderPlaced"}, ["EventDetailType=OrderPlaced"], True, id="by parameter"),
        pytest.param({"mine": "ConversationRequested"}, ["EventDetailType=Mine"], False, id="another detail-type"),
        pytest.param({"mine": "ConversationRequested"}, ["--shared-events"], False, id="allowed"),
    ],
)
def test_two_stacks_with_the_same_events_are_refused(
    clone: Path, aws: Aws, rules: dict[str, str], words: list[str], refused: bool
) -> None:
    aws.status, aws.rules = "CREATE_COMPLETE", rules
    done = hlc(clone, "deploy", *words)
    assert (done.code, bool(done.calls)) == ((1, False) if refused else (0, True))
    assert ("takes the same events" in done.said) == (refused or "--shared-events" in words)
    assert ("add --shared-events" in done.said) is refused


def test_a_bus_that_does_not_exist(clone: Path, aws: Aws) -> None:
    aws.bus = False
    done = hlc(clone, "deploy", "EventBusName=shop")
    assert (done.code, done.calls) == (1, [])
    assert "there is no event bus shop in eu-central-1" in done.said


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
    clone: Path, aws: Aws, concurrency: int | None, reserved: int, parameter: str, expected: str
) -> None:
    aws.concurrency, aws.reserved = concurrency, reserved
    done = hlc(clone, "deploy", *([parameter] if parameter else []))
    assert len(done.calls) == 2
    assert len(done.said.splitlines()) == bool(expected)
    assert expected in done.said
    assert ("--quota-code L-B99A9384 --desired-value 1000" in done.said) == done.said.count("warning: ")


def test_environment_sets_stack_name_and_parameters(clone: Path) -> None:
    _build, deploy = hlc(clone, "--env", "production", "deploy").calls
    assert deploy.startswith(
        "sam deploy --stack-name highlevel-conversations-production --no-execute-changeset --config"
    )
    assert " --config-env production --region eu-central-1 " in deploy
    assert ' Architecture="arm64" EventDetailType="ConversationRequested-production"' in deploy
    assert ' DeploymentPreference="Canary10Percent5Minutes"' in deploy
    deploy = hlc(clone, "deploy", "--env", "staging").calls[-1]
    assert "--stack-name highlevel-conversations-staging" in deploy
    assert ' EventDetailType="ConversationRequested-staging"' in deploy


def test_later_parameters_override_earlier_ones(clone: Path) -> None:
    words = ["DeploymentPreference=AllAtOnce", "LocationId=one", "LocationId=two", "--stack", "mine"]
    build, deploy = hlc(clone, "deploy", "--env", "production", *words).calls
    assert deploy.startswith("sam deploy --stack-name mine --no-execute-changeset --config-env production ")
    for call in (build, deploy):
        given = dict(word.split("=", 1) for word in call.partition("--parameter-overrides ")[2].split())
        assert given["Architecture"] == '"arm64"'
        assert given["DeploymentPreference"] == '"AllAtOnce"'
        assert given["LocationId"] == '"two"'
        assert call.count("DeploymentPreference=") == 1


@pytest.mark.parametrize(
    ("parameter", "given"),
    [
        pytest.param("EventDetailType=two words", 'EventDetailType="two words"', id="blanks"),
        pytest.param('AlarmEmail="a"@b.example', r'AlarmEmail="\"a\"@b.example"', id="quotation marks"),
        pytest.param("AlarmEmail=o'neil@b.example", 'AlarmEmail="o\'neil@b.example"', id="an apostrophe"),
        pytest.param("AlarmEmail=`id`@b.example", 'AlarmEmail="`id`@b.example"', id="no shell runs it"),
        pytest.param("AlarmEmail=a;touch&x@b.example", 'AlarmEmail="a;touch&x@b.example"', id="no shell splits it"),
        pytest.param("LocationId=", 'LocationId=""', id="nothing"),
        pytest.param("GiveUpAfterHours=1", 'GiveUpAfterHours="1"', id="the smallest"),
    ],
)
def test_values_reach_sam_unchanged(clone: Path, parameter: str, given: str) -> None:
    assert [given in call for call in hlc(clone, "deploy", parameter).calls] == [True, True]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--env", "prod"], "no environment prod; it has default, staging, production", id="environment"),
        pytest.param(["--env", "stagin"], "did you mean staging?", id="mistyped environment"),
        pytest.param(["LocationId"], "LocationId is not of the form Name=value", id="no value"),
        pytest.param(["LocationID=x"], "no parameter LocationID; did you mean LocationId?", id="case"),
        pytest.param(["Locaton=x"], "no parameter Locaton; did you mean LocationId?", id="mistyped"),
        pytest.param(["Xyz=1"], "no parameter Xyz; it has LocationId, RotateToken, ", id="unknown"),
        pytest.param(["RotateToken=false", "Bogus=1"], "no parameter Bogus", id="the second"),
        pytest.param(["LocationId=a b"], "LocationId=a b is not allowed: LocationId must be", id="pattern"),
        pytest.param(["RotateToken=True"], "RotateToken must be true or false", id="allowed values"),
        pytest.param(["GiveUpAfterHours=0"], "GiveUpAfterHours must be from 1 to", id="too small"),
        pytest.param(["GiveUpAfterHours=313"], "GiveUpAfterHours must be from 1 to", id="too large"),
        pytest.param(["GiveUpAfterHours=3d"], "GiveUpAfterHours must be from 1 to", id="no number"),
        pytest.param(["GiveUpAfterHours=inf"], "GiveUpAfterHours must be from 1 to", id="infinity"),
        pytest.param([f"EventBusName={'b' * 93}"], "EventBusName must be the name", id="too long"),
        pytest.param(["RetryConcurrency=5.5"], "RetryConcurrency must be from 2 to 100, a whole", id="not whole"),
        pytest.param(["--stack", "local"], "--stack local means the local stack", id="local"),
        pytest.param(["--stack", "Local"], "--stack Local means the local stack", id="local in capitals"),
        pytest.param(["--stack", "aws-sam-cli-managed-default"], "of SAM CLI's artifact bucket", id="SAM's own stack"),
        pytest.param(["--stack", "1st"], "--stack 1st cannot be the name of a stack", id="a digit first"),
        pytest.param(["--stack", "my_stack"], "--stack my_stack cannot be the name of a stack", id="underscore"),
        pytest.param(["--stack", "a b"], "--stack a b cannot be the name of a stack", id="blank"),
        pytest.param(["--stack", f"{'a' * 129}"], "use up to 128 letters", id="too long a name"),
        pytest.param(["--stack", ""], "--stack cannot be the name of a stack", id="no name"),
    ],
)
def test_mistake_is_refused_before_the_build(clone: Path, aws: Aws, words: list[str], expected: str) -> None:
    done = hlc(clone, "deploy", *words)
    assert (done.code, done.out, done.calls, aws.calls) == (1, "", [], [])
    assert expected in done.said
    assert done.said.count("\n") == 1


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
    done = hlc(clone, "deploy", "--env", "mine")
    assert done.calls == []
    assert done.said == (
        "samconfig.toml, environment mine: the template has no parameter LocationID; did you mean LocationId?\n"
    )


def test_values_of_an_environment_reach_sam(clone: Path) -> None:
    with (clone / "samconfig.toml").open("a") as config:
        config.write(
            "\n[mine.global.parameters]\nparameter_overrides = \"EventDetailType='two words' ResultEvents=off\"\n"
        )
        config.write('[mine.deploy.parameters]\nregion = "eu-north-1"\nparameter_overrides = { ResultEvents = "on" }\n')
    calls = hlc(clone, "deploy", "--env", "mine", environment=KEYS).calls
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
    clone: Path, aws: Aws, environment: dict[str, str], error: str, expected: str
) -> None:
    aws.error = error
    done = hlc(clone, "deploy", environment=environment)
    assert (done.code, done.calls) == (1, [])
    assert expected in done.said
    assert done.said.count("\n") == 1


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
def test_source_of_the_region(clone: Path, aws: Aws, environment: dict[str, str], region: str) -> None:
    with (clone / "aws").open("a") as config:
        config.write(f"[profile shop]\nregion = eu-west-3\nendpoint_url = {aws.url}\n")
    done = hlc(clone, "deploy", environment=KEYS | environment)
    assert [f"--region {region} " in call for call in done.calls] == [True, True]
    assert f" to {region}, account 123456789012" in done.out


def test_unknown_region(clone: Path) -> None:
    (clone / "aws").write_text("")
    done = hlc(clone, "deploy", environment=KEYS | {"AWS_REGION": "eu-wset-1"})
    assert done.calls == []
    assert done.said.startswith("there is no AWS region eu-wset-1: correct --region, AWS_REGION, or the region of the ")
    assert done.said.endswith("did you mean eu-west-1?\n")


def test_environments_of_samconfig_use_the_same_stack_names() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert set(config) == {"version", "default", "staging", "production"}
    for name in ("staging", "production"):
        assert config[name]["deploy"]["parameters"]["stack_name"] == f"highlevel-conversations-{name}"
        assert {**config[name]["deploy"]["parameters"], "stack_name": ""} == {
            **config["default"]["deploy"]["parameters"],
            "stack_name": "",
        }
        assert config[name]["build"] == config["default"]["build"]
