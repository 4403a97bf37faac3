"""DynamoDB, SQS and Secrets Manager hanging, throttling, gone and broken, under each door of the deployed application.

`TroubledWorld.post` fails for any answer that takes 5 seconds.
"""

import json
import time
from collections.abc import Iterator

import pytest

from local.application import Answer
from local.fault_proxy import Mode
from tests.integration.aws_faults import FaultyWorld, faulty_world
from tests.integration.world import eventually

MODES: tuple[Mode, ...] = ("hang", "throttle", "gone", "error")
FOR_LONG_TESTS = MODES[:3]  # an error takes the way of a throttle


@pytest.fixture(scope="module")
def _faulty_world() -> Iterator[FaultyWorld]:
    with faulty_world() as world, world.configured(BACKOFF_CAP_SECONDS="2"):
        yield world


@pytest.fixture
def world(_faulty_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """The module's application, each test with processes of its own: they remember trouble."""
    yield _faulty_world
    _faulty_world.recover()


def warm_up(world: FaultyWorld, location: str) -> None:
    """A process that has its secrets and its connections."""
    assert world.post(location, "warm-up").status in (200, 201)


def assert_please_repeat(answer: Answer, reason: str) -> None:
    assert (answer.status, answer.body["type"]) == (503, f"urn:highlevel-conversations:{reason}")
    assert int(answer.headers["retry-after"]) > 0


# --- DynamoDB: go on without ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["cold", "warm"])
@pytest.mark.parametrize("mode", MODES)
def test_without_dynamodb_every_door_goes_on(
    world: FaultyWorld, location: str, contact: str, mode: Mode, environment: str
) -> None:
    def next_door() -> None:
        if environment == "cold":
            world.kill()

    warm_up(world, location)
    calls = world.proxy.calls["dynamodb", "GetItem"]
    world.proxy.fail("dynamodb", mode)

    next_door()
    assert world.post(location, contact).status == 201
    again = world.post(location, contact)  # not on record: HighLevel's search knows the id
    assert (again.status, again.body["conversation"]) == (
        200,
        {"id": world.highlevel.conversations[location, contact]["id"], "contactId": contact, "locationId": location},
    )
    next_door()
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    next_door()
    world.keep(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert world.proxy.calls["dynamodb", "GetItem"] > calls


# --- SQS: what cannot be kept stays with whoever has it ---------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_without_sqs_what_needs_no_queue_is_opened(world: FaultyWorld, location: str, contact: str, mode: Mode) -> None:
    world.proxy.fail("sqs", mode)
    assert world.post(location, contact).status == 201
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    world.keep(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert world.proxy.calls["sqs", "ChangeMessageVisibilityBatch"] > 0


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_without_sqs_the_caller_repeats_and_an_event_becomes_lambdas_dead_letter(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    world.highlevel.fail("status", status=503, location=location)
    world.proxy.fail("sqs", mode)
    event_id = world.put_event(location, f"{contact}-event")
    assert_please_repeat(world.post(location, contact), "not_stored")
    assert world.line(contact, "http")["outcome"] == "not_stored"

    eventually(lambda: world.application.count("DeadLetterQueue") == 1, within=60)  # after two retries of Lambda's
    assert len(world.application.lines(request_id=event_id, outcome="not_stored")) == 3
    [letter] = world.dead_letters()
    assert json.loads(letter["text"])["requestPayload"]["id"] == event_id

    world.proxy.heal()
    world.highlevel.heal()
    world.resend(letter["text"])
    assert world.line(f"{contact}-event", "retry")["outcome"] == "opened"
    eventually(lambda: world.application.count("RetryQueue") == 0)


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_without_sqs_a_retried_message_stays_in_the_queue(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    """It comes back after the queue's visibility timeout, as not even its lease can be set then."""
    down = world.highlevel.fail("status", status=503, contact=f"{contact}-down")
    world.highlevel.fail("status", status=422, contact=f"{contact}-refused")
    world.proxy.fail("sqs", mode)
    world.show_again_after(12 if mode == "hang" else 6)
    with world.consumer_paused():
        for name in ("down", "refused", "fine"):
            world.keep(f"{location}-{name}", f"{contact}-{name}")
    for name, outcome in (("down", "not_stored"), ("refused", "not_stored"), ("fine", "opened")):
        assert world.line(f"{contact}-{name}", "retry", attempts=1)["outcome"] == outcome
    eventually(lambda: world.application.count("RetryQueue") == 2)
    assert world.application.count("DeadLetterQueue") == 0

    world.proxy.heal()
    world.highlevel.faults.remove(down)
    assert world.line(f"{contact}-down", "retry", attempts=2)["outcome"] == "opened"
    assert world.line(f"{contact}-refused", "retry", attempts=2)["outcome"] == "rejected"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    [letter] = world.dead_letters()
    assert letter["attributes"]["reason"] == "ids_refused"
    assert letter["attributes"]["location"] == f"{location}-refused"


# --- Secrets Manager: wait for it, unless the values are known --------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_without_secrets_manager_known_values_serve(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    warm_up(world, location)
    world.proxy.fail("secretsmanager", mode)
    assert world.post(location, contact).status == 201
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    world.keep(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_without_secrets_manager_a_cold_start_turns_nobody_away_for_good(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    world.kill()
    # The first secret that a request needs is its sender's. The second is the token: now it cannot be read.
    world.proxy.on("secretsmanager", "GetSecretValue", after=lambda _call: world.proxy.fail("secretsmanager", mode))
    known = world.post(location, f"{contact}-known")
    assert (known.status, known.body["status"]) == (202, "deferred")
    assert world.line(f"{contact}-known", "http")["reason"] in ("token_unavailable", "deadline")

    world.kill()
    assert_please_repeat(world.post(location, contact), "sender_secrets_unavailable")  # never 401
    event_id = world.put_event(location, f"{contact}-event")
    world.keep(location, f"{contact}-retry")
    for name, trigger in (("event", "event"), ("retry", "retry")):
        line = world.line(f"{contact}-{name}", trigger)
        assert (line["outcome"], line["reason"]) == ("deferred", "token_unavailable")
    assert [call for call in world.highlevel.calls if call.location == location] == []

    world.proxy.heal()
    assert world.post(location, contact).status == 201
    for name, request_id in (
        ("known", known.headers["x-request-id"]),
        ("event", event_id),
        ("retry", f"{contact}-retry"),
    ):
        line = world.line(f"{contact}-{name}", "retry", outcome="opened")
        assert line["request_id"] == request_id
    eventually(lambda: world.application.count("RetryQueue") == 0)


# --- everything at once -----------------------------------------------------------------------------------------------


def test_all_that_is_asked_before_the_queue_hangs_and_the_caller_has_an_answer_in_time(
    world: FaultyWorld, location: str, contact: str
) -> None:
    warm_up(world, location)
    world.highlevel.fail("hang", location=location)
    with world.consumer_paused():
        for service in ("dynamodb", "secretsmanager"):
            world.proxy.fail(service, "hang")
        answer = world.post(location, contact)
        assert (answer.status, answer.body["status"]) == (202, "deferred")
        world.proxy.fail("sqs", "hang")
        time.sleep(5)  # DynamoDB is asked again
        assert_please_repeat(world.post(location, f"{contact}-2"), "not_stored")
        world.kill()
        assert_please_repeat(world.post(location, f"{contact}-3"), "sender_secrets_unavailable")

        world.proxy.heal()
        world.highlevel.heal()
    assert world.line(contact, "retry", outcome="opened")["request_id"] == answer.headers["x-request-id"]
