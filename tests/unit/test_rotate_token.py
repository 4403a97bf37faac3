"""The rotation's four steps: Secrets Manager in memory, HighLevel's OAuth server through real sockets."""

import importlib
import io
import itertools
import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from highlevel.client import HighLevel
from highlevel.oauth import OAuth, TokenPair, read_oauth
from local.highlevel import LocalHighLevel
from local.highlevel_oauth import Installation
from tests.stopwatch import Stopwatch
from tests.unit.fakes import FakeClient
from tests.unit.template import RESOURCES, TEMPLATE
from tests.unit.test_template import _list, arn
from tests.unit.world import LOCATION, TOKEN

ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:HighLevelToken-abc"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
FIRST, ANEW = str(uuid.uuid4()), str(uuid.uuid4())


def refusal(code: str, operation: str = "Operation") -> ClientError:
    """AWS says no; its message holds what must never be logged."""
    return ClientError({"Error": {"Code": code, "Message": "message-of-aws"}}, operation)


class Killed(BaseException):
    """The function's process is gone."""


class Secrets(FakeClient):
    """One secret's versions, as Secrets Manager keeps them."""

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
        """Make a version current; with a text, as somebody who stores it."""
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


@pytest.fixture(scope="module")
def app() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIGHLEVEL_BASE_URL", "http://127.0.0.1:1")
        patch.setenv("HIGHLEVEL_VERSION", "2021-04-15")
        patch.setenv("METRICS_NAMESPACE", "my-stack")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield importlib.import_module("rotate_token.app")


@pytest.fixture
def rotations(app: ModuleType, highlevel: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotations]:
    server = highlevel.oauth
    server.window_seconds, server.access_seconds = 30.0, 86_399
    client_id, client_secret = server.client()
    installation = server.install(client_id, location=LOCATION)
    connected = OAuth(
        client_id,
        client_secret,
        installation.refresh_token,
        "Location",
        installation.company_id,
        installation.access_token,
        int(installation.expires_at),
    )
    secrets = Secrets(connected.to_secret())
    monkeypatch.setattr(app, "_secrets_manager", secrets)
    monkeypatch.setattr(app, "_highlevel", HighLevel(highlevel.url))
    monkeypatch.setattr("rotate_token.steps.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("rotate_token.secret_versions.FIRST_PAUSE_SECONDS", 0.001)
    yield Rotations(app, highlevel, secrets, installation)
    secrets.release()
    server.window_seconds, server.access_seconds = 30.0, 86_399


@pytest.fixture
def lines(app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    stream = io.StringIO()
    for handler in logging.getLogger("highlevel-conversations").handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


# A rotation


def test_the_new_pair_is_current_and_the_old_one_previous(rotations: Rotations) -> None:
    old = rotations.secrets.oauth()
    version = rotations.rotate()
    rotations.assert_is_well()
    assert rotations.secrets.version(CURRENT) == version  # the request's token is the version's id
    assert rotations.secrets.version(PREVIOUS) == FIRST
    new = rotations.secrets.oauth()
    assert new.access_token != old.access_token
    assert new.expires_at == pytest.approx(time.time() + 86_399, abs=5)
    assert (new.client_id, new.client_secret) == (old.client_id, old.client_secret)


def test_a_hundred_rotations_send_no_refresh_token_twice(rotations: Rotations) -> None:
    for _ in range(100):
        rotations.rotate()
        rotations.assert_is_well()
    sent = [sent.refresh_token for sent in rotations.highlevel.oauth.sent]
    assert len(set(sent)) == len(sent) == 100


def test_an_agencys_token_is_rotated_too(rotations: Rotations) -> None:
    agency = rotations.highlevel.oauth.install(rotations.installation.client_id, "Company")
    secret = rotations.highlevel.oauth.clients[agency.client_id]
    rotations.secrets.values[FIRST] = OAuth(agency.client_id, secret, agency.refresh_token, "Company").to_secret()
    rotations.installation = agency
    rotations.rotate()
    rotations.assert_is_well()
    assert rotations.secrets.oauth().company_id == agency.company_id


def test_what_somebody_stores_after_a_rotation_is_not_undone_by_the_next(rotations: Rotations) -> None:
    """A label left on the version that was current would be pending again, with a pair of the former connection."""
    rotations.rotate()
    old = rotations.secrets.oauth()
    rotations.highlevel.oauth._issue(rotations.installation)  # somebody connects anew
    new = old.with_token_pair(
        TokenPair(rotations.installation.access_token, rotations.installation.refresh_token, None)
    )
    rotations.secrets.values[ANEW] = new.to_secret()
    rotations.secrets._move(CURRENT, ANEW)
    rotations.rotate()
    assert rotations.refreshed[-1] == new.refresh_token
    rotations.assert_is_well()


@pytest.mark.parametrize("times", list(itertools.product((1, 2), repeat=4)))
def test_every_step_may_be_called_twice(
    rotations: Rotations, times: tuple[int, ...], lines: Callable[[], list[dict[str, Any]]]
) -> None:
    version = rotations.secrets.reserve()
    for step, often in zip(STEPS, times, strict=True):
        for _ in range(often):
            rotations.step(step, version)
    for step in STEPS:  # and all of them again, when all is done
        rotations.step(step, version)
    ended = ["already_current", "nothing_to_do", "already_current", "already_current"]
    assert [line["outcome"] for line in lines()[-4:]] == ended
    rotations.assert_is_well()
    assert len(rotations.refreshed) == 1


# Killed


def _moments() -> list[str]:
    """Every call of a rotation, in order, with the moments before and after it; numbered where it comes again."""
    calls = [
        *("describe_secret", "get_secret_value", "get_secret_value", "refresh", "put_secret_value", "describe_secret"),
        *("describe_secret", "get_secret_value", "get_secret_value", "search"),
        *("describe_secret", "get_secret_value", "get_secret_value", *["update_secret_version_stage"] * 2),
    ]
    return [
        f"{when} {call} #{calls[:number].count(call) + 1}"
        for number, call in enumerate(calls)
        for when in ("before", "after")
    ]


def _kill() -> None:
    raise Killed


class Reaper:
    """Kills, or does something else, at one moment, once; remembers every moment that came."""

    def __init__(
        self,
        rotations: Rotations,
        monkeypatch: pytest.MonkeyPatch,
        moment: str | None,
        then: Callable[[], None] = _kill,
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


def test_the_moments_are_all_there_are(rotations: Rotations, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = Reaper(rotations, monkeypatch, None)
    rotations.rotate()
    assert reaper.seen == _moments()


@pytest.mark.parametrize("moment", _moments())
def test_killed_anywhere_the_next_rotation_recovers(
    rotations: Rotations, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    Reaper(rotations, monkeypatch, moment)
    with pytest.raises(Killed):
        rotations.rotate()
    # At no moment is there a current version that does not work.
    assert rotations.highlevel.oauth.access(rotations.secrets.oauth().access_token or "")
    rotations.rotate()
    rotations.assert_is_well()
    assert len(rotations.refreshed) <= 2
    for _ in range(2):  # and goes on rotating
        rotations.rotate()
        rotations.assert_is_well()


LOST = ("after refresh #1", "before put_secret_value #1")


@pytest.mark.parametrize("moment", _moments())
def test_after_the_window_only_a_pair_that_was_never_stored_is_lost(
    rotations: Rotations, monkeypatch: pytest.MonkeyPatch, moment: str, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    """Where single use makes recovery impossible the rotation fails by name, and the current token still works."""
    Reaper(rotations, monkeypatch, moment)
    with pytest.raises(Killed):
        rotations.rotate()
    rotations.highlevel.oauth.window_seconds = 0
    if moment not in LOST:
        rotations.rotate()
        rotations.assert_is_well()
        return
    assert rotations.fails(rotations.rotate) == "grant_refused"
    assert lines()[-1]["reason"] == "grant_refused"
    assert rotations.highlevel.oauth.access(rotations.secrets.oauth().access_token or "")


# HighLevel in trouble


@pytest.mark.parametrize("kind", ["commit_then_drop", "garbage", "empty", "status", "html", "reset", "close"])
def test_an_answer_that_got_lost_is_asked_for_again(rotations: Rotations, kind: str) -> None:
    status = {"garbage": 200, "empty": 200, "status": 503}.get(kind)
    rotations.highlevel.fail(kind, path="/oauth/token", times=2, status=status)
    rotations.rotate()
    rotations.assert_is_well()
    assert len(rotations.refreshed) == 1


def test_it_stops_asking_when_the_window_closes(rotations: Rotations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rotate_token.steps.SAME_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("rotate_token.steps.REFRESH_SECONDS", 0.3)
    rotations.highlevel.fail("hang", path="/oauth/token")
    stopwatch = Stopwatch()
    assert rotations.fails(rotations.rotate) == "upstream_timeout"
    assert stopwatch.seconds < 1.5
    rotations.highlevel.heal()
    rotations.rotate()
    rotations.assert_is_well()


def test_a_suspended_location_keeps_its_refresh_token(
    rotations: Rotations, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    rotations.highlevel.inactive_locations.add(LOCATION)
    assert rotations.fails(rotations.rotate) == "location_inactive"
    assert lines()[-1]["reason"] == "location_inactive"
    assert len(rotations.highlevel.oauth.sent) == 1  # not asked again and again
    assert rotations.secrets.version(CURRENT) == FIRST
    rotations.highlevel.inactive_locations.clear()
    rotations.rotate()
    rotations.assert_is_well()


def test_what_a_person_must_mend_is_named(rotations: Rotations) -> None:
    rotations.highlevel.oauth.revoke(rotations.installation)
    assert rotations.fails(rotations.rotate) == "grant_refused"
    rotations.highlevel.oauth.clients[rotations.installation.client_id] = "another"
    assert rotations.fails(rotations.rotate) == "client_refused"
    assert rotations.secrets.version(CURRENT) == FIRST


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "reset"}]
)
def test_a_search_in_trouble_does_not_hold_a_new_token_back(rotations: Rotations, fault: dict[str, Any]) -> None:
    rotations.highlevel.fail(path="/conversations/search", **fault)
    rotations.rotate()
    rotations.assert_is_well()


def test_a_token_that_highlevel_does_not_know_is_held_back(rotations: Rotations) -> None:
    rotations.highlevel.fail("status", status=401, message="Invalid JWT", path="/conversations/search")
    assert rotations.fails(rotations.rotate) == "token_refused"
    assert rotations.secrets.version(CURRENT) == FIRST
    rotations.highlevel.heal()
    rotations.rotate()
    rotations.assert_is_well()
    assert len(rotations.refreshed) == 1


def test_a_token_without_the_scope_to_search_is_proved_all_the_same(
    rotations: Rotations, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    message = "The token is not authorized for this scope."
    rotations.highlevel.fail("status", status=401, message=message, path="/conversations/search")
    rotations.rotate()
    assert [line["outcome"] for line in lines()] == ["created", "nothing_to_do", "tested", "finished"]


def test_a_pair_that_died_while_it_was_pending_is_refreshed_in_its_turn(rotations: Rotations) -> None:
    rotations.highlevel.oauth.access_seconds = 1
    version = rotations.secrets.reserve()
    rotations.step("createSecret", version)
    time.sleep(1.1)
    rotations.highlevel.oauth.access_seconds = 86_399
    for _ in range(2):  # every step twice, here too
        for step in STEPS:
            rotations.step(step, version)
            rotations.step(step, version)
    rotations.assert_is_well()
    assert len(set(rotations.refreshed)) == len(rotations.refreshed) == 2
    rotations.rotate()
    rotations.assert_is_well()


def test_a_pending_pair_of_an_older_connection_does_not_stand_in_the_way(rotations: Rotations) -> None:
    """Somebody connected anew, with another app, and left the label where it was."""
    version = rotations.secrets.reserve()
    rotations.step("createSecret", version)
    server = rotations.highlevel.oauth
    client_id, client_secret = server.client()
    new = server.install(client_id, location=LOCATION)
    rotations.secrets.values[ANEW] = OAuth(client_id, client_secret, new.refresh_token, "Location").to_secret()
    rotations.secrets._move(CURRENT, ANEW)
    assert rotations.fails(lambda: rotations.step("testSecret", version)) == "pending_superseded"
    assert rotations.fails(lambda: rotations.step("finishSecret", version)) == "pending_superseded"
    rotations.installation = new
    rotations.rotate()
    rotations.assert_is_well()


def test_a_pending_pair_that_highlevel_no_longer_knows_gives_way(rotations: Rotations) -> None:
    """Connected anew with the same app, while a dead pair of before was pending."""
    rotations.highlevel.oauth.access_seconds = 1
    rotations.step("createSecret", rotations.secrets.reserve())
    time.sleep(1.1)
    rotations.highlevel.oauth.revoke(rotations.installation)
    rotations.highlevel.oauth.access_seconds = 86_399
    new = rotations.highlevel.oauth.install(rotations.installation.client_id, location=LOCATION)
    anew = OAuth(**{**_members(rotations.secrets.oauth()), "refresh_token": new.refresh_token})
    rotations.secrets.values[ANEW] = anew.to_secret()
    rotations.secrets._move(CURRENT, ANEW)
    rotations.installation = new
    rotations.rotate()
    rotations.assert_is_well()


# Somebody connects meanwhile


def _connected_anew(rotations: Rotations, **installed: Any) -> str:
    """The text of a new connection with the same app; HighLevel's side of it is `rotations.installation` then."""
    app = rotations.secrets.oauth()
    user_type = rotations.installation.user_type
    new = rotations.installation = rotations.highlevel.oauth.install(app.client_id, user_type, **installed)
    members = _members(app) | {"refresh_token": new.refresh_token, "company_id": new.company_id}
    return OAuth(**{name: value for name, value in members.items() if name not in ("access_token",)}).to_secret()


@pytest.mark.parametrize("takes_pending", [True, False], ids=["make connect", "by hand"])
@pytest.mark.parametrize("moment", ["before refresh #1", "after refresh #1", "after put_secret_value #1"])
def test_a_connection_that_is_stored_while_a_token_is_refreshed_is_not_undone(
    rotations: Rotations, monkeypatch: pytest.MonkeyPatch, moment: str, takes_pending: bool
) -> None:
    """`make connect` takes AWSPENDING with it, in the same call."""
    anew = _connected_anew(rotations, location=LOCATION)

    def connect() -> None:
        rotations.secrets.put(ANEW, anew)
        if takes_pending:
            rotations.secrets._move(PENDING, ANEW)

    Reaper(rotations, monkeypatch, moment, connect)
    assert rotations.fails(rotations.rotate) == "not_pending"
    assert rotations.secrets.version(CURRENT) == ANEW
    rotations.rotate()
    rotations.assert_is_well()


def test_a_label_that_a_killed_rotation_left_undoes_nothing(rotations: Rotations) -> None:
    """Killed before it took the label off; then somebody stored another connection by hand."""
    old = rotations.rotate()
    rotations.secrets._move(PENDING, old)
    rotations.rotate()  # both labels on one version: that rotation has ended
    rotations.assert_is_well()
    old = rotations.secrets.version(CURRENT) or ""
    rotations.secrets._move(PENDING, old)
    rotations.secrets.put(ANEW, _connected_anew(rotations, location=LOCATION))
    for step in ("testSecret", "finishSecret"):
        assert rotations.fails(lambda step=step: rotations.step(step, old)) == "pending_superseded"  # type: ignore[misc]
    rotations.rotate()
    rotations.assert_is_well()
    rotations.rotate()
    rotations.assert_is_well()


def test_a_pending_pair_of_another_agency_is_not_finished(rotations: Rotations) -> None:
    """Of the same app, which somebody has connected with another agency, by hand."""
    version = rotations.secrets.reserve()
    rotations.step("createSecret", version)
    rotations.secrets.put(ANEW, _connected_anew(rotations, company="company0000000000002"))
    assert rotations.fails(lambda: rotations.step("finishSecret", version)) == "pending_superseded"
    rotations.rotate()
    rotations.assert_is_well()
    assert rotations.secrets.oauth().company_id == "company0000000000002"


def test_a_wrong_company_id_makes_no_pair_foreign(rotations: Rotations) -> None:
    members = _members(rotations.secrets.oauth()) | {"company_id": "typed-by-hand"}
    rotations.secrets.values[FIRST] = OAuth(**members).to_secret()
    for _ in range(2):
        rotations.rotate()
        rotations.assert_is_well()


@pytest.mark.parametrize("expires_in", [None, "86399", -1, 10**12])
def test_an_answer_without_its_life_is_taken_for_a_day(rotations: Rotations, expires_in: object) -> None:
    """A pair whose end is not known, and that died while it was pending, would stand in the way for ever."""
    issue = rotations.highlevel.oauth._issue
    with pytest.MonkeyPatch.context() as patch:

        def odd(installation: Installation) -> dict[str, Any]:
            return issue(installation) | {"expires_in": expires_in}

        patch.setattr(rotations.highlevel.oauth, "_issue", odd)
        rotations.rotate()
    rotations.assert_is_well()
    assert rotations.secrets.oauth().expires_at == pytest.approx(time.time() + 86_399, abs=5)


# Secrets Manager in trouble


def _once(rotations: Rotations, moment: str, error: Exception, times: int = 1) -> None:
    left = [times]

    def at(now: str) -> None:
        if now == moment and left[0]:
            left[0] -= 1
            raise error

    rotations.secrets.at = at


THROTTLED = refusal("ThrottlingException", "PutSecretValue")
CUT_OFF = ReadTimeoutError(endpoint_url="https://aws.invalid/")


@pytest.mark.parametrize("moment", ["before put_secret_value", "after put_secret_value"])
@pytest.mark.parametrize(
    "error", [THROTTLED, CUT_OFF, refusal("InternalServiceError"), refusal("AccessDeniedException")]
)
def test_a_new_pair_is_stored_whatever_it_takes(
    rotations: Rotations, moment: str, error: Exception, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    _once(rotations, moment, error, times=6)
    rotations.rotate()
    rotations.assert_is_well()
    assert len(rotations.highlevel.oauth.sent) == 1
    told = [line for line in lines() if line["message"] == "token_pair_not_stored"]
    assert len(told) == 6
    assert all(line["level"] == "ERROR" for line in told)


def test_storing_ends_before_the_function_does(rotations: Rotations) -> None:
    _once(rotations, "before put_secret_value", THROTTLED, times=10**6)
    rotations.milliseconds = 6_000
    stopwatch = Stopwatch()
    assert rotations.fails(rotations.rotate) == "aws_request_failed"
    assert stopwatch.seconds < 3
    rotations.secrets.at = lambda moment: None
    rotations.milliseconds = 300_000
    rotations.rotate()  # within the window HighLevel gives the same pair once more
    rotations.assert_is_well()


@pytest.mark.parametrize("error", [THROTTLED, CUT_OFF])
@pytest.mark.parametrize(
    "moment", ["before describe_secret", "before get_secret_value", "before update_secret_version_stage"]
)
def test_other_trouble_fails_the_step_and_loses_nothing(rotations: Rotations, moment: str, error: Exception) -> None:
    _once(rotations, moment, error)
    assert rotations.fails(rotations.rotate) == "aws_request_failed"
    rotations.rotate()
    rotations.assert_is_well()
    assert len(rotations.refreshed) == 1


def test_a_label_that_was_moved_though_the_answer_got_lost_is_moved(rotations: Rotations) -> None:
    _once(rotations, "after update_secret_version_stage", CUT_OFF)
    rotations.rotate()
    rotations.assert_is_well()


def test_another_call_of_the_same_step_was_faster(rotations: Rotations) -> None:
    version = rotations.secrets.reserve()

    def at(moment: str) -> None:
        if moment == "before put_secret_value":
            rotations.secrets.at = lambda _moment: None
            monotonic = time.time
            with pytest.MonkeyPatch.context() as patch:  # the pair is the same, the second that it was asked for is not
                patch.setattr("highlevel.oauth.time", SimpleNamespace(time=lambda: monotonic() + 7))
                rotations.step("createSecret", version)

    rotations.secrets.at = at
    for step in STEPS:
        rotations.step(step, version)
    rotations.assert_is_well()
    assert len(rotations.refreshed) == 1


def test_a_call_that_comes_too_late_finds_what_the_other_has_stored(rotations: Rotations) -> None:
    """Both read the same refresh token; the second sent it after the window, when the first had stored the answer."""
    version = rotations.secrets.reserve()
    reads = []

    def at(moment: str) -> None:
        reads.append(moment)
        if reads.count("after get_secret_value") == 2:
            rotations.secrets.at = lambda _moment: None
            rotations.step("createSecret", version)
            rotations.highlevel.oauth.window_seconds = 0

    rotations.secrets.at = at
    for step in STEPS:
        rotations.step(step, version)
    rotations.assert_is_well()
    assert [sent.status for sent in rotations.highlevel.oauth.sent] == [200, 400]


# Secrets that are not to be rotated


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TOKEN, "not_oauth"),
        (json.dumps({"token": TOKEN}), "not_oauth"),
        (json.dumps({"tokens": {"*": TOKEN}}), "not_oauth"),
        ('{"oauth": {}}', "oauth_malformed"),
        (json.dumps({"oauth": {"refresh_token": TOKEN}}), "oauth_malformed"),
        ("", "no_token"),
        (None, "no_token"),
    ],
)
def test_what_is_no_connection_is_left_as_it_is(
    rotations: Rotations, text: str | None, reason: str, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    rotations.secrets.values[FIRST] = text
    assert rotations.fails(rotations.rotate) == reason
    assert rotations.secrets.version(CURRENT) == FIRST
    assert rotations.secrets.values[FIRST] == text
    assert rotations.highlevel.calls == []
    assert not rotations.secrets.named("put_secret_value")
    assert TOKEN not in json.dumps(lines())


def test_a_version_that_is_not_pending_starts_nothing(rotations: Rotations) -> None:
    for step in ("createSecret", "testSecret", "finishSecret"):
        assert rotations.fails(lambda step=step: rotations.step(step, str(uuid.uuid4()))) == "not_pending"  # type: ignore[misc]
    assert rotations.highlevel.calls == []


def test_an_empty_version_never_becomes_current(rotations: Rotations) -> None:
    version = rotations.secrets.reserve()
    for step in ("testSecret", "finishSecret"):
        assert rotations.fails(lambda step=step: rotations.step(step, version)) == "pending_empty"  # type: ignore[misc]
    assert rotations.secrets.version(CURRENT) == FIRST


@pytest.mark.parametrize("event", [{}, {"Step": "dropSecret"}, {"Step": None}])
def test_a_foreign_event_is_refused(rotations: Rotations, event: dict[str, Any]) -> None:
    context = SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 1000)
    assert rotations.fails(lambda: rotations.app.handler(event, context)) == "step_unknown"


# The log


def test_each_step_writes_one_line_and_no_secret(
    rotations: Rotations, lines: Callable[[], list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = {*_secret_values(rotations.secrets.oauth())}
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        version = rotations.rotate()
        rotations.secrets.at = lambda moment: (_ for _ in ()).throw(RuntimeError(next(iter(secrets))))
        assert rotations.fails(rotations.rotate) == "internal_error"
    finally:
        logging.getLogger().setLevel(logging.WARNING)
    secrets |= {*_secret_values(rotations.secrets.oauth())}
    told = [line for line in lines() if line["level"] == "INFO"]
    assert [(line["message"], line["step"], line["outcome"]) for line in told] == [
        ("rotation", "createSecret", "created"),
        ("rotation", "setSecret", "nothing_to_do"),
        ("rotation", "testSecret", "tested"),
        ("rotation", "finishSecret", "finished"),
        ("rotation", "createSecret", "failed"),
    ]
    assert all(line["request_id"] == "request-1" for line in told)
    assert all(line["version"] == version for line in told[:4])
    assert told[0]["seconds_left"] == pytest.approx(86_399, abs=5)
    printed = capsys.readouterr().out
    assert json.loads(printed)["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "my-stack"
    assert json.loads(printed)["Rotations"] == [1.0]
    assert json.loads(printed)["outcome"] == "finished"
    everything = json.dumps(lines()) + printed
    assert not [secret for secret in secrets if secret in everything]


def test_a_failure_tells_aws_no_secret(rotations: Rotations) -> None:
    rotations.secrets.error = ClientError({"Error": {"Code": "X", "Message": "SECRET"}}, "GetSecretValue")
    with pytest.raises(rotations.app.RotationFailedError) as caught:
        rotations.rotate()
    assert str(caught.value) == "aws_request_failed: X from Secrets Manager"


# The template


def test_the_role_allows_exactly_what_the_function_does() -> None:
    [policy] = RESOURCES["TokenRotationRole"]["Properties"]["Policies"]
    allowed = {
        (action, str(resource))
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _list(statement["Action"])
        for resource in _list(statement["Resource"])
    }
    secret = str({"Fn::GetAtt": "HighLevelToken.Id"})
    actions = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")
    assert allowed == {
        *((f"secretsmanager:{action}", secret) for action in actions),
        *((f"logs:{action}", str(arn("TokenRotationLogs"))) for action in ("CreateLogStream", "PutLogEvents")),
    }
    assert "ManagedPolicyArns" not in RESOURCES["TokenRotationRole"]["Properties"]


def test_secrets_manager_may_call_it_and_does_when_told_to() -> None:
    permission = RESOURCES["TokenRotationPermission"]["Properties"]
    assert permission["Principal"] == "secretsmanager.amazonaws.com"
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert permission["FunctionName"] == {"Ref": "TokenRotation"}
    schedule = RESOURCES["TokenRotationSchedule"]
    assert schedule["Condition"] == "RotatesToken"
    assert schedule["Properties"]["SecretId"] == {"Fn::GetAtt": "HighLevelToken.Id"}
    assert schedule["Properties"]["RotationLambdaARN"] == arn("TokenRotation")
    assert TEMPLATE["Conditions"]["RotatesToken"] == {"Fn::Equals": [{"Ref": "RotateToken"}, "true"]}
    assert TEMPLATE["Parameters"]["RotateToken"]["Default"] == "false"


def test_a_failed_or_missing_rotation_rings_long_before_the_token_dies() -> None:
    failed = RESOURCES["TokenRotationFailedAlarm"]["Properties"]
    assert (failed["MetricName"], failed["Threshold"], failed["EvaluationPeriods"]) == ("Errors", 0, 1)
    assert failed["Dimensions"][0]["Value"] == {"Ref": "TokenRotation"}
    missing = RESOURCES["TokenNotRotatedAlarm"]["Properties"]
    assert missing["Period"] * missing["EvaluationPeriods"] <= 12 * 3600
    assert missing["TreatMissingData"] == "breaching"
    assert (
        missing["Namespace"]
        == RESOURCES["TokenRotation"]["Properties"]["Environment"]["Variables"]["METRICS_NAMESPACE"]
    )
    for alarm in (failed, missing):
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert "make doctor" in alarm["AlarmDescription"]


def _members(connection: OAuth) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(connection.to_secret())["oauth"]
    return members


def _secret_values(connection: OAuth) -> list[str]:
    return [connection.client_secret, connection.refresh_token, connection.access_token or ""]


def test_it_loads_nothing_of_the_other_function(app: ModuleType) -> None:
    assert not [name for name in vars(app) if name.startswith("create_conversation")]
    sources = [sys.modules[name].__file__ for name in sys.modules if name.startswith("rotate_token")]
    for source in filter(None, sources):
        with open(source) as file:
            assert "create_conversation" not in file.read()
