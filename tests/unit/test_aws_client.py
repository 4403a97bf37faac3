"""What AWS is sent, byte for byte, and what its answers become; the peer is a real socket."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from create_conversation import aws_client
from create_conversation.aws_client import AwsAccess, AwsError
from create_conversation.settings import SettingsError
from local.lambda_runtime import Answer, Server
from tests.stopwatch import Stopwatch
from tests.unit.peer import Connection, Peer

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "the-session-token",
    "AWS_REGION": "eu-central-1",
    "URL_SUFFIX": "amazonaws.com",
}
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SERVICES = {
    "secretsmanager": (aws_client.secrets_manager, "secretsmanager", "1.1"),
    "dynamodb": (aws_client.dynamodb, "DynamoDB_20120810", "1.0"),
    "sqs": (aws_client.sqs, "AmazonSQS", "1.0"),
    "events": (aws_client.eventbridge, "AWSEvents", "1.1"),
}


class Aws:
    """Gives the answers in turn, the last one for good; a float is waited for first. `calls`: headers and body."""

    def __init__(self, *answers: tuple[int, bytes] | float) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        self.calls.append((method, path, {name.lower(): value for name, value in headers.items()}, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, float):
            time.sleep(answer)
            return 200, {}, b"{}"
        return answer[0], {}, answer[1]


@contextmanager
def serving(*answers: tuple[int, bytes] | float) -> Iterator[tuple[Aws, AwsAccess]]:
    aws = Aws(*answers)
    with Server(aws.answer) as server:
        yield aws, AwsAccess.read(ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{server.address}"})


def error(kind: str, status: int = 400) -> tuple[int, bytes]:
    return status, json.dumps({"__type": kind, "message": "quotes what it was sent"}).encode()


def refused(*answers: tuple[int, bytes] | float, service: Any = aws_client.sqs) -> tuple[AwsError, int]:
    """What a call raises, and how often the service was asked."""
    with serving(*answers) as (aws, access), pytest.raises(AwsError) as raised:
        service(access).call("SendMessage", MessageBody="m")
    return raised.value, len(aws.calls)


# What is sent


@pytest.mark.parametrize("name", SERVICES)
def test_a_call_is_the_services_json_signed_for_region_and_role(name: str) -> None:
    service, target, version = SERVICES[name]
    with serving((200, b'{"Answer": ["\xc3\xa4", 1]}')) as (aws, access):
        assert service(access).call("DoThis", Name="ä", Number=1) == {"Answer": ["ä", 1]}
    [(method, path, headers, body)] = aws.calls
    assert (method, path) == ("POST", "/")
    assert json.loads(body) == {"Name": "ä", "Number": 1}
    assert headers["x-amz-target"] == f"{target}.DoThis"
    assert headers["content-type"] == f"application/x-amz-json-{version}"
    assert headers["x-amz-security-token"] == "the-session-token"
    assert headers["authorization"] == signature(headers, body, name)


def test_without_a_session_token_none_is_sent() -> None:
    with serving((200, b"{}")) as (aws, access):
        plain = AwsAccess.read(
            {**ENVIRONMENT, "AWS_SESSION_TOKEN": "", "AWS_ENDPOINT_URL": access.endpoint("sqs", "SQS")}
        )
        aws_client.sqs(plain).call("SendMessage")
    [(_, _, headers, body)] = aws.calls
    assert "x-amz-security-token" not in headers
    assert headers["authorization"] == signature(headers, body, "sqs")


def test_calls_share_a_connection() -> None:
    def behave(connection: Connection) -> None:
        while connection.request():
            connection.send(EMPTY)

    with Peer(behave) as peer:
        service = aws_client.dynamodb(AwsAccess.read(ENVIRONMENT | {"AWS_ENDPOINT_URL": peer.url}))
        assert [service.call("GetItem") for _ in range(5)] == 5 * [{}]
    assert peer.connections == 1


def signature(headers: dict[str, str], body: bytes, service: str) -> str:
    """The value of Authorization as AWS describes it (Signature Version 4)."""
    stamp = headers["x-amz-date"]
    names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert {"content-type", "host", "x-amz-date", "x-amz-target"} <= set(names.split(";"))
    lines = [f"{name}:{headers[name]}" for name in names.split(";")]
    asked = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(body).hexdigest()])
    scope = f"{stamp[:8]}/eu-central-1/{service}/aws4_request"
    key = f"AWS4{ENVIRONMENT['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signed = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    credential = f"{ENVIRONMENT['AWS_ACCESS_KEY_ID']}/{scope}"
    signature = hmac.digest(key, signed.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"


# What comes back


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (error("com.amazonaws.sqs#QueueDoesNotExist"), "QueueDoesNotExist"),
        (error("AccessDeniedException"), "AccessDeniedException"),
        (error("aws.protocols#FooException:http://internal.amazon.com/"), "FooException"),
        (error("com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"), "ConditionalCheckFailedException"),
        (error("com.amazonaws.sqs#<script>"), "Http400"),
        ((400, b'{"__type": 7}'), "Http400"),
        ((403, b"<html>no</html>"), "Http403"),
        ((400, b"[" * 100_000), "Http400"),
        ((302, b""), "Http302"),
        ((200, b"<html>"), "Http200"),
        ((200, b"[]"), "Http200"),
    ],
)
def test_a_refusal_has_its_code_and_is_not_repeated(answer: tuple[int, bytes], code: str) -> None:
    raised, calls = refused(answer)
    assert (raised.code, raised.operation, calls) == (code, "SendMessage", 1)
    assert "quotes" not in f"{raised!r} {raised} {raised.__context__}"


def test_an_empty_answer_has_no_members() -> None:
    with serving((200, b"")) as (_, access):
        assert aws_client.sqs(access).call("ChangeMessageVisibility") == {}


@pytest.mark.parametrize(
    "answer",
    [
        error("ThrottlingException"),
        error("com.amazonaws.sqs#RequestThrottled"),
        error("ProvisionedThroughputExceededException"),
        error("RequestLimitExceeded"),
        error("InternalServerError", 500),
        (503, b"<html>"),
        (429, b""),
        3.0,
    ],
)
def test_what_may_pass_is_tried_twice(answer: tuple[int, bytes] | float) -> None:
    with serving(answer, (200, b'{"ok": 1}')) as (aws, access):
        assert aws_client.sqs(access).call("SendMessage") == {"ok": 1}
    assert len(aws.calls) == 2
    assert aws.calls[0][3] == aws.calls[1][3]
    assert refused(answer)[1] == 2
    assert refused(answer, service=aws_client.dynamodb)[1] == 1, "the records have no time for a second"


def test_an_unreachable_service_raises_the_class_of_the_network_error() -> None:
    access = AwsAccess.read(ENVIRONMENT | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    with pytest.raises(AwsError) as raised:
        aws_client.sqs(access).call("SendMessage")
    assert (raised.value.code, raised.value.status) == ("NewConnectionError", None)


def test_an_answer_that_does_not_come_is_waited_for_a_second() -> None:
    before, stopwatch = time.monotonic(), Stopwatch()
    raised, _ = refused(3.0, service=aws_client.dynamodb)
    assert time.monotonic() - before > 0.9
    assert stopwatch.seconds < 2
    assert raised.code == "ReadTimeoutError"


def test_a_connection_that_was_dropped_is_replaced_unseen() -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(EMPTY)
        connection.request()
        connection.reset()

    with Peer(behave) as peer:
        service = aws_client.dynamodb(AwsAccess.read(ENVIRONMENT | {"AWS_ENDPOINT_URL": peer.url}))
        assert [service.call("GetItem") for _ in range(3)] == 3 * [{}]
    assert peer.connections == 3


# Whom


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "https://sqs.eu-central-1.amazonaws.com"),
        ({"AWS_REGION": "us-gov-west-1"}, "https://sqs.us-gov-west-1.amazonaws.com"),
        ({"AWS_REGION": "cn-north-1", "URL_SUFFIX": "amazonaws.com.cn"}, "https://sqs.cn-north-1.amazonaws.com.cn"),
        ({"AWS_REGION": "eusc-de-east-1", "URL_SUFFIX": "amazonaws.eu"}, "https://sqs.eusc-de-east-1.amazonaws.eu"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, "http://127.0.0.1:4566"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SQS": "https://vpce.example"},
            "https://vpce.example",
        ),
        ({"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_DYNAMODB": "x"}, "https://sqs.eu-central-1.amazonaws.com"),
    ],
)
def test_the_endpoint_is_the_regions_unless_the_environment_names_another(variables: dict[str, str], url: str) -> None:
    assert AwsAccess.read(ENVIRONMENT | variables).endpoint("sqs", "SQS") == url


def test_no_service_is_called_without_tls() -> None:
    with pytest.raises(ValueError, match="https"):
        aws_client.sqs(AwsAccess.read(ENVIRONMENT | {"AWS_ENDPOINT_URL": "http://sqs.example"}))


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "URL_SUFFIX"])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        AwsAccess.read({**ENVIRONMENT, name: " "})


def test_the_keys_are_not_shown() -> None:
    assert ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in repr(AwsAccess.read(ENVIRONMENT))
    assert ENVIRONMENT["AWS_SESSION_TOKEN"] not in repr(AwsAccess.read(ENVIRONMENT))
