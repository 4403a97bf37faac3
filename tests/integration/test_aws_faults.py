"""DynamoDB, SQS and Secrets Manager hang, throttle, refuse connections and fail, for each trigger of the application.

`FaultyWorld.post` fails for any answer that takes 5 seconds.
"""

import json
import time
from collections.abc import Iterator

import pytest

from local.fault_proxy import Mode
from tests.assertions import assert_dead_letter, assert_problem
from tests.integration.aws_faults import FaultyWorld, warm_up
from tests.integration.world import eventually

MODES: tuple[Mode, ...] = ("hang", "throttle", "gone", "error")
FOR_LONG_TESTS = MODES[:3]  # the function handles an error like a throttle


@pytest.fixture(scope="module", autouse=True)
def _short_backoff(_faulty_world: FaultyWorld) -> Iterator[None]:
    with _faulty_world.configured(BACKOFF_CAP_SECONDS="2"):
        yield


# --- DynamoDB: continue without it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["cold", "warm"])
@pytest.mark.parametrize("mode", MODES)
def test_every_trigger_works_without_dynamodb(
    faulty: FaultyWorld, location: str, contact: str, mode: Mode, environment: str
) -> None:
    def next_trigger() -> None:
        if environment == "cold":
            faulty.kill()

    warm_up(faulty)
    calls = faulty.proxy.calls["dynamodb", "GetItem"]
    faulty.proxy.fail("dynamodb", mode)

    next_trigger()
    assert faulty.post(location, contact).status == 201
    again = faulty.post(location, contact)  # no idempotency record: HighLevel's search finds the id
    assert (again.status, again.body["conversation"]) == (
        200,
        {"id": faulty.highlevel.conversations[location, contact]["id"], "contactId": contact, "locationId": location},
    )
    next_trigger()
    faulty.put_event(location, f"{contact}-event")
    assert faulty.line(f"{contact}-event", "event")["outcome"] == "opened"
    next_trigger()
    faulty.enqueue(location, f"{contact}-retry")
    assert faulty.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: faulty.application.count("RetryQueue") == 0)
    assert faulty.proxy.calls["dynamodb", "GetItem"] > calls


# --- SQS: the sender repeats a submission that cannot be stored -------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_submissions_that_need_no_queue_are_opened_without_sqs(
    faulty: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    faulty.proxy.fail("sqs", mode)
    assert faulty.post(location, contact).status == 201
    faulty.put_event(location, f"{contact}-event")
    assert faulty.line(f"{contact}-event", "event")["outcome"] == "opened"
    faulty.enqueue(location, f"{contact}-retry")
    assert faulty.line(f"{contact}-retry", "retry")["outcome"] == "opened"
    eventually(lambda: faulty.application.count("RetryQueue") == 0)
    assert faulty.proxy.calls["sqs", "ChangeMessageVisibilityBatch"] > 0


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_without_sqs_the_caller_repeats_and_lambda_dead_letters_an_event(
    faulty: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    faulty.highlevel.fail("status", status=503, location=location)
    faulty.proxy.fail("sqs", mode)
    event_id = faulty.put_event(location, f"{contact}-event")
    assert_problem(faulty.post(location, contact), 503, "not_stored")
    assert faulty.line(contact, "http")["outcome"] == "not_stored"

    eventually(lambda: faulty.application.count("DeadLetterQueue") == 1, within=60)  # after Lambda's two retries
    assert len(faulty.application.lines(request_id=event_id, outcome="not_stored")) == 3
    [letter] = faulty.dead_letters()
    assert json.loads(letter["text"])["requestPayload"]["id"] == event_id

    faulty.proxy.heal()
    faulty.highlevel.heal()
    faulty.resend(letter["text"])
    assert faulty.line(f"{contact}-event", "retry")["outcome"] == "opened"
    eventually(lambda: faulty.application.count("RetryQueue") == 0)


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_without_sqs_a_retried_message_stays_in_the_queue(
    faulty: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    """It comes back after the queue's visibility timeout, because its lease cannot be set without SQS."""
    down = faulty.highlevel.fail("status", status=503, contact=f"{contact}-down")
    faulty.highlevel.fail("status", status=422, contact=f"{contact}-refused")
    faulty.proxy.fail("sqs", mode)
    faulty.show_again_after(12 if mode == "hang" else 6)
    with faulty.consumer_paused():
        for name in ("down", "refused", "fine"):
            faulty.enqueue(f"{location}-{name}", f"{contact}-{name}")
    for name, outcome in (("down", "not_stored"), ("refused", "not_stored"), ("fine", "opened")):
        assert faulty.line(f"{contact}-{name}", "retry", attempts=1)["outcome"] == outcome
    eventually(lambda: faulty.application.count("RetryQueue") == 2)
    assert faulty.application.count("DeadLetterQueue") == 0

    faulty.proxy.heal()
    faulty.highlevel.faults.remove(down)
    assert faulty.line(f"{contact}-down", "retry", attempts=2)["outcome"] == "opened"
    assert faulty.line(f"{contact}-refused", "retry", attempts=2)["outcome"] == "rejected"
    eventually(lambda: faulty.application.count("RetryQueue") == 0)
    assert_dead_letter(faulty.dead_letters(), reason="ids_refused", location=f"{location}-refused")


# --- Secrets Manager: wait for it, unless the values are cached -------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_cached_secrets_serve_without_secrets_manager(
    faulty: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    warm_up(faulty)
    faulty.proxy.fail("secretsmanager", mode)
    assert faulty.post(location, contact).status == 201
    faulty.put_event(location, f"{contact}-event")
    assert faulty.line(f"{contact}-event", "event")["outcome"] == "opened"
    faulty.enqueue(location, f"{contact}-retry")
    assert faulty.line(f"{contact}-retry", "retry")["outcome"] == "opened"


@pytest.mark.parametrize("mode", FOR_LONG_TESTS)
def test_a_cold_start_without_secrets_manager_rejects_nothing_for_good(
    faulty: FaultyWorld, location: str, contact: str, mode: Mode
) -> None:
    faulty.kill()
    # The first secret that a request needs is its sender's. The second is the token: now it cannot be read.
    faulty.proxy.on("secretsmanager", "GetSecretValue", after=lambda _call: faulty.proxy.fail("secretsmanager", mode))
    known = faulty.post(location, f"{contact}-known")
    assert (known.status, known.body["status"]) == (202, "deferred")
    assert faulty.line(f"{contact}-known", "http")["reason"] in ("token_unavailable", "deadline")

    faulty.kill()
    assert_problem(faulty.post(location, contact), 503, "sender_secrets_unavailable")  # never 401
    event_id = faulty.put_event(location, f"{contact}-event")
    faulty.enqueue(location, f"{contact}-retry")
    for name, trigger in (("event", "event"), ("retry", "retry")):
        line = faulty.line(f"{contact}-{name}", trigger)
        assert (line["outcome"], line["reason"]) == ("deferred", "token_unavailable")
    assert [call for call in faulty.highlevel.calls if call.location == location] == []

    faulty.proxy.heal()
    assert faulty.post(location, contact).status == 201
    for name, request_id in (
        ("known", known.headers["x-request-id"]),
        ("event", event_id),
        ("retry", f"{contact}-retry"),
    ):
        line = faulty.line(f"{contact}-{name}", "retry", outcome="opened")
        assert line["request_id"] == request_id
    eventually(lambda: faulty.application.count("RetryQueue") == 0)


# --- all services -----------------------------------------------------------------------------------------------------


def test_the_caller_is_answered_in_time_while_every_service_hangs(
    faulty: FaultyWorld, location: str, contact: str
) -> None:
    warm_up(faulty)
    faulty.highlevel.fail("hang", location=location)
    with faulty.consumer_paused():
        for service in ("dynamodb", "secretsmanager"):
            faulty.proxy.fail(service, "hang")
        answer = faulty.post(location, contact)
        assert (answer.status, answer.body["status"]) == (202, "deferred")
        faulty.proxy.fail("sqs", "hang")
        time.sleep(5)  # the function tries DynamoDB again
        assert_problem(faulty.post(location, f"{contact}-2"), 503, "not_stored")
        faulty.kill()
        assert_problem(faulty.post(location, f"{contact}-3"), 503, "sender_secrets_unavailable")

        faulty.proxy.heal()
        faulty.highlevel.heal()
    assert faulty.line(contact, "retry", outcome="opened")["request_id"] == answer.headers["x-request-id"]
