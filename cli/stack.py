"""The stack that a command works on: one deployed to AWS, or the one that `make serve` runs on this machine."""

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_apigatewayv2 import ApiGatewayV2Client
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient

DEFAULT_NAME = "highlevel-conversations"
LOCAL = "local"
# `make serve` writes its address and credentials here while it runs.
SERVE_FILE = Path(__file__).resolve().parent.parent / ".tools" / "serve.json"

CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 4, "mode": "standard"},
    max_pool_connections=20,
)
_SIGN_IN = "set AWS_PROFILE, or sign in with the AWS CLI"
# The first that fits. `{error}` is the error's own text, which is left out where it may contain a secret.
_EXPLANATIONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((exceptions.NoRegionError,), "no AWS region is set: set AWS_REGION, or a region in the AWS profile"),
    ((exceptions.ProfileNotFound,), "{error}: correct AWS_PROFILE"),
    (
        (exceptions.UnauthorizedSSOTokenError, exceptions.SSOTokenLoadError, exceptions.TokenRetrievalError),
        "the AWS sign-in has expired: aws sso login",
    ),
    ((exceptions.LoginError,), "the AWS sign-in has expired: aws login"),
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
        f"no AWS credentials found: {_SIGN_IN}",
    ),
    ((exceptions.CredentialRetrievalError,), f"the AWS credentials cannot be read: {_SIGN_IN}"),
    # Its text names the proxy, perhaps with the password.
    ((exceptions.ProxyConnectionError,), "AWS cannot be reached: the proxy of HTTPS_PROXY does not answer"),
    ((exceptions.ConnectionError, exceptions.HTTPClientError), "AWS cannot be reached: {error}"),
    # Its text quotes the parameters.
    ((exceptions.ParamValidationError,), "AWS refuses this value"),
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId")
_COMMAND = re.compile(
    r"\bmake (deploy|token|connect|sender|send|doctor|logs|dead-letters|redrive|pause|resume)\b(?! STACK=)"
)
# The local stack has no PARAMETERS: such a command stays as it is, and says why it cannot work.
_DEPLOY = re.compile(r"\bmake deploy\b(?! PARAMETERS| STACK)")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class StackError(Exception):
    """A command cannot do its work. The text is one line for the operator and never contains a secret."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack.

    `outputs` and `parameters` are those of the CloudFormation stack; `aws` are the options with which the AWS CLI
    reaches it.
    """

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    sqs: "SQSClient"
    secrets_manager: "SecretsManagerClient"
    logs: "CloudWatchLogsClient"
    functions: "LambdaClient"
    apis: "ApiGatewayV2Client"
    formation: "CloudFormationClient"
    dynamodb: "DynamoDBClient"
    aws: str
    is_local: bool = False

    @classmethod
    def connect(cls, name: str) -> "Stack":
        """Find a CloudFormation stack by name, or the stack of `make serve` by the name `local`.

        Region and credentials come from the usual AWS environment. Raises StackError, ClientError or BotoCoreError.
        """
        if name == LOCAL:
            return _connect_local()
        # The AWS CLI prefers AWS_REGION; boto3 reads AWS_DEFAULT_REGION only.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        if not session.region_name:
            raise exceptions.NoRegionError
        return _connect(session, name, endpoint=None)

    @property
    def argument(self) -> str:
        """The value of STACK with which a command finds this stack."""
        return LOCAL if self.is_local else self.name

    def output(self, name: str) -> str:
        """Return an output of the stack. Raises StackError if the stack has no output of that name."""
        try:
            return self.outputs[name]
        except KeyError:
            raise StackError(
                f"the stack {self.name} has no output {name}: it belongs to another application or an older version"
            ) from None

    def resource(self, logical_id: str) -> str:
        """Return the physical id of a resource of the template, such as a table's name."""
        found = self.formation.describe_stack_resource(StackName=self.name, LogicalResourceId=logical_id)
        return found["StackResourceDetail"]["PhysicalResourceId"]


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser with the argument `stack`, which every command has."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    arguments.add_argument(
        "stack",
        nargs="?",
        default=DEFAULT_NAME,
        help="name of the CloudFormation stack (region and credentials come from the usual AWS environment), or "
        "`local` for the stack that `make serve` runs (default: %(default)s)",
    )
    return arguments


def run(main: Callable[[], int]) -> None:
    """Run a command and end the process with its exit code.

    An error of AWS or of the operator prints one line on standard error and ends with 1. Ctrl-C and SIGTERM end with
    130. A closed pipe (`| head`) prints nothing and ends with 0.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (StackError, ClientError, BotoCoreError) as error:
        print(explain(error), file=sys.stderr)
        code = 1
    sys.exit(code)


def explain(error: StackError | ClientError | BotoCoreError) -> str:
    """Describe an error in one line for the operator, with what to do where that is known."""
    if isinstance(error, ClientError):
        return _explain_refusal(error)
    text = next((text for kinds, text in _EXPLANATIONS if isinstance(error, kinds)), "{error}")
    return text.replace("{error}", _one_line(error))


def for_stack(text: str, argument: str) -> str:
    """Complete the make commands in a text: a pasted command must work on this stack and on no other.

    `argument`: the value of STACK. The local stack cannot be deployed: `make serve` must be started again.
    """
    if argument == LOCAL:
        text = _DEPLOY.sub("start make serve again", text)
    return _COMMAND.sub(rf"make \1 STACK={argument}", text)


def printable(text: str) -> str:
    """Escape the control characters of foreign text, so that it cannot steer the terminal; keep tabs and new lines."""
    return "".join(
        character if character.isprintable() or character in "\t\n" else f"\\x{ord(character):02x}"
        for character in text
    )


def _explain_refusal(error: ClientError) -> str:
    answer = error.response.get("Error", {})
    code = answer.get("Code", "")
    if code in _EXPIRED:
        return f"the AWS credentials have expired: {_SIGN_IN}"
    if code in _UNKNOWN:
        return f"AWS does not know these credentials: {_SIGN_IN}"
    if error.operation_name == "PutSecretValue" and code not in DENIED:  # its text might quote the value
        return f"AWS refuses PutSecretValue: {code}"
    if code in DENIED:
        action = re.search(r"not authorized to perform: ([\w:-]+)", answer.get("Message", ""))
        return f"these AWS credentials may not {action[1] if action else error.operation_name}"
    return f"AWS refuses {error.operation_name}: {code}: {_one_line(answer.get('Message', ''))}"


def _one_line(text: object) -> str:
    return " ".join(printable(str(text)).split())


def _connect_local() -> Stack:
    not_running = StackError("the local stack is not running: make serve")
    try:
        serve = json.loads(SERVE_FILE.read_text())
        endpoint, name, region, url = (serve[key] for key in ("endpoint", "stack", "region", "conversations_url"))
        key_id, key = serve["access_key_id"], serve["secret_access_key"]
    except (OSError, ValueError, LookupError, TypeError):
        raise not_running from None
    # Ignore the user's AWS settings: a profile that does not exist must not stop a local command.
    nothing = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
    session = boto3.Session(
        aws_access_key_id=key_id,
        aws_secret_access_key=key,
        region_name=region,
        botocore_session=botocore.session.Session(session_vars=nothing),
    )
    try:
        webhooks = f"{url.rpartition('/')[0]}/webhooks"
        return _connect(session, name, endpoint, {"ConversationsUrl": url, "WebhooksUrl": webhooks})
    except exceptions.ConnectionError:  # left by a `make serve` that was killed
        raise not_running from None


def _connect(
    session: boto3.Session, name: str, endpoint: str | None, instead: Mapping[str, str] | None = None
) -> Stack:
    """Describe the stack and create its clients.

    `endpoint`: the URL of the local AWS, None for the real one. `instead`: outputs that replace those of the stack.
    """
    config = CLIENT_CONFIG.merge(Config(proxies={}, retries={"total_max_attempts": 1})) if endpoint else CLIENT_CONFIG
    formation = session.client("cloudformation", config=config, endpoint_url=endpoint)
    region = formation.meta.region_name
    try:
        described = formation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        answer = error.response.get("Error", {})
        if answer.get("Code") != "ValidationError" or "does not exist" not in answer.get("Message", ""):
            raise
        raise StackError(f"there is no stack {name} in {region}: another region, account or name?") from None
    status = described["StackStatus"]
    if status in ("CREATE_IN_PROGRESS", "REVIEW_IN_PROGRESS"):
        raise StackError(f"the stack {name} is not complete yet ({status}): try again when it is deployed")
    if status == "CREATE_FAILED" or status.startswith(("ROLLBACK_", "DELETE_")):
        raise StackError(f"the stack {name} is not deployed ({status})")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    return Stack(
        name=name,
        outputs={**outputs, **(instead or {})},
        parameters={each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])},
        sqs=session.client("sqs", config=config, endpoint_url=endpoint),
        secrets_manager=session.client("secretsmanager", config=config, endpoint_url=endpoint),
        logs=session.client("logs", config=config, endpoint_url=endpoint),
        functions=session.client("lambda", config=config, endpoint_url=endpoint),
        apis=session.client("apigatewayv2", config=config, endpoint_url=endpoint),
        formation=formation,
        dynamodb=session.client("dynamodb", config=config, endpoint_url=endpoint),
        aws=f"--region {region}" + (f" --endpoint-url {endpoint}" if endpoint else ""),
        is_local=endpoint is not None,
    )
