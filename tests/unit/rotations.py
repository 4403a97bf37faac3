"""The rotation function with Secrets Manager in memory and HighLevel's OAuth server through real sockets."""

import importlib
import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from highlevel.client import HighLevel
from highlevel.oauth import OAuth, read_oauth
from local.highlevel import LocalHighLevel
from local.highlevel_oauth import Installation
from tests.factories import LOCATION, make_connection
from tests.unit.fakes import FakeClient

type Lines = Callable[[], list[dict[str, Any]]]

ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:HighLevelToken-abc"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
FIRST, OTHER = str(uuid.uuid4()), str(uuid.uuid4())


def refusal(code: str, operation: str = "Operation") -> ClientError:
    """AWS says no; its message holds what must never be logged."""
    return ClientError({"Error": {"Code": code, "Message": "message-of-aws"}}, operation)


class Killed(BaseException):
    """The function's process is gone."""


class Secrets(FakeClient):
    """One secret's versions, as Secrets Manager stores them."""

    service = "secretsmanager"

    def __init__(self, text: str | None) -> None:
        super().__init__()
        self.values: dict[str, str | None] = {} if text is None else {FIRST: text}
        self.stages: dict[str, set[str]] = {} if text is None else {FIRST: {CURRENT}}
        self.at: Callable[[str], None] = lambda moment: None

    def reserve(self) -> str:
        """What RotateSecret does: the version that did not get current is tried again, else a new one is reserved."""
        pending, current = self.version(PENDING), self.version(CURRENT)
        if pending and pending != current:
            return pending
        version = str(uuid.uuid4())
        self.values[version] = None
        self._move(PENDING, version)
        return version

    def version(self, stage: str) -> str | None:
        return next((version for version, stages in self.stages.items() if stage in stages), None)

    def oauth(self, stage: str = CURRENT) -> OAuth:
        connection = read_oauth(self.values[self.version(stage) or ""] or "")
        assert connection
        return connection

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert parameters["SecretId"] == ARN
        self.at(f"before {operation}")
        try:
            answer: dict[str, Any] = getattr(self, f"_{operation}")(parameters)
        finally:
            self.at(f"after {operation}")
        return answer

    def _describe_secret(self, _parameters: dict[str, Any]) -> dict[str, Any]:
        return {"VersionIdsToStages": {version: sorted(stages) for version, stages in self.stages.items() if stages}}

    def _get_secret_value(self, parameters: dict[str, Any]) -> dict[str, Any]:
        text = self.values.get(parameters["VersionId"])
        if text is None:
            raise refusal("ResourceNotFoundException", "GetSecretValue")
        return {"SecretString": text}

    def _put_secret_value(self, parameters: dict[str, Any]) -> dict[str, Any]:
        version, text = parameters["ClientRequestToken"], parameters["SecretString"]
        if self.values.get(version) not in (None, text):
            raise refusal("ResourceExistsException", "PutSecretValue")
        self.values[version] = text
        for stage in parameters["VersionStages"]:
            self._move(stage, version)
        return {}

    def _update_secret_version_stage(self, parameters: dict[str, Any]) -> dict[str, Any]:
        stage, to, old = (parameters.get(name) for name in ("VersionStage", "MoveToVersionId", "RemoveFromVersionId"))
        if self.version(str(stage)) != old:
            raise refusal("InvalidParameterException", "UpdateSecretVersionStage")
        if to is None:
            self.stages[str(old)].discard(str(stage))
            return {}
        if stage == CURRENT:
            self.put(to)
        else:
            self._move(str(stage), to)
        return {}

    def put(self, version: str, text: str | None = None) -> None:
        """Make a version current; with a text, as an operator stores it."""
        if text is not None:
            self.values[version] = text
        self._move(PREVIOUS, self.version(CURRENT) or "")
        self._move(CURRENT, version)

    def _move(self, stage: str, version: str) -> None:
        for stages in self.stages.values():
            stages.discard(stage)
        self.stages.setdefault(version, set()).add(stage)


class Rotations:
    """The function with its secret and its HighLevel, and Secrets Manager calling it."""

    def __init__(
        self, app: ModuleType, highlevel: LocalHighLevel, secrets: Secrets, installation: Installation
    ) -> None:
        self.app, self.highlevel, self.secrets, self.installation = app, highlevel, secrets, installation
        self.milliseconds = 300_000

    def step(self, step: str, version: str) -> None:
        context = SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: self.milliseconds)
        event = {"Step": step, "SecretId": ARN, "ClientRequestToken": version, "RotationToken": str(uuid.uuid4())}
        self.app.handler(event, context)

    def rotate(self) -> str:
        """One whole rotation; the version's id. Raises what the function raises."""
        version = self.secrets.reserve()
        for step in STEPS:
            self.step(step, version)
        return version

    def fails(self, call: Callable[[], object]) -> str:
        """The reason with which the call fails."""
        with pytest.raises(self.app.RotationFailedError) as caught:
            call()
        # Lambda logs the whole chain, with the texts of AWS and of the client.
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return str(caught.value.reason)

    @property
    def refreshed(self) -> list[str]:
        """The refresh tokens that HighLevel took, those that it had answered before left out."""
        return [sent.refresh_token for sent in self.highlevel.oauth.sent if sent.status == 200 and not sent.again]

    def assert_is_well(self) -> None:
        """The secret's current pair is HighLevel's newest, and nothing is left pending."""
        current = self.secrets.oauth()
        assert current.refresh_token == self.installation.refresh_token
        assert current.access_token == self.installation.access_token
        assert self.secrets.version(PENDING) in (None, self.secrets.version(CURRENT))


def kill() -> None:
    raise Killed


class Reaper:
    """Kills, or does something else, at one moment, once; notes every moment."""

    def __init__(
        self,
        rotations: Rotations,
        monkeypatch: pytest.MonkeyPatch,
        moment: str | None,
        then: Callable[[], None] = kill,
    ) -> None:
        self.seen: list[str] = []
        self._moment = moment
        self._then = then
        rotations.secrets.at = self
        client = rotations.app._highlevel
        call = client.call

        def around(method: str, path: str, *arguments: Any, **named: Any) -> Any:
            what = "refresh" if path == "/oauth/token" else "search"
            self(f"before {what}")
            answer = call(method, path, *arguments, **named)
            self(f"after {what}")
            return answer

        monkeypatch.setattr(client, "call", around)

    def __call__(self, moment: str) -> None:
        name = f"{moment} #{1 + sum(seen.startswith(moment + ' ') for seen in self.seen)}"
        self.seen.append(name)
        if name == self._moment:
            self._moment = None
            self._then()


def oauth_members(connection: OAuth) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(connection.to_secret())["oauth"]
    return members


def secret_values(connection: OAuth) -> list[str]:
    return [connection.client_secret, connection.refresh_token, connection.access_token or ""]


@pytest.fixture(scope="module")
def rotation_app() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIGHLEVEL_BASE_URL", "http://127.0.0.1:1")
        patch.setenv("HIGHLEVEL_VERSION", "2021-04-15")
        patch.setenv("METRICS_NAMESPACE", "my-stack")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield importlib.import_module("rotate_token.app")


@pytest.fixture
def rotations(
    rotation_app: ModuleType, highlevel: LocalHighLevel, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rotations]:
    server = highlevel.oauth
    server.window_seconds, server.access_seconds = 30.0, 86_399
    connected, installation = make_connection(server, LOCATION)
    secrets = Secrets(connected.to_secret())
    monkeypatch.setattr(rotation_app, "_secrets_manager", secrets)
    monkeypatch.setattr(rotation_app, "_highlevel", HighLevel(highlevel.url))
    monkeypatch.setattr("rotate_token.steps.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("rotate_token.secret_versions.FIRST_PAUSE_SECONDS", 0.001)
    yield Rotations(rotation_app, highlevel, secrets, installation)
    secrets.release()
    server.window_seconds, server.access_seconds = 30.0, 86_399


@pytest.fixture
def rotation_lines(rotation_app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Lines:
    stream = io.StringIO()
    for handler in logging.getLogger("highlevel-conversations").handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
