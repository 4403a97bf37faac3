"""Every row of the outcome table, for each trigger of the deployed application."""

import concurrent.futures
import json
import time
from typing import Any

import pytest

from highlevel.client import HighLevel
from local.application import Answer
from local.highlevel import Limits
from tests.assertions import assert_accepted, assert_dead_letter, assert_problem
from tests.factories import make_ids
from tests.integration.world import World, eventually


def open_in_highlevel(world: World, location: str, contact: str) -> dict[str, Any]:
    """Open the conversation without the application, as a user of HighLevel does."""
    token = next(iter(world.highlevel.tokens))
    assert HighLevel(world.highlevel.url).create_conversation(token, location, contact, within=5).outcome == "opened"
    return world.highlevel.conversations[location, contact]


# --- opened, existing -------------------------------------------------------------------------------------------------


def test_opened_is_201_with_highlevels_conversation(world: World, location: str, contact: str) -> None:
    answer = world.application.post(make_ids(location, contact))
    assert answer.status == 201
    assert answer.body["success"] is True
    conversation = world.highlevel.conversations[location, contact]
    assert answer.body["conversation"] == conversation
    assert answer.headers["content-type"] == "application/json"
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["outcome"], line["trigger"], line["sender"]) == ("opened", "http", "api")
    assert line["conversation_id"] == conversation["id"]
    assert line["upstream_status"] == 201


def test_a_repeat_is_answered_from_the_idempotency_record(world: World, location: str, contact: str) -> None:
    first = world.application.post(make_ids(location, contact))
    again = world.application.post(make_ids(location, contact))
    assert (first.status, again.status) == (201, 200)
    assert again.body["conversation"]["id"] == first.body["conversation"]["id"]
    assert {"id", "contactId", "locationId"} <= again.body["conversation"].keys()
    assert world.calls(contact) == 1


def test_an_existing_conversation_is_found_by_search(world: World, location: str, contact: str) -> None:
    conversation = open_in_highlevel(world, location, contact)
    answer = world.application.post(make_ids(location, contact))
    assert (answer.status, answer.body["conversation"]["id"]) == (200, conversation["id"])


@pytest.mark.parametrize("obstacle", ["lag", "scope"])
def test_existing_with_an_unknown_id_is_202(world: World, location: str, contact: str, obstacle: str) -> None:
    conversation = open_in_highlevel(world, location, contact)
    if obstacle == "lag":
        world.highlevel.search_lag = 3600.0
    else:
        world.highlevel.scopes[next(iter(world.highlevel.tokens))] = {"conversations.write"}
    answer = world.application.post(make_ids(location, contact))
    assert_accepted(answer, "existing")
    assert world.application.count("RetryQueue") == 0  # there is nothing to retry
    world.highlevel.search_lag = 0.0
    world.highlevel.scopes.clear()
    again = world.application.post(make_ids(location, contact))
    assert (again.status, again.body["conversation"]["id"]) == (200, conversation["id"])


def test_an_empty_201_is_a_success_with_its_id_from_the_search(world: World, location: str, contact: str) -> None:
    world.highlevel.fail("empty", contact=contact, times=1)
    answer = world.application.post(make_ids(location, contact))
    assert answer.status == 201
    assert answer.body["conversation"]["id"] == world.highlevel.conversations[location, contact]["id"]


def test_an_event_opens_and_its_repeat_is_existing(world: World, location: str, contact: str) -> None:
    for outcome in ("opened", "existing"):
        event_id = world.application.put_event(make_ids(location, contact))
        assert world.application.wait_for_line(request_id=event_id)["outcome"] == outcome
    assert (location, contact) in world.highlevel.conversations
    assert world.calls(contact) == 1


def test_result_events_and_other_events_are_not_submissions(world: World, location: str, contact: str) -> None:
    world.application.put_event(make_ids(location, contact), source="highlevel-conversations")
    world.application.put_event(make_ids(location, contact), detail_type="SomethingElse")
    other = world.application.put_event(make_ids(location, contact + "b"))
    world.application.wait_for_line(request_id=other)
    assert world.calls(contact) == 0


# --- deferred ---------------------------------------------------------------------------------------------------------

TRANSIENT: dict[str, tuple[str, dict[str, Any], str]] = {
    "500": ("status", {"status": 500}, "upstream_error"),
    "503": ("status", {"status": 503}, "upstream_error"),
    "408": ("status", {"status": 408}, "upstream_error"),
    "425": ("status", {"status": 425}, "upstream_error"),
    "429": ("status", {"status": 429, "headers": {"retry-after": "1"}}, "rate_limited"),
    "edge-403": ("html", {"status": 403}, "upstream_unexpected"),
    "edge-401": ("html", {"status": 401}, "upstream_unexpected"),
    "token-refused": ("status", {"status": 401, "message": "Invalid JWT"}, "token_refused"),
    "reset": ("reset", {}, "upstream_connection_lost"),
    "close": ("close", {}, "upstream_connection_lost"),
    "hang": ("hang", {}, "upstream_timeout"),
    "drip": ("drip", {}, "upstream_timeout"),
    "drip-headers": ("drip_headers", {}, "upstream_timeout"),
}


@pytest.fixture(scope="module")
def deferred(_world: World) -> dict[str, Answer]:
    """The answer for each transient failure. All are posted before the first test waits, so that their retries come
    together; a good post after each keeps the circuit breaker closed."""
    answers = {}
    for name, (kind, settings, _reason) in TRANSIENT.items():
        fault = _world.highlevel.fail(kind, contact=f"deferred-{name}", **settings)
        answers[name] = _world.application.post(make_ids(f"location-{name}", f"deferred-{name}"))
        _world.highlevel.faults.remove(fault)
        assert _world.application.post(make_ids("good-location", f"good-{name}")).status == 201
    return answers


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_transient_failure_is_deferred_and_opened_by_a_retry(
    world: World, deferred: dict[str, Answer], name: str
) -> None:
    answer, location, contact = deferred[name], f"location-{name}", f"deferred-{name}"
    assert answer.seconds < 5
    assert_accepted(answer, "deferred")
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"], trigger="http")
    assert (line["outcome"], line["reason"]) == ("deferred", TRANSIENT[name][2])
    retried = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert retried["outcome"] in ("opened", "existing")  # HighLevel may have completed a dripping or hanging call
    assert (location, contact) in world.highlevel.conversations
    # The same POST is the status query.
    again = world.application.post(make_ids(location, contact))
    assert again.body["conversation"]["id"] == world.highlevel.conversations[location, contact]["id"]


def test_a_submission_waits_until_its_location_is_active(world: World, location: str, contact: str) -> None:
    world.highlevel.inactive_locations.add(location)
    answer = world.application.post(make_ids(location, contact))
    assert answer.status == 202
    world.highlevel.inactive_locations.clear()
    line = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert line["outcome"] == "opened"


def test_a_deferred_event_is_opened_by_a_retry(world: World, location: str, contact: str) -> None:
    world.highlevel.fail("status", status=502, contact=contact, times=1)
    event_id = world.application.put_event(make_ids(location, contact))
    assert world.application.wait_for_line(request_id=event_id, trigger="event")["outcome"] == "deferred"
    assert world.application.wait_for_line(60, request_id=event_id, trigger="retry")["outcome"] == "opened"


def test_a_call_that_highlevel_commits_and_drops_opens_once(world: World, location: str, contact: str) -> None:
    fault = world.highlevel.fail("commit_then_drop", contact=contact)  # the second try on a fresh connection too
    first = world.application.post(make_ids(location, contact))
    world.highlevel.faults.remove(fault)
    assert (first.status, first.body["status"]) == (202, "deferred")
    again = world.application.post(make_ids(location, contact))
    conversation = world.highlevel.conversations[location, contact]
    assert (again.status, again.body["conversation"]["id"]) == (200, conversation["id"])
    line = world.application.wait_for_line(60, request_id=first.headers["x-request-id"], trigger="retry")
    assert line["outcome"] == "existing"
    assert [key for key in world.highlevel.conversations if key[1] == contact] == [(location, contact)]


# --- rejected, invalid ------------------------------------------------------------------------------------------------

PERMANENT = [
    pytest.param({"status": 422, "message": ["contactId must be a string"]}, 422, "ids_refused", id="ids"),
    pytest.param({"status": 400, "message": "Contact not found"}, 422, "ids_refused", id="unknown-contact"),
    pytest.param(
        {"status": 401, "message": "This location is not accessible from this token!"},
        403,
        "location_refused",
        id="401",
    ),
    pytest.param(
        {"status": 403, "message": "The token does not have access to this location."},
        403,
        "location_refused",
        id="403",
    ),
    pytest.param(
        {"status": 401, "message": "The token is not authorized for this scope."}, 502, "scope_missing", id="scope"
    ),
    pytest.param(
        {"status": 401, "message": "This authClass type is not allowed to access this scope. Please …"},
        502,
        "token_kind_refused",
        id="agency-token",
    ),
    pytest.param({"status": 401, "message": "version header is invalid"}, 502, "version_refused", id="version"),
    pytest.param(
        {"status": 400, "message": "Invalid API version segment 'x' at position 0"},
        502,
        "version_refused",
        id="segment",
    ),
]


@pytest.mark.parametrize(("fault", "status", "reason"), PERMANENT)
def test_a_permanent_failure_is_a_problem_for_the_caller(
    world: World, location: str, contact: str, fault: dict[str, Any], status: int, reason: str
) -> None:
    world.highlevel.fail("status", contact=contact, **fault)
    answer = world.application.post(make_ids(location, contact))
    request_id = answer.headers["x-request-id"]
    assert_problem(answer, status, reason)
    line = world.application.wait_for_line(request_id=request_id)
    assert (line["outcome"], line["reason"]) == ("rejected", reason)


INVALID = [
    pytest.param(b"{", {}, 400, "invalid_json", id="half"),
    pytest.param(
        b"\xff\xfe{", {"content-type": "application/octet-stream"}, 415, "unsupported_media_type", id="octets"
    ),
    pytest.param(
        b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", id="form"
    ),
    pytest.param(b"[]", {}, 422, "invalid_body", id="array"),
    pytest.param(b'{"contactId": 7, "locationId": "l"}', {}, 422, "invalid_body", id="number"),
    pytest.param(b'{"contactId": "a\\nb", "locationId": "l"}', {}, 422, "invalid_body", id="newline"),
    pytest.param(b'{"contactId": "c"}', {}, 422, "no_location", id="no-location"),
    pytest.param(b'{"locationId": "l"}', {}, 422, "no_contact", id="no-contact"),
    pytest.param(b'{"x": "' + b"y" * 262_144 + b'"}', {}, 413, "body_too_large", id="large"),
]


@pytest.mark.parametrize(("body", "headers", "status", "reason"), INVALID)
def test_an_invalid_body_is_a_problem(
    world: World, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = world.application.post(body, headers)
    assert_problem(answer, status, reason)
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["outcome"], line["reason"]) == ("invalid", reason)


def test_a_rejected_event_is_a_dead_letter_with_its_reason(world: World, location: str, contact: str) -> None:
    world.highlevel.fail(
        "status", status=401, message="This location is not accessible from this token!", contact=contact
    )
    world.application.wait_for_line(request_id=world.application.put_event(make_ids(location, contact)))
    assert_dead_letter(world.dead_letters(location=location), reason="location_refused", sender="event", attempts="1")


def test_an_event_without_a_contact_is_a_dead_letter_with_its_reason(world: World, location: str) -> None:
    before = len(world.dead_letters(reason="no_contact"))
    world.application.wait_for_line(request_id=world.application.put_event({"locationId": location}))
    assert len(world.dead_letters(reason="no_contact")) == before + 1


def test_a_rejected_retry_is_a_dead_letter_with_its_reason(world: World, location: str, contact: str) -> None:
    fault = world.highlevel.fail("status", status=500, contact=contact)
    request_id = world.application.post(make_ids(location, contact)).headers["x-request-id"]
    world.highlevel.faults.remove(fault)
    world.highlevel.fail("status", status=422, message="contactId is unknown", contact=contact)
    assert world.application.wait_for_line(60, request_id=request_id, trigger="retry")["outcome"] == "rejected"
    assert_dead_letter(world.dead_letters(location=location), reason="ids_refused", sender="api")


def test_an_unreadable_message_is_a_dead_letter(world: World) -> None:
    queue = world.application.aws.client("sqs")
    body = json.dumps({"submission": {"trigger": 7}})
    queue.send_message(QueueUrl=world.application.stack.outputs["RetryQueueUrl"], MessageBody=body)
    eventually(lambda: world.dead_letters(reason="unreadable"))


# --- unauthorized -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {secret}", "{secret}", "Bearer {secret}x", "Bearer {secret}, x"],
    ids=["missing", "no-token", "empty-token", "wrong", "basic", "no-scheme", "longer", "two"],
)
def test_a_request_without_the_secret_is_401(world: World, location: str, contact: str, authorization: str) -> None:
    authorization = authorization.format(secret=world.application.api_secret)
    answer = world.application.post(make_ids(location, contact), {"authorization": authorization})
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert world.calls(contact) == 0


# --- races, rate limit ------------------------------------------------------------------------------------------------


def test_a_hundred_simultaneous_posts_open_one_conversation(world: World, location: str, contact: str) -> None:
    function = world.application.stack.resource("CreateConversation")
    functions = world.application.aws.client("lambda")
    # Six processes serve them, because a hundred cold starts would measure this machine. A throttled caller, whom the
    # emulator answers with 500, posts again.
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=6)

    def post(_: int) -> Answer:
        while (answer := world.application.post(make_ids(location, contact))).status in (429, 500):
            time.sleep(0.2)
        return answer

    try:
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(post, range(100)))
    finally:
        functions.delete_function_concurrency(FunctionName=function)
    conversation = world.highlevel.conversations[location, contact]
    # With six cold starts on two cores, some have no time for the call (202) or to read the secret (503).
    assert {answer.status for answer in answers} <= {200, 201, 202, 503}
    assert sum(answer.status == 201 for answer in answers) <= 1
    found = {answer.body["conversation"]["id"] for answer in answers if "conversation" in answer.body}
    assert found == {conversation["id"]}
    assert [key for key in world.highlevel.conversations if key[1] == contact] == [(location, contact)]


def test_a_location_over_its_rate_limit_is_not_called_again(world: World, location: str, contact: str) -> None:
    limits, world.highlevel.limits = world.highlevel.limits, Limits(max=2, interval_ms=4000)
    try:
        answers = [world.application.post(make_ids(location, f"{contact}{number}")) for number in range(6)]
    finally:
        world.highlevel.limits = limits
    assert [answer.status for answer in answers] == [201, 201, 202, 202, 202, 202]
    refused = [call for call in world.highlevel.calls if call.location == location and call.status == 429]
    assert refused == []
    for answer in answers[2:]:
        line = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
        assert line["outcome"] == "opened"
