"""The outcome table of the product, row by row and door by door, through the real doors."""

import concurrent.futures
import json
import time
from typing import Any

import pytest

from highlevel.client import HighLevel
from local.application import Answer
from local.highlevel import Limits
from tests.integration.world import World, eventually

PROBLEM = "application/problem+json"


def ids(location: str, contact: str) -> dict[str, str]:
    return {"locationId": location, "contactId": contact}


def open_behind_our_back(world: World, location: str, contact: str) -> dict[str, Any]:
    """Open the conversation without the application, as a person in HighLevel does."""
    token = next(iter(world.highlevel.tokens))
    assert HighLevel(world.highlevel.url).create_conversation(token, location, contact, within=5).outcome == "opened"
    return world.highlevel.conversations[location, contact]


def dead_letters(world: World, **attributes: str) -> list[dict[str, Any]]:
    """The dead letters with these attributes, left where they are."""
    queue = world.application.aws.client("sqs")
    url = world.application.stack.outputs["DeadLetterQueueUrl"]
    found = []
    while messages := queue.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=2
    ).get("Messages"):
        found += messages
    told = [
        {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
        for message in found
    ]
    time.sleep(2.1)  # visible again for the next look
    return [letter for letter in told if all(letter.get(name) == attributes[name] for name in attributes)]


# --- opened, existing -------------------------------------------------------------------------------------------------


def test_opened_answers_201_in_highlevels_own_shape(world: World, location: str, contact: str) -> None:
    answer = world.application.post(ids(location, contact))
    assert answer.status == 201
    assert answer.body["success"] is True
    conversation = world.highlevel.conversations[location, contact]
    assert answer.body["conversation"] == conversation
    assert answer.headers["content-type"] == "application/json"
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["outcome"], line["trigger"], line["sender"]) == ("opened", "http", "api")
    assert line["conversation_id"] == conversation["id"]
    assert line["upstream_status"] == 201


def test_a_repeat_is_answered_from_the_record_without_a_call(world: World, location: str, contact: str) -> None:
    first = world.application.post(ids(location, contact))
    again = world.application.post(ids(location, contact))
    assert (first.status, again.status) == (201, 200)
    assert again.body["conversation"]["id"] == first.body["conversation"]["id"]
    assert {"id", "contactId", "locationId"} <= again.body["conversation"].keys()
    assert world.calls(contact) == 1


def test_existing_elsewhere_is_found_by_the_search(world: World, location: str, contact: str) -> None:
    conversation = open_behind_our_back(world, location, contact)
    answer = world.application.post(ids(location, contact))
    assert (answer.status, answer.body["conversation"]["id"]) == (200, conversation["id"])


@pytest.mark.parametrize("trouble", ["lag", "scope"])
def test_existing_whose_id_cannot_be_told_yet_is_202(world: World, location: str, contact: str, trouble: str) -> None:
    conversation = open_behind_our_back(world, location, contact)
    if trouble == "lag":
        world.highlevel.search_lag = 3600.0
    else:
        world.highlevel.scopes[next(iter(world.highlevel.tokens))] = {"conversations.write"}
    answer = world.application.post(ids(location, contact))
    assert (answer.status, answer.body["status"]) == (202, "existing")
    assert answer.body["requestId"] == answer.headers["x-request-id"]
    assert int(answer.headers["retry-after"]) > 0
    assert world.application.count("RetryQueue") == 0  # nothing to do: nothing is queued
    world.highlevel.search_lag = 0.0
    world.highlevel.scopes.clear()
    again = world.application.post(ids(location, contact))
    assert (again.status, again.body["conversation"]["id"]) == (200, conversation["id"])


def test_an_empty_201_is_a_success_whose_id_is_looked_up(world: World, location: str, contact: str) -> None:
    world.highlevel.fail("empty", contact=contact, times=1)
    answer = world.application.post(ids(location, contact))
    assert answer.status == 201
    assert answer.body["conversation"]["id"] == world.highlevel.conversations[location, contact]["id"]


def test_an_event_opens_and_its_repeat_is_existing(world: World, location: str, contact: str) -> None:
    for outcome in ("opened", "existing"):
        event_id = world.application.put_event(ids(location, contact))
        assert world.application.wait_for_line(request_id=event_id)["outcome"] == outcome
    assert (location, contact) in world.highlevel.conversations
    assert world.calls(contact) == 1


def test_our_own_events_fire_nothing(world: World, location: str, contact: str) -> None:
    world.application.put_event(ids(location, contact), source="highlevel-conversations")
    world.application.put_event(ids(location, contact), detail_type="SomethingElse")
    other = world.application.put_event(ids(location, contact + "b"))
    world.application.wait_for_line(request_id=other)
    assert world.calls(contact) == 0


# --- deferred ---------------------------------------------------------------------------------------------------------

TIME_MENDS = [
    pytest.param("status", {"status": 500}, "upstream_error", id="500"),
    pytest.param("status", {"status": 503}, "upstream_error", id="503"),
    pytest.param("status", {"status": 408}, "upstream_error", id="408"),
    pytest.param("status", {"status": 425}, "upstream_error", id="425"),
    pytest.param("status", {"status": 429, "headers": {"retry-after": "1"}}, "rate_limited", id="429"),
    pytest.param("html", {"status": 403}, "upstream_unexpected", id="edge-403"),
    pytest.param("html", {"status": 401}, "upstream_unexpected", id="edge-401"),
    pytest.param("status", {"status": 401, "message": "Invalid JWT"}, "token_refused", id="mendable-401"),
    pytest.param("reset", {}, "upstream_connection_lost", id="reset"),
    pytest.param("close", {}, "upstream_connection_lost", id="close"),
    pytest.param("hang", {}, "upstream_timeout", id="hang"),
    pytest.param("drip", {}, "upstream_timeout", id="drip"),
    pytest.param("drip_headers", {}, "upstream_timeout", id="drip-headers"),
]


@pytest.mark.parametrize(("kind", "settings", "reason"), TIME_MENDS)
def test_what_time_mends_is_kept_and_opened_by_itself(
    world: World, location: str, contact: str, kind: str, settings: dict[str, Any], reason: str
) -> None:
    fault = world.highlevel.fail(kind, contact=contact, **settings)
    answer = world.application.post(ids(location, contact))
    assert answer.seconds < 5
    assert (answer.status, answer.body["status"]) == (202, "deferred")
    assert answer.body["requestId"] == answer.headers["x-request-id"]
    assert int(answer.headers["retry-after"]) > 0
    world.highlevel.faults.remove(fault)
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"], trigger="http")
    assert (line["outcome"], line["reason"]) == ("deferred", reason)
    retried = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert retried["outcome"] in ("opened", "existing")  # a drip or a hang may have been carried out
    assert (location, contact) in world.highlevel.conversations
    # The same POST is the status query.
    again = world.application.post(ids(location, contact))
    assert again.body["conversation"]["id"] == world.highlevel.conversations[location, contact]["id"]


def test_a_suspended_location_waits_until_it_is_active(world: World, location: str, contact: str) -> None:
    world.highlevel.inactive_locations.add(location)
    answer = world.application.post(ids(location, contact))
    assert answer.status == 202
    world.highlevel.inactive_locations.clear()
    line = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert line["outcome"] == "opened"


def test_a_deferred_event_is_kept_and_opened_by_itself(world: World, location: str, contact: str) -> None:
    world.highlevel.fail("status", status=502, contact=contact, times=1)
    event_id = world.application.put_event(ids(location, contact))
    assert world.application.wait_for_line(request_id=event_id, trigger="event")["outcome"] == "deferred"
    assert world.application.wait_for_line(60, request_id=event_id, trigger="retry")["outcome"] == "opened"


def test_highlevel_commits_and_drops_the_connection(world: World, location: str, contact: str) -> None:
    fault = world.highlevel.fail("commit_then_drop", contact=contact)  # the second try on a fresh connection too
    first = world.application.post(ids(location, contact))
    world.highlevel.faults.remove(fault)
    assert (first.status, first.body["status"]) == (202, "deferred")
    again = world.application.post(ids(location, contact))
    conversation = world.highlevel.conversations[location, contact]
    assert (again.status, again.body["conversation"]["id"]) == (200, conversation["id"])
    line = world.application.wait_for_line(60, request_id=first.headers["x-request-id"], trigger="retry")
    assert line["outcome"] == "existing"
    assert [key for key in world.highlevel.conversations if key[1] == contact] == [(location, contact)]


# --- rejected, invalid ------------------------------------------------------------------------------------------------

ONLY_A_PERSON_MENDS = [
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


@pytest.mark.parametrize(("fault", "status", "reason"), ONLY_A_PERSON_MENDS)
def test_a_caller_is_told_what_a_person_must_mend(
    world: World, location: str, contact: str, fault: dict[str, Any], status: int, reason: str
) -> None:
    world.highlevel.fail("status", contact=contact, **fault)
    answer = world.application.post(ids(location, contact))
    request_id = answer.headers["x-request-id"]
    assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.body["type"] == f"urn:highlevel-conversations:{reason}"
    assert (answer.body["status"], answer.body["instance"]) == (status, request_id)
    assert answer.body["title"]
    assert answer.body["detail"]
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
def test_a_body_that_was_not_promised(
    world: World, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = world.application.post(body, headers)
    assert (answer.status, answer.body["type"]) == (status, f"urn:highlevel-conversations:{reason}")
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["outcome"], line["reason"]) == ("invalid", reason)


def test_an_event_that_a_person_must_mend_is_a_dead_letter_with_its_reason(
    world: World, location: str, contact: str
) -> None:
    world.highlevel.fail(
        "status", status=401, message="This location is not accessible from this token!", contact=contact
    )
    world.application.wait_for_line(request_id=world.application.put_event(ids(location, contact)))
    [letter] = dead_letters(world, location=location)
    assert (letter["reason"], letter["sender"], letter["attempts"]) == ("location_refused", "event", "1")


def test_an_event_without_a_contact_is_a_dead_letter_with_its_reason(world: World, location: str) -> None:
    before = len(dead_letters(world, reason="no_contact"))
    world.application.wait_for_line(request_id=world.application.put_event({"locationId": location}))
    assert len(dead_letters(world, reason="no_contact")) == before + 1


def test_a_retry_that_a_person_must_mend_is_a_dead_letter_with_its_reason(
    world: World, location: str, contact: str
) -> None:
    fault = world.highlevel.fail("status", status=500, contact=contact)
    request_id = world.application.post(ids(location, contact)).headers["x-request-id"]
    world.highlevel.faults.remove(fault)
    world.highlevel.fail("status", status=422, message="contactId is unknown", contact=contact)
    assert world.application.wait_for_line(60, request_id=request_id, trigger="retry")["outcome"] == "rejected"
    [letter] = dead_letters(world, location=location)
    assert (letter["reason"], letter["sender"]) == ("ids_refused", "api")


def test_a_message_that_cannot_be_read_is_a_dead_letter(world: World) -> None:
    queue = world.application.aws.client("sqs")
    body = json.dumps({"submission": {"trigger": 7}})
    queue.send_message(QueueUrl=world.application.stack.outputs["RetryQueueUrl"], MessageBody=body)
    eventually(lambda: dead_letters(world, reason="unreadable"))


# --- unauthorized -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {secret}", "{secret}", "Bearer {secret}x", "Bearer {secret}, x"],
)
def test_only_a_known_sender_gets_in(world: World, location: str, contact: str, authorization: str) -> None:
    authorization = authorization.format(secret=world.application.api_secret)
    answer = world.application.post(ids(location, contact), {"authorization": authorization})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == PROBLEM
    assert answer.body["type"] == "urn:highlevel-conversations:unauthorized"
    assert world.calls(contact) == 0


# --- races, quota -----------------------------------------------------------------------------------------------------


def test_a_hundred_simultaneous_posts_of_one_contact(world: World, location: str, contact: str) -> None:
    function = world.application.stack.resource("CreateConversation")
    functions = world.application.aws.client("lambda")
    # A dozen processes serve them: a hundred cold starts would measure this machine. Who is throttled, which the
    # emulator answers with 500, posts again.
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=12)

    def post(_: int) -> Answer:
        while (answer := world.application.post(ids(location, contact))).status in (429, 500):
            time.sleep(0.2)
        return answer

    try:
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(post, range(100)))
    finally:
        functions.delete_function_concurrency(FunctionName=function)
    conversation = world.highlevel.conversations[location, contact]
    # Twelve cold starts at once on two cores: some may find no time to ask (202) or to read the secret (503).
    assert {answer.status for answer in answers} <= {200, 201, 202, 503}
    assert sum(answer.status == 201 for answer in answers) <= 1
    told = {answer.body["conversation"]["id"] for answer in answers if "conversation" in answer.body}
    assert told == {conversation["id"]}
    assert [key for key in world.highlevel.conversations if key[1] == contact] == [(location, contact)]


def test_a_location_out_of_quota_is_not_called_again(world: World, location: str, contact: str) -> None:
    limits, world.highlevel.limits = world.highlevel.limits, Limits(max=2, interval_ms=4000)
    try:
        answers = [world.application.post(ids(location, f"{contact}{number}")) for number in range(6)]
    finally:
        world.highlevel.limits = limits
    assert [answer.status for answer in answers] == [201, 201, 202, 202, 202, 202]
    refused = [call for call in world.highlevel.calls if call.location == location and call.status == 429]
    assert refused == []
    for answer in answers[2:]:
        line = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
        assert line["outcome"] == "opened"
