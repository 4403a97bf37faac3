"""The token's rotation in the deployed application: the unchanged template, its roles enforced."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.aws_faults import FaultyWorld, faulty_world
from tests.integration.rotating import CURRENT, PENDING, PREVIOUS, Rotating
from tests.integration.world import eventually

SECRETS_MANAGER = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyWorld]:
    with faulty_world() as world:
        yield world


@pytest.fixture
def rotating(faulty: FaultyWorld) -> Iterator[Rotating]:
    yield Rotating.connected(faulty)
    faulty.recover()
    faulty.highlevel.oauth.window_seconds, faulty.highlevel.oauth.access_seconds = 30.0, 86_399


def test_attaching_the_schedule_rotates_immediately(rotating: Rotating) -> None:
    first = rotating.stages()[CURRENT]
    since = time.time()
    _assert_opens(rotating)
    rotating.attach()
    assert rotating.ended(since)["outcome"] == "finished"
    assert rotating.is_consistent()
    assert rotating.stages()[PREVIOUS] == first
    assert [line["outcome"] for line in rotating.lines(since)] == ["created", "nothing_to_do", "tested", "finished"]
    described = rotating.client.describe_secret(SecretId=rotating.arn)
    assert described["RotationEnabled"] is True
    assert described["RotationRules"] == {"ScheduleExpression": "rate(4 hours)"}
    _assert_opens(rotating)
    _assert_logs_no_secret(rotating)


# Killed at a crash point


def _after(operation: str) -> Callable[[Rotating], threading.Event]:
    """Kill the function when Secrets Manager has carried out its next such call and not answered."""

    def arm(rotating: Rotating) -> threading.Event:
        killed = threading.Event()

        def hook(_request: object) -> None:
            if not killed.is_set():
                rotating.world.kill()
                killed.set()

        rotating.world.proxy.on("secretsmanager", operation, after=hook)
        return killed

    return arm


def _before(operation: str) -> Callable[[Rotating], threading.Event]:
    """Kill the function while it waits for its next such call, which never reaches Secrets Manager."""

    def arm(rotating: Rotating) -> threading.Event:
        proxy = rotating.world.proxy
        so_far = proxy.calls["secretsmanager", operation]
        proxy.fail("secretsmanager", "hang", operation=operation, times=1)
        return _killed_when(rotating, lambda: proxy.calls["secretsmanager", operation] > so_far)

    return arm


def _in_highlevel(kind: str, path: str) -> Callable[[Rotating], threading.Event]:
    """Kill the function when HighLevel has the call: with `hang` it has not handled the call, with `slow` it has."""

    def arm(rotating: Rotating) -> threading.Event:
        fault = rotating.world.highlevel.fail(kind, path=path, times=1, **({"seconds": 8} if kind == "slow" else {}))
        return _killed_when(rotating, lambda: fault.times == 0)

    return arm


def _killed_when(rotating: Rotating, happened: Callable[[], bool]) -> threading.Event:
    killed = threading.Event()

    def watch() -> None:
        while not happened():
            time.sleep(0.01)
        time.sleep(0.05)
        rotating.world.kill()
        rotating.world.proxy.heal()
        killed.set()

    threading.Thread(target=watch, daemon=True).start()
    return killed


CRASH_POINTS = {
    **{f"before {operation}": _before(operation) for operation in SECRETS_MANAGER},
    **{f"after {operation}": _after(operation) for operation in SECRETS_MANAGER},
    **{
        f"HighLevel, {path}, {kind}": _in_highlevel(kind, path)
        for path in ("/oauth/token", "/conversations/search")
        for kind in ("hang", "slow")
    },
}
# Only the killed process has the pair.
UNSTORED = ("before PutSecretValue", "HighLevel, /oauth/token, slow")


@pytest.mark.parametrize("crash_point", CRASH_POINTS)
def test_the_next_rotation_ends_one_that_was_killed(rotating: Rotating, crash_point: str) -> None:
    killed = CRASH_POINTS[crash_point](rotating)
    rotating.rotate()
    assert killed.wait(15)
    since = time.time()
    rotating.rotate()
    assert rotating.ended(since)["outcome"] != "failed"
    assert rotating.is_consistent()
    _assert_opens(rotating)


@pytest.mark.parametrize("crash_point", UNSTORED)
def test_a_lost_single_use_token_is_named(rotating: Rotating, crash_point: str) -> None:
    killed = CRASH_POINTS[crash_point](rotating)
    rotating.rotate()
    assert killed.wait(15)
    rotating.world.highlevel.oauth.window_seconds = 0
    since = time.time()
    rotating.rotate()
    failed = rotating.ended(since)
    assert (failed["step"], failed["outcome"], failed["reason"]) == ("createSecret", "failed", "grant_refused")
    # The alarm counts the function's errors. Nothing else fails until the access token expires.
    text = "\n".join(rotating.world.application.stack.log_lines(since))
    assert "RotationFailedError: grant_refused" in text
    _assert_opens(rotating)


# Failures


@pytest.mark.parametrize("mode", ["throttle", "gone", "error"])
def test_a_failing_secrets_manager_loses_no_pair(rotating: Rotating, mode: Any) -> None:
    rotating.world.proxy.fail("secretsmanager", mode, operation="PutSecretValue", times=8)
    since = time.time()
    rotating.rotate()
    assert rotating.ended(since)["outcome"] == "finished"
    assert rotating.is_consistent()
    assert rotating.world.highlevel.oauth.sent[-1].again is False
    assert "token_pair_not_stored" in "\n".join(rotating.world.application.stack.log_lines(since))


def test_a_suspended_location_rotates_when_it_is_active_again(faulty: FaultyWorld) -> None:
    rotating = Rotating.connected(faulty, "suspended1")
    before = rotating.current()
    try:
        faulty.highlevel.inactive_locations.add("suspended1")
        since = time.time()
        rotating.rotate()
        assert rotating.ended(since)["reason"] == "location_inactive"
        assert rotating.current() == before
        faulty.highlevel.inactive_locations.clear()
        since = time.time()
        rotating.rotate()
        assert rotating.ended(since)["outcome"] == "finished"
        assert rotating.is_consistent()
    finally:
        faulty.highlevel.inactive_locations.clear()
        faulty.recover()


def test_a_private_token_is_not_rotated(rotating: Rotating) -> None:
    token = f"pit-{uuid.uuid4()}"
    rotating.world.application.store_token(token)
    since = time.time()
    rotating.rotate()
    assert rotating.ended(since)["reason"] == "not_oauth"
    assert rotating.client.get_secret_value(SecretId=rotating.arn)["SecretString"] == token
    assert token not in "\n".join(rotating.world.application.stack.log_lines())


# Least privilege


def test_each_permission_of_the_role_is_needed(rotating: Rotating) -> None:
    """A rotation fails without any of the role's four permissions on the secret, and ends with all of them."""
    iam = rotating.world.application.aws.client("iam")
    role = rotating.world.application.stack.resource("TokenRotationRole")
    whole = iam.get_role_policy(RoleName=role, PolicyName="TokenRotation")["PolicyDocument"]
    whole = whole if isinstance(whole, dict) else json.loads(whole)
    (statement,) = (statement for statement in whole["Statement"] if statement["Sid"] == "TokenSecretRotation")
    assert sorted(statement["Action"]) == [f"secretsmanager:{operation}" for operation in SECRETS_MANAGER]
    assert statement["Resource"] == rotating.arn
    try:
        for missing in statement["Action"]:
            reduced = {**statement, "Action": [action for action in statement["Action"] if action != missing]}
            others = [other for other in whole["Statement"] if other["Sid"] != "TokenSecretRotation"]
            document = json.dumps({**whole, "Statement": [*others, reduced]})
            iam.put_role_policy(RoleName=role, PolicyName="TokenRotation", PolicyDocument=document)
            if missing == "secretsmanager:PutSecretValue":
                _assert_put_is_denied(rotating)
                continue
            since = time.time()
            rotating.rotate()
            failed = rotating.ended(since)
            assert (failed["outcome"], failed["detail"]) == ("failed", "AccessDeniedException from Secrets Manager"), (
                missing
            )
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="TokenRotation", PolicyDocument=json.dumps(whole))
    since = time.time()
    rotating.rotate()
    assert rotating.ended(since)["outcome"] != "failed"
    assert rotating.is_consistent()


def _assert_put_is_denied(rotating: Rotating) -> None:
    """The rotation tries for five minutes; do not wait for its end, but kill it once it has tried again."""
    calls, put = rotating.world.proxy.calls, ("secretsmanager", "PutSecretValue")
    since, so_far = time.time(), calls[put]
    rotating.rotate()
    eventually(lambda: calls[put] > so_far + 3)
    assert PENDING in rotating.stages()
    assert not rotating.lines(since, outcome="finished")
    rotating.world.kill()


def test_the_role_may_access_nothing_else(rotating: Rotating) -> None:
    stack = rotating.world.application.stack
    client = rotating.world.client_as("TokenRotationRole")
    secret = rotating.arn
    assert client("secretsmanager").describe_secret(SecretId=secret)["ARN"] == secret
    senders = stack.outputs["SenderSecretsArn"]
    denied: list[Callable[[], object]] = [
        lambda: client("secretsmanager").get_secret_value(SecretId=senders),
        lambda: client("secretsmanager").put_secret_value(SecretId=senders, SecretString="{}"),
        lambda: client("secretsmanager").describe_secret(SecretId=senders),
        lambda: client("secretsmanager").delete_secret(SecretId=secret),
        lambda: client("secretsmanager").rotate_secret(SecretId=secret),
        lambda: client("secretsmanager").update_secret(SecretId=secret, Description="x"),
        lambda: client("secretsmanager").list_secrets(),
        lambda: client("dynamodb").get_item(TableName=stack.resource("IdempotencyTable"), Key={"pk": {"S": "x"}}),
        lambda: client("sqs").send_message(QueueUrl=stack.outputs["RetryQueueUrl"], MessageBody="x"),
        lambda: client("sqs").receive_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"]),
        lambda: client("lambda").invoke(FunctionName=stack.resource("CreateConversation")),
    ]
    for call in denied:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            call()


def _assert_opens(rotating: Rotating) -> None:
    """A submission gets a valid token, even where a busy machine defers it."""
    contact = uuid.uuid4().hex
    assert rotating.world.post("locationA", contact).status in (201, 202)
    eventually(lambda: rotating.world.is_open("locationA", contact), within=60)
    reasons = {line.get("reason") for line in rotating.world.application.lines(contact_id=contact)}
    assert not {reason for reason in reasons if reason and "token" in reason}


def _assert_logs_no_secret(rotating: Rotating) -> None:
    """No line of any function's log contains a token or the client's secret."""
    text = "\n".join(rotating.world.application.stack.log_lines())
    server = rotating.world.highlevel.oauth
    secrets = {*server.clients.values(), *server._access, *server._refresh}
    assert len(secrets) >= 5
    assert not [secret for secret in secrets if secret in text]
