"""The local AWS behaves like AWS where this application relies on it, and leaves no process or file.

One small stack of its own, its functions behind the fault proxy and under enforced roles.
"""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest

import local.stack
from local.fault_proxy import FaultProxy
from local.stack import ROOT, LocalAws, LocalAwsError, Stack, build, deploy, free_port
from tests import children

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TEMPLATE = Path(__file__).parent / "data" / "template.yaml"


class Probe:
    """The deployed stack and what a test does with it."""

    def __init__(self, aws: LocalAws, proxy: FaultProxy, stack: Stack, code: Path) -> None:
        self.aws, self.proxy, self.stack, self.code = aws, proxy, stack, code
        self.sqs = aws.client("sqs")
        self.queue, self.dead_letters = stack.resource("Queue"), stack.resource("DeadLetters")

    def post(self, command: dict[str, Any], path: str = "/things/9") -> tuple[int, Any]:
        """Call the function through the HTTP API. Returns the status and the JSON of the answer."""
        request = urllib.request.Request(
            self.stack.url(path), json.dumps(command).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def send(self, command: dict[str, Any], **arguments: Any) -> None:
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps(command), **arguments)

    def waiting(self) -> int:
        """Count the messages of the queue, visible or not."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["All"])["Attributes"]
        return sum(int(attributes[f"ApproximateNumberOfMessages{state}"]) for state in ("", "NotVisible", "Delayed"))

    def records(self, since: float) -> list[dict[str, Any]]:
        """Return the messages that the function has received."""
        return [record for line in self.stack.logs(since) for record in line["event"].get("Records", [])]

    def dead_letter(self) -> dict[str, Any]:
        """Wait for a dead letter, and receive it."""

        def take() -> Any:
            found = self.sqs.receive_message(QueueUrl=self.dead_letters, WaitTimeSeconds=1).get("Messages")
            return found and found[0]

        message: dict[str, Any] = eventually(take)
        self.sqs.delete_message(QueueUrl=self.dead_letters, ReceiptHandle=message["ReceiptHandle"])
        return message


def eventually(find: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    port = free_port()
    code = tmp_path_factory.mktemp("code")
    for name, days in (("of last week", 8), ("of yesterday", 1)):
        (code / name).mkdir()
        used_at = time.time() - 86_400 * days
        os.utime(code / name, (used_at, used_at))
    with (
        pytest.MonkeyPatch.context() as patch,
        FaultProxy(f"http://127.0.0.1:{port}") as proxy,
    ):
        patch.setattr(local.stack, "CODE", code)
        with LocalAws(port=port, enforce_iam=True, endpoint_for_functions=proxy.url) as aws:
            stack = deploy(aws, {"Greeting": 'a "b" c=d'}, name="probe", built=build(TEMPLATE))
            yield Probe(aws, proxy, stack, code)


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "probe" in request.fixturenames:
        probe = request.getfixturevalue("probe")
        probe.proxy.heal()
        probe.sqs.purge_queue(QueueUrl=probe.queue)


def test_function_gets_its_own_environment_only(probe: Probe) -> None:
    _status, environment = probe.post({"do": "environment"})
    assert (environment["GREETING"], environment["NUMBER"], environment["SWITCH"]) == ('a "b" c=d', "7", "true")
    assert environment["AWS_ENDPOINT_URL"] == probe.proxy.url
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    assert environment["HOME"] != os.environ.get("HOME")
    assert not {"PYTEST_CURRENT_TEST", "GATEWAY_PORT", "LOCAL_FUNCTION_PYTHON", "AUTH"} & set(environment)


def test_runs_a_function_with_the_packages_that_lambda_offers(probe: Probe) -> None:
    assert probe.post({"do": "find", "module": "boto3"}) == (200, True)
    assert probe.post({"do": "find", "module": "ministack"}) == (200, False)
    assert probe.post({"do": "find", "module": "pytest"}) == (200, False)


def test_gives_a_function_its_request_id_and_remaining_time(probe: Probe) -> None:
    _status, context = probe.post({"do": "context"})
    assert 4000 < context["remaining"] <= 5000
    assert context["request_id"] in "\n".join(probe.stack.log_lines())


def test_routes_as_the_template_says(probe: Probe) -> None:
    _status, event = probe.post({"do": "event"})
    assert event["routeKey"] == "POST /things/{id}"
    assert event["pathParameters"] == {"id": "9"}
    assert probe.post({}, "/other")[0] == 404
    assert probe.post({}, "/less")[0] == 404  # another method


def test_hides_an_exception_from_the_caller_and_logs_it(probe: Probe) -> None:
    since = time.time()
    assert probe.post({"do": "raise"}) == (500, {"message": "Internal Server Error"})
    assert "must stay private" in "\n".join(probe.stack.log_lines(since))


def test_logs_why_a_function_cannot_start(probe: Probe) -> None:
    functions, name = probe.aws.client("lambda"), probe.stack.resource("Function")
    since = time.time()
    functions.update_function_configuration(FunctionName=name, Handler="missing.handler")
    try:
        assert probe.post({})[0] == 500
    finally:
        functions.update_function_configuration(FunctionName=name, Handler="app.handler")
    assert any(line.startswith("[ERROR]") and "missing" in line for line in probe.stack.log_lines(since))


def test_enforces_the_role_also_through_the_proxy(probe: Probe) -> None:
    call = {"do": "call", "service": "secretsmanager", "operation": "get_secret_value"}
    since = time.time()
    assert probe.post({**call, "arguments": {"SecretId": probe.stack.resource("Secret")}})[0] == 500
    assert "AccessDenied" in "\n".join(probe.stack.log_lines(since))
    put = {"TableName": probe.stack.resource("Table"), "Item": {"id": {"S": "1"}}}
    assert probe.post({"do": "call", "service": "dynamodb", "operation": "put_item", "arguments": put})[0] == 200
    assert probe.proxy.calls["dynamodb", "PutItem"] == 1


def test_worker_can_be_killed_at_a_crash_point(probe: Probe) -> None:
    killed: list[int] = []
    probe.proxy.on("sqs", "SendMessage", after=lambda _request: killed.append(probe.aws.kill_workers()))
    since = time.time()
    send = {"QueueUrl": probe.queue, "MessageBody": '{"crash": true}'}
    assert probe.post({"do": "call", "service": "sqs", "operation": "send_message", "arguments": send})[0] == 500
    eventually(lambda: killed and killed[0] >= 1)  # it returns after the process has ended
    eventually(lambda: any(record["body"] == '{"crash": true}' for record in probe.records(since)))
    assert probe.post({})[0] == 200


def test_hundreds_of_connections_may_wait_while_it_is_busy(probe: Probe) -> None:
    assert probe.aws._process
    os.kill(probe.aws._process.pid, signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as connections:
            for _ in range(300):
                connections.enter_context(socket.create_connection(("127.0.0.1", probe.aws.port), timeout=2))
    finally:
        os.kill(probe.aws._process.pid, signal.SIGCONT)
    assert probe.post({})[0] == 200


def test_code_is_extracted_once_and_removed_after_a_week(probe: Probe) -> None:
    def extracted() -> set[Path]:
        return {code.resolve() for code in probe.aws._directory.glob("ministack-lambda-*/code")}

    assert probe.post({"do": "find", "module": "app"}) == (200, True)
    before = extracted()
    probe.aws.kill_workers()
    assert probe.post({"do": "find", "module": "app"}) == (200, True)
    assert extracted() == before
    (code,) = before
    assert {found.name for found in probe.code.iterdir()} == {code.name, "of yesterday"}
    assert code.parent == probe.code


def test_failed_event_is_retried_and_then_dead_lettered(probe: Probe) -> None:
    since = time.time()
    probe.aws.client("events").put_events(
        Entries=[{"Source": "test", "DetailType": "Probe", "Detail": json.dumps({"do": "raise"})}]
    )
    record = json.loads(probe.dead_letter()["Body"])
    assert record["requestPayload"]["detail"] == {"do": "raise"}
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["requestContext"]["functionArn"].endswith(":$LATEST")
    assert "must stay private" in record["responsePayload"]["errorMessage"]
    assert {"version", "timestamp"} <= set(record)
    assert len(probe.stack.logs(since)) == 2


def test_message_has_the_attributes_of_sqs(probe: Probe) -> None:
    since = time.time()
    probe.send({}, MessageGroupId="location-1", MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}})
    (record,) = eventually(lambda: probe.records(since))
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["MessageGroupId"] == "location-1"
    assert abs(int(record["attributes"]["SentTimestamp"]) / 1000 - since) < 5
    assert record["messageAttributes"]["a"]["stringValue"] == "b"
    eventually(lambda: probe.waiting() == 0)


def test_failed_message_is_received_again_after_its_visibility_timeout(probe: Probe) -> None:
    since = time.time()
    probe.send({"visibility": 1})
    probe.send({})
    eventually(lambda: len(probe.records(since)) >= 4)
    counts = [record["attributes"]["ApproximateReceiveCount"] for record in probe.records(since)]
    assert sorted(counts) == ["1", "1", "2", "3"]
    assert json.loads(probe.dead_letter()["Body"]) == {"visibility": 1}  # maxReceiveCount 3
    assert 2 < time.time() - since < 8


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        (None, 0),
        ({}, 0),
        ({"batchItemFailures": None}, 0),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, 1),
        ({"batchItemFailures": [{"id": "x"}]}, 1),
        ("text", 1),
    ],
    ids=["null", "no failures", "failures: null", "empty id", "id: null", "unknown id", "no id", "text"],
)
def test_malformed_answer_fails_the_whole_batch(probe: Probe, answer: Any, stored: int) -> None:
    since = time.time()
    probe.send({"answer": answer})
    eventually(lambda: probe.records(since))
    if stored:
        time.sleep(0.2)
        assert probe.waiting() == 1
    else:
        eventually(lambda: probe.waiting() == 0)


def test_message_deleted_by_the_function_is_not_received_again(probe: Probe) -> None:
    since = time.time()
    probe.send({"delete": True})
    probe.send({})
    eventually(lambda: probe.waiting() == 0)
    eventually(lambda: len(probe.records(since)) == 2)


def test_no_message_is_lost_under_load(probe: Probe) -> None:
    since = time.time()
    for start in range(0, 300, 10):
        entries = [{"Id": str(n), "MessageBody": json.dumps({"number": n})} for n in range(start, start + 10)]
        assert not probe.sqs.send_message_batch(QueueUrl=probe.queue, Entries=entries).get("Failed")
    eventually(lambda: probe.waiting() == 0)
    assert {json.loads(record["body"])["number"] for record in probe.records(since)} == set(range(300))


@pytest.mark.parametrize(
    "arguments",
    [
        {"MessageGroupId": "with space"},
        {"MessageGroupId": "x" * 129},
        {"MessageAttributes": {"empty": {"DataType": "String", "StringValue": ""}}},
        {"MessageAttributes": {"big": {"DataType": "String", "StringValue": "x" * 1_048_576}}},
    ],
    ids=["blank in the group", "long group", "empty attribute", "large attribute"],
)
def test_sqs_refuses_what_aws_refuses(probe: Probe, arguments: dict[str, Any]) -> None:
    with pytest.raises(probe.sqs.exceptions.ClientError, match="InvalidParameterValue"):
        probe.send({}, **arguments)


def test_sqs_refuses_a_visibility_over_12_hours(probe: Probe) -> None:
    with pytest.raises(probe.sqs.exceptions.ClientError, match="InvalidParameterValue"):
        probe.sqs.change_message_visibility(QueueUrl=probe.queue, ReceiptHandle="any", VisibilityTimeout=43_201)


def test_reserves_concurrency(probe: Probe) -> None:
    function = probe.aws.client("lambda").get_function_concurrency(FunctionName=probe.stack.resource("Function"))
    assert function["ReservedConcurrentExecutions"] == 20


def test_generates_a_secret_as_the_template_says(probe: Probe) -> None:
    secret = probe.aws.client("secretsmanager").get_secret_value(SecretId=probe.stack.resource("Secret"))
    value = json.loads(secret["SecretString"])["api"]
    assert len(value) == 200
    assert value.isalnum()


def test_an_update_changes_routes_and_keeps_the_secrets(probe: Probe, tmp_path: Path) -> None:
    secrets, empty = probe.aws.client("secretsmanager"), probe.stack.resource("EmptySecret")
    with pytest.raises(secrets.exceptions.ResourceNotFoundException, match="staging label: AWSCURRENT"):
        secrets.get_secret_value(SecretId=empty)
    secrets.put_secret_value(SecretId=empty, SecretString="token")
    generated = secrets.get_secret_value(SecretId=probe.stack.resource("Secret"))["SecretString"]
    api = probe.stack.url()

    built = build(TEMPLATE)
    changed = tmp_path / "template.yaml"
    changed.write_text(built.read_text().replace("/less", "/more").replace("CodeUri: ", f"CodeUri: {built.parent}/", 1))
    stack = deploy(probe.aws, {"Greeting": "changed"}, name="probe", built=changed)

    assert stack.url() == api
    with urllib.request.urlopen(stack.url("/more")) as response:
        assert response.status == 200
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(stack.url("/less"))
    caught.value.close()
    assert caught.value.code == 404
    assert probe.post({"do": "environment"})[1]["GREETING"] == "changed"
    assert secrets.get_secret_value(SecretId=empty)["SecretString"] == "token"
    assert secrets.get_secret_value(SecretId=probe.stack.resource("Secret"))["SecretString"] == generated


def test_reports_why_a_deployment_failed(probe: Probe) -> None:
    with pytest.raises(LocalAwsError, match="FunctionMessages: Queue visibility timeout: 2 seconds is less than"):
        deploy(probe.aws, {"QueueVisibility": "2"}, name="refused", built=build(TEMPLATE))


def test_builds_the_same_content_once(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.stack, "_sam", None)
    assert build(TEMPLATE).is_file()


def test_reports_why_a_build_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.stack, "BUILDS", tmp_path / "builds")
    (tmp_path / "template.yaml").write_text("Resources: {")
    with pytest.raises(LocalAwsError, match="Failed to parse template"):
        build(tmp_path / "template.yaml")
    assert [left.name for left in (tmp_path / "builds").iterdir()] == ["lock"]


def test_reports_why_it_does_not_start() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LocalAwsError, match="already in use"),
        LocalAws(port=taken.getsockname()[1]),
    ):
        pass


# A parent process that ends in different ways. It prints what must not outlive it.
PARENT = """
import signal, sys, time
from local.stack import LocalAws, exit_on_sigterm
for name in sys.argv[1:]:  # as the process that started it
    signal.signal(signal.Signals[name], signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.Signals[name] for name in sys.argv[1:]])
exit_on_sigterm()
with LocalAws() as aws:
    print(aws.port, aws._process.pid, aws._directory, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_remains_however_the_parent_ends(number: signal.Signals, status: int) -> None:
    parent = children.start([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout
    port, pid, directory = parent.stdout.readline().split()
    os.killpg(parent.pid, number)  # as Ctrl-C in a terminal does: the whole foreground group
    assert parent.wait(60) == status
    eventually(lambda: not Path(directory).exists())
    eventually(lambda: not alive(int(pid)))
    eventually(lambda: not listening(int(port)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    "ignored", [("SIGINT", "SIGQUIT"), ("SIGHUP",), ("SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGCHLD")], ids=" ".join
)
def test_parent_that_was_started_with_ignored_signals(ignored: tuple[str, ...]) -> None:
    """A background job, `nohup` or a supervisor: SIGTERM ends it, and functions have the default signals."""
    parent = children.start([sys.executable, "-c", PARENT, *ignored], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout
    port, pid, _directory = parent.stdout.readline().split()
    status = Path(f"/proc/{pid}/status").read_text()
    assert not signals(status, "SigBlk")
    assert not signals(status, "SigIgn") & {signal.Signals[name] for name in ignored}
    os.kill(parent.pid, signal.SIGTERM)
    assert parent.wait(60) == 143
    eventually(lambda: not alive(int(pid)))
    eventually(lambda: not listening(int(port)))


def signals(status: str, mask: str) -> set[int]:
    """The signals that are set in a mask of /proc/*/status."""
    [bits] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(f"{mask}:")]
    return {number for number in range(1, 65) if bits >> (number - 1) & 1}


def test_nothing_remains_after_an_exception() -> None:
    def fail() -> None:
        with started:
            started.client("lambda").list_functions()
            raise ZeroDivisionError

    started = LocalAws()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert not started._directory.exists()
    assert not listening(started.port)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_listens_on_loopback_only(probe: Probe) -> None:
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    connections += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    port = f":{probe.aws.port:04X}"
    assert {local for _, local, _, state, *_ in connections if state == "0A" and local.endswith(port)} == {
        f"0100007F{port}"
    }


def listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not (state.exists() and ") Z " in state.read_text())
    return False


# --- Access -----------------------------------------------------------------------------------------------------------


def ask(probe: Probe, path: str = "/", body: bytes | None = None, **headers: str) -> tuple[int, str, list[str]]:
    """Send a request unsigned. Returns status, text and the names of the answer's headers."""
    connection = http.client.HTTPConnection("127.0.0.1", probe.aws.port, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("GET" if body is None else "POST", path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), [name.lower() for name in answer.headers]
    finally:
        connection.close()


def other_client(probe: Probe, service: str, key: str | None = None, secret: str | None = None) -> Any:
    keys = probe.aws.env
    return botocore.session.Session().create_client(
        service,
        region_name=local.stack.REGION,
        endpoint_url=probe.aws.endpoint,
        aws_access_key_id=key or keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or keys["AWS_SECRET_ACCESS_KEY"],
        config=botocore.config.Config(proxies={}, retries={"total_max_attempts": 1}, signature_version="v4"),
    )


def test_credentials_are_new_for_each_run(probe: Probe) -> None:
    other = LocalAws().env
    assert not {probe.aws.env[name] for name in KEYS} & {other[name] for name in KEYS}


@pytest.mark.parametrize(
    ("key", "secret"),
    [("test", "test"), ("000000000000", "test"), ("test", None), ("AKIAIOSFODNN7EXAMPLE", None), (None, "test")],
    ids=["MiniStack's own", "an account id", "its key, no secret", "an unknown key", "our key, another secret"],
)
@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("secretsmanager", "list_secrets"),
        ("sqs", "list_queues"),
        ("cloudformation", "list_stacks"),
        ("lambda", "list_functions"),
        ("s3", "list_buckets"),
        ("sts", "get_caller_identity"),
    ],
)
def test_other_credentials_are_refused(
    probe: Probe, service: str, operation: str, key: str | None, secret: str | None
) -> None:
    client = other_client(probe, service, key, secret or ("another" if key else None))
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        getattr(client, operation)()
    client.close()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 401, 403)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/", b"{}", {"x_amz_target": "secretsmanager.ListSecrets", "content_type": "application/x-amz-json-1.1"}),
        ("/", b"Action=ListQueues", {"content_type": "application/x-www-form-urlencoded"}),
        ("/?Action=ListQueues", None, {}),
        ("/2015-03-31/functions", None, {}),
        ("/local-deployments", None, {}),
        ("/_ministack/health", None, {}),
        ("/_ministack/reset", b"", {}),
        ("/_ministack/config", b"{}", {}),
        ("/_aws/execute-api/", b"{}", {"x_amz_target": "secretsmanager.ListSecrets"}),
        ("/_aws/lambda-url/a/", b"{}", {}),
    ],
    ids=[
        "JSON protocol",
        "query protocol",
        "query protocol, GET",
        "Lambda",
        "S3",
        "health",
        "reset",
        "config",
        "execute-api without an API",
        "function URL",
    ],
)
def test_requests_without_a_signature_are_refused(
    probe: Probe, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    status, text, _ = ask(probe, path, body, **headers)
    assert status in (400, 401, 403)
    assert "probe" not in text
    assert probe.post({})[0] == 200  # it still works


def test_presigned_url(probe: Probe) -> None:
    s3 = probe.aws.client("s3")
    s3.put_object(Bucket=local.stack.BUCKET, Key="signed", Body=b"content")
    arguments: dict[str, Any] = {"Params": {"Bucket": local.stack.BUCKET, "Key": "signed"}}

    def path(client: Any, seconds: int = 60) -> str:
        url: str = client.generate_presigned_url("get_object", **arguments, ExpiresIn=seconds)
        return url.removeprefix(probe.aws.endpoint)

    ours, others = other_client(probe, "s3"), other_client(probe, "s3", secret="another")
    assert ask(probe, path(ours))[:2] == (200, "content")
    for refused in (path(others), path(ours, -1), path(ours).replace("signed?", "others?"), path(ours)[:-1]):
        assert ask(probe, refused)[0] in (400, 403), refused
    ours.close()
    others.close()


def test_credentials_of_a_function_cannot_be_guessed(probe: Probe) -> None:
    """MiniStack derives them from the function's ARN and role alone."""
    _status, environment = probe.post({"do": "environment"})
    function = probe.aws.client("lambda").get_function_configuration(FunctionName=probe.stack.resource("Function"))
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    assert environment["AWS_SECRET_ACCESS_KEY"] != hashlib.sha256(f"secret:{digest}".encode()).hexdigest()
    assert environment["AWS_SECRET_ACCESS_KEY"] != probe.aws.env["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.parametrize("host", ["abc.tunnel.example", "local-deployments.s3.amazonaws.com", "evil.example:80"])
def test_route_accepts_any_host_and_ignores_it(probe: Probe, host: str) -> None:
    route = probe.stack.url("/things/9").removeprefix(probe.aws.endpoint)
    status, text, names = ask(probe, route, b'{"do": "event"}', Host=host, content_type="application/json")
    assert status == 200
    assert json.loads(text)["routeKey"] == "POST /things/{id}"
    assert not [name for name in names if name.startswith("access-control")]
    assert ask(probe, "/_ministack/health", Host=host)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}],
    ids=["origin", "null origin", "cross-site"],
)
def test_route_refuses_web_pages(probe: Probe, headers: dict[str, str]) -> None:
    since = time.time()
    route = probe.stack.url("/things/9").removeprefix(probe.aws.endpoint)
    for host in (f"127.0.0.1:{probe.aws.port}", "abc.tunnel.example"):
        status, text, names = ask(probe, route, b"{}", Host=host, **headers)
        assert (status, "no other web page" in text) == (403, True)
        assert not [name for name in names if name.startswith("access-control")]
    assert not probe.stack.logs(since)


def test_no_answer_has_cors_headers(probe: Probe) -> None:
    """Also allowed requests, and services that are configured with CORS."""
    s3 = probe.aws.client("s3")
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}
    s3.put_bucket_cors(Bucket=local.stack.BUCKET, CORSConfiguration={"CORSRules": [rule]})
    answers = [s3.list_buckets(), probe.aws.client("sqs").list_queues()]
    answers.append(probe.aws.client("secretsmanager").list_secrets())
    for answer in answers:
        names = answer["ResponseMetadata"]["HTTPHeaders"]
        assert not [name for name in names if name.startswith("access-control")]
