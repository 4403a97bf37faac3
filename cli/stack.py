"""The stack that a command works on: one deployed to AWS, or the one that `make serve` runs on this machine."""

import contextlib
import difflib
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import boto3
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli import ROOT
from cli.options import LOCAL, Settings

if TYPE_CHECKING:
    from types_boto3_apigatewayv2 import ApiGatewayV2Client
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient

# `make serve` writes its address and credentials here while it runs.
SERVE_FILE = ROOT / ".tools" / "serve.json"

CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 4, "mode": "standard"},
    max_pool_connections=20,
)
_SIGN_IN = "set AWS_PROFILE, or sign in with the AWS CLI"
# The first that fits. `{error}` is the error's own text, which is left out where it may contain a secret.
_EXPLANATIONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((exceptions.NoRegionError,), "no AWS region is set: set AWS_REGION, add --region, or set one in the AWS profile"),
    ((exceptions.ProfileNotFound,), "{error}: correct AWS_PROFILE or --profile"),
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
_COMMAND = re.compile(r"\./hlc(?= [a-z])")
# The local stack cannot be deployed. `make serve` takes up senders.toml while it runs, all else when it starts.
_DEPLOY = re.compile(r"\./hlc deploy\b(?! [A-Z])")
_DEPLOY_SENDERS = re.compile(r"(functions/senders\.toml\b[^\n]*?)then \./hlc deploy\b")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class StackError(Exception):
    """A command cannot do its work. The text is one line for the operator and never contains a secret."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack.

    `outputs` and `parameters` are those of the CloudFormation stack; `client` returns the client of an AWS service, and
    makes it the first time; `aws` are the options with which the AWS CLI reaches the stack, and `hlc` is how a printed
    `./hlc` command begins that works on it.
    """

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    client: Callable[[str], Any] = field(repr=False)
    aws: str = ""
    hlc: str = "./hlc"
    is_local: bool = False

    @classmethod
    def connect(cls, settings: Settings) -> "Stack":
        """Find the CloudFormation stack, or the stack of `make serve` by the name `local`.

        Raises StackError, ClientError or BotoCoreError.
        """
        if settings.stack_name == LOCAL:
            return _connect_local(settings)
        return _connect(aws_session(settings), settings, endpoint=None)

    @property
    def sqs(self) -> "SQSClient":
        return cast("SQSClient", self.client("sqs"))

    @property
    def secrets_manager(self) -> "SecretsManagerClient":
        return cast("SecretsManagerClient", self.client("secretsmanager"))

    @property
    def logs(self) -> "CloudWatchLogsClient":
        return cast("CloudWatchLogsClient", self.client("logs"))

    @property
    def functions(self) -> "LambdaClient":
        return cast("LambdaClient", self.client("lambda"))

    @property
    def apis(self) -> "ApiGatewayV2Client":
        return cast("ApiGatewayV2Client", self.client("apigatewayv2"))

    @property
    def formation(self) -> "CloudFormationClient":
        return cast("CloudFormationClient", self.client("cloudformation"))

    @property
    def dynamodb(self) -> "DynamoDBClient":
        return cast("DynamoDBClient", self.client("dynamodb"))

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


def aws_session(settings: Settings) -> boto3.Session:
    """Return a session with the region and profile of the options, else of the environment. Raises BotoCoreError."""
    # The AWS CLI prefers AWS_REGION; boto3 reads AWS_DEFAULT_REGION only.
    named = settings.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # Given a profile's name, boto3 ignores the access keys of the environment: leave AWS_PROFILE to boto3.
    configured = None if "AWS_PROFILE" in os.environ else settings.environment.get("profile")
    session = boto3.Session(
        region_name=named or settings.environment.get("region"), profile_name=settings.profile or configured
    )
    if not session.region_name:
        raise exceptions.NoRegionError
    return session


@contextlib.contextmanager
def missing_stack(name: str, region: str, settings: Settings) -> Iterator[None]:
    """Raise StackError, with what to do, where CloudFormation says in the block that there is no such stack."""
    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        if answer.get("Code") != "ValidationError" or "does not exist" not in answer.get("Message", ""):
            raise
        text = f"there is no stack {name} in {region}: check --stack, --region, --profile; or deploy it: ./hlc deploy"
        raise StackError(for_stack(text, settings.command)) from None


# What a command may raise: an operator reads its explanation, not its stack frames.
EXPECTED = (StackError, ClientError, BotoCoreError)


def explain(error: StackError | ClientError | BotoCoreError) -> str:
    """Describe an error in one line for the operator, with what to do where that is known."""
    if isinstance(error, ClientError):
        return _explain_refusal(error)
    text = next((text for kinds, text in _EXPLANATIONS if isinstance(error, kinds)), "{error}")
    return text.replace("{error}", _one_line(error))


def for_stack(text: str, hlc: str) -> str:
    """Complete the commands in a text: a pasted command must work on this stack and on no other.

    `hlc`: how such a command begins. On the local stack `make serve` deploys.
    """
    if f"--stack {LOCAL}" in hlc:
        text = _DEPLOY_SENDERS.sub(r"\1make serve takes it up in about 10 seconds", text)
        text = _DEPLOY.sub("start make serve again", text)
    return _COMMAND.sub(hlc, text)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is most similar, whatever its case; "" for none."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


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


def _connect_local(settings: Settings) -> Stack:
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
        return _connect(
            session, settings, endpoint, name=name, instead={"ConversationsUrl": url, "WebhooksUrl": webhooks}
        )
    except exceptions.ConnectionError:  # left by a `make serve` that was killed
        raise not_running from None


def _connect(
    session: boto3.Session,
    settings: Settings,
    endpoint: str | None,
    *,
    name: str = "",
    instead: Mapping[str, str] | None = None,
) -> Stack:
    """Describe the stack.

    `endpoint`: the URL of the local AWS, None for the real one. `name`: of the stack there. `instead`: outputs that
    replace those of the stack.
    """
    name = name or settings.stack_name
    config = CLIENT_CONFIG.merge(Config(proxies={}, retries={"total_max_attempts": 1})) if endpoint else CLIENT_CONFIG
    client = functools.cache(lambda service: session.client(service, config=config, endpoint_url=endpoint))
    formation = client("cloudformation")
    region = formation.meta.region_name
    with missing_stack(name, region, settings):
        described = formation.describe_stacks(StackName=name)["Stacks"][0]
    status = described["StackStatus"]
    if status in ("CREATE_IN_PROGRESS", "REVIEW_IN_PROGRESS"):
        raise StackError(f"the stack {name} is not complete yet ({status}): try again when it is deployed")
    if status == "CREATE_FAILED" or status.startswith(("ROLLBACK_", "DELETE_")):
        raise StackError(f"the stack {name} is not deployed ({status})")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    if instead is None and formation.meta.endpoint_url.startswith("http://127.0.0.1"):
        instead = _urls_on_this_machine(formation, name)
    return Stack(
        name=name,
        outputs={**outputs, **(instead or {})},
        parameters={each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])},
        client=client,
        aws=f"--region {region}"
        + (f" --endpoint-url {endpoint}" if endpoint else "")
        + (f" --profile {settings.profile}" if settings.profile and not endpoint else ""),
        hlc=settings.command,
        is_local=endpoint is not None,
    )


def _urls_on_this_machine(formation: "CloudFormationClient", name: str) -> dict[str, str]:
    """Return the URLs of a stack on an AWS of this machine (AWS_ENDPOINT_URL), which has no domain names."""
    resources = formation.describe_stack_resources(StackName=name)["StackResources"]
    api = next((each["PhysicalResourceId"] for each in resources if each["LogicalResourceId"] == "HttpApi"), None)
    if api is None:
        return {}
    url = f"{formation.meta.endpoint_url}/_aws/execute-api/{api}/$default"
    return {"ConversationsUrl": f"{url}/conversations", "WebhooksUrl": f"{url}/webhooks"}
