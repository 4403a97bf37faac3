"""A rotation while HighLevel or Secrets Manager fails, or an operator connects again."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from highlevel.oauth import OAuth
from local.highlevel_oauth import Installation
from tests.factories import LOCATION
from tests.stopwatch import Stopwatch
from tests.unit.rotations import (
    CURRENT,
    FIRST,
    OTHER,
    PENDING,
    STEPS,
    Lines,
    Reaper,
    Rotations,
    oauth_members,
    refusal,
)

# HighLevel fails


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


def test_a_suspended_location_keeps_its_refresh_token(rotations: Rotations, rotation_lines: Lines) -> None:
    rotations.highlevel.inactive_locations.add(LOCATION)
    assert rotations.fails(rotations.rotate) == "location_inactive"
    assert rotation_lines()[-1]["reason"] == "location_inactive"
    assert len(rotations.highlevel.oauth.sent) == 1  # not asked again and again
    assert rotations.secrets.version(CURRENT) == FIRST
    rotations.highlevel.inactive_locations.clear()
    rotations.rotate()
    rotations.assert_is_well()


def test_a_permanent_failure_is_named(rotations: Rotations) -> None:
    rotations.highlevel.oauth.revoke(rotations.installation)
    assert rotations.fails(rotations.rotate) == "grant_refused"
    rotations.highlevel.oauth.clients[rotations.installation.client_id] = "another"
    assert rotations.fails(rotations.rotate) == "client_refused"
    assert rotations.secrets.version(CURRENT) == FIRST


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "reset"}]
)
def test_a_failing_search_does_not_hold_a_new_token_back(rotations: Rotations, fault: dict[str, Any]) -> None:
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


def test_a_token_without_the_scope_to_search_passes_the_test(rotations: Rotations, rotation_lines: Lines) -> None:
    message = "The token is not authorized for this scope."
    rotations.highlevel.fail("status", status=401, message=message, path="/conversations/search")
    rotations.rotate()
    assert [line["outcome"] for line in rotation_lines()] == ["created", "nothing_to_do", "tested", "finished"]


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
    """An operator connected again, with another app, and left the label where it was."""
    version = rotations.secrets.reserve()
    rotations.step("createSecret", version)
    server = rotations.highlevel.oauth
    client_id, client_secret = server.client()
    new = server.install(client_id, location=LOCATION)
    rotations.secrets.values[OTHER] = OAuth(client_id, client_secret, new.refresh_token, "Location").to_secret()
    rotations.secrets._move(CURRENT, OTHER)
    assert rotations.fails(lambda: rotations.step("testSecret", version)) == "pending_superseded"
    assert rotations.fails(lambda: rotations.step("finishSecret", version)) == "pending_superseded"
    rotations.installation = new
    rotations.rotate()
    rotations.assert_is_well()


def test_a_pending_pair_that_highlevel_no_longer_knows_gives_way(rotations: Rotations) -> None:
    """Connected again with the same app, while an expired pair of the old connection was pending."""
    rotations.highlevel.oauth.access_seconds = 1
    rotations.step("createSecret", rotations.secrets.reserve())
    time.sleep(1.1)
    rotations.highlevel.oauth.revoke(rotations.installation)
    rotations.highlevel.oauth.access_seconds = 86_399
    new = rotations.highlevel.oauth.install(rotations.installation.client_id, location=LOCATION)
    text = OAuth(**{**oauth_members(rotations.secrets.oauth()), "refresh_token": new.refresh_token})
    rotations.secrets.values[OTHER] = text.to_secret()
    rotations.secrets._move(CURRENT, OTHER)
    rotations.installation = new
    rotations.rotate()
    rotations.assert_is_well()


# An operator connects meanwhile


def _new_connection(rotations: Rotations, **installed: Any) -> str:
    """The text of a new connection with the same app; HighLevel's side of it is `rotations.installation` then."""
    app = rotations.secrets.oauth()
    user_type = rotations.installation.user_type
    new = rotations.installation = rotations.highlevel.oauth.install(app.client_id, user_type, **installed)
    members = oauth_members(app) | {"refresh_token": new.refresh_token, "company_id": new.company_id}
    return OAuth(**{name: value for name, value in members.items() if name not in ("access_token",)}).to_secret()


@pytest.mark.parametrize("takes_pending", [True, False], ids=["./hlc connect", "by hand"])
@pytest.mark.parametrize("moment", ["before refresh #1", "after refresh #1", "after put_secret_value #1"])
def test_a_connection_that_is_stored_while_a_token_is_refreshed_is_not_undone(
    rotations: Rotations, monkeypatch: pytest.MonkeyPatch, moment: str, takes_pending: bool
) -> None:
    """`./hlc connect` takes AWSPENDING with it, in the same call."""
    text = _new_connection(rotations, location=LOCATION)

    def connect() -> None:
        rotations.secrets.put(OTHER, text)
        if takes_pending:
            rotations.secrets._move(PENDING, OTHER)

    Reaper(rotations, monkeypatch, moment, connect)
    assert rotations.fails(rotations.rotate) == "not_pending"
    assert rotations.secrets.version(CURRENT) == OTHER
    rotations.rotate()
    rotations.assert_is_well()


def test_a_label_that_a_killed_rotation_left_undoes_nothing(rotations: Rotations) -> None:
    """Killed before it removed the label; then an operator stored another connection by hand."""
    old = rotations.rotate()
    rotations.secrets._move(PENDING, old)
    rotations.rotate()  # both labels on one version: that rotation has ended
    rotations.assert_is_well()
    old = rotations.secrets.version(CURRENT) or ""
    rotations.secrets._move(PENDING, old)
    rotations.secrets.put(OTHER, _new_connection(rotations, location=LOCATION))
    for step in ("testSecret", "finishSecret"):
        assert rotations.fails(lambda step=step: rotations.step(step, old)) == "pending_superseded"  # type: ignore[misc]
    rotations.rotate()
    rotations.assert_is_well()
    rotations.rotate()
    rotations.assert_is_well()


def test_a_pending_pair_of_another_agency_is_not_finished(rotations: Rotations) -> None:
    """Of the same app, which an operator has connected with another agency, by hand."""
    version = rotations.secrets.reserve()
    rotations.step("createSecret", version)
    rotations.secrets.put(OTHER, _new_connection(rotations, company="company0000000000002"))
    assert rotations.fails(lambda: rotations.step("finishSecret", version)) == "pending_superseded"
    rotations.rotate()
    rotations.assert_is_well()
    assert rotations.secrets.oauth().company_id == "company0000000000002"


def test_a_wrong_company_id_makes_no_pair_foreign(rotations: Rotations) -> None:
    members = oauth_members(rotations.secrets.oauth()) | {"company_id": "typed-by-hand"}
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


# Secrets Manager fails


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
    rotations: Rotations, moment: str, error: Exception, rotation_lines: Lines
) -> None:
    _once(rotations, moment, error, times=6)
    rotations.rotate()
    rotations.assert_is_well()
    assert len(rotations.highlevel.oauth.sent) == 1
    logged = [line for line in rotation_lines() if line["message"] == "token_pair_not_stored"]
    assert len(logged) == 6
    assert all(line["level"] == "ERROR" for line in logged)


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
def test_other_failures_of_aws_fail_the_step_and_lose_nothing(
    rotations: Rotations, moment: str, error: Exception
) -> None:
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
