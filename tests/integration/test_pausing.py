"""Pause outbound calls, the retry consumer and API ingress as docs/operations.md says, and resume; doctor shows
each."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from local.stack import deploy
from tests.integration.aws_faults import FaultyWorld, faulty_world, warm_up
from tests.integration.world import eventually


@pytest.fixture(scope="module")
def _world() -> Iterator[FaultyWorld]:
    with faulty_world() as world:
        yield world


@pytest.fixture
def world(_world: FaultyWorld) -> Iterator[FaultyWorld]:
    warm_up(_world)
    yield _world
    if mapping(_world)["State"] != "Enabled":  # the test failed; the next one must not fail because of it
        pause(_world, "false")
        functions(_world)[0].update_event_source_mapping(UUID=mapping(_world)["UUID"], Enabled=True)


def functions(world: FaultyWorld) -> tuple[Any, str]:
    return world.application.aws.client("lambda"), world.application.stack.resource("CreateConversation")


def mapping(world: FaultyWorld) -> dict[str, Any]:
    client, _name = functions(world)
    sqs = world.application.aws.client("sqs")
    queue = sqs.get_queue_attributes(QueueUrl=world.url("RetryQueue"), AttributeNames=["QueueArn"])["Attributes"]
    [found] = client.list_event_source_mappings(EventSourceArn=queue["QueueArn"])["EventSourceMappings"]
    return dict(found)


def hidden(world: FaultyWorld) -> int:
    """How many messages of the retry queue are in flight."""
    name = "ApproximateNumberOfMessagesNotVisible"
    sqs = world.application.aws.client("sqs")
    return int(sqs.get_queue_attributes(QueueUrl=world.url("RetryQueue"), AttributeNames=[name])["Attributes"][name])


def doctor(world: FaultyWorld) -> list[str]:
    """The lines of `make doctor` about pauses."""
    finished = world.run("operate.doctor")
    assert not finished.stderr
    return re.findall(r"^. (?:pauses|sending|draining|taking|function): .*", finished.stdout, re.MULTILINE)


def pause(world: FaultyWorld, paused: str) -> None:
    """`make deploy PARAMETERS=Paused=…`; other parameters keep their value."""
    world.kill()  # not after it: when a pause ends, a batch is in flight immediately
    deploy(world.application.aws, {"HighLevelBaseUrl": world.highlevel.url, "Paused": paused})
    world.application.post({}, {"authorization": "Bearer wrong"})  # a cold start takes long on a busy machine


def test_a_pause_stores_everything_and_sends_it_afterwards(world: FaultyWorld, location: str, contact: str) -> None:
    assert doctor(world) == ["✓ pauses: none: it sends, drains and takes"]
    world.post(location, f"{contact}-known")
    pause(world, "true")
    world.highlevel.calls.clear()

    since = time.time()
    answer = world.post(location, contact)
    assert (answer.status, answer.body["status"], answer.headers["retry-after"]) == (202, "deferred", "60")
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["reason"] == "paused"
    world.enqueue(location, f"{contact}-waiting")
    assert world.post(location, f"{contact}-known").status == 200, "its idempotency record needs no call"
    assert mapping(world)["State"] == "Disabled"
    [line] = doctor(world)
    assert line.startswith("✗ sending: paused")
    assert "make deploy STACK=highlevel-conversations PARAMETERS=Paused=false" in line

    assert [call for call in world.highlevel.calls if call.location == location] == []
    assert world.application.lines(since, trigger="retry") == []
    assert world.application.count("RetryQueue") == 3

    pause(world, "false")
    assert mapping(world)["State"] == "Enabled"
    assert doctor(world) == ["✓ pauses: none: it sends, drains and takes"]
    eventually(lambda: world.is_open(location, f"{contact}-waiting"))
    eventually(lambda: world.is_open(location, contact, f"{contact}-event"), within=70)  # delayed by 60 s
    eventually(lambda: world.application.count("RetryQueue") == 0)


def test_a_paused_function_neither_sends_nor_gives_up_a_message(
    world: FaultyWorld, location: str, contact: str
) -> None:
    """The mapping was enabled by hand, or the batch was in flight."""
    with world.configured(PAUSED="true", GIVE_UP_AFTER_HOURS="0.0001"):
        since = time.time()
        world.enqueue(location, contact)
        eventually(lambda: hidden(world) == 1)
        time.sleep(1)
        assert hidden(world) == 1
        assert not world.is_open(location, contact)
        assert world.application.lines(since, trigger="retry") == []
        assert world.application.count("DeadLetterQueue") == 0
    world.recover()


def test_the_retry_consumer_is_stopped_and_started(world: FaultyWorld, location: str, contact: str) -> None:
    client, _name = functions(world)
    uuid = mapping(world)["UUID"]
    client.update_event_source_mapping(UUID=uuid, Enabled=False)
    time.sleep(0.5)
    world.enqueue(location, f"{contact}-waiting")
    assert world.post(location, contact).status == 201, "new submissions are sent"
    [line] = doctor(world)
    assert line.startswith("✗ draining: stopped")
    assert f"--enabled --uuid {uuid}" in line
    time.sleep(1)
    assert not world.is_open(location, f"{contact}-waiting")
    assert world.application.count("RetryQueue") == 1

    client.update_event_source_mapping(UUID=uuid, Enabled=True)
    eventually(lambda: world.is_open(location, f"{contact}-waiting"))


def test_api_ingress_is_stopped_and_started(world: FaultyWorld) -> None:
    """The emulator stores the throttle; only AWS answers with 429."""
    apis = world.application.aws.client("apigatewayv2")
    api = world.application.stack.resource("HttpApi")
    stage = {"ApiId": api, "StageName": "$default"}
    apis.update_stage(**stage, DefaultRouteSettings={"ThrottlingRateLimit": 0, "ThrottlingBurstLimit": 0})
    [line] = doctor(world)
    assert line.startswith("✗ taking: stopped")
    assert f"--api-id {api}" in line
    apis.update_stage(**stage, DefaultRouteSettings={"ThrottlingRateLimit": 100, "ThrottlingBurstLimit": 200})
    assert doctor(world) == ["✓ pauses: none: it sends, drains and takes"]


def test_doctor_reports_a_reserved_concurrency_of_0(world: FaultyWorld) -> None:
    client, name = functions(world)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    [line] = doctor(world)
    client.delete_function_concurrency(FunctionName=name)
    assert line.startswith("✗ function: its reserved concurrency is 0")
    assert f"delete-function-concurrency --region us-east-1 --function-name {name}" in line
