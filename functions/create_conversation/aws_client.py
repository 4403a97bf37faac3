"""AWS's JSON services: signed by botocore's signer, sent by urllib3.

Not by botocore's clients: to load their models takes longer than all else at start, and each of their calls twice the
CPU (docs/benchmarks.md).
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from urllib3.exceptions import HTTPError

from create_conversation.settings import required
from highlevel import __version__
from shared.connection_pool import ConnectionPool, HttpResponse

# A service in the same region that has not answered in a second is in trouble.
CONNECT_SECONDS, ANSWER_SECONDS = 0.5, 1.0
MAX_PAUSE_SECONDS = 0.1  # before the second attempt
_THROTTLED = {
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
}


class AwsError(Exception):
    """A service refused, or could not be reached. `code`: its own word, or what befell the call; `operation`: which.
    Never the service's message: it quotes what it was sent."""

    def __init__(self, code: str, operation: str, status: int | None = None) -> None:
        super().__init__(f"{operation}: {code}")
        self.code = code
        self.operation = operation
        self.status = status


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """What a function is told of its region and its role; the names of the first three are the signer's. `endpoints`:
    AWS_ENDPOINT_URL, and those of single services (AWS_ENDPOINT_URL_SQS), as AWS's SDKs know them.

    The role's keys are those that Lambda sets for the life of an environment. SnapStart sets none.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str
    url_suffix: str
    endpoints: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "AwsAccess":
        """Raises SettingsError with the name of what is missing."""
        return cls(
            required(environment, "AWS_ACCESS_KEY_ID"),
            required(environment, "AWS_SECRET_ACCESS_KEY"),
            environment.get("AWS_SESSION_TOKEN") or None,
            required(environment, "AWS_REGION"),
            required(environment, "URL_SUFFIX"),
            {name: value for name, value in environment.items() if name.startswith("AWS_ENDPOINT_URL") and value},
        )

    def endpoint(self, service: str, service_id: str) -> str:
        """The URL of a service. `service_id`: its name in those variables."""
        own = self.endpoints.get(f"AWS_ENDPOINT_URL_{service_id}") or self.endpoints.get("AWS_ENDPOINT_URL")
        return own or f"https://{service}.{self.region}.{self.url_suffix}"


class AwsService:
    """One service in this function's region. Opens no connection before the first call; serves all threads."""

    def __init__(
        self, access: AwsAccess, name: str, *, service_id: str, target: str, version: str, attempts: int = 2
    ) -> None:
        endpoint = access.endpoint(name, service_id)
        self._connections = ConnectionPool(endpoint)
        self._url = f"{endpoint}/"
        signing: Any = access  # botocore's own class of the same members takes longer to import than the signer
        self._signer = SigV4Auth(signing, name, access.region)
        self._target = target
        self._headers = {
            "Content-Type": f"application/x-amz-json-{version}",
            "User-Agent": f"highlevel-conversations/{__version__}",
        }
        self._attempts = attempts

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation of the service's API with its arguments, by AWS's names; binary values in base64. Gives the
        answer's members. Each attempt takes CONNECT_SECONDS and ANSWER_SECONDS at most, and there is a short pause
        between two. Raises AwsError."""
        body = json.dumps(arguments).encode()
        for _ in range(self._attempts - 1):
            try:
                return self._attempt(operation, body)
            except AwsError as error:
                if not _may_pass(error):
                    raise
            time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))  # noqa: S311 jitter, no secret
        return self._attempt(operation, body)

    def _attempt(self, operation: str, body: bytes) -> dict[str, Any]:
        request = AWSRequest(
            "POST", self._url, {**self._headers, "X-Amz-Target": f"{self._target}.{operation}"}, data=body
        )
        self._signer.add_auth(request)
        headers = dict(request.headers.items())
        until = time.monotonic() + CONNECT_SECONDS + ANSWER_SECONDS
        try:
            answer = self._connections.exchange("POST", "/", headers, body, until, CONNECT_SECONDS, ANSWER_SECONDS)
        except HTTPError as error:
            raise AwsError(type(error).__name__, operation) from None
        told = _members(answer)
        if answer.status != 200 or told is None:
            raise AwsError(_code(answer, told or {}), operation, answer.status)
        return told


def secrets_manager(access: AwsAccess) -> AwsService:
    return AwsService(access, "secretsmanager", service_id="SECRETS_MANAGER", target="secretsmanager", version="1.1")


def dynamodb(access: AwsAccess) -> AwsService:
    """With one attempt: the records may fail, and a second hanging second would leave HighLevel no time."""
    target = "DynamoDB_20120810"
    return AwsService(access, "dynamodb", service_id="DYNAMODB", target=target, version="1.0", attempts=1)


def sqs(access: AwsAccess) -> AwsService:
    return AwsService(access, "sqs", service_id="SQS", target="AmazonSQS", version="1.0")


def eventbridge(access: AwsAccess) -> AwsService:
    return AwsService(access, "events", service_id="EVENTBRIDGE", target="AWSEvents", version="1.1")


def _may_pass(error: AwsError) -> bool:
    """Whether the same call may succeed a moment later: it was throttled, met a fault of the service, or no answer
    came. Anything else is an answer: the same again would be told the same."""
    return error.status is None or error.status >= 500 or error.status == 429 or error.code in _THROTTLED


def _members(answer: HttpResponse) -> dict[str, Any] | None:
    """What a JSON object of an answer holds; an operation that has nothing to say may say just that. None if it is
    something else."""
    try:
        told = json.loads(answer.body or b"{}")
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _code(answer: HttpResponse, told: dict[str, Any]) -> str:
    """The service's word for an error, out of `__type`: `namespace#Word:http://…`."""
    kind = told.get("__type")
    name = kind.partition(":")[0].rpartition("#")[2] if isinstance(kind, str) else ""
    return name if name.isidentifier() else f"Http{answer.status}"
