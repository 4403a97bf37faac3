"""What `sam build` makes runs under Lambda's own runtime client, with nothing beside it but what Lambda has."""

import contextlib
import copy
import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.highlevel import LocalHighLevel
from local.stack import build

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools/runtime/bin/python"
MAX_ZIPPED_BYTES = 3_000_000
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:highlevel-conversations"
INVOCATION = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
TOKEN = "pit-11111111-2222-3333-4444-555555555555"
API_SECRET = "api-secret-of-forty-characters-0123456789"
SECRETS = {"arn:token": TOKEN, "arn:senders": json.dumps({"api": API_SECRET})}
LOCATION, CONTACT = "ve9EPM428h8vShlRW1KT", "ocQHyuzHvysMo5N5VsXc"
SETTINGS = {
    "HIGHLEVEL_BASE_URL": "http://127.0.0.1:1",
    "HIGHLEVEL_VERSION": "2021-04-15",
    "HIGHLEVEL_TOKEN_ARN": "arn:token",
    "SENDER_SECRETS_ARN": "arn:senders",
    "RECORDS_TABLE": "Records",
    "RETRY_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/retry",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/dead-letters",
    "METRICS_NAMESPACE": "highlevel-conversations",
    "LOCATION_ID": "",
    "GIVE_UP_AFTER_HOURS": "72",
    "BACKOFF_CAP_SECONDS": "900",
    "RECORD_TTL_SECONDS": "86400",
}
# What Lambda itself sets.
RESERVED = {
    "PATH": os.defpath,
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's disk cannot be written to
    "_HANDLER": "create_conversation.app.handler",
    "AWS_LAMBDA_FUNCTION_NAME": "highlevel-conversations",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "session-token",
}
EVENT = json.loads((ROOT / "events/http_conversation.json").read_text())

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Lambda's runtime client (awslambdaric) is for Linux only"
)


@pytest.fixture(scope="session")
def artifact() -> Path:
    return build().parent / "CreateConversation"


# Contents


def names(artifact: Path) -> list[str]:
    return [path.relative_to(artifact).as_posix() for path in sorted(artifact.rglob("*")) if path.is_file()]


def test_the_artifact_holds_the_function_and_its_requirements_only(artifact: Path) -> None:
    required = {"aws_lambda_powertools", "cffi", "jmespath", "nacl", "pycparser", "typing_extensions", "urllib3"}
    packages = {path.name for path in artifact.iterdir() if "-" not in path.name}
    assert packages - {f"{name}.py" for name in required} - required == {
        "create_conversation",
        "highlevel",
        "presets.toml",
        "requirements.txt",
        "senders.toml",
    }
    sources = {path.relative_to(ROOT / "functions").as_posix() for path in (ROOT / "functions").rglob("*.py")}
    assert sources <= set(names(artifact))
    for name in names(artifact):
        assert not {"__pycache__", "tests", "test", "local", "operate"} & set(name.split("/")[:-1]), name
        assert not name.endswith((".pyc", ".env", ".pem")), name


def test_the_artifact_is_small(artifact: Path) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names(artifact):
            archive.write(artifact / name, name)
    assert len(zipped.getvalue()) <= MAX_ZIPPED_BYTES


def test_nothing_is_beside_the_artifact_but_what_lambda_has() -> None:
    (packages,) = (ROOT / ".tools/runtime/lib").glob("python3.*/site-packages")
    installed = {path.name.split("-")[0] for path in packages.glob("*.dist-info")}
    boto3 = {"boto3", "botocore", "jmespath", "python_dateutil", "s3transfer", "six", "urllib3"}
    assert installed == boto3 | {"awslambdaric", "simplejson", "snapshot_restore_py"}


def environment_of(artifact: Path) -> dict[str, str]:
    return RESERVED | SETTINGS | {"PYTHONPATH": str(artifact), "LAMBDA_TASK_ROOT": str(artifact)}


def run(artifact: Path, code: str) -> str:
    """What that code prints, run where the function runs."""
    done = subprocess.run(
        [str(PYTHON), "-c", code],
        cwd=artifact,
        env=environment_of(artifact),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_starts_without_what_few_senders_need(artifact: Path) -> None:
    loaded = run(artifact, "import sys, create_conversation.app; print(*sys.modules)").split()
    assert {"create_conversation.proof", "urllib3"} <= set(loaded)
    assert not {"nacl", "cffi", "_cffi_backend", "pycparser", "cryptography", "boto3"} & set(loaded)


def test_it_verifies_ed25519(artifact: Path) -> None:
    """The library is a binary one: built for the architecture that it runs on."""
    code = """
import base64
from nacl.signing import SigningKey
from create_conversation.proof import Request, is_proved
from create_conversation.senders import Sender
key = SigningKey.generate()
public = "whpk_" + base64.b64encode(bytes(key.verify_key)).decode()
sender = Sender("own", "pubkey", sig_header="signature", key_format="whpk_base64", public_keys=(public,))
signature = base64.b64encode(key.sign(b"body").signature).decode()
for body in (b"body", b"another"):
    print(is_proved(sender, Request({"signature": signature}, "", body), (), 0.0))
"""
    assert run(artifact, code).split() == ["True", "False"]


# Under the runtime client


type Answer = tuple[int, dict[str, str], bytes]
type Answering = Callable[[str, str, dict[str, str], bytes], Answer]


class Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1 as `answering(method, path, headers, body)` says: status, headers, body."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answering: Answering) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answering = answering
        self.address = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The function has been ended while it waited: no fault of anybody's."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, content = self.server.answering(self.command, self.path, dict(self.headers), body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


class RuntimeApi:
    """Lambda's Runtime API: hands out the events, takes the answers."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if (method, path) == ("GET", "/2018-06-01/runtime/invocation/next"):
            event = self.events.get()
            lambda_headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": INVOCATION,
                "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time.time() + 30))),
                "Lambda-Runtime-Invoked-Function-Arn": ARN,
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
            }
            return 200, lambda_headers, json.dumps(event).encode()
        self.results.put((path, json.loads(body or b"null")))
        return 202, {}, b"{}"


@dataclass
class Aws:
    """The three services that the function calls; `calls` are (operation, arguments)."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        arguments = json.loads(body)
        operation = headers["X-Amz-Target"].partition(".")[2]
        self.calls.append((operation, arguments))
        content: dict[str, Any] = {}
        if operation == "GetSecretValue":
            content = {"ARN": arguments["SecretId"], "SecretString": SECRETS[arguments["SecretId"]]}
        elif operation == "SendMessage":
            content = {"MessageId": "message-1"}
        return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(content).encode()


@dataclass
class Function:
    """The artifact in a process of its own, as Lambda starts it."""

    process: subprocess.Popen[str]
    runtime: RuntimeApi
    aws: Aws
    highlevel: LocalHighLevel

    def invoke(self, event: Any) -> Any:
        """The handler's answer. Fails when it raised."""
        self.runtime.events.put(event)
        path, result = self.runtime.results.get(timeout=20)
        assert path == f"/2018-06-01/runtime/invocation/{INVOCATION}/response", result
        return result

    def post(self, contact: str = CONTACT, secret: str = API_SECRET) -> Any:
        event = copy.deepcopy(EVENT)
        event["requestContext"]["timeEpoch"] = int(1000 * time.time())
        event["headers"]["authorization"] = f"Bearer {secret}"
        event["body"] = json.dumps({"locationId": LOCATION, "contactId": contact})
        return self.invoke(event)

    def end(self) -> str:
        """Everything that it wrote."""
        self.process.kill()
        return self.process.communicate(timeout=10)[0]


@pytest.fixture
def start(artifact: Path) -> Iterator[Callable[..., Function]]:
    with contextlib.ExitStack() as stack:

        def start_function(**environment: str) -> Function:
            runtime, aws = RuntimeApi(), Aws()
            highlevel = stack.enter_context(LocalHighLevel(tokens={TOKEN: "*"}))
            own = {
                "HIGHLEVEL_BASE_URL": highlevel.url,
                "AWS_LAMBDA_RUNTIME_API": stack.enter_context(Server(runtime.answer)).address,
                "AWS_ENDPOINT_URL": f"http://{stack.enter_context(Server(aws.answer)).address}",
            }
            process = subprocess.Popen(
                [PYTHON, "-u", "-m", "awslambdaric", "create_conversation.app.handler"],
                cwd=artifact,
                env=environment_of(artifact) | own | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            function = Function(process, runtime, aws, highlevel)
            stack.callback(function.end)
            return function

        yield start_function


def test_it_answers_a_post_with_the_conversation(start: Callable[..., Function]) -> None:
    function = start()
    answer = function.post()
    conversation = json.loads(answer["body"])["conversation"]
    assert answer["statusCode"] == 201
    assert answer["headers"]["x-request-id"] == EVENT["requestContext"]["requestId"]
    assert conversation == function.highlevel.conversations[LOCATION, CONTACT]
    assert [name for name, _ in function.aws.calls] == ["GetSecretValue", "GetItem", "GetSecretValue", "UpdateItem"]
    assert function.post(secret="wrong")["statusCode"] == 401


def test_it_keeps_what_highlevel_cannot_take_now_and_does_it_later(start: Callable[..., Function]) -> None:
    function = start()
    function.highlevel.fail(kind="status", status=503, times=1)
    assert function.post()["statusCode"] == 202
    operation, message = function.aws.calls[-1]
    assert (operation, message["MessageGroupId"], message["DelaySeconds"]) == ("SendMessage", LOCATION, 5)
    batch = json.loads((ROOT / "events/retry_batch.json").read_text())
    batch["Records"][0]["body"] = message["MessageBody"]
    assert function.invoke(batch) == {"batchItemFailures": []}
    assert (LOCATION, CONTACT) in function.highlevel.conversations


def test_it_takes_an_event(start: Callable[..., Function]) -> None:
    function = start()
    assert function.invoke(json.loads((ROOT / "events/event_conversation_requested.json").read_text())) is None
    assert len(function.highlevel.conversations) == 1


def test_it_names_a_setting_that_is_missing(start: Callable[..., Function]) -> None:
    function = start(RETRY_QUEUE_URL="")
    path, error = function.runtime.results.get(timeout=20)
    assert path == "/2018-06-01/runtime/init/error"
    assert "RETRY_QUEUE_URL" in error["errorMessage"]


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_at_debug_it_writes_its_line_and_no_secret(start: Callable[..., Function], log_format: str) -> None:
    function = start(
        POWERTOOLS_LOG_LEVEL="DEBUG", AWS_LAMBDA_LOG_LEVEL="DEBUG", AWS_LAMBDA_LOG_FORMAT=log_format, LOG_LEVEL="DEBUG"
    )
    assert function.post()["statusCode"] == 201
    function.highlevel.fail(kind="status", status=503)
    assert function.post("another")["statusCode"] == 202
    assert function.post(secret=f"{API_SECRET}x")["statusCode"] == 401
    written = function.end()
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    outcomes = [line["outcome"] for line in lines if line.get("level") == "INFO"]
    assert outcomes == ["opened", "deferred", "unauthorized"]
    for forbidden in (TOKEN, API_SECRET, "uthorization", "session-token", "wJalrXUtnFEMI"):
        assert forbidden not in written
