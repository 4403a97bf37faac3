"""The operator's commands with real queues, secrets and logs of the local AWS, without a function."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cli import dead_letter_reader, redrive
from cli import stack as stack_module
from cli.app import main
from cli.options import NeedsYesError, Settings
from cli.redrive import DELAY_SECONDS
from cli.stack import Stack, StackError, explain
from create_conversation.submission import Submission
from local.highlevel import LocalHighLevel
from local.stack import REGION, LocalAws, clean_environment
from tests import children

ROOT = Path(__file__).parents[2]
PIT = "pit-01234567-89ab-cdef-0123-456789abcdef"
OTHER = "pit-76543210-89ab-cdef-0123-456789abcdef"

# The outputs that the commands read, and their resources. No function processes the queues.
TEMPLATE = {
    "Parameters": {"HighLevelBaseUrl": {"Type": "String"}, "LocationId": {"Type": "String", "Default": ""}},
    "Resources": {
        "Token": {"Type": "AWS::SecretsManager::Secret", "Properties": {}},
        "Senders": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": '{"api": "hush"}'}},
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}},
        "Dead": {"Type": "AWS::SQS::Queue", "Properties": {}},
        "Retry": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 1}
            },
        },
    },
    "Outputs": {
        "ConversationsUrl": {"Value": "https://api.example/conversations"},
        "SenderSecretsArn": {"Value": {"Fn::GetAtt": ["Senders", "Id"]}},
        "HighLevelTokenArn": {"Value": {"Fn::GetAtt": ["Token", "Id"]}},
        "LogGroupName": {"Value": {"Ref": "Logs"}},
        "RetryQueueUrl": {"Value": {"Ref": "Retry"}},
        "DeadLetterQueueUrl": {"Value": {"Ref": "Dead"}},
    },
}

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as local:
        yield local


@pytest.fixture(scope="module")
def highlevels() -> Iterator[LocalHighLevel]:
    with LocalHighLevel() as local:
        yield local


@pytest.fixture
def highlevel(highlevels: LocalHighLevel) -> LocalHighLevel:
    highlevels.reset()
    highlevels.tokens.clear()
    highlevels.tokens |= {PIT: None, OTHER: None}  # good for all locations
    return highlevels


@pytest.fixture
def stack(aws: LocalAws, highlevel: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A fresh stack, which the commands find like one in the cloud."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    formation = aws.client("cloudformation")
    formation.create_stack(
        StackName="mine",
        TemplateBody=json.dumps(TEMPLATE),
        Parameters=[{"ParameterKey": "HighLevelBaseUrl", "ParameterValue": highlevel.url}],
    )
    until = time.monotonic() + 20
    while formation.describe_stacks(StackName="mine")["Stacks"][0]["StackStatus"] != "CREATE_COMPLETE":
        assert time.monotonic() < until
        time.sleep(0.05)
    yield Stack.connect(Settings("mine"))
    formation.delete_stack(StackName="mine")
    while any(stack["StackName"] == "mine" for stack in formation.describe_stacks()["Stacks"]):
        assert time.monotonic() < until + 20
        time.sleep(0.05)


@pytest.fixture
def run(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process. Returns exit code, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--stack", "mine", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def start(*words: str, stdin: int = subprocess.DEVNULL, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    variables = clean_environment() | {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    return children.start(
        [sys.executable, "-u", "-m", "cli", "--stack", "mine", *words],
        cwd=ROOT,
        env={**variables, "PYTHONPATH": "functions:."},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


# --- dead letters -----------------------------------------------------------------------------------------------------


def body_of(contact: str) -> str:
    body = json.dumps({"locationId": "loc", "contactId": contact}).encode()
    return Submission("http", "api", f"req-{contact}", time.time(), "application/json", body).to_message()


def dead_letter(stack: Stack, *bodies: str, **attributes: str) -> None:
    """Send messages to the dead-letter queue as the function does."""
    for first in range(0, len(bodies), 10):
        answer = stack.sqs.send_message_batch(
            QueueUrl=stack.output("DeadLetterQueueUrl"),
            Entries=[
                {
                    "Id": str(number),
                    "MessageBody": body,
                    "MessageAttributes": {
                        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                    },
                }
                for number, body in enumerate(bodies[first : first + 10])
            ],
        )
        assert not answer.get("Failed")


def visible(stack: Stack, queue: str = "DeadLetterQueueUrl") -> int:
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=stack.output(queue), AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def stored(stack: Stack, queue: str = "DeadLetterQueueUrl") -> int:
    """Count all messages, including hidden and delayed ones."""
    answer = stack.sqs.get_queue_attributes(QueueUrl=stack.output(queue), AttributeNames=["All"])
    return sum(int(value) for name, value in answer["Attributes"].items() if name.startswith("ApproximateNumberOf"))


def received(stack: Stack, count: int) -> list[Any]:
    """Receive this many messages of the retry queue."""
    messages: list[Any] = []
    until = time.monotonic() + 30
    while len(messages) < count:
        assert time.monotonic() < until, f"{len(messages)} of {count}"
        answer = stack.sqs.receive_message(
            QueueUrl=stack.output("RetryQueueUrl"),
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        messages += answer
    return messages


def move_by_sqs(stack: Stack, body: str, group: str) -> None:
    """Receive a message once more than SQS allows."""
    url = stack.output("RetryQueueUrl")
    stack.sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group)
    stack.sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
    stack.sqs.receive_message(QueueUrl=url)
    assert visible(stack) == 1


def test_empty_queue(run: Run) -> None:
    assert run("dead-letters", "list") == (0, "0 dead letters\n", "")
    assert run("dead-letters", "list", "--json") == (0, '{"dead_letters": []}\n', "")
    assert run("redrive", "--wait", "0") == (0, "nothing to redrive\n", "")


def test_table_shows_every_kind_and_consumes_nothing(stack: Stack, run: Run) -> None:
    event = {"detail-type": "ConversationRequested", "id": "e", "detail": {"locationId": "loc2", "contactId": "c"}}
    record = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": event, "responsePayload": {}}
    move_by_sqs(stack, body_of("moved"), "loc1")
    time.sleep(0.01)
    dead_letter(stack, body_of("a"), reason="no_token", sender="api", location="loc", attempts="3")
    time.sleep(0.01)
    dead_letter(
        stack, json.dumps(event), RULE_ARN="arn", TARGET_ARN="arn", ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="no"
    )
    time.sleep(0.01)
    dead_letter(stack, json.dumps(record))
    time.sleep(0.01)
    dead_letter(stack, "not a submission")
    for _ in range(2):
        code, printed, errors = run("dead-letters", "list")
        table, _, notes = printed.partition("5 dead letters\n")
        rows = [line.split() for line in table.splitlines()]
        assert (code, errors) == (0, "")
        assert [row[4:-1] for row in rows[1:]] == [
            ["api", "loc1", "receives", "1000"],
            ["api", "loc", "no_token", "3"],
            ["event", "loc2", "undelivered", "-"],
            ["event", "loc2", "unhandled", "-"],
            ["-", "-", "unreadable", "-"],
        ]
        explained, _, following = notes.partition("\n\nNext: ")
        *meanings, deletion = explained.splitlines()
        reasons = ["no_token", "receives", "undelivered", "unhandled", "unreadable"]
        assert [meaning.partition(":")[0] for meaning in meanings] == reasons
        assert f"look at one: ./hlc --stack mine dead-letters show {rows[1][-1]}\n" in following
        assert [line.rpartition(" ")[2] for line in following.splitlines() if "--reason" in line] == reasons
        assert "SQS moved it after 1,000 receives" in meanings[1]
        first = datetime.fromisoformat(" ".join(rows[1][2:4])) + timedelta(days=14)
        assert deletion == f"SQS deletes the first of them at {first:%Y-%m-%d %H:%M} UTC"
        assert visible(stack) == 5
    code, printed, _ = run("dead-letters", "list", "--json")
    assert [letter["reason"] for letter in json.loads(printed)["dead_letters"]] == [row[6] for row in rows[1:]]


def test_more_than_a_thousand_dead_letters(stack: Stack, run: Run) -> None:
    dead_letter(
        stack, *(body_of(f"c{number}") for number in range(1234)), reason="no_token", sender="api", location="loc"
    )
    code, printed, _ = run("dead-letters", "list")
    table, _, notes = printed.partition("1234 dead letters\n")
    assert (code, len(notes.splitlines())) == (0, 6)
    ids = [line.split()[-1] for line in table.splitlines()[1:]]
    assert len(set(ids)) == 1234
    assert visible(stack) == 1234


def test_one_dead_letter_with_its_body(stack: Stack, run: Run) -> None:
    raw = '{"contactId": "c", "name": "Zoë\x1b[2J"}'.encode()
    one = Submission("http", "api", "req-1", 1_700_000_000.0, "application/json", raw).to_message()
    dead_letter(stack, one, reason="expired", sender="api", location="loc", attempts="9", last_error="upstream_timeout")
    dead_letter(stack, body_of("other"), reason="no_token")
    short = next(line.split()[-1] for line in run("dead-letters", "list")[1].splitlines() if "expired" in line)
    code, printed, _ = run("dead-letters", "show", short)
    head, _, body = printed.partition("\n\n")
    assert code == 0
    body, _, following = body.partition("\n\nNext: ")
    assert body == '{"contactId": "c", "name": "Zoë\\x1b[2J"}'
    assert following == "fix the cause, then ./hlc --stack mine redrive --reason expired\n"
    for fact in ("upstream_timeout", "req-1", "2023-11-14T22:13:20.000+00:00", "application/json", "http"):
        assert fact in head
    whole = json.loads(run("dead-letters", "show", short, "--json")[1])
    assert whole["body"] == raw.decode()
    assert whole["attributes"]["attempts"] == "9"
    with pytest.raises(StackError, match="no message"):
        run("dead-letters", "show", "nothing")
    assert visible(stack) == 2


def test_messages_hidden_by_another_reader(stack: Stack, run: Run) -> None:
    dead_letter(stack, body_of("a"), body_of("b"), reason="no_token")
    stack.sqs.receive_message(QueueUrl=stack.output("DeadLetterQueueUrl"), VisibilityTimeout=60)
    code, printed, errors = run("dead-letters", "list")
    assert (code, printed.splitlines()[2]) == (0, "1 dead letter")
    assert errors.startswith("another reader, or one that was interrupted, hides about 1 more: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_messages_are_visible_again_after_an_interrupt(stack: Stack, number: signal.Signals) -> None:
    dead_letter(stack, *(body_of(f"c{number}") for number in range(2000)), reason="no_token")
    process = start("dead-letters", "list")
    while visible(stack) > 1900:
        assert process.poll() is None
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
    assert visible(stack) == 2000


# --- redrive ----------------------------------------------------------------------------------------------------------


def test_matching_letters_go_to_the_retry_queue(stack: Stack, run: Run) -> None:
    dead_letter(stack, body_of("a"), reason="no_token", sender="api", location="loc1", attempts="3")
    dead_letter(stack, body_of("b"), reason="no_token", sender="form", location="loc1")
    dead_letter(stack, body_of("c"), reason="expired", sender="api", location="loc1")
    dead_letter(stack, "not a submission")
    code, printed, _ = run("redrive", "--wait", "0", "--reason", "no_tokens")
    assert code == 1
    assert printed.startswith(
        "nothing to redrive with reason no_tokens: the queue has 1 with reason no_token of api, 1 with "
    )
    assert printed.endswith("; did you mean no_token?\n")
    assert visible(stack) == 4
    code, printed, _ = run("redrive", "--wait", "0", "--reason", "no_token", "--sender", "api")
    assert (code, printed) == (0, "1 redriven, 3 others stay\n")
    (message,) = received(stack, 1)
    assert json.loads(message["Body"])["submission"]["request_id"] == "req-a"
    assert message["Attributes"]["MessageGroupId"] == "loc1"
    assert message["MessageAttributes"]["attempts"]["StringValue"] == "3"
    assert (visible(stack), stored(stack)) == (3, 3)
    assert run("redrive", "--wait", "0")[:2] == (0, "3 redriven\n")
    assert stored(stack) == 0


def test_body_and_message_group_stay(stack: Stack, run: Run) -> None:
    body = body_of("moved")
    move_by_sqs(stack, body, "loc7")
    assert run("redrive", "--wait", "0", "--reason", "receives")[:2] == (0, "1 redriven\n")
    (message,) = received(stack, 1)
    assert (message["Body"], message["Attributes"]["MessageGroupId"]) == (body, "loc7")


def test_redrive_of_large_bodies(stack: Stack, run: Run) -> None:
    body = Submission("http", "api", "r", 1.0, "application/json", b"x" * 256 * 1024).to_message()
    for _ in range(7):
        dead_letter(stack, body, reason="no_token")
    assert run("redrive", "--wait", "0")[:2] == (0, "7 redriven\n")
    assert stored(stack, "RetryQueueUrl") == 7


def test_redrive_of_thousands(stack: Stack, run: Run) -> None:
    contacts = {f"c{number}" for number in range(3000)}
    dead_letter(stack, *map(body_of, sorted(contacts)), reason="no_token", location="loc")
    started = time.monotonic()
    assert run("redrive", "--wait", "0")[:2] == (0, "3000 redriven\n")
    assert time.monotonic() - started < 30
    assert stored(stack) == 0
    assert len(received(stack, 3000)) == 3000


def test_letters_that_come_back_are_not_redriven_again(stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile a consumer of the retry queue dead-letters every message immediately."""
    came_back = 0
    stop = threading.Event()

    def send_back() -> None:
        nonlocal came_back
        url = stack.output("RetryQueueUrl")
        while not stop.wait(0.05) and came_back < 1000:
            for message in stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                dead_letter(stack, message["Body"], reason="no_token")
                stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                came_back += 1

    handle = redrive._Redrive.handle

    def handle_slowly(self: redrive._Redrive, letters: list[dead_letter_reader.DeadLetter]) -> list[str]:
        time.sleep(1)  # the first letters are back before the last ones are sent
        return handle(self, letters)

    monkeypatch.setattr(redrive._Redrive, "handle", handle_slowly)
    dead_letter(stack, *(body_of(f"c{number}") for number in range(400)), reason="no_token")
    thread = threading.Thread(target=send_back)
    thread.start()
    try:
        code, printed, _ = run("redrive", "--wait", "0")
        time.sleep(DELAY_SECONDS + 1)
    finally:
        stop.set()
        thread.join()
    done, _, meanwhile = printed.partition(", ")
    assert (code, done) == (0, "400 redriven")
    assert meanwhile.endswith("arrived meanwhile\n")
    assert came_back == 400
    assert visible(stack) == 400


def everywhere(aws: LocalAws, stack: Stack) -> dict[str, int]:
    """Count the messages of each submission in both queues, visible or not, by request id."""
    found: dict[str, int] = {}
    for queue in ("DeadLetterQueueUrl", "RetryQueueUrl"):
        query = urllib.parse.urlencode({"QueueUrl": stack.output(queue)})
        text = aws.get(f"/_ministack/sqs/messages?{query}")[1].decode()
        for name in re.findall(r"request_id\W+(req-\w+)", text):
            found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_killed_redrive_loses_nothing(aws: LocalAws, stack: Stack, number: signal.Signals) -> None:
    names = {f"req-c{number}" for number in range(2000)}
    dead_letter(stack, *(body_of(name.removeprefix("req-")) for name in names), reason="no_token", location="loc")
    process = start("redrive", "--wait", "0")
    while stored(stack, "RetryQueueUrl") < 100:
        assert process.poll() is None
    process.send_signal(number)
    printed, errors = process.communicate(timeout=60)
    found = everywhere(aws, stack)
    assert set(found) == names
    assert stored(stack) > 0
    if number == signal.SIGINT:
        assert (process.returncode, errors) == (130, "")
        assert set(found.values()) == {1}
        assert printed == f"interrupted: {stored(stack, 'RetryQueueUrl')} redriven, the others stay\n"
        assert visible(stack) == stored(stack)


def test_network_failure_between_send_and_delete(
    aws: LocalAws, stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> list[str]:
        raise EndpointConnectionError(endpoint_url="http://sqs")

    dead_letter(stack, body_of("a"), body_of("b"), reason="no_token", location="loc")
    with monkeypatch.context() as patch:
        patch.setattr(redrive._Redrive, "_delete", lost)
        with pytest.raises(EndpointConnectionError):
            run("redrive", "--wait", "0")
    assert visible(stack) == 2
    assert everywhere(aws, stack) == {"req-a": 2, "req-b": 2}
    assert run("redrive", "--wait", "0")[:2] == (0, "2 redriven\n")
    assert everywhere(aws, stack) == {"req-a": 2, "req-b": 2}


def test_letters_that_cannot_be_sent_stay(stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    send = redrive._Redrive._send
    dead_letter(stack, body_of("a"), body_of("b"), body_of("c"), reason="no_token", location="loc")
    monkeypatch.setattr(redrive._Redrive, "_send", lambda self, batch: send(self, batch)[1:])
    code, printed, _ = run("redrive", "--wait", "0")
    assert (code, printed) == (1, "2 redriven, 1 failed and stay\n")
    assert visible(stack) == 1


# --- token ------------------------------------------------------------------------------------------------------------


def secret(stack: Stack) -> str:
    return stack.secrets_manager.get_secret_value(SecretId=stack.output("HighLevelTokenArn"))["SecretString"]


@pytest.fixture
def store(stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Store a token. Returns the output, which never contains it."""

    def store(value: str, *arguments: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{value}\n"))
        code, printed, errors = run("token", "set", *arguments)
        assert code == 0
        assert value not in printed + errors
        return printed

    return store


def test_first_token_and_its_successor(stack: Stack, store: Callable[..., str]) -> None:
    printed = store(PIT)
    assert secret(stack) == PIT
    tried, stored_in = printed.splitlines()[:2]
    assert (
        tried
        == "✓ token: HighLevel accepts it; to check its scopes: ./hlc --stack mine doctor --location <location id>"
    )
    assert stored_in.startswith("stored a private integration token (40 characters) in arn:aws:secretsmanager:")
    assert "./hlc --stack mine sender add <name>" in printed
    assert "hush" not in printed
    assert "within 5 minutes" not in printed
    assert "within 5 minutes" in store(OTHER)
    assert secret(stack) == OTHER


def test_token_typed_on_a_terminal_is_not_shown(stack: Stack) -> None:
    ours, theirs = pty.openpty()
    process = start("token", "set", stdin=theirs, stderr=theirs)
    shown = b""
    while not shown.endswith(b"(is not shown): "):
        shown += os.read(ours, 1024)
    os.write(ours, f"{PIT}\n".encode())
    printed, _ = process.communicate(timeout=60)
    os.close(theirs)
    with contextlib.suppress(OSError):  # EIO: all was read
        shown += os.read(ours, 1024)
    os.close(ours)
    assert process.returncode == 0
    assert PIT not in printed + shown.decode()
    assert secret(stack) == PIT


def test_tokens_by_location(stack: Stack, run: Run, store: Callable[..., str]) -> None:
    store(PIT, "--location", "loc1")
    assert json.loads(secret(stack)) == {"tokens": {"loc1": PIT}}
    store(OTHER, "--location", "loc2")
    store(OTHER, "--location", "loc1")
    assert json.loads(secret(stack)) == {"tokens": {"loc1": OTHER, "loc2": OTHER}}
    store(PIT, "--location", "*")
    assert json.loads(secret(stack)) == {"tokens": {"loc1": OTHER, "loc2": OTHER, "*": PIT}}
    before = secret(stack)
    with pytest.raises(StackError, match="--location <id>") as raised:
        store(PIT)
    assert PIT not in str(raised.value)
    with pytest.raises(click.BadParameter, match="a location id"):
        store(PIT, "--location", "not an id")
    assert secret(stack) == before


@pytest.mark.parametrize(
    "before", [PIT, json.dumps({"token": PIT}), json.dumps(PIT)], ids=["text", "object", "JSON text"]
)
def test_single_token_becomes_the_token_of_other_locations(
    stack: Stack, store: Callable[..., str], before: str
) -> None:
    stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString=before)
    assert "use the token that is stored for *" in store(OTHER, "--location", "loc1")
    assert json.loads(secret(stack)) == {"tokens": {"*": PIT, "loc1": OTHER}}


@pytest.mark.parametrize("arguments", [(), ("--location", "loc1")], ids=["any location", "one location"])
def test_oauth_connection_is_not_overwritten(stack: Stack, store: Callable[..., str], arguments: list[str]) -> None:
    before = json.dumps({"oauth": {"refresh_token": "hush"}})
    stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString=before)
    with pytest.raises(StackError, match="OAuth") as raised:
        store(PIT, *arguments)
    assert "hush" not in str(raised.value)
    assert "./hlc --stack mine deploy RotateToken=false" in str(raised.value), "its rotation would continue and fail"
    assert secret(stack) == before


def test_other_format_is_replaced_but_not_extended(stack: Stack, store: Callable[..., str]) -> None:
    stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString='{"pit": "hush"}')
    with pytest.raises(StackError, match="another format"):
        store(PIT, "--location", "loc1")
    store(PIT)
    assert secret(stack) == PIT
    stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString="{}")
    store(PIT, "--location", "loc1")
    assert json.loads(secret(stack)) == {"tokens": {"loc1": PIT}}


def test_malformed_token_changes_nothing(stack: Stack, store: Callable[..., str]) -> None:
    store(PIT)
    with pytest.raises(StackError, match="nothing was stored"):
        store(f"Bearer {OTHER}")
    assert secret(stack) == PIT


UNKNOWN = "pit-00000000-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("arguments", "failure", "expected"),
    [
        pytest.param((), "", "✗ token: HighLevel does not accept the token (401)", id="refused"),
        pytest.param(("--location", "loc1"), "", "✗ token of loc1: HighLevel does not accept", id="refused there"),
        pytest.param(
            ("--location", "loc1"), "foreign", "✗ token of loc1: HighLevel's token has no", id="of another location"
        ),
        pytest.param(
            ("--location", "loc1"), "scope", "✗ scope conversations.write: the token lacks this scope", id="scope"
        ),
        pytest.param((), "agency", "✗ token: The HighLevel token is of the wrong kind", id="of an agency"),
        pytest.param((), "down", "✗ HighLevel: HighLevel answered with an error (503)", id="down"),
        pytest.param((), "reset", "✗ HighLevel: The connection to HighLevel was lost", id="connection reset"),
        pytest.param(("--location", "loc1"), "limited", "✗ quota of loc1: used up (429)", id="out of quota"),
    ],
)
def test_token_that_highlevel_refuses_is_stored_only_with_yes(  # noqa: PLR0913 - four fixtures, three parameters
    stack: Stack,
    highlevel: LocalHighLevel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    failure: str,
    expected: str,
) -> None:
    stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString=PIT)
    match failure:
        case "foreign":
            highlevel.tokens[UNKNOWN] = "loc2"
        case "scope":
            highlevel.tokens[UNKNOWN] = None
            highlevel.scopes[UNKNOWN] = {"conversations.readonly", "contacts.write", "contacts.readonly"}
        case "agency":
            highlevel.agency_tokens.add(UNKNOWN)
        case "down":
            highlevel.fail("status", status=503)
        case "reset":
            highlevel.fail("reset")
        case "limited":
            highlevel.fail("status", status=429)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{UNKNOWN}\n"))
    with pytest.raises(NeedsYesError) as raised:
        main(["--stack", "mine", "token", "set", *arguments])
    assert raised.value.message.startswith("nothing was stored; the stored value did not change. ")
    assert raised.value.message.endswith("add --yes")
    printed = capsys.readouterr().out
    assert expected in printed
    assert UNKNOWN not in printed
    assert secret(stack) == PIT
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{UNKNOWN}\n"))
    assert main(["--stack", "mine", "token", "set", "--yes", *arguments]) == 0
    assert UNKNOWN in secret(stack)
    assert not highlevel.conversations
    assert not highlevel.contacts


def test_scopes_are_reported_before_the_token_is_stored(
    stack: Stack, highlevel: LocalHighLevel, store: Callable[..., str]
) -> None:
    highlevel.scopes[PIT] = {"conversations.write", "conversations.readonly"}
    lines = store(PIT, "--location", "loc1").splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == [
        "✓ token of loc1",
        "✓ scope conversations.write",
        "✓ scope conversations.readonly",
        "✗ scope contacts.write",
    ]
    assert json.loads(secret(stack)) == {"tokens": {"loc1": PIT}}
    assert [call.status for call in highlevel.calls][-3:] == [422, 401, 401]
    assert not highlevel.conversations


@pytest.mark.parametrize(("answer", "is_stored"), [("y", True), ("", False), ("no", False)])
def test_operator_confirms_a_refused_token(
    stack: Stack, highlevel: LocalHighLevel, answer: str, is_stored: bool
) -> None:
    stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString=PIT)
    ours, theirs = pty.openpty()
    process = start("token", "set", stdin=theirs, stderr=theirs)
    shown = b""
    while not shown.endswith(b"(is not shown): "):
        shown += os.read(ours, 1024)
    os.write(ours, f"{UNKNOWN}\n".encode())
    while not shown.endswith(b"[y/N] "):
        shown += os.read(ours, 1024)
    assert b"Store it anyway instead of the current one?" in shown
    os.write(ours, f"{answer}\n".encode())
    printed, _ = process.communicate(timeout=20)
    assert "✗ token: HighLevel does not accept the token (401)" in printed
    os.close(theirs)
    os.close(ours)
    assert process.returncode == (0 if is_stored else 1)
    assert secret(stack) == (UNKNOWN if is_stored else PIT)


# --- logs -------------------------------------------------------------------------------------------------------------


class Log:
    """Writes to the stack's log group as the function does."""

    def __init__(self, stack: Stack) -> None:
        self._logs = stack.logs
        self._group = stack.output("LogGroupName")
        for stream in ("one", "two"):
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=stream)

    def write(self, message: object, *, ago: float = 0, stream: str = "one") -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self._logs.put_log_events(
            logGroupName=self._group,
            logStreamName=stream,
            logEvents=[{"timestamp": int((time.time() - ago) * 1000), "message": text}],
        )

    def submission(self, contact: str, *, ago: float = 0, stream: str = "one", **members: object) -> None:
        line = {"level": "INFO", "message": "submission", "outcome": "opened", "contact_id": contact, **members}
        self.write(line, ago=ago, stream=stream)


def contacts(printed: str) -> list[str]:
    return re.findall(r"\bc\d\b", printed)


def test_lines_up_to_now(stack: Stack, run: Run) -> None:
    log = Log(stack)
    log.submission("c0", ago=1000)
    log.submission("c2", ago=3, stream="two", reason="no_token", request_id="r2")
    log.submission("c1", ago=5)
    log.write("START RequestId: 1")
    log.write({"_aws": {}})
    log.write({"level": "WARNING", "message": "aws_request_failed", "service": "SQS"})
    code, printed, errors = run("logs", "--no-follow")
    assert (code, errors, contacts(printed)) == (0, "", ["c1", "c2"])
    assert printed.splitlines()[-1].endswith("WARNING aws_request_failed service=SQS")
    assert len(printed.splitlines()) == 4
    assert contacts(run("logs", "--no-follow", "--since", "1h")[1]) == ["c0", "c1", "c2"]
    for option, value in (("--contact", "c2"), ("--request", "r2"), ("--reason", "no_token")):
        printed = run("logs", "--no-follow", option, value)[1]
        assert (contacts(printed), len(printed.splitlines())) == (["c2"], 2)


def test_new_lines_until_interrupted(stack: Stack) -> None:
    log = Log(stack)
    log.submission("c1")
    process = start("logs")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("time ")
    assert contacts(process.stdout.readline()) == ["c1"]
    log.submission("c2", stream="two")
    assert contacts(process.stdout.readline()) == ["c2"]
    log.submission("c3", ago=50)  # late
    log.submission("c4")
    assert [contacts(process.stdout.readline()) for _ in range(2)] == [["c3"], ["c4"]]
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_closed_pipe_ends_the_command_silently(stack: Stack) -> None:
    log = Log(stack)
    process = start("logs")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    log.submission("c1")
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 0


# --- the stack --------------------------------------------------------------------------------------------------------


def test_local_stack(aws: LocalAws, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's AWS settings do not matter."""
    for name in aws.env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    served = {"endpoint": aws.endpoint, "stack": "mine", "region": REGION, "conversations_url": "http://here"}
    served |= {"access_key_id": aws.env["AWS_ACCESS_KEY_ID"], "secret_access_key": aws.env["AWS_SECRET_ACCESS_KEY"]}
    (tmp_path / "serve.json").write_text(json.dumps(served))
    monkeypatch.setattr(stack_module, "SERVE_FILE", tmp_path / "serve.json")
    local = Stack.connect(Settings("local"))
    assert local.output("ConversationsUrl") == "http://here"
    assert local.output("RetryQueueUrl") == stack.output("RetryQueueUrl")
    assert visible(local) == 0


def test_unknown_stack(stack: Stack) -> None:
    with pytest.raises(StackError, match=f"there is no stack theirs in {REGION}"):
        Stack.connect(Settings("theirs"))


def test_access_denied_names_the_action() -> None:
    """IAM is enforced, and the user has no permission."""
    with LocalAws(enforce_iam=True) as aws, pytest.MonkeyPatch.context() as patch:
        aws.client("iam").create_user(UserName="unknown")
        key = aws.client("iam").create_access_key(UserName="unknown")["AccessKey"]
        for name, value in aws.env.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        with pytest.raises(ClientError) as raised:
            Stack.connect(Settings("mine"))
        assert explain(raised.value) == "these AWS credentials may not cloudformation:DescribeStacks"
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        with pytest.raises(ClientError) as raised:
            Stack.connect(Settings("mine"))
        assert "does not know these credentials" in explain(raised.value)
