"""The one way of every submission, over a local HighLevel."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from create_conversation import pause
from create_conversation.circuit_breaker import FAILURES, OPEN_SECONDS, CircuitBreaker
from create_conversation.errors import MessageStatus
from create_conversation.outcome import Outcome
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.mapping import Person, Target
from highlevel.client import HighLevel
from local.highlevel import Limits
from tests.factories import CONTACT, LOCATION
from tests.stopwatch import Stopwatch
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, no_answer, refusal
from tests.unit.world import NEW_TOKEN, TOKEN, World

SEARCH = "/conversations/search"
PERSON = Person("jane@example.com", "+15555550100", "Jane", "Doe")
JANE = Target(LOCATION, None, PERSON, "typeform#delivery-1")


def paths(world: World) -> list[str]:
    return [call.path for call in world.highlevel.calls]


def conversation_id(world: World, contact: str = CONTACT) -> str:
    return str(world.highlevel.conversations[LOCATION, contact]["id"])


def existing_body(identifier: str, contact: str = CONTACT) -> dict[str, Any]:
    conversation = {"id": identifier, "contactId": contact, "locationId": LOCATION}
    return {"success": True, "conversation": conversation}


def in_highlevel(world: World, contact: str = CONTACT) -> str:
    """A conversation that another instance has opened; its id."""
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, contact, within=2)
    world.highlevel.calls.clear()
    return conversation_id(world, contact)


# Opened, existing


def test_a_conversation_is_opened_and_saved(world: World) -> None:
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("opened", "")
    assert outcome.body is not None
    assert outcome.body["conversation"] == world.highlevel.conversations[LOCATION, CONTACT]
    assert outcome.upstream is not None
    assert outcome.upstream.status == 201
    assert outcome.upstream_ms is not None
    assert world.dynamodb.items[f"contact#{LOCATION}#{CONTACT}"]["conversation_id"] == {"S": conversation_id(world)}


def test_a_recorded_contact_costs_one_read_and_no_call(world: World) -> None:
    world.dynamodb.put(LOCATION, CONTACT, "conv-1")
    assert world.open(need_id=True) == Outcome("existing", body=existing_body("conv-1"), message=MessageStatus.OFF)
    assert world.highlevel.calls == []
    assert [name for name, _ in world.dynamodb.calls] == ["GetItem"]
    assert world.secrets.calls == []


def test_an_expired_record_is_none(world: World) -> None:
    world.dynamodb.put(LOCATION, CONTACT, "conv-1", expires_in=-1)
    assert world.open().name == "opened"


def test_a_repeat_is_existing_with_the_same_id(world: World) -> None:
    assert world.open(need_id=True).name == "opened"
    again = world.open(need_id=True)
    assert (again.name, again.body) == ("existing", existing_body(conversation_id(world)))
    assert paths(world) == ["/conversations/"]


def test_a_race_of_twenty_ends_in_one_conversation(world: World) -> None:
    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(lambda _: world.open(need_id=True), range(20)))
    assert [outcome.name for outcome in outcomes].count("opened") == 1
    assert {outcome.name for outcome in outcomes} == {"opened", "existing"}
    ids = {outcome.body["conversation"]["id"] for outcome in outcomes if outcome.body}
    assert ids == {conversation_id(world)}


def test_already_exists_is_looked_up_in_the_records_then_in_the_search(world: World) -> None:
    identifier = in_highlevel(world)
    outcome = world.open(need_id=True)
    assert (outcome.name, outcome.body) == ("existing", existing_body(identifier))
    assert paths(world) == ["/conversations/", SEARCH]
    reads = [read["ConsistentRead"] for read in world.dynamodb.named("GetItem") if read["Key"] != pause.KEY]
    assert reads == [False, True]
    assert world.dynamodb.items[f"contact#{LOCATION}#{CONTACT}"]["conversation_id"] == {"S": identifier}


def test_already_exists_is_not_looked_up_for_those_who_need_no_id(world: World) -> None:
    in_highlevel(world)
    outcome = world.open()
    assert (outcome.name, outcome.body) == ("existing", None)
    assert paths(world) == ["/conversations/"]
    assert world.open().name == "existing"
    assert paths(world) == ["/conversations/"], "its id is saved now"


def test_another_instance_may_have_saved_the_id_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    in_highlevel(world)
    handle = world.dynamodb.handle

    def handle_late(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters.get("ConsistentRead"):
            world.dynamodb.put(LOCATION, CONTACT, "of-the-winner")
        return handle(operation, parameters)

    monkeypatch.setattr(world.dynamodb, "handle", handle_late)
    assert world.open(need_id=True).body == existing_body("of-the-winner")
    assert SEARCH not in paths(world)


def test_a_search_that_lags_leaves_the_id_open_until_the_next_time(world: World) -> None:
    world.highlevel.search_lag = 0.5
    identifier = in_highlevel(world)
    for _ in range(2):
        outcome = world.open(need_id=True)
        assert (outcome.name, outcome.body) == ("existing", None)
    assert paths(world) == ["/conversations/", SEARCH, SEARCH], "it is saved, so it is not created again"
    time.sleep(0.5)
    assert world.open(need_id=True).body == existing_body(identifier)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 401, "message": "The token is not authorized for this scope."},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 500},
        {"kind": "html"},
        {"kind": "garbage", "status": 200},
        {"kind": "empty", "status": 200},
        {"kind": "reset"},
        {"kind": "hang"},
        {
            "kind": "status",
            "status": 200,
            "body": json.dumps({"conversations": [{"id": "x", "contactId": "other", "locationId": LOCATION}]}).encode(),
        },
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}",
)
def test_an_error_in_the_look_up_never_changes_the_outcome(world: World, fault: dict[str, Any]) -> None:
    in_highlevel(world)
    world.highlevel.fail(path=SEARCH, **fault)
    stopwatch = Stopwatch()
    for _ in range(2):
        outcome = world.open(need_id=True, within=0.35)
        assert (outcome.name, outcome.body) == ("existing", None)
    assert stopwatch.seconds < 2


@pytest.mark.parametrize("text", [None, "", '{"tokens": {}}', "short", "{"])
def test_a_missing_token_does_not_change_a_recorded_contact(world: World, text: str | None) -> None:
    world.dynamodb.put(LOCATION, CONTACT, None)
    world.secrets.texts["HighLevelToken"] = text
    outcome = world.open(need_id=True)
    assert (outcome.name, outcome.body) == ("existing", None)


def test_an_unreadable_token_does_not_change_a_recorded_contact(world: World) -> None:
    world.dynamodb.put(LOCATION, CONTACT, None)
    world.secrets.error = no_answer()
    assert world.open(need_id=True).name == "existing"


@pytest.mark.parametrize("kind", ["empty", "garbage"])
def test_a_201_without_the_conversation_is_opened_and_looked_up(world: World, kind: str) -> None:
    world.highlevel.fail(kind=kind, path="/conversations/")
    outcome = world.open(need_id=True)
    assert (outcome.name, outcome.body) == ("opened", existing_body(conversation_id(world)))


def test_no_caller_gets_the_conversation_of_another_contact(world: World) -> None:
    foreign = {"success": True, "conversation": {"id": "x", "contactId": "other", "locationId": LOCATION}}
    world.highlevel.fail(kind="status", status=201, body=json.dumps(foreign).encode())
    outcome = world.open(need_id=True)
    assert (outcome.name, outcome.body) == ("opened", None)


def test_a_lost_answer_ends_in_the_same_conversation(world: World) -> None:
    world.highlevel.fail(kind="commit_then_drop", times=1)
    assert world.open(need_id=True).reason == "upstream_connection_lost"
    outcome = world.open(need_id=True)
    assert (outcome.name, outcome.body) == ("existing", existing_body(conversation_id(world)))


# Deferred, rejected


@pytest.mark.parametrize(
    ("fault", "name", "reason"),
    [
        ({"kind": "status", "status": 408}, "deferred", "upstream_error"),
        ({"kind": "status", "status": 503}, "deferred", "upstream_error"),
        ({"kind": "status", "status": 429}, "deferred", "rate_limited"),
        ({"kind": "html", "status": 403}, "deferred", "upstream_unexpected"),
        ({"kind": "html", "status": 401}, "deferred", "upstream_unexpected"),
        ({"kind": "reset"}, "deferred", "upstream_connection_lost"),
        ({"kind": "hang"}, "deferred", "upstream_timeout"),
        ({"kind": "status", "status": 400, "message": "Location is not active"}, "deferred", "location_inactive"),
        ({"kind": "status", "status": 422, "message": ["contactId must be a string"]}, "rejected", "ids_refused"),
        ({"kind": "status", "status": 401, "message": "version header is invalid"}, "rejected", "version_refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.get("status", value["kind"])),
)
def test_a_failure_has_its_reason_and_nothing_is_saved(
    world: World, fault: dict[str, Any], name: str, reason: str
) -> None:
    world.highlevel.fail(**fault)
    outcome = world.open(attempt_seconds=0.3)
    assert (outcome.name, outcome.reason, outcome.body) == (name, reason, None)
    assert world.dynamodb.items == {}
    assert len(world.highlevel.calls) == 1


def test_retry_after_is_handed_on(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, headers={"Retry-After": "17"})
    assert world.open().retry_after == 17


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no_token"),
        ("", "no_token"),
        ('{"tokens": {"another": "pit-12345678"}}', "no_token"),
        ("{", "token_malformed"),
        ("has blanks in it", "token_malformed"),
        (f"{TOKEN}\r\nX-Injected: 1", "token_malformed"),
    ],
)
def test_without_a_usable_token_no_call_is_made(world: World, text: str | None, reason: str) -> None:
    world.secrets.texts["HighLevelToken"] = text
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("rejected", reason)
    assert world.highlevel.calls == []
    assert TOKEN not in outcome.detail
    world.secrets.texts["HighLevelToken"] = TOKEN
    if text is None:
        assert world.open().name == "opened", "as soon as the secret has its first value"


@pytest.mark.parametrize("error", [no_answer(), refusal("AccessDeniedException")])
def test_a_token_that_cannot_be_read_now_is_deferred(world: World, error: Exception) -> None:
    world.secrets.error = error
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("deferred", "token_unavailable")
    assert world.highlevel.calls == []


def test_each_location_is_called_with_its_own_token(world: World) -> None:
    world.secrets.texts["HighLevelToken"] = json.dumps({"tokens": {LOCATION: TOKEN, "*": NEW_TOKEN}})
    world.open()
    world.open(location="another-location")
    assert [call.token for call in world.highlevel.calls] == [TOKEN, NEW_TOKEN]


# A refused token


def test_a_refused_token_is_read_again_and_a_newer_one_used_immediately(world: World) -> None:
    world.token.get()
    world.secrets.texts["HighLevelToken"] = NEW_TOKEN
    world.highlevel.tokens = {NEW_TOKEN: "*"}
    assert world.open().name == "opened"
    assert [call.token for call in world.highlevel.calls] == [TOKEN, NEW_TOKEN]
    assert len(world.secrets.calls) == 2
    assert world.open("another").name == "opened"
    assert len(world.secrets.calls) == 2


def test_a_refused_token_with_nothing_newer_is_deferred_after_one_call(world: World) -> None:
    world.highlevel.tokens = {}
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("deferred", "token_refused")
    assert len(world.highlevel.calls) == 1


def test_a_newer_token_that_is_refused_too_is_not_tried_a_third_time(world: World) -> None:
    world.token.get()
    world.secrets.texts["HighLevelToken"] = NEW_TOKEN
    world.highlevel.tokens = {}
    assert world.open().reason == "token_refused"
    assert len(world.highlevel.calls) == 2


def test_a_newer_secret_without_a_token_for_the_location_is_rejected(world: World) -> None:
    world.token.get()
    world.secrets.texts["HighLevelToken"] = '{"tokens": {}}'
    world.highlevel.tokens = {}
    assert world.open().reason == "no_token"


@pytest.mark.parametrize(
    "message",
    ["The token is not authorized for this scope.", "version header is invalid", "This location is not accessible"],
)
def test_a_401_that_no_newer_token_fixes_causes_no_read(world: World, message: str) -> None:
    world.highlevel.fail(kind="status", status=401, message=message)
    assert world.open().name == "rejected"
    assert len(world.secrets.calls) == 1


def test_a_thousand_401s_cause_a_handful_of_reads(world: World) -> None:
    world.highlevel.tokens = {}
    world.highlevel.limits = Limits(max=10_000)
    # Its clock stands still: on a busy machine they take more than the 10 seconds after which more reads are allowed.
    world.flow = world.environment(CachedSecret(world.secrets, "HighLevelToken", 300.0, Clock()))
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda number: world.open(f"contact-{number}"), range(1000)))
    assert {outcome.reason for outcome in outcomes} == {"token_refused"}
    assert len(world.secrets.calls) <= 10


# DynamoDB


@pytest.mark.parametrize("error", [no_answer(), refusal("ThrottlingException")])
def test_without_dynamodb_it_goes_on(world: World, error: Exception) -> None:
    world.dynamodb.error = error
    assert world.open(need_id=True).name == "opened"
    again = world.open(need_id=True)
    assert (again.name, again.body) == ("existing", existing_body(conversation_id(world)))
    assert len(world.dynamodb.calls) == 1


# The deadline, the breaker, the quota


def test_the_flow_ends_by_its_deadline(world: World) -> None:
    world.highlevel.fail(kind="hang")
    stopwatch = Stopwatch()
    assert world.open(within=0.5).reason == "upstream_timeout"
    assert stopwatch.seconds < 0.8


def test_an_attempt_ends_by_its_own_time(world: World) -> None:
    world.highlevel.fail(kind="hang")
    stopwatch = Stopwatch()
    assert world.open(within=5, attempt_seconds=0.3).reason == "upstream_timeout"
    assert stopwatch.seconds < 0.6


@pytest.mark.parametrize("within", [0.05, 0.0, -3.0])
def test_without_time_no_call_is_made(world: World, within: float) -> None:
    outcome = world.open(within=within)
    assert (outcome.name, outcome.reason) == ("deferred", "deadline")
    assert world.highlevel.calls == []


@pytest.mark.parametrize("fault", [{"kind": "status"}, {"kind": "reset"}, {"kind": "hang"}])
def test_a_highlevel_that_is_down_is_left_alone(world: World, fault: dict[str, Any]) -> None:
    world.highlevel.fail(**fault)
    for number in range(FAILURES):
        assert world.open(f"contact-{number}", attempt_seconds=0.15).reason.startswith("upstream_")
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("deferred", "breaker_open")
    assert 4 < (outcome.retry_after or 0) <= 5
    assert len(world.highlevel.calls) == FAILURES


@pytest.mark.parametrize("target", [Target(LOCATION, CONTACT), JANE], ids=["an id", "a person"])
def test_of_many_submissions_one_probes_a_highlevel_that_was_down(world: World, target: Target) -> None:
    clock = Clock()
    world.flow = world.environment(breaker=CircuitBreaker(clock))
    world.highlevel.fail(kind="status", status=503)
    for number in range(FAILURES):
        world.open(f"contact-{number}")
    for is_down in (True, True, False):
        clock.now += OPEN_SECONDS
        world.highlevel.calls.clear()
        if not is_down:
            world.highlevel.heal()
        with ThreadPoolExecutor(10) as threads:
            reasons = list(threads.map(lambda _: world.open_for(target).reason, range(10)))
        if is_down:
            assert sorted(reasons) == ["breaker_open"] * 9 + ["upstream_error"]
            assert len(world.highlevel.calls) == 1
    assert reasons.count("") >= 1
    assert world.open("afterwards").name == "opened"


def test_a_location_that_fails_alone_is_left_alone_alone(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, location="sick")
    for number in range(FAILURES):
        assert world.open(f"contact-{number}", location="sick").reason == "upstream_error"
    assert world.open(location="sick").reason == "breaker_open"
    assert world.open().name == "opened"


def test_a_highlevel_that_fails_for_several_locations_is_left_alone_for_all(world: World) -> None:
    world.highlevel.fail(kind="status", status=503)
    for number in range(FAILURES):
        assert world.open(location=f"loc-{number % 3}").reason == "upstream_error"
    world.highlevel.heal()
    assert world.open(location="never-seen").reason == "breaker_open"
    assert len(world.highlevel.calls) == FAILURES


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 422, "message": "no"},
        {"kind": "status", "status": 401, "message": "Invalid JWT"},
        {"kind": "html"},
    ],
    ids=["422", "401", "edge page"],
)
def test_answers_that_are_not_failures_leave_the_breaker_closed(world: World, fault: dict[str, Any]) -> None:
    world.highlevel.fail(**fault)
    for number in range(2 * FAILURES):
        assert world.open(f"contact-{number}").reason != "breaker_open"


def test_a_location_without_quota_is_not_called_and_no_other_suffers(world: World) -> None:
    world.highlevel.limits = Limits(max=2)
    assert [world.open(f"contact-{number}").name for number in range(2)] == ["opened"] * 2
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("deferred", "quota_exhausted")
    assert 8 < (outcome.retry_after or 0) <= 10
    assert len(world.highlevel.calls) == 2
    assert world.open(location="another-location").name == "opened"


def test_a_429_says_how_long_to_wait(world: World) -> None:
    world.highlevel.fail(kind="status", status=429, headers={"Retry-After": "42"}, times=1)
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("deferred", "rate_limited")
    assert 41 < (outcome.retry_after or 0) <= 42
    assert world.open().reason == "quota_exhausted"


def test_the_last_calls_of_a_window_are_left_to_callers_who_wait(world: World) -> None:
    world.highlevel.limits = Limits(max=2)
    world.open("contact-1")
    assert world.open("contact-2", in_background=True).reason == "quota_exhausted"
    assert world.open("contact-2").name == "opened"


# A person whose contact id is not known

SEARCH_CONTACT = "/contacts/search/duplicate"
CREATE_CONTACT = "/contacts/"
NEW = [SEARCH_CONTACT, CREATE_CONTACT, "/conversations/"]


def jane(world: World) -> str:
    """The id of her contact, the only one."""
    (contact,) = world.highlevel.contacts
    return contact


def details(world: World) -> list[dict[str, Any]]:
    """The body of each create of a contact."""
    return [json.loads(call.body) for call in world.highlevel.calls if call.path == CREATE_CONTACT]


def records_of(world: World) -> list[str]:
    """The keys of the idempotency records."""
    return [key for key in world.dynamodb.items if key.startswith(("contact#", "delivery#"))]


def test_a_new_person_is_created_then_opened_and_the_delivery_saved(world: World) -> None:
    outcome = world.open_for(JANE)
    assert (outcome.name, outcome.contact) == ("opened", jane(world))
    assert paths(world) == NEW
    assert details(world) == [
        {
            "locationId": LOCATION,
            "email": "jane@example.com",
            "phone": "+15555550100",
            "firstName": "Jane",
            "lastName": "Doe",
        }
    ]
    identifier = conversation_id(world, jane(world))
    assert outcome.body is not None
    assert outcome.body["conversation"]["id"] == identifier
    item = next(item for key, item in world.dynamodb.items.items() if key.startswith("delivery#typeform#delivery-1#"))
    assert (item["conversation_id"], item["contact_id"]) == ({"S": identifier}, {"S": jane(world)})
    assert world.dynamodb.items[f"contact#{LOCATION}#{jane(world)}"]["conversation_id"] == {"S": identifier}
    assert "jane@example.com" not in json.dumps(world.dynamodb.items)
    assert "555" not in json.dumps([*world.dynamodb.items])


def test_a_person_that_highlevel_has_is_found_and_not_changed(world: World) -> None:
    world.open_for(JANE)
    before = dict(world.highlevel.contacts[jane(world)])
    world.highlevel.calls.clear()
    renamed = Target(LOCATION, None, Person("jane@example.com", "+15555550100", "JANE", "DOE"), "typeform#delivery-2")
    assert world.open_for(renamed).name == "existing"
    assert paths(world) == [SEARCH_CONTACT]
    assert world.highlevel.contacts[jane(world)] == before


@pytest.mark.parametrize("in_background", [False, True])
def test_a_repeated_delivery_costs_one_read_and_no_call(world: World, in_background: bool) -> None:
    opened = world.open_for(JANE)
    world.highlevel.calls.clear()
    world.dynamodb.calls.clear()
    world.secrets.calls.clear()
    world.flow = world.environment()  # another instance
    again = world.open_for(JANE, in_background=in_background)
    assert (again.name, again.contact) == ("existing", opened.contact)
    assert again.body == existing_body(conversation_id(world, jane(world)), jane(world))
    assert world.highlevel.calls == []
    assert [name for name, _ in world.dynamodb.calls] == ["GetItem"]
    assert world.secrets.calls == []


def test_another_delivery_of_the_same_person_ends_in_the_same_conversation(world: World) -> None:
    opened = world.open_for(JANE)
    later = Target(LOCATION, None, Person("JANE@example.com", None, None, None), "typeform#delivery-2")
    again = world.open_for(later)
    assert (again.name, again.contact) == ("existing", opened.contact)
    assert paths(world) == [*NEW, SEARCH_CONTACT], "the conversation is saved"
    assert any(key.startswith("delivery#typeform#delivery-2#") for key in world.dynamodb.items)


@pytest.mark.parametrize(
    ("person", "sent"),
    [
        (Person("jane@example.com", None, None, None), {"email": "jane@example.com"}),
        (Person(None, "+15555550100", None, "Doe"), {"phone": "+15555550100", "lastName": "Doe"}),
    ],
    ids=["email", "phone and last name"],
)
def test_highlevel_gets_only_known_details_and_never_tags(world: World, person: Person, sent: dict[str, str]) -> None:
    assert world.open_for(Target(LOCATION, None, person, "token#1")).name == "opened"
    assert details(world) == [{"locationId": LOCATION} | sent]


def test_a_person_whom_highlevel_refuses_is_rejected(world: World) -> None:
    world.highlevel.fail(kind="status", status=422, message=["email must be an email"], path=CREATE_CONTACT)
    outcome = world.open_for(JANE)
    assert (outcome.name, outcome.reason, outcome.contact) == ("rejected", "contact_refused", None)
    assert outcome.detail == "HighLevel: email must be an email."
    assert [each.get("email") for each in details(world)] == ["jane@example.com", None], "the phone alone, then"
    assert records_of(world) == []


@pytest.mark.parametrize("path", [SEARCH_CONTACT, CREATE_CONTACT])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "html"}, "upstream_unexpected"),
        ({"kind": "status", "status": 503}, "upstream_error"),
        ({"kind": "status", "status": 429}, "rate_limited"),
        ({"kind": "reset"}, "upstream_connection_lost"),
        ({"kind": "hang"}, "upstream_timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value['kind']} {value.get('status', '')}",
)
def test_a_person_who_cannot_be_looked_up_now_is_deferred(
    world: World, fault: dict[str, Any], reason: str, path: str
) -> None:
    world.highlevel.fail(path=path, **fault)
    outcome = world.open_for(JANE, attempt_seconds=0.3)
    assert (outcome.name, outcome.reason) == ("deferred", reason)
    assert paths(world)[-1] == path
    assert records_of(world) == []


@pytest.mark.parametrize("body", [b'{"contact": {}}', b""])
def test_a_201_without_the_contact_is_deferred_and_searched_for(world: World, body: bytes) -> None:
    world.highlevel.fail("status", status=201, body=body, path=CREATE_CONTACT, times=1)
    assert world.open_for(JANE).reason == "upstream_unexpected"


def test_a_person_found_but_not_opened_is_tried_again_whole(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, path="/conversations/", times=1)
    outcome = world.open_for(JANE)
    assert (outcome.name, outcome.reason, outcome.contact) == ("deferred", "upstream_error", jane(world))
    assert records_of(world) == []
    assert world.open_for(JANE, in_background=True).name == "opened"
    assert len(world.highlevel.contacts) == 1


def test_a_lost_answer_to_a_create_leads_to_no_second_contact(world: World) -> None:
    world.highlevel.fail(kind="commit_then_drop", path=CREATE_CONTACT, times=1)
    assert world.open_for(JANE).reason == "upstream_connection_lost"
    assert world.open_for(JANE).name == "opened"
    assert len(world.highlevel.contacts) == len(world.highlevel.conversations) == 1


def test_a_conversation_that_a_person_has_already_needs_no_id(world: World) -> None:
    world.open_for(JANE)
    world.dynamodb.items.clear()
    world.flow = world.environment()
    world.highlevel.calls.clear()
    outcome = world.open_for(JANE)
    assert (outcome.name, outcome.body, outcome.contact) == ("existing", None, jane(world))
    assert paths(world) == [SEARCH_CONTACT, "/conversations/"]
    again = world.open_for(JANE)
    assert (again.name, again.body, again.contact) == ("existing", None, jane(world))
    assert paths(world) == [SEARCH_CONTACT, "/conversations/"]


def test_a_person_is_looked_up_with_a_newer_token_if_this_one_is_refused(world: World) -> None:
    world.token.get()
    world.secrets.texts["HighLevelToken"] = NEW_TOKEN
    world.highlevel.tokens = {NEW_TOKEN: "*"}
    assert world.open_for(JANE).name == "opened"
    assert [call.token for call in world.highlevel.calls] == [TOKEN, *[NEW_TOKEN] * 3]


def test_all_calls_share_one_deadline(world: World) -> None:
    world.highlevel.fail(kind="slow", seconds=0.3)
    stopwatch = Stopwatch()
    outcome = world.open_for(JANE, within=0.8)
    assert (outcome.name, outcome.contact) == ("deferred", jane(world))
    assert stopwatch.seconds < 1.1


def test_a_location_that_must_wait_is_not_asked_for_a_person_either(world: World) -> None:
    world.highlevel.limits = Limits(max=1)
    assert world.open_for(JANE).reason == "quota_exhausted"
    assert paths(world) == [SEARCH_CONTACT]
    assert world.open_for(JANE).reason == "quota_exhausted"
    assert paths(world) == [SEARCH_CONTACT]


def test_without_dynamodb_no_person_is_created_and_a_known_one_is_opened(world: World) -> None:
    world.dynamodb.error = refusal("ThrottlingException")
    outcome = world.open_for(JANE)
    assert (outcome.name, outcome.reason) == ("deferred", "claim_unavailable")
    assert not world.highlevel.contacts
    HighLevel(world.highlevel.url).create_contact(TOKEN, LOCATION, {"email": "jane@example.com"}, within=2)
    assert [world.open_for(JANE).name for _ in range(2)] == ["opened", "existing"]


def test_a_race_of_one_delivery_ends_in_one_conversation(world: World) -> None:
    with ThreadPoolExecutor(10) as threads:
        outcomes = list(threads.map(lambda _: world.open_for(JANE), range(10)))
    assert {outcome.name for outcome in outcomes} <= {"opened", "existing", "deferred"}
    assert {outcome.reason for outcome in outcomes} <= {"", "already_claimed"}
    assert len(world.highlevel.contacts) == len(world.highlevel.conversations) == 1


# Internal errors


def test_an_unexpected_exception_is_deferred_and_logged_without_its_text(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object, **__: object) -> None:
        raise RuntimeError(f"Bearer {TOKEN}")

    monkeypatch.setattr(HighLevel, "create_conversation", burst)
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("deferred", "internal_error")
    (line,) = log.failures
    assert (line["level"], line["error"]) == ("ERROR", "RuntimeError")
    assert any(step.startswith("burst:") for step in line["frames"])
    assert TOKEN not in log.text


def test_an_internal_error_in_the_look_up_does_not_change_the_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_highlevel(world)

    def burst(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(HighLevel, "find_conversation", burst)
    assert world.open(need_id=True).name == "existing"


def test_many_threads_may_share_one_flow(world: World) -> None:
    start = threading.Barrier(10)

    def one(number: int) -> str:
        start.wait(5)
        return world.open(f"contact-{number}").name

    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(one, range(10))) == ["opened"] * 10
    assert len(world.highlevel.conversations) == 10
