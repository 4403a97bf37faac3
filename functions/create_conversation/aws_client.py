"""A client of AWS's JSON services: each request is signed here and sent by urllib3.

botocore's own clients are not used: loading their service models takes longer than all else at start, and each of their
calls takes twice the CPU (docs/benchmarks.md).
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from create_conversation.request_signer import RequestSigner
from create_conversation.settings import required
from highlevel import __version__
from shared.clock import Clock
from shared.connection_pool import ConnectionPool, HttpResponse, TimeLimits
from shared.json_text import json_object

# A service in the same region that has not answered in a second will not answer soon.
CONNECT_SECONDS, ANSWER_SECONDS = 0.5, 1.0
MAX_PAUSE_SECONDS = 0.1  # before the second attempt
_THROTTLED = {
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
}


class AwsError(Exception):
    """A service of AWS refused a request, or could not be reached.

    `code`: AWS's error code, or the class of the network error. `operation`: the API operation. `status`: the HTTP
    status, None without a response. AWS's message is left out: it quotes what it was sent.
    """

    def __init__(self, code: str, operation: str, status: int | None = None) -> None:
        super().__init__(f"{operation}: {code}")
        self.code = code
        self.operation = operation
        self.status = status


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """The region and the role's credentials.

    `endpoints`: AWS_ENDPOINT_URL and those of single services (AWS_ENDPOINT_URL_SQS), as AWS's SDKs know them. Lambda
    sets the credentials once for the life of an environment. SnapStart sets none.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str
    url_suffix: str
    endpoints: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "AwsAccess":
        """Read the environment variables. Raises SettingsError with the name of one that is missing."""
        return cls(
            required(environment, "AWS_ACCESS_KEY_ID"),
            required(environment, "AWS_SECRET_ACCESS_KEY"),
            environment.get("AWS_SESSION_TOKEN") or None,
            required(environment, "AWS_REGION"),
            required(environment, "URL_SUFFIX"),
            {name: value for name, value in environment.items() if name.startswith("AWS_ENDPOINT_URL") and value},
        )

    def endpoint(self, service: str, service_id: str) -> str:
        """Return the URL of a service. `service_id`: its name in the AWS_ENDPOINT_URL variables."""
        own = self.endpoints.get(f"AWS_ENDPOINT_URL_{service_id}") or self.endpoints.get("AWS_ENDPOINT_URL")
        return own or f"https://{service}.{self.region}.{self.url_suffix}"


@dataclass(frozen=True, slots=True)
class ServiceApi:
    """How one service is called: its name in host and signature, and what its JSON protocol puts into the headers."""

    name: str
    service_id: str
    target: str
    json_version: str
    attempts: int = 2


SECRETS_MANAGER = ServiceApi("secretsmanager", "SECRETS_MANAGER", "secretsmanager", "1.1")
# One attempt: a submission goes on without the table, and a second hanging second would leave HighLevel no time.
DYNAMODB = ServiceApi("dynamodb", "DYNAMODB", "DynamoDB_20120810", "1.0", attempts=1)
SQS = ServiceApi("sqs", "SQS", "AmazonSQS", "1.0")
EVENTBRIDGE = ServiceApi("events", "EVENTBRIDGE", "AWSEvents", "1.1")


class AwsService:
    """One service in this function's region. Opens no connection before the first call; all threads may share it."""

    def __init__(
        self, access: AwsAccess, api: ServiceApi, clock: Clock = time, rng: random.Random | None = None
    ) -> None:
        endpoint = access.endpoint(api.name, api.service_id)
        self._api = api
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 jitter, no secret
        self._connections = ConnectionPool(endpoint)
        self._signer = RequestSigner(
            access.access_key, access.secret_key, access.token, access.region, api.name, urlsplit(endpoint).netloc
        )
        self._user_agent = {"user-agent": f"highlevel-conversations/{__version__}"}  # a proxy may change it: not signed

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation of the service's API and return the members of its response.

        `arguments` have AWS's names; binary values are in base64. Each attempt takes CONNECT_SECONDS and ANSWER_SECONDS
        at most, with a short pause between two. Raises AwsError.
        """
        body = json.dumps(arguments).encode()
        for _ in range(self._api.attempts - 1):
            try:
                return self._attempt(operation, body)
            except AwsError as error:
                if not _is_transient(error):
                    raise
            self._clock.sleep(self._rng.uniform(0, MAX_PAUSE_SECONDS))
        return self._attempt(operation, body)

    def _attempt(self, operation: str, body: bytes) -> dict[str, Any]:
        headers = self._signer.sign(
            {
                "content-type": f"application/x-amz-json-{self._api.json_version}",
                "x-amz-target": f"{self._api.target}.{operation}",
            },
            body,
            self._clock.time(),
        )
        limits = TimeLimits(time.monotonic() + CONNECT_SECONDS + ANSWER_SECONDS, CONNECT_SECONDS, ANSWER_SECONDS)
        try:
            response = self._connections.exchange("POST", "/", self._user_agent | headers, body, limits)
        except HTTPError as error:
            raise AwsError(type(error).__name__, operation) from None
        members = json_object(response.body or b"{}")  # an operation without a result may send no body
        if response.status != 200 or members is None:
            raise AwsError(_code(response, members or {}), operation, response.status)
        return members


def secrets_manager(access: AwsAccess) -> AwsService:
    """Return the client of Secrets Manager."""
    return AwsService(access, SECRETS_MANAGER)


def dynamodb(access: AwsAccess) -> AwsService:
    """Return the client of DynamoDB."""
    return AwsService(access, DYNAMODB)


def sqs(access: AwsAccess) -> AwsService:
    """Return the client of SQS."""
    return AwsService(access, SQS)


def eventbridge(access: AwsAccess) -> AwsService:
    """Return the client of EventBridge."""
    return AwsService(access, EVENTBRIDGE)


def _is_transient(error: AwsError) -> bool:
    """Return whether the same request may succeed a moment later: it was throttled, failed in AWS, or got no answer."""
    return error.status is None or error.status >= 500 or error.status == 429 or error.code in _THROTTLED


def _code(response: HttpResponse, members: dict[str, Any]) -> str:
    """Return AWS's error code out of `__type`, which reads `namespace#Code:http://…`."""
    kind = members.get("__type")
    name = kind.partition(":")[0].rpartition("#")[2] if isinstance(kind, str) else ""
    return name if name.isidentifier() else f"Http{response.status}"
