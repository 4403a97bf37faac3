"""`./hlc pause` and `./hlc resume`, with deployments in between: what stops, what goes on, and what doctor shows."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.pausing import LAST_WAIT_SECONDS
from tests.integration.aws_faults import FaultyWorld, faulty_world, warm_up
from tests.integration.packaged import deploy_packaged
from tests.integration.world import eventually

NOTHING = ["✓ pauses: none: HighLevel is called, the retry queue is processed, the API accepts requests"]
HLC = "./hlc"


@pytest.fixture(scope="module")
def _world() -> Iterator[FaultyWorld]:
    with faulty_world() as world:
        yield world


@pytest.fixture
def world(_world: FaultyWorld) -> Iterator[FaultyWorld]:
    warm_up(_world)
    yield _world
    run(_world, "resume")


def run(world: FaultyWorld, command: str, *arguments: str) -> str:
    """Run `./hlc pause` or `./hlc resume`; return what it prints."""
    finished = world.run(command, *arguments)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


def doctor(world: FaultyWorld) -> list[str]:
    """The lines of `./hlc doctor` about pauses."""
    finished = world.run("doctor")
    assert not finished.stderr
    return re.findall(r"^. (?:pauses|sending|retrying|accepting|function): .*", finished.stdout, re.MULTILINE)


def redeploy(world: FaultyWorld, **parameters: str) -> None:
    """Deploy with a parameter that changes the function, its version and the event source mapping."""
    world.kill()  # not after it: when a pause ends, a batch is in flight immediately
    deploy_packaged(world.application.aws, {"HighLevelBaseUrl": world.highlevel.url, **parameters})
    world.application.start_function()


def mapping(world: FaultyWorld) -> dict[str, Any]:
    functions, name = world.application.aws.client("lambda"), world.application.stack.resource("CreateConversation")
    [found] = functions.list_event_source_mappings(FunctionName=f"{name}:live")["EventSourceMappings"]
    return dict(found)


def deletion_in(text: str) -> datetime:
    """The time at which SQS deletes the oldest submission, in a text for the operator."""
    [found] = re.findall(r"on (\d{4}-\d\d-\d\d \d\d:\d\d) UTC or later", text)
    return datetime.strptime(found, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def test_a_pause_of_sending_stores_everything_and_survives_a_deployment(
    world: FaultyWorld, location: str, contact: str
) -> None:
    assert doctor(world) == NOTHING
    world.post(location, f"{contact}-known")
    started = time.monotonic()
    printed = run(world, "pause")
    assert time.monotonic() - started < 10
    assert "0 wait" in printed
    assert f"{HLC} resume" in printed
    assert abs(deletion_in(printed) - datetime.now(UTC) - timedelta(days=14)) < timedelta(minutes=2)
    time.sleep(5.5)  # until each instance has read it
    world.highlevel.calls.clear()

    since = time.time()
    answer = world.post(location, contact)
    assert (answer.status, answer.body["status"], answer.headers["retry-after"]) == (202, "deferred", "60")
    redeploy(world, GiveUpAfterHours="71", RetryConcurrency="3")
    assert mapping(world)["State"] == "Disabled"
    assert mapping(world)["ScalingConfig"] == {"MaximumConcurrency": 3}, "the deployment changed the mapping"
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["reason"] == "paused"
    world.enqueue(location, f"{contact}-waiting")
    assert world.post(location, f"{contact}-known").status == 200, "its idempotency record needs no call"

    [line] = doctor(world)
    assert line.startswith("✗ sending: paused: submissions are stored; SQS deletes the oldest on ")
    assert f"{HLC} resume" in line
    assert deletion_in(line) == deletion_in(printed)
    assert [call for call in world.highlevel.calls if call.location == location] == []
    assert world.application.lines(since, trigger="retry") == []
    assert world.application.count("RetryQueue") == 3

    assert "resumed: sending, retrying; 3 submissions wait" in run(world, "resume")
    assert mapping(world)["State"] == "Enabled"
    assert doctor(world) == NOTHING
    eventually(lambda: world.is_open(location, f"{contact}-waiting"))
    eventually(lambda: world.is_open(location, contact, f"{contact}-event"), within=70)  # delayed by 60 s
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert run(world, "resume") == "nothing is paused\n"


def test_a_paused_function_neither_sends_nor_gives_up_a_message(
    world: FaultyWorld, location: str, contact: str
) -> None:
    """The mapping was enabled by hand, or the batch was in flight."""
    run(world, "pause")
    functions = world.application.aws.client("lambda")
    functions.update_event_source_mapping(UUID=mapping(world)["UUID"], Enabled=True)
    with world.configured(GIVE_UP_AFTER_HOURS="0.0001"):
        since = time.time()
        world.enqueue(location, contact)
        eventually(lambda: hidden(world) == 1)
        time.sleep(1)
        assert hidden(world) == 1
        assert not world.is_open(location, contact)
        assert world.application.lines(since, trigger="retry") == []
        assert world.application.count("DeadLetterQueue") == 0
    world.recover()


def hidden(world: FaultyWorld) -> int:
    """How many messages of the retry queue are in flight."""
    name = "ApproximateNumberOfMessagesNotVisible"
    sqs = world.application.aws.client("sqs")
    return int(sqs.get_queue_attributes(QueueUrl=world.url("RetryQueue"), AttributeNames=[name])["Attributes"][name])


def test_a_pause_of_retrying_names_when_sqs_deletes_what_may_wait_longest(
    world: FaultyWorld, location: str, contact: str
) -> None:
    run(world, "pause", "retrying")
    world.enqueue(location, f"{contact}-waiting")
    printed = run(world, "pause", "retrying")  # again, now that something waits
    assert "retrying is paused" in printed
    oldest = deletion_in(printed) - timedelta(days=14)
    assert datetime.now(UTC) - timedelta(hours=72, seconds=LAST_WAIT_SECONDS) < oldest < datetime.now(UTC)
    assert world.post(location, contact).status == 201, "new submissions are sent"
    redeploy(world, RetryConcurrency="4")
    [line] = doctor(world)
    assert line.startswith("✗ retrying: paused; SQS deletes the oldest that waits on ")
    time.sleep(1)
    assert not world.is_open(location, f"{contact}-waiting")
    run(world, "resume")
    eventually(lambda: world.is_open(location, f"{contact}-waiting"))


def test_a_pause_of_accepting_answers_429_and_survives_a_deployment(
    world: FaultyWorld, location: str, contact: str
) -> None:
    run(world, "pause", "accepting")
    assert world.post(location, contact).status == 429
    assert world.application.deliver("typeform", b"{}", {}).status == 429
    redeploy(world, GiveUpAfterHours="70")
    assert world.post(location, contact).status == 429
    [line] = doctor(world)
    assert line.startswith("✗ accepting: paused")
    world.put_event(location, f"{contact}-event")
    eventually(lambda: world.is_open(location, f"{contact}-event"))
    assert "resumed: accepting" in run(world, "resume")
    assert world.post(location, contact).status == 201
    assert doctor(world) == NOTHING


def test_the_function_may_read_the_pause_and_nothing_more_than_before(world: FaultyWorld) -> None:
    dynamodb = world.client_as("CreateConversationRole")("dynamodb")
    table = world.application.stack.resource("IdempotencyTable")
    dynamodb.get_item(TableName=table, Key={"pk": {"S": "pause"}})
    for operation in ("delete_item", "put_item"):
        given = {"Item": {"pk": {"S": "pause"}}} if operation == "put_item" else {"Key": {"pk": {"S": "pause"}}}
        with pytest.raises(dynamodb.exceptions.ClientError, match="AccessDenied"):
            getattr(dynamodb, operation)(TableName=table, **given)


def test_doctor_reports_a_reserved_concurrency_of_0(world: FaultyWorld) -> None:
    functions, name = world.application.aws.client("lambda"), world.application.stack.resource("CreateConversation")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    [line] = doctor(world)
    functions.delete_function_concurrency(FunctionName=name)
    assert line.startswith("✗ function: stopped by a reserved concurrency of 0")
    assert f"delete-function-concurrency --region us-east-1 --function-name {name}" in line
