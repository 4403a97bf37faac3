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
    from types_boto3_lambda import LambdaClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient

DEFAULT_NAME = "highlevel-conversations"
LOCAL = "local"
# What `make serve` says of itself while it runs.
SERVE_FILE = Path(__file__).resolve().parent.parent / ".tools" / "serve.json"

CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 4, "mode": "standard"},
    max_pool_connections=20,
)
_SIGN_IN = "set AWS_PROFILE, or sign in with the AWS CLI"
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class StackError(Exception):
    """A command cannot do its work; the text is one line for the operator and never holds a secret."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack. `outputs` and `parameters` are the template's; `aws` are the options with which the AWS CLI
    reaches it."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    sqs: "SQSClient"
    secrets_manager: "SecretsManagerClient"
    logs: "CloudWatchLogsClient"
    functions: "LambdaClient"
    apis: "ApiGatewayV2Client"
    formation: "CloudFormationClient"
    aws: str
    is_local: bool = False

    @classmethod
    def connect(cls, name: str) -> "Stack":
        """Find a CloudFormation stack by name, with region and credentials from the usual AWS environment; or, by the
        name `local`, the one that `make serve` runs. Raises StackError, ClientError or BotoCoreError."""
        if name == LOCAL:
            return _connect_local()
        # The AWS CLI prefers AWS_REGION; boto3 by itself knows AWS_DEFAULT_REGION only.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        if not session.region_name:
            raise exceptions.NoRegionError
        return _connect(session, name, endpoint=None)

    def output(self, name: str) -> str:
        """An output of the template. Raises StackError if the stack has none of that name."""
        try:
            return self.outputs[name]
        except KeyError:
            raise StackError(
                f"the stack {self.name} has no output {name}: another application's, or an older version's"
            ) from None


def parser(description: str) -> argparse.ArgumentParser:
    """A command's argument parser, with the argument that all of them have."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    arguments.add_argument(
        "stack",
        nargs="?",
        default=DEFAULT_NAME,
        help="CloudFormation stack, in the region and with the credentials of the usual AWS environment; or `local`, "
        "the one that `make serve` runs (default: %(default)s)",
    )
    return arguments


def run(main: Callable[[], int]) -> None:
    """Run a command and end the process with its exit code. What AWS or the operator can mend ends as one line on
    standard error and exit code 1, Ctrl-C and SIGTERM as 130, a closed pipe (`| head`) without a word."""
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
    """One line for the operator: what is wrong and, where we know it, what to do."""
    if isinstance(error, ClientError):
        return _explain_refusal(error)
    match error:
        case exceptions.NoRegionError():
            return "no AWS region is set: set AWS_REGION, or a region in the AWS profile"
        case exceptions.ProfileNotFound():
            return f"{_one_line(error)}: correct AWS_PROFILE"
        case exceptions.UnauthorizedSSOTokenError() | exceptions.SSOTokenLoadError() | exceptions.TokenRetrievalError():
            return "the AWS sign-in has expired: aws sso login"
        case exceptions.LoginError():
            return "the AWS sign-in has expired: aws login"
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return f"no AWS credentials found: {_SIGN_IN}"
        case exceptions.CredentialRetrievalError():
            return f"the AWS credentials cannot be read: {_SIGN_IN}"
        case exceptions.ProxyConnectionError():  # its text names the proxy, perhaps with its password
            return "AWS cannot be reached: the proxy of HTTPS_PROXY does not answer"
        case exceptions.ConnectionError() | exceptions.HTTPClientError():
            return f"AWS cannot be reached: {_one_line(error)}"
        case exceptions.ParamValidationError():  # its text quotes what was passed
            return "AWS does not take such a value"
        case _:
            return _one_line(error)


def printable(text: str) -> str:
    """Text of others, such as a body or an error, so that it cannot steer the terminal; tabs and new lines stay."""
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
    # Nothing of the user's AWS settings: a profile that does not exist must not stand in the way.
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
    """`endpoint`: of the local AWS, None for the real one. `instead`: outputs that replace the stack's."""
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
        aws=f"--region {region}" + (f" --endpoint-url {endpoint}" if endpoint else ""),
        is_local=endpoint is not None,
    )
