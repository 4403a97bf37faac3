"""The rotation's four steps, each called twice, killed anywhere, or with a secret that must not be rotated."""

import itertools
import json
import logging
import sys
import time
import uuid
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from highlevel.oauth import OAuth, TokenPair
from tests.unit.rotations import (
    CURRENT,
    FIRST,
    OTHER,
    PREVIOUS,
    STEPS,
    Killed,
    Lines,
    Reaper,
    Rotations,
    secret_values,
)
from tests.unit.template import RESOURCES, TEMPLATE
from tests.unit.test_template import arn, as_list
from tests.unit.world import TOKEN

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


def test_a_value_stored_after_a_rotation_is_not_undone_by_the_next(rotations: Rotations) -> None:
    """A label left on the version that was current would be pending again, with a pair of the previous connection."""
    rotations.rotate()
    old = rotations.secrets.oauth()
    rotations.highlevel.oauth._issue(rotations.installation)  # an operator connects again
    new = old.with_token_pair(
        TokenPair(rotations.installation.access_token, rotations.installation.refresh_token, None)
    )
    rotations.secrets.values[OTHER] = new.to_secret()
    rotations.secrets._move(CURRENT, OTHER)
    rotations.rotate()
    assert rotations.refreshed[-1] == new.refresh_token
    rotations.assert_is_well()


@pytest.mark.parametrize("times", list(itertools.product((1, 2), repeat=4)))
def test_every_step_may_be_called_twice(rotations: Rotations, times: tuple[int, ...], rotation_lines: Lines) -> None:
    version = rotations.secrets.reserve()
    for step, often in zip(STEPS, times, strict=True):
        for _ in range(often):
            rotations.step(step, version)
    for step in STEPS:  # and all of them again, when all is done
        rotations.step(step, version)
    ended = ["already_current", "nothing_to_do", "already_current", "already_current"]
    assert [line["outcome"] for line in rotation_lines()[-4:]] == ended
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
    rotations: Rotations, monkeypatch: pytest.MonkeyPatch, moment: str, rotation_lines: Lines
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
    assert rotation_lines()[-1]["reason"] == "grant_refused"
    assert rotations.highlevel.oauth.access(rotations.secrets.oauth().access_token or "")


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
def test_a_secret_without_a_connection_is_not_changed(
    rotations: Rotations, text: str | None, reason: str, rotation_lines: Lines
) -> None:
    rotations.secrets.values[FIRST] = text
    assert rotations.fails(rotations.rotate) == reason
    assert rotations.secrets.version(CURRENT) == FIRST
    assert rotations.secrets.values[FIRST] == text
    assert rotations.highlevel.calls == []
    assert not rotations.secrets.named("put_secret_value")
    assert TOKEN not in json.dumps(rotation_lines())


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
    rotations: Rotations, rotation_lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = {*secret_values(rotations.secrets.oauth())}
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        version = rotations.rotate()
        rotations.secrets.at = lambda moment: (_ for _ in ()).throw(RuntimeError(next(iter(secrets))))
        assert rotations.fails(rotations.rotate) == "internal_error"
    finally:
        logging.getLogger().setLevel(logging.WARNING)
    secrets |= {*secret_values(rotations.secrets.oauth())}
    logged = [line for line in rotation_lines() if line["level"] == "INFO"]
    assert [(line["message"], line["step"], line["outcome"]) for line in logged] == [
        ("rotation", "createSecret", "created"),
        ("rotation", "setSecret", "nothing_to_do"),
        ("rotation", "testSecret", "tested"),
        ("rotation", "finishSecret", "finished"),
        ("rotation", "createSecret", "failed"),
    ]
    assert all(line["request_id"] == "request-1" for line in logged)
    assert all(line["version"] == version for line in logged[:4])
    assert logged[0]["seconds_left"] == pytest.approx(86_399, abs=5)
    printed = capsys.readouterr().out
    assert json.loads(printed)["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "my-stack"
    assert json.loads(printed)["Rotations"] == [1.0]
    assert json.loads(printed)["outcome"] == "finished"
    everything = json.dumps(rotation_lines()) + printed
    assert not [secret for secret in secrets if secret in everything]


def test_a_failure_shows_aws_no_secret(rotations: Rotations) -> None:
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
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    secret = str({"Fn::GetAtt": "HighLevelToken.Id"})
    actions = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")
    assert allowed == {
        *((f"secretsmanager:{action}", secret) for action in actions),
        *((f"logs:{action}", str(arn("TokenRotationLogs"))) for action in ("CreateLogStream", "PutLogEvents")),
    }
    assert "ManagedPolicyArns" not in RESOURCES["TokenRotationRole"]["Properties"]


def test_secrets_manager_may_call_it_and_does_if_rotate_token_is_set() -> None:
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


def test_a_failed_or_missing_rotation_goes_into_alarm_half_a_day_before_the_token_expires() -> None:
    alarm = RESOURCES["TokenRotationAlarm"]["Properties"]
    assert RESOURCES["TokenRotationAlarm"]["Condition"] == "RotatesToken"
    failed, finished = (query["MetricStat"] for query in alarm["Metrics"][1:])
    assert failed["Metric"]["Dimensions"][0]["Value"] == {"Ref": "TokenRotation"}
    namespace = RESOURCES["TokenRotation"]["Properties"]["Environment"]["Variables"]["METRICS_NAMESPACE"]
    assert finished["Metric"]["Namespace"] == namespace
    assert failed["Period"] == finished["Period"] == 12 * 3600
    assert alarm["EvaluationPeriods"] == 1


def test_it_loads_nothing_of_the_other_function(rotation_app: ModuleType) -> None:
    assert not [name for name in vars(rotation_app) if name.startswith("create_conversation")]
    sources = [sys.modules[name].__file__ for name in sys.modules if name.startswith("rotate_token")]
    for source in filter(None, sources):
        with open(source) as file:
            assert "create_conversation" not in file.read()
