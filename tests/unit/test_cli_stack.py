"""What an operator reads when a stack cannot be reached, and the commands in texts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from botocore import exceptions
from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError

from cli import stack as stack_module
from cli.options import Settings
from cli.stack import Stack, StackError, explain, for_stack, printable

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the machine that runs the tests, and no call to any AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(stack_module, "SERVE_FILE", tmp_path / "serve.json")


def refusal(code: str, message: str = "", operation: str = "DescribeStacks") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StackError("as it is"), "as it is"),
        (exceptions.NoCredentialsError(), "no AWS credentials found"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), "no AWS credentials found"),
        (exceptions.CredentialRetrievalError(provider="process", error_msg="x"), "cannot be read"),
        (exceptions.ProfileNotFound(profile="unknown"), "(unknown) could not be found: correct AWS_PROFILE"),
        (exceptions.UnauthorizedSSOTokenError(), "aws sso login"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="x"), "aws sso login"),
        (exceptions.LoginRefreshRequired(), "aws login"),
        (exceptions.NoRegionError(), "AWS_REGION"),
        (exceptions.EndpointConnectionError(endpoint_url="https://sqs"), "AWS cannot be reached"),
        (exceptions.ConnectTimeoutError(endpoint_url="https://sqs"), "AWS cannot be reached"),
        (exceptions.ReadTimeoutError(endpoint_url="https://sqs"), "AWS cannot be reached"),
        (refusal("ExpiredToken"), "have expired"),
        (refusal("ExpiredTokenException"), "have expired"),
        (refusal("InvalidClientTokenId"), "does not know these credentials"),
        (
            refusal("AccessDenied", "User: arn:x is not authorized to perform: sqs:ReceiveMessage on resource: y"),
            "may not sqs:ReceiveMessage",
        ),
        (refusal("AccessDeniedException", "no", "GetSecretValue"), "may not GetSecretValue"),
        (refusal("Throttling", "Rate\nexceeded"), "AWS refuses DescribeStacks: Throttling: Rate exceeded"),
    ],
    ids=[
        "StackError",
        "no credentials",
        "partial credentials",
        "credential process",
        "unknown profile",
        "SSO",
        "token",
        "login",
        "no region",
        "endpoint",
        "connect timeout",
        "read timeout",
        "expired token",
        "expired token, other name",
        "unknown key",
        "denied action",
        "denied without action",
        "throttling",
    ],
)
def test_error_is_explained_in_one_line(error: StackError | ClientError | BotoCoreError, expected: str) -> None:
    text = explain(error)
    assert expected in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "error",
    [
        refusal("ValidationException", "Value 's3cret' is too long", "PutSecretValue"),
        exceptions.ParamValidationError(report="Invalid type for SecretString, value: s3cret"),
        exceptions.ProxyConnectionError(proxy_url="http://user:s3cret@proxy"),
    ],
    ids=["value", "parameter", "proxy"],
)
def test_error_text_with_a_secret_is_not_printed(error: ClientError | BotoCoreError) -> None:
    assert "s3cret" not in explain(error)


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[2Jb\r\u202ec\tä\n") == "a\\x1b[2Jb\\x0d\\x202ec\tä\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"AWS_REGION": "eu-central-1"}, "no AWS credentials found"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "no AWS region is set"),
        ({"AWS_PROFILE": "unknown", "AWS_REGION": "eu-central-1"}, "correct AWS_PROFILE"),
    ],
    ids=["no credentials", "no region", "unknown profile"],
)
def test_command_prints_one_line_instead_of_a_traceback(environment: dict[str, str], expected: str) -> None:
    variables = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "PATH"))}
    finished = subprocess.run(
        [sys.executable, "-m", "cli", "dead-letters", "list"],
        cwd=ROOT,
        env={**variables, "PYTHONPATH": "functions:.", "AWS_DEFAULT_REGION": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert expected in finished.stderr


def described(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    answer = {"Stacks": [{"StackStatus": status, "Outputs": [{"OutputKey": "LogGroupName", "OutputValue": "logs"}]}]}
    monkeypatch.setattr(BaseClient, "_make_api_call", lambda *_: answer)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("CREATE_IN_PROGRESS", "not complete yet"),
        ("REVIEW_IN_PROGRESS", "not complete yet"),
        ("ROLLBACK_COMPLETE", "not deployed"),
        ("DELETE_IN_PROGRESS", "not deployed"),
        ("CREATE_FAILED", "not deployed"),
    ],
)
def test_stack_that_is_not_deployed(monkeypatch: pytest.MonkeyPatch, status: str, expected: str) -> None:
    described(monkeypatch, status)
    with pytest.raises(StackError, match=expected):
        Stack.connect(Settings(stack="mine"))


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"])
def test_deployed_stack(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    described(monkeypatch, status)
    stack = Stack.connect(Settings(stack="mine"))
    assert stack.output("LogGroupName") == "logs"
    with pytest.raises(StackError, match="no output RetryQueueUrl"):
        stack.output("RetryQueueUrl")


def test_unknown_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, "CREATE_COMPLETE")
    missing = refusal("ValidationError", "Stack with id mine does not exist")
    with patch.object(BaseClient, "_make_api_call", side_effect=missing), pytest.raises(StackError) as raised:
        Stack.connect(Settings(stack="mine"))
    assert str(raised.value) == (
        "there is no stack mine in eu-central-1: check --stack, --region, --profile; "
        "or deploy it: ./hlc --stack mine deploy"
    )


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        '{"endpoint": "http://127.0.0.1:1"}',
        json.dumps({"endpoint": "http://127.0.0.1:1", "stack": "s", "region": "us-east-1", "conversations_url": "u"}),
    ],
    ids=["no file", "empty", "not an object", "incomplete", "left by a killed make serve"],
)
def test_local_stack_is_not_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None) -> None:
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    if content is not None:
        (tmp_path / "serve.json").write_text(content)
    with pytest.raises(StackError, match="make serve"):
        Stack.connect(Settings(stack="local"))


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        pytest.param("then ./hlc deploy", Settings(), "then ./hlc deploy", id="the default stack"),
        pytest.param("then ./hlc deploy", Settings("mine"), "then ./hlc --stack mine deploy", id="another stack"),
        pytest.param("then ./hlc deploy", Settings("local"), "then start make serve again", id="the local stack"),
        pytest.param(
            "in functions/senders.toml put app_id under [x], then ./hlc deploy",
            Settings("local"),
            "in functions/senders.toml put app_id under [x], make serve takes it up in about 10 seconds",
            id="the local senders",
        ),
        pytest.param(
            "./hlc deploy RotateToken=true",
            Settings(env="staging", region="eu-west-1"),
            "./hlc --env staging --region eu-west-1 deploy RotateToken=true",
            id="environment and region",
        ),
        pytest.param("./hlc send x", Settings("local"), "./hlc --stack local send x", id="arguments"),
        pytest.param("./hlc --stack other logs", Settings("mine"), "./hlc --stack other logs", id="complete already"),
        pytest.param("make serve, ./hlc", Settings("mine"), "make serve, ./hlc", id="other words"),
    ],
)
def test_commands_are_completed_for_the_stack(text: str, settings: Settings, expected: str) -> None:
    assert for_stack(text, settings.command) == expected
