"""The fault proxy with real AWS clients before it and a plain HTTP server behind it."""

import contextlib
import http.client
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest

from local.fault_proxy import FaultProxy, Mode, Request


class Target(http.server.BaseHTTPRequestHandler):
    """Answer every call with the headers and the body it came with."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"SecretString": self.headers["host"], "Name": self.headers["authorization"]}).encode()
        self.send_response_only(200)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def target() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Target) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def proxy(target: str) -> Iterator[FaultProxy]:
    with FaultProxy(target) as proxy:
        yield proxy


@contextlib.contextmanager
def client(proxy: FaultProxy, service: str) -> Iterator[Any]:
    client = botocore.session.Session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=proxy.url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=0.5, proxies={}),
    )
    try:
        yield client
    finally:
        client.close()


def test_passes_a_call_on_with_its_host_and_signature(proxy: FaultProxy) -> None:
    with client(proxy, "secretsmanager") as secrets:
        for _ in range(3):
            seen = secrets.get_secret_value(SecretId="one")
    assert seen["SecretString"] == proxy.url.removeprefix("http://")
    assert "/secretsmanager/aws4_request" in seen["Name"]
    assert proxy.calls == {("secretsmanager", "GetSecretValue"): 3}


CALLS: dict[str, tuple[Any, ...]] = {
    "dynamodb": ("dynamodb", "get_item", {"TableName": "t", "Key": {}}, "ProvisionedThroughputExceededException"),
    "sqs": ("sqs", "send_message", {"QueueUrl": "http://127.0.0.1/0/q", "MessageBody": "m"}, "RequestThrottled"),
    "secretsmanager": ("secretsmanager", "get_secret_value", {"SecretId": "s"}, "ThrottlingException"),
    "events": ("events", "put_events", {"Entries": [{}]}, "ThrottlingException"),
}


@pytest.mark.parametrize(("service", "operation", "arguments", "throttled"), CALLS.values(), ids=CALLS)
def test_errors_have_the_format_of_the_service(
    proxy: FaultProxy, service: str, operation: str, arguments: dict[str, Any], throttled: str
) -> None:
    with client(proxy, service) as aws:
        proxy.fail(service, "throttle", times=1)
        proxy.fail(service, "error", times=1)
        for status, code in [(400, throttled), (500, "InternalServerError")]:
            with pytest.raises(botocore.exceptions.ClientError) as caught:
                getattr(aws, operation)(**arguments)
            assert caught.value.response["Error"]["Code"] == code
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert proxy.calls.total() == 2


@pytest.mark.parametrize(
    ("mode", "error"),
    [("hang", botocore.exceptions.ReadTimeoutError), ("gone", botocore.exceptions.ConnectionClosedError)],
)
def test_hangs_or_breaks_the_connection_until_healed(proxy: FaultProxy, mode: Mode, error: type[Exception]) -> None:
    with client(proxy, "secretsmanager") as secrets:
        secrets.get_secret_value(SecretId="s")
        proxy.fail("secretsmanager", mode)
        for _ in range(2):
            with pytest.raises(error):
                secrets.get_secret_value(SecretId="s")
        proxy.heal()
        secrets.get_secret_value(SecretId="s")


def test_fails_only_the_named_operation(proxy: FaultProxy) -> None:
    proxy.fail("dynamodb", "error")
    proxy.fail("secretsmanager", "error", operation="PutSecretValue")
    with client(proxy, "secretsmanager") as secrets:
        secrets.get_secret_value(SecretId="s")
        with pytest.raises(botocore.exceptions.ClientError):
            secrets.put_secret_value(SecretId="s", SecretString="x")


def test_runs_hooks_around_the_call(proxy: FaultProxy) -> None:
    seen: list[str] = []

    def before(request: Request) -> None:
        seen.append(f"before {request.json()['SecretId']}")

    proxy.on("secretsmanager", "GetSecretValue", before=before, after=lambda _request: seen.append("after"))
    with client(proxy, "secretsmanager") as secrets:
        secrets.get_secret_value(SecretId="one")
        secrets.put_secret_value(SecretId="two", SecretString="x")
    assert seen == ["before one", "after"]


def test_a_call_never_reaches_aws_if_a_hook_kills_the_caller(proxy: FaultProxy) -> None:
    seen: list[str] = []
    caller = http.client.HTTPConnection(proxy.url.removeprefix("http://"))
    headers = {
        "authorization": "AWS4-HMAC-SHA256 Credential=k/20261122/us-east-1/secretsmanager/aws4_request",
        "x-amz-target": "secretsmanager.GetSecretValue",
    }

    def kill(_request: Request) -> None:
        seen.append("before")
        caller.close()
        time.sleep(0.1)

    proxy.on("secretsmanager", "GetSecretValue", before=kill, after=lambda _request: seen.append("after"))
    caller.request("POST", "/", b"{}", headers)
    time.sleep(0.5)
    assert seen == ["before"]


def test_raises_the_exception_of_a_hook_at_the_end(target: str) -> None:
    def call_with_broken_hook() -> None:
        with FaultProxy(target) as proxy, client(proxy, "secretsmanager") as secrets:
            proxy.on("secretsmanager", "GetSecretValue", before=lambda _request: 1 / 0)
            secrets.get_secret_value(SecretId="s")

    with pytest.raises(ZeroDivisionError):
        call_with_broken_hook()


def test_closes_the_connection_when_aws_is_unreachable() -> None:
    with (
        FaultProxy("http://127.0.0.1:1") as proxy,
        client(proxy, "secretsmanager") as secrets,
        pytest.raises(botocore.exceptions.ConnectionClosedError),
    ):
        secrets.get_secret_value(SecretId="s")


def test_ends_hanging_calls_when_healed(proxy: FaultProxy) -> None:
    def heal_when_called() -> None:
        while not proxy.calls:
            time.sleep(0.01)
        proxy.heal()

    proxy.fail("secretsmanager", "hang")
    threading.Thread(target=heal_when_called, daemon=True).start()
    with client(proxy, "secretsmanager") as secrets, pytest.raises(botocore.exceptions.ConnectionClosedError):
        secrets.get_secret_value(SecretId="s")
