"""The endpoint POST /conversations: what the caller gets for each outcome, in time, whatever the gateway hands over."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from create_conversation.errors import REASONS
from create_conversation.secret_cache import FORCED_READS, GUARD_SECONDS, CachedSecret
from create_conversation.submission import MAX_BODY_BYTES, Submission
from create_conversation.triggers import api_gateway
from create_conversation.triggers import http_api as http_module
from highlevel.client import HighLevel
from local.highlevel import Limits
from tests.assertions import assert_accepted, assert_problem
from tests.factories import API_SECRET, CONTACT, LOCATION, REQUEST_ID, RETRY_URL, make_http_event, make_ids, sample
from tests.stopwatch import in_time
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, FakeAws, no_answer, refusal
from tests.unit.world import CONTEXT, TOKEN, World

UNREACHABLE = no_answer()


def body_of(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["isBase64Encoded"] is False
    body: dict[str, Any] = json.loads(answer["body"])
    return body


def shown(value: object) -> str:
    """The id of a case."""
    return str(value["body"])[:30] if isinstance(value, dict) else str(value)


# Each outcome


def test_opened_is_201_with_highlevels_own_body(world: World) -> None:
    answer = world.post(make_http_event())
    body = body_of(answer)
    assert answer["statusCode"] == 201
    assert answer["headers"] == {
        "x-request-id": REQUEST_ID,
        "content-type": "application/json",
        "cache-control": "no-store",
    }
    assert body["success"] is True
    assert body["conversation"] == world.highlevel.conversations[LOCATION, CONTACT]
    assert world.sqs.calls == []


def test_existing_is_200_with_the_three_members(world: World) -> None:
    opened = body_of(world.post(make_http_event()))
    answer = world.post(make_http_event())
    conversation = {"id": opened["conversation"]["id"], "contactId": CONTACT, "locationId": LOCATION}
    expected = {"success": True, "conversation": conversation, "messageStatus": "off"}
    assert (answer["statusCode"], body_of(answer)) == (200, expected)
    assert answer["headers"]["x-request-id"] == REQUEST_ID


def test_existing_without_a_known_id_is_202_and_nothing_is_queued(world: World) -> None:
    world.highlevel.search_lag = 3600
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, CONTACT, within=2)
    for _ in range(2):
        assert_accepted(world.post(make_http_event()), "existing")
    assert world.sqs.calls == []


@pytest.mark.parametrize("message", ["off", "note"])  # HighLevel's answer to a comment contains the id
def test_the_same_post_again_finds_the_id_of_an_existing_conversation(world: World, message: str) -> None:
    world.settings = replace(world.settings, message=message)
    world.flow = world.environment(world.token)
    event = make_http_event(json.dumps(make_ids() | {"message": "Is the flat still free?"}))
    world.highlevel.search_lag = 3600
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, CONTACT, within=2)
    assert_accepted(world.post(event), "existing")
    world.highlevel.search_lag = 0
    for _ in range(2):
        answer = world.post(event)
        assert answer["statusCode"] == 200
        assert body_of(answer)["conversation"]["id"] == world.highlevel.conversations[LOCATION, CONTACT]["id"]


def test_opened_without_a_known_id_is_202_and_nothing_is_queued(world: World) -> None:
    world.highlevel.search_lag = 3600
    world.highlevel.fail(kind="empty", path="/conversations/")
    assert_accepted(world.post(make_http_event()), "existing")
    assert world.sqs.calls == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429},
        {"kind": "html"},
        {"kind": "reset"},
        {"kind": "status", "status": 401, "message": "Invalid JWT"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_deferred_is_202_and_the_whole_submission_is_queued(world: World, fault: dict[str, Any]) -> None:
    world.highlevel.fail(**fault)
    event = make_http_event()
    assert_accepted(world.post(event), "deferred")
    (message,) = world.queued()
    assert message["MessageGroupId"] == LOCATION
    stored = Submission.from_message(message["MessageBody"])
    assert (stored.trigger, stored.sender, stored.request_id) == ("http", "api", REQUEST_ID)
    assert (stored.body.decode(), stored.content_type) == (event["body"], "application/json")
    assert stored.received_at == pytest.approx(time.time(), abs=5)


def test_deferred_hands_retry_after_on(world: World) -> None:
    world.highlevel.fail(kind="status", status=429, headers={"Retry-After": "42"})
    answer = world.post(make_http_event())
    assert 41 <= int(answer["headers"]["retry-after"]) <= 42
    assert 41 <= world.queued()[0]["DelaySeconds"] <= 42


def test_the_same_post_again_is_the_status_query(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, times=1)
    assert_accepted(world.post(make_http_event()), "deferred")
    assert world.post(make_http_event())["statusCode"] == 201


@pytest.mark.parametrize(
    ("status", "message", "answered", "reason"),
    [
        (422, ["contactId must be a string"], 422, "ids_refused"),
        (400, "Contact not found", 422, "ids_refused"),
        (401, "This location is not accessible from this token!", 403, "location_refused"),
        (403, "The token does not have access to this location.", 403, "location_refused"),
        (401, "The token is not authorized for this scope.", 502, "scope_missing"),
        (401, "This authClass type is not allowed to access this scope.", 502, "token_kind_refused"),
        (401, "version header is invalid", 502, "version_refused"),
        (410, "Gone", 502, "upstream_refused"),
    ],
)
def test_rejected_by_highlevel_is_a_problem(
    world: World, status: int, message: Any, answered: int, reason: str
) -> None:
    world.highlevel.fail(kind="status", status=status, message=message)
    assert_problem(world.post(make_http_event()), answered, reason)
    assert world.sqs.calls == []


def test_rejected_by_our_own_configuration_is_a_problem(world: World) -> None:
    world.secrets.texts["HighLevelToken"] = None
    assert_problem(world.post(make_http_event()), 502, "no_token")
    world.settings = replace(world.settings, location_id="another-location")
    assert_problem(world.post(make_http_event()), 403, "location_not_allowed")
    assert world.highlevel.calls == []


@pytest.mark.parametrize(
    ("event", "status", "reason"),
    [
        (make_http_event(""), 400, "invalid_json"),
        (make_http_event("{"), 400, "invalid_json"),
        (
            make_http_event(content_type="application/json; charset=zlib", body="{}"),
            415,
            "unsupported_media_type",
        ),
        (make_http_event(" " * (MAX_BODY_BYTES + 1)), 413, "body_too_large"),
        (make_http_event("ü" * (MAX_BODY_BYTES // 2 + 1)), 413, "body_too_large"),
        (make_http_event(" " * 6_000_000), 413, "body_too_large"),
        (make_http_event(content_type="text/plain"), 415, "unsupported_media_type"),
        (make_http_event(content_encoding="gzip"), 415, "unsupported_media_type"),
        (make_http_event("[]"), 422, "invalid_body"),
        (make_http_event(json.dumps(make_ids(contact="a b"))), 422, "invalid_body"),
        (make_http_event(json.dumps(make_ids(location=None))), 422, "no_location"),
        (make_http_event(json.dumps(make_ids(contact=None))), 422, "no_contact"),
    ],
    ids=shown,
)
def test_invalid_is_a_problem(world: World, event: dict[str, Any], status: int, reason: str) -> None:
    assert_problem(world.post(event), status, reason)
    assert not world.highlevel.calls
    assert not world.sqs.calls


def test_a_body_at_the_limit_is_taken(world: World) -> None:
    assert world.post(make_http_event(json.dumps(make_ids()).ljust(MAX_BODY_BYTES)))["statusCode"] == 201


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8"])
def test_a_missing_content_type_is_json(world: World, content_type: str | None) -> None:
    assert world.post(make_http_event(content_type=content_type))["statusCode"] == 201


def test_a_body_in_base64_is_decoded(world: World) -> None:
    event = sample("http_conversation_latin1_base64")
    event["headers"]["authorization"] = f"Bearer {API_SECRET}"
    assert world.post(event)["statusCode"] == 201


@pytest.mark.parametrize("body", ["not base64!", "YQ", "\u00fc", "Y\nQ=="])
def test_invalid_base64_is_refused(world: World, body: str) -> None:
    assert_problem(world.post(make_http_event(body) | {"isBase64Encoded": True}), 400, "invalid_json")


def test_a_base64_body_at_the_limit_is_taken(world: World) -> None:
    body = base64.b64encode(json.dumps(make_ids()).encode().ljust(MAX_BODY_BYTES)).decode()
    assert world.post(make_http_event(body) | {"isBase64Encoded": True})["statusCode"] == 201
    body = base64.b64encode(json.dumps(make_ids()).encode().ljust(MAX_BODY_BYTES + 1)).decode()
    assert_problem(world.post(make_http_event(body) | {"isBase64Encoded": True}), 413, "body_too_large")


def test_the_default_location_serves(world: World) -> None:
    world.settings = replace(world.settings, location_id=LOCATION)
    assert world.post(make_http_event(json.dumps({"contactId": CONTACT})))["statusCode"] == 201


# Who gets in


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {API_SECRET}", API_SECRET, "Bearer \ud800", "Bearer ü"],
)
def test_an_unknown_sender_is_a_401_before_anything_else(world: World, authorization: str | None) -> None:
    assert_problem(world.post(make_http_event("{", authorization=authorization)), 401, "unauthorized")
    assert not world.highlevel.calls
    assert not world.dynamodb.calls
    assert not world.sqs.calls


def test_all_unknown_senders_get_the_same_answer(world: World) -> None:
    answers = [world.post(make_http_event(authorization=header)) for header in (None, "", "Basic x", "Bearer wrong")]
    world.secrets.texts["SenderSecrets"] = None
    answers.append(World(world.highlevel, secrets=world.secrets).post(make_http_event()))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    "text", [None, "", "{}", '{"api": ""}', '{"api": []}', '{"api": [""]}', '{"api": 7}', "[", API_SECRET]
)
@pytest.mark.parametrize("authorization", [f"Bearer {API_SECRET}", "Bearer ", None])
def test_without_a_secret_no_request_gets_in(world: World, text: str | None, authorization: str | None) -> None:
    world.secrets.texts["SenderSecrets"] = text
    assert_problem(world.post(make_http_event(authorization=authorization)), 401, "unauthorized")


@pytest.mark.parametrize("error", [UNREACHABLE, refusal("ThrottlingException"), refusal("AccessDeniedException")])
def test_secrets_that_cannot_be_read_now_are_a_503(world: World, error: Exception) -> None:
    world.secrets.error = error
    assert_problem(world.post(make_http_event()), 503, "sender_secrets_unavailable")


def test_known_secrets_serve_while_they_cannot_be_read(world: World) -> None:
    world.post(make_http_event())
    world.secrets.error = UNREACHABLE
    assert world.post(make_http_event())["statusCode"] == 200


def test_a_caller_ahead_of_the_cache_is_not_turned_away_while_secrets_cannot_be_read(
    world: World,
) -> None:
    clock = Clock()
    world.sender_secrets = CachedSecret(world.secrets, "SenderSecrets", 60.0, clock)
    world.post(make_http_event())
    world.secrets.texts["SenderSecrets"] = json.dumps({"api": ["rotated", API_SECRET]})
    world.secrets.error = UNREACHABLE
    ahead = make_http_event(authorization="Bearer rotated")
    for _ in range(3):
        assert_problem(world.post(ahead), 503, "sender_secrets_unavailable")
        assert_problem(world.post(make_http_event(authorization="Bearer wrong")), 503, "sender_secrets_unavailable")
        assert world.post(make_http_event())["statusCode"] == 200
    for _ in range(100):
        world.post(ahead)
    reads = [read["SecretId"] for read in world.secrets.named("GetSecretValue")]
    assert reads.count("SenderSecrets") <= 1 + FORCED_READS, "an outage is not asked for each of them"
    world.secrets.error = None
    clock.now += GUARD_SECONDS + 1
    assert world.post(ahead)["statusCode"] == 200
    assert_problem(world.post(make_http_event(authorization="Bearer wrong")), 401, "unauthorized")


def test_a_caller_ahead_of_the_cached_secret_is_let_in_after_one_read(world: World) -> None:
    world.post(make_http_event())
    reads = len(world.secrets.calls)
    world.secrets.texts["SenderSecrets"] = '{"api": ["rotated", "older"]}'
    assert world.post(make_http_event(authorization="Bearer rotated"))["statusCode"] == 200
    assert len(world.secrets.calls) == reads + 1
    assert world.post(make_http_event(authorization="Bearer older"))["statusCode"] == 200
    assert len(world.secrets.calls) == reads + 1
    assert_problem(world.post(make_http_event()), 401, "unauthorized")


def test_a_rotated_secret_does_not_let_a_wrong_one_in(world: World) -> None:
    world.post(make_http_event())
    world.secrets.texts["SenderSecrets"] = '{"api": "rotated"}'
    assert_problem(world.post(make_http_event(authorization="Bearer wrong")), 401, "unauthorized")
    world.secrets.texts["SenderSecrets"] = "{}"
    assert_problem(world.post(make_http_event(authorization="Bearer wrong")), 401, "unauthorized")


def test_a_thousand_wrong_secrets_cause_a_handful_of_reads(world: World) -> None:
    for number in range(1000):
        assert world.post(make_http_event(authorization=f"Bearer {number}"))["statusCode"] == 401
    assert len(world.secrets.calls) <= 1 + FORCED_READS <= 6


def test_requests_without_the_header_cause_a_handful_of_reads(world: World) -> None:
    for _ in range(100):
        world.post(make_http_event(authorization=None))
    assert len(world.secrets.calls) <= 1 + FORCED_READS


@pytest.mark.parametrize(
    ("event", "status", "reason"),
    [
        (make_http_event(" " * (MAX_BODY_BYTES + 1)), 413, "body_too_large"),
        (make_http_event("not base64!") | {"isBase64Encoded": True}, 400, "invalid_json"),
        (make_http_event("{"), 400, "invalid_json"),
        (make_http_event(content_type="text/plain"), 415, "unsupported_media_type"),
        (make_http_event(content_encoding="gzip"), 415, "unsupported_media_type"),
        (make_http_event("[]"), 422, "invalid_body"),
    ],
    ids=shown,
)
def test_only_a_known_sender_learns_what_is_wrong_with_the_body(
    world: World, event: dict[str, Any], status: int, reason: str
) -> None:
    assert_problem(world.post(event), status, reason)
    unknown = event | {"headers": event["headers"] | {"authorization": "Bearer wrong"}}
    assert_problem(world.post(unknown), 401, "unauthorized")
    del unknown["headers"]["authorization"]
    assert_problem(world.post(unknown), 401, "unauthorized")


@pytest.mark.parametrize("route", [None, "", "POST /conversations", "POST /webhooks", "$default", 7])
def test_an_event_of_any_other_route_is_a_post_to_conversations(world: World, route: object) -> None:
    """It asks for the secret of `api`, whatever the path names."""
    event = make_http_event() | {"routeKey": route, "pathParameters": {"sender": "token"}}
    assert world.post(event)["statusCode"] == 201
    assert_problem(world.post(event | {"headers": {}}), 401, "unauthorized")


@pytest.mark.parametrize("name", ["locationId", "contactId"])
def test_an_empty_id_is_not_a_missing_one(world: World, name: str) -> None:
    world.settings = replace(world.settings, location_id=LOCATION)
    body = json.dumps(make_ids() | {name: "", "email": "jane@example.com"})
    assert_problem(world.post(make_http_event(body)), 422, "invalid_body")


def test_a_missing_location_is_reported_before_a_bad_contact(world: World) -> None:
    assert_problem(world.post(make_http_event(json.dumps({"contactId": "a b"}))), 422, "no_location")


def test_a_caller_names_a_contact_by_its_id_only(world: World) -> None:
    body = json.dumps(make_ids(contact=None) | {"email": "jane@example.com", "phone": "+15555550100"})
    assert_problem(world.post(make_http_event(body)), 422, "no_contact")
    assert world.highlevel.calls == []


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION"])
def test_header_names_are_read_in_any_case(world: World, name: str) -> None:
    event = make_http_event(authorization=None)
    event["headers"] |= {name: f"Bearer {API_SECRET}"}
    assert world.post(event)["statusCode"] == 201


# Not stored


def test_what_cannot_be_stored_is_a_503(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    world.sqs.error = UNREACHABLE
    assert_problem(world.post(make_http_event()), 503, "not_stored")


def test_an_unexpected_error_is_a_503_without_its_text(world: World, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object, **__: object) -> None:
        raise RuntimeError(API_SECRET)

    monkeypatch.setattr(http_module, "target_of", burst)
    assert_problem(world.post(make_http_event()), 503, "failed")
    assert (log.line["outcome"], log.line["reason"]) == ("not_stored", "failed")
    assert [line["error"] for line in log.failures] == ["RuntimeError"]
    assert API_SECRET not in log.text


# Malformed events: the handler raises nothing and lets no request in


def damaged(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    event = make_http_event()
    change(event)
    return event


@pytest.mark.parametrize("context", [None, [], "text", 7, {}, {"requestId": None}, {"requestId": "a\nb"}])
def test_without_a_request_id_of_the_gateway_lambdas_is_used(world: World, context: object) -> None:
    answer = world.post(damaged(lambda event: event.update(requestContext=context)))
    assert answer["statusCode"] == 201
    assert answer["headers"]["x-request-id"] == CONTEXT.aws_request_id


@pytest.mark.parametrize(
    "epoch",
    [None, "1795358768123", [], True, 0, -1, 10**18, float("inf"), float("-inf"), float("nan"), 10**400],
    ids=lambda epoch: str(epoch)[:20],
)
def test_a_clock_that_cannot_be_right_is_not_believed(world: World, epoch: object) -> None:
    assert world.post(damaged(lambda event: event["requestContext"].update(timeEpoch=epoch)))["statusCode"] == 201


@pytest.mark.parametrize(
    "headers", [None, [], "text", 7, {}, {"authorization": None}, {"authorization": ["x"]}, {"authorization": {}}]
)
def test_malformed_headers_let_no_request_in(world: World, headers: object) -> None:
    assert_problem(world.post(damaged(lambda event: event.update(headers=headers))), 401, "unauthorized")


@pytest.mark.parametrize("body", [None, 7, True, [], {}, make_ids()])
@pytest.mark.parametrize("encoded", [None, True, False, "true", 1])
def test_a_body_that_is_not_a_text_is_empty(world: World, body: object, encoded: object) -> None:
    answer = world.post(damaged(lambda event: event.update(body=body, isBase64Encoded=encoded)))
    assert_problem(answer, 400, "invalid_json")


def test_missing_members_do_no_harm(world: World) -> None:
    for name in ("body", "isBase64Encoded", "headers", "requestContext", "version"):
        answer = world.post(damaged(lambda event, name=name: event.pop(name)))  # type: ignore[misc]
        assert answer["statusCode"] in (200, 201, 400, 401)


@pytest.mark.parametrize("body", ["\ud800", '"\ud800"', "\0", "\ufeff{}", "[" * 100_000, '{"contactId": NaN}'])
def test_odd_texts_do_no_harm(world: World, body: str) -> None:
    assert world.post(make_http_event(body))["statusCode"] in (400, 422)


# In time


def test_senders_wait_five_seconds() -> None:
    assert (api_gateway.ANSWER_SECONDS, api_gateway.STORE_SECONDS, http_module.HIGHLEVEL_SECONDS) == (4, 1, 2.5)


def test_everything_hanging_together_is_answered_in_time(world: World, quick: None) -> None:
    world.sender_secrets.get()
    world.highlevel.fail(kind="hang")
    world.dynamodb.hang = world.secrets.hang = world.sqs.hang = 30.0
    with in_time(4.0 / 4):
        assert_problem(world.post(make_http_event()), 503, "not_stored")


@pytest.mark.parametrize("kind", ["hang", "drip", "drip_headers"])
def test_a_highlevel_that_hangs_is_answered_for_in_time(world: World, quick: None, kind: str) -> None:
    world.highlevel.fail(kind=kind, **({} if kind == "hang" else {"seconds": 0.05}))
    with in_time(2.5 / 4):
        assert_accepted(world.post(make_http_event()), "deferred")
    assert len(world.queued()) == 1


def test_the_time_that_the_gateway_and_a_cold_start_took_counts(world: World, quick: None) -> None:
    world.highlevel.fail(kind="hang")
    with in_time(1.0 / 4):
        assert_accepted(world.post(make_http_event(age=2.0 / 4)), "deferred")
    assert len(world.queued()) == 1


def test_with_no_time_left_it_is_queued_without_a_call(world: World) -> None:
    with in_time(1.0):
        assert_accepted(world.post(make_http_event(age=3.5)), "deferred")
    assert len(world.queued()) == 1
    assert world.highlevel.calls == []


@pytest.mark.parametrize("part", ["dynamodb", "secrets"])
def test_a_hanging_part_of_aws_is_answered_for_in_time(world: World, quick: None, part: str) -> None:
    world.sender_secrets.get()
    client: FakeAws = getattr(world, part)
    client.hang = 30.0
    with in_time(4.0 / 4):
        assert_accepted(world.post(make_http_event()), "deferred")
    assert len(world.queued()) == 1


def test_a_hanging_queue_is_a_503_in_time(world: World, quick: None) -> None:
    world.highlevel.fail(kind="status", status=503)
    world.sqs.hang = 30.0
    with in_time(4.0 / 4):
        assert_problem(world.post(make_http_event()), 503, "not_stored")


def test_sender_secrets_that_hang_are_a_503_in_time(world: World, quick: None) -> None:
    world.secrets.hang = 3.0
    with in_time(4.0 / 4):
        assert_problem(world.post(make_http_event()), 503, "sender_secrets_unavailable")


def test_stale_sender_secrets_and_a_slow_refusal_are_answered_for_in_time(world: World, quick: None) -> None:
    clock = Clock()
    world.sender_secrets = CachedSecret(world.secrets, "SenderSecrets", 60.0, clock)
    world.post(make_http_event())
    clock.now += 1000
    world.secrets.hang = 3.0 / 4  # two attempts of one second each, and the pause between them
    with in_time(4.0 / 4):
        assert world.post(make_http_event(authorization="Bearer wrong"))["statusCode"] in (401, 503)


def test_the_next_post_completes_what_the_deadline_cut_off(world: World, quick: None) -> None:
    world.highlevel.fail(kind="slow", seconds=1.0, times=1)
    assert_accepted(world.post(make_http_event()), "deferred")
    assert world.post(make_http_event(json.dumps(make_ids(contact="another"))))["statusCode"] == 201
    assert world.post(make_http_event())["statusCode"] in (200, 201)
    assert len(world.highlevel.conversations) == 2


# The reasons


def test_a_quota_that_is_used_up_is_deferred_without_a_call(world: World) -> None:
    world.highlevel.limits = Limits(max=1)
    assert world.post(make_http_event())["statusCode"] == 201
    assert_accepted(world.post(make_http_event(json.dumps(make_ids(contact="another")))), "deferred")
    assert world.queued()[0]["QueueUrl"] == RETRY_URL
    assert len(world.highlevel.calls) == 1


def test_each_reason_has_a_status_of_its_outcome() -> None:
    assert {reason.status for reason in REASONS.values()} == {200, 202, 400, 401, 403, 413, 415, 422, 502, 503}
    assert all(reason.title for reason in REASONS.values())


def test_a_reply_holds_no_secret(world: World, log: Log) -> None:
    world.secrets.texts["HighLevelToken"] = f"{TOKEN} with blanks"
    for event in (make_http_event(), make_http_event(authorization="Bearer wrong"), make_http_event("{")):
        answer = json.dumps(world.post(event))
        assert TOKEN not in answer
        assert API_SECRET not in answer


def test_boto_timeouts_are_not_stored(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    world.sqs.error = no_answer()
    assert_problem(world.post(make_http_event()), 503, "not_stored")
