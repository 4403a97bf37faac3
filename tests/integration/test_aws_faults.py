"""DynamoDB, SQS and Secrets Manager hang, throttle, refuse connections and fail, for each trigger of the application.

`FaultyWorld.post` fails for any answer that takes 5 seconds.
"""

import json
import time
from collections.abc import Iterator

import pytest

from local.fault_proxy import Mode
from tests.assertions import assert_dead_letter, assert_problem
from tests.integration.aws_faults import FaultyWorld, faulty_world
from tests.integration.world import eventually

MODES: tuple[Mode, ...] = ("hang", "throttle", "gone", "error")
FOR_LONG_TESTS = MODES[:3]  # the function handles an error like a throttle


@pytest.fixture(scope="module")
def _faulty_world() -> Iterator[FaultyWorld]:
    with faulty_world() as world, world.configured(BACKOFF_CAP_SECONDS="2"):
        yield world


@pytest.fixture
def world(_faulty_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """The module's application. Each test has processes of its own, because a process backs off after failures."""
    yield _faulty_world
    _faulty_world.recover()


def warm_up(world: FaultyWorld, location: str) -> None:
    """Start a process with its secrets and connections."""
    assert world.post(location, "warm-up").status in (200, 201)


# --- DynamoDB: continue without it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["cold", "warm"])
@pytest.mark.parametrize("mode", MODES)
def test_every_trigger_works_without_dynamodb(
    world: FaultyWorld, location: str, contact: str, mode: Mode, environment: str
) -> None:
    def next_trigger() -> None:
        if environment == "cold":
            world.kill()

    warm_up(world, location)
    calls = world.proxy.calls["dynamodb", "GetItem"]
    world.proxy.fail("dynamodb", mode)

    next_trigger()
    assert world.post(location, contact).status == 201
    again = world.post(location, contact)  # no idempotency record: HighLevel's search finds the id
    assert (again.status, again.body["conversation"]) == (
        200,
        {"id": world.highlevel.conversations[location, contact]["id"], "contactId": contact, "locationId": location},
    )
    next_trigger()
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    next_trigger()
    world.enqueue(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert world.proxy.calls["dynamodb", "GetItem"] > calls


# --- SQS: the sender repeats a submission that cannot be stored -------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_submissions_that_need_no_queue_are_opened_without_sqs(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    world.proxy.fail("sqs", mode)
    assert world.post(location, contact).status == 201
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    world.enqueue(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert world.proxy.calls["sqs", "ChangeMessageVisibilityBatch"] > 0


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_without_sqs_the_caller_repeats_and_lambda_dead_letters_an_event(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    world.highlevel.fail("status", status=503, location=location)
    world.proxy.fail("sqs", mode)
    event_id = world.put_event(location, f"{contact}-event")
    assert_problem(world.post(location, contact), 503, "not_stored")
    assert world.line(contact, "http")["outcome"] == "not_stored"

    eventually(lambda: world.application.count("DeadLetterQueue") == 1, within=60)  # after Lambda's two retries
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
    """It comes back after the queue's visibility timeout, because its lease cannot be set without SQS."""
    down = world.highlevel.fail("status", status=503, contact=f"{contact}-down")
    world.highlevel.fail("status", status=422, contact=f"{contact}-refused")
    world.proxy.fail("sqs", mode)
    world.show_again_after(12 if mode == "hang" else 6)
    with world.consumer_paused():
        for name in ("down", "refused", "fine"):
            world.enqueue(f"{location}-{name}", f"{contact}-{name}")
    for name, outcome in (("down", "not_stored"), ("refused", "not_stored"), ("fine", "opened")):
        assert world.line(f"{contact}-{name}", "retry", attempts=1)["outcome"] == outcome
    eventually(lambda: world.application.count("RetryQueue") == 2)
    assert world.application.count("DeadLetterQueue") == 0

    world.proxy.heal()
    world.highlevel.faults.remove(down)
    assert world.line(f"{contact}-down", "retry", attempts=2)["outcome"] == "opened"
    assert world.line(f"{contact}-refused", "retry", attempts=2)["outcome"] == "rejected"
    eventually(lambda: world.application.count("RetryQueue") == 0)
    assert_dead_letter(world.dead_letters(), reason="ids_refused", location=f"{location}-refused")


# --- Secrets Manager: wait for it, unless the values are cached -------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_cached_secrets_serve_without_secrets_manager(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    warm_up(world, location)
    world.proxy.fail("secretsmanager", mode)
    assert world.post(location, contact).status == 201
    world.put_event(location, f"{contact}-event")
    assert world.line(f"{contact}-event", "event")["outcome"] == "opened"
    world.enqueue(location, f"{contact}-retry")
    assert world.line(f"{contact}-retry", "retry")["outcome"] == "opened"


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_a_cold_start_without_secrets_manager_rejects_nothing_for_good(
    world: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    world.kill()
    # The first secret that a request needs is its sender's. The second is the token: now it cannot be read.
    world.proxy.on("secretsmanager", "GetSecretValue", after=lambda _call: world.proxy.fail("secretsmanager", mode))
    known = world.post(location, f"{contact}-known")
    assert (known.status, known.body["status"]) == (202, "deferred")
    assert world.line(f"{contact}-known", "http")["reason"] in ("token_unavailable", "deadline")

    world.kill()
    assert_problem(world.post(location, contact), 503, "sender_secrets_unavailable")  # never 401
    event_id = world.put_event(location, f"{contact}-event")
    world.enqueue(location, f"{contact}-retry")
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


# --- all services -----------------------------------------------------------------------------------------------------


def test_the_caller_is_answered_in_time_while_every_service_hangs(
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
        time.sleep(5)  # the function tries DynamoDB again
        assert_problem(world.post(location, f"{contact}-2"), 503, "not_stored")
        world.kill()
        assert_problem(world.post(location, f"{contact}-3"), 503, "sender_secrets_unavailable")

        world.proxy.heal()
        world.highlevel.heal()
    assert world.line(contact, "retry", outcome="opened")["request_id"] == answer.headers["x-request-id"]
