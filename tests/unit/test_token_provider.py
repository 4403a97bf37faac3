"""A token for each location: from the secret, or issued once for each location and day, shared and encrypted."""

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from create_conversation import location_tokens as module
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.senders.mapping import Target
from highlevel.oauth import OAuth
from local.highlevel_oauth import Installation
from tests.factories import CONTACT, LOCATION, make_oauth
from tests.stopwatch import Stopwatch
from tests.unit.conftest import Log
from tests.unit.fakes import no_answer, refusal, together
from tests.unit.world import TOKEN, World

ISSUE = "/oauth/locationToken"
KEY = f"token#{LOCATION}"


class Connected:
    """A world whose secret is an OAuth connection to an app that is installed in the local HighLevel."""

    def __init__(self, world: World, user_type: str, **installed: Any) -> None:
        self.world = world
        self.server = world.highlevel.oauth
        client_id, self.client_secret = self.server.client()
        self.installation: Installation = self.server.install(client_id, user_type, **installed)  # type: ignore[arg-type]
        self.store()

    @property
    def oauth(self) -> OAuth:
        return make_oauth(self.installation, self.client_secret)

    def store(self, **changes: Any) -> None:
        """What a rotation does at its end."""
        self.world.secrets.texts["HighLevelToken"] = replace(self.oauth, **changes).to_secret()

    def refresh(self) -> None:
        """HighLevel's part of a rotation: a new pair."""
        self.server._issue(self.installation)

    def kill(self, token: str) -> None:
        """The token is refused from now on, without having expired."""
        del self.server._access[token]

    def issued(self) -> list[str]:
        return self.server.issued

    def calls(self, path: str = "/conversations/") -> list[str | None]:
        return [call.token for call in self.world.highlevel.calls if call.path == path]

    def item(self, **changes: dict[str, Any]) -> dict[str, Any]:
        self.world.dynamodb.items[KEY].update(changes)
        return self.world.dynamodb.items[KEY]


@pytest.fixture
def connected(world: World) -> Connected:
    return Connected(world, "Location", location=LOCATION)


@pytest.fixture
def agency(world: World) -> Connected:
    return Connected(world, "Company")


def opened_in(environment: Any, contact: str, location: str = LOCATION, within: float = 3.0) -> Outcome:
    outcome: Outcome = environment.open(Target(location, contact), Deadline(time.monotonic() + within, 2.5))
    return outcome


def token_in(environment: ConversationOpener) -> str:
    """The location's token in that environment, a new one where it is needed."""
    return environment.calls.tokens.token_for(LOCATION, time.monotonic() + 10).text


def change_issued(environment: ConversationOpener, **changes: Any) -> str:
    """Change what that environment knows of the location's token; return its text."""
    entry = environment.calls.tokens.location_tokens.entries.get(LOCATION)
    assert entry.issued is not None
    entry.issued = replace(entry.issued, **changes)
    return entry.issued.text


def issued_earlier(environment: ConversationOpener) -> None:
    change_issued(environment, issued_at=time.time() - 100)


# A sub-account's connection


def test_a_connections_access_token_opens_conversations(connected: Connected) -> None:
    assert connected.world.open().name == "opened"
    assert connected.calls() == [connected.installation.access_token]
    assert connected.world.dynamodb.named("UpdateItem")[-1]["Key"]["pk"]["S"].startswith("contact#")


def test_a_rotated_token_is_taken_up_before_the_old_one_is_refused(connected: Connected) -> None:
    connected.store(expires_at=int(time.time() + 30))  # it would live through this call, not through the next minute
    connected.world.token.get()
    connected.refresh()
    connected.store()
    assert connected.world.open().name == "opened"
    assert connected.calls() == [connected.installation.access_token]
    assert len(connected.world.secrets.calls) == 2


def test_far_from_its_end_a_token_costs_no_further_read(connected: Connected) -> None:
    for number in range(5):
        assert connected.world.open(f"contact{number}").name == "opened"
    assert len(connected.world.secrets.calls) == 1


def test_a_token_that_lives_a_moment_longer_is_used_while_none_is_newer(connected: Connected) -> None:
    connected.store(expires_at=int(time.time() + 30))
    assert [connected.world.open(f"contact{number}").name for number in range(50)] == ["opened"] * 50
    assert len(connected.world.secrets.calls) <= 6


@pytest.mark.parametrize(
    "changes",
    [{"expires_at": int(time.time()) - 1}, {"access_token": None, "expires_at": None}],
    ids=["expired", "no access token"],  # an id with the time in it would differ from worker to worker
)
def test_an_expired_token_is_never_sent(connected: Connected, changes: dict[str, Any]) -> None:
    connected.store(**changes)
    outcomes = [connected.world.open() for _ in range(100)]
    assert {(outcome.name, outcome.reason) for outcome in outcomes} == {("deferred", "token_expired")}
    assert connected.world.highlevel.calls == []
    assert len(connected.world.secrets.calls) <= 6
    connected.store()
    module_token = connected.world.environment()
    assert opened_in(module_token, CONTACT).name == "opened"


def test_an_unknown_end_is_left_to_highlevel(connected: Connected) -> None:
    connected.store(expires_at=None)
    assert connected.world.open().name == "opened"


def test_a_refused_access_token_is_replaced_by_the_rotated_one(connected: Connected) -> None:
    connected.world.token.get()
    old = connected.installation.access_token
    connected.refresh()
    connected.kill(old)
    connected.store()
    assert connected.world.open().name == "opened"
    assert connected.calls() == [old, connected.installation.access_token]


def test_a_malformed_connection_is_rejected_without_its_text(world: World, log: Log) -> None:
    world.secrets.texts["HighLevelToken"] = json.dumps({"oauth": {"client_id": "x", "client_secret": "hush"}})
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("rejected", "token_malformed")
    assert "oauth.refresh_token is missing" in outcome.detail
    assert "hush" not in outcome.detail + log.text


# An agency's: issued


def test_a_locations_token_is_issued_once_and_used_by_every_instance(agency: Connected) -> None:
    for number in range(3):
        assert agency.world.open(f"contact{number}").name == "opened"
        assert opened_in(agency.world.environment(), f"other{number}").name == "opened"
    assert agency.issued() == [LOCATION]
    assert len(set(agency.calls())) == 1
    assert agency.calls(ISSUE) == [agency.installation.access_token]


def test_every_location_gets_its_own(agency: Connected) -> None:
    locations = [f"location{number}" for number in range(20)]
    with ThreadPoolExecutor(10) as threads:
        outcomes = list(threads.map(lambda location: agency.world.open(location=location), locations * 3))
    assert {outcome.name for outcome in outcomes} <= {"opened", "existing"}
    assert sorted(agency.issued()) == sorted(locations)
    for call in agency.world.highlevel.calls:
        if call.path == "/conversations/":
            access = agency.server.access(call.token or "")
            assert access is not None
            assert access.location == call.location


def test_a_thousand_calls_issue_one_token_in_one_instance(agency: Connected) -> None:
    agency.world.highlevel.latency = 0.05
    start = threading.Barrier(50)
    tokens = agency.world.flow.calls.tokens

    def take(number: int) -> str:
        if number < 50:
            start.wait(10)
        return tokens.token_for(LOCATION, time.monotonic() + 20).text

    with ThreadPoolExecutor(50) as threads:
        assert len(set(threads.map(take, range(1000)))) == 1
    assert agency.issued() == [LOCATION]


def test_a_hundred_instances_issue_one_token(agency: Connected) -> None:
    agency.world.highlevel.latency = 0.05
    assert len(set(together(token_in, [agency.world.environment() for _ in range(100)]))) == 1
    assert agency.issued() == [LOCATION]


def test_the_record_holds_no_token_that_can_be_read(agency: Connected) -> None:
    agency.world.open()
    (token,) = agency.calls()
    item = agency.item()
    assert token is not None
    for piece in (token, agency.client_secret, agency.installation.access_token):
        assert piece.encode() not in base64.b64decode(item["encrypted"]["B"])
        assert piece not in str(item)
    assert set(item) == {"pk", "encrypted", "issued_at", "expires_at"}
    assert float(item["expires_at"]["N"]) == pytest.approx(time.time() + 86_399, abs=10)


def test_a_record_opens_for_its_location_and_connection_only(agency: Connected) -> None:
    agency.world.open()
    moved = agency.world.dynamodb.items["token#another"] = dict(agency.item())
    assert opened_in(agency.world.environment(), "c1", "another").name == "opened"
    assert agency.issued() == [LOCATION, "another"]
    agency.item(encrypted={"B": moved["encrypted"]["B"][::-1]})
    assert opened_in(agency.world.environment(), "c2").name == "opened"
    assert agency.issued() == [LOCATION, "another", LOCATION]
    agency.item(encrypted={"B": "c2hvcnQ="})
    assert opened_in(agency.world.environment(), "c3").name == "opened"
    assert agency.issued()[3:] == [LOCATION]


def test_one_thread_renews_a_token_while_the_others_go_on(agency: Connected) -> None:
    agency.server.access_seconds = 100
    agency.world.open()
    agency.item(issued_at={"N": f"{time.time() - 96:.0f}"}, expires_at={"N": f"{time.time() + 90:.0f}"})
    late = agency.world.environment()
    assert opened_in(late, "c1").name == "opened"
    assert agency.issued() == [LOCATION]
    old = change_issued(late, issued_at=time.time() - 1900)  # 95 % of its life is over
    item = agency.item(issued_at={"N": f"{time.time() - 1900:.0f}"})
    assert item["encrypted"]
    agency.world.highlevel.fail("slow", path=ISSUE, seconds=0.5)
    tokens = together(token_in, [late] * 10)
    assert tokens.count(old) == 9
    assert agency.issued() == [LOCATION, LOCATION]
    assert token_in(late) in set(tokens) - {old}


def test_a_renewal_that_fails_leaves_the_old_one_in_use(agency: Connected) -> None:
    agency.world.open("c0")
    change_issued(agency.world.flow, issued_at=time.time() - 20 * 86_399, expires_at=time.time() + 500)
    agency.item(issued_at={"N": "1"})
    agency.world.highlevel.fail("status", path=ISSUE, status=503)
    assert [agency.world.open(f"c{number}").name for number in range(1, 10)] == ["opened"] * 9
    assert len(agency.calls(ISSUE)) == 2, "and it is not tried again immediately"


def test_past_its_end_it_is_never_used(agency: Connected) -> None:
    agency.world.open("c0")
    change_issued(agency.world.flow, issued_at=1.0, expires_at=time.time() + 20)
    agency.item(issued_at={"N": "1"}, expires_at={"N": f"{time.time() + 20:.0f}"})
    agency.world.highlevel.fail("status", path=ISSUE, status=503, times=1)
    outcome = agency.world.open("c1")
    assert (outcome.name, outcome.reason) == ("deferred", "upstream_error")
    assert len(agency.calls()) == 1


def test_a_refused_token_is_issued_again_once(agency: Connected) -> None:
    agency.world.open("c0")
    other = agency.world.environment()
    assert opened_in(other, "c1").name == "opened"
    (old,) = set(agency.calls())
    assert old is not None
    agency.kill(old)
    for environment in (agency.world.flow, other):
        issued_earlier(environment)
    assert agency.world.open("c2").name == "opened"
    assert opened_in(other, "c3").name == "opened", "it finds the one that the first has had issued"
    assert agency.issued() == [LOCATION, LOCATION]
    assert [old, old] == agency.calls()[2:3] + agency.calls()[4:5]


@pytest.mark.parametrize(
    "message", ["The token is not authorized for this scope.", "This location is not accessible from this token!"]
)
def test_a_token_without_the_apps_newer_scope_is_issued_again(agency: Connected, message: str) -> None:
    """A token keeps the scopes of its day: after a ./hlc connect that adds one, it would be rejected for a day."""
    assert agency.world.open("c0").name == "opened"
    (old,) = agency.calls()
    agency.world.highlevel.fail("status", path="/conversations/", status=401, message=message, times=2)
    refused = agency.world.open("c1")
    assert refused.name == "rejected", "issued a moment ago: the next one would be refused, too"
    issued_earlier(agency.world.flow)
    assert agency.world.open("c2").name == "opened"
    assert agency.issued() == [LOCATION, LOCATION]
    assert agency.calls()[1:3] == [old, old]
    assert agency.calls()[3] != old


def test_a_scope_that_the_new_one_lacks_too_is_rejected(agency: Connected) -> None:
    assert agency.world.open("c0").name == "opened"
    message = "The token is not authorized for this scope."
    agency.world.highlevel.fail("status", path="/conversations/", status=401, message=message)
    issued_earlier(agency.world.flow)
    outcomes = [agency.world.open(f"c{number}") for number in range(1, 6)]
    assert {(outcome.name, outcome.reason) for outcome in outcomes} == {("rejected", "scope_missing")}
    assert agency.issued() == [LOCATION, LOCATION]


def test_a_token_that_is_refused_right_after_its_issue_is_not_replaced(agency: Connected) -> None:
    agency.world.highlevel.fail("status", path="/conversations/", status=401, message="Invalid JWT")
    outcomes = [agency.world.open(f"c{number}") for number in range(20)]
    assert {(outcome.name, outcome.reason) for outcome in outcomes} == {("deferred", "token_refused")}
    assert agency.issued() == [LOCATION]


def test_a_rotated_agency_token_is_used_when_issuing_is_refused(agency: Connected) -> None:
    agency.world.token.get()
    old = agency.installation.access_token
    agency.refresh()
    agency.kill(old)
    agency.store()
    assert agency.world.open().name == "opened"
    assert agency.calls(ISSUE) == [old, agency.installation.access_token]


def test_with_an_expired_agency_token_only_issued_tokens_are_used(agency: Connected) -> None:
    assert agency.world.open().name == "opened"
    agency.store(expires_at=int(time.time()) - 1)
    late = agency.world.environment()
    assert opened_in(late, "c1").name == "opened"
    outcome = opened_in(late, "c2", "another")
    assert (outcome.name, outcome.reason) == ("deferred", "token_expired")
    assert agency.issued() == [LOCATION]


def test_an_agency_without_a_company_id_is_rejected(agency: Connected) -> None:
    agency.store(company_id=None)
    outcome = agency.world.open()
    assert (outcome.name, outcome.reason) == ("rejected", "token_malformed")
    assert "company_id" in outcome.detail


@pytest.mark.parametrize(
    ("fault", "name", "reason"),
    [
        ({"kind": "status", "status": 503}, "deferred", "upstream_error"),
        ({"kind": "status", "status": 429}, "deferred", "rate_limited"),
        ({"kind": "hang"}, "deferred", "upstream_timeout"),
        ({"kind": "reset"}, "deferred", "upstream_connection_lost"),
        ({"kind": "html"}, "deferred", "upstream_unexpected"),
        ({"kind": "garbage"}, "deferred", "upstream_unexpected"),
        ({"kind": "status", "status": 401, "message": "Invalid JWT"}, "deferred", "token_refused"),
        ({"kind": "status", "status": 400, "message": "Location is not active"}, "deferred", "location_inactive"),
        (
            {"kind": "status", "status": 401, "message": "The token is not authorized for this scope."},
            "rejected",
            "scope_missing",
        ),
        (
            {"kind": "status", "status": 403, "message": "The token does not have access to this location."},
            "rejected",
            "location_refused",
        ),
        ({"kind": "status", "status": 400, "message": "Location not found"}, "rejected", "location_refused"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_token_that_is_not_issued(agency: Connected, fault: dict[str, Any], name: str, reason: str) -> None:
    agency.world.highlevel.fail(path=ISSUE, **fault)
    outcome = agency.world.open(within=1.6)
    assert (outcome.name, outcome.reason) == (name, reason)
    assert outcome.upstream is not None
    assert outcome.upstream.status == fault.get("status", {"html": 403, "garbage": 201}.get(fault["kind"]))
    again = [agency.world.open(f"c{number}", within=1.6) for number in range(5)]
    assert {(outcome.name, outcome.reason) for outcome in again} == {(name, reason)}
    assert len(agency.calls(ISSUE)) == 1, "no other call repeats a failure"
    assert agency.calls() == []


def test_an_app_that_is_not_installed_there_says_so(world: World) -> None:
    agency = Connected(world, "Company", locations={"elsewhere"})
    outcome = world.open()
    assert (outcome.name, outcome.reason) == ("rejected", "location_refused")
    assert "not installed" in outcome.detail
    assert agency.issued() == []


def test_issuing_that_fails_opens_the_circuit_breaker(agency: Connected) -> None:
    agency.world.highlevel.fail("status", path=ISSUE, status=503)
    reasons = [agency.world.open(location=f"location{number}").reason for number in range(10)]
    assert reasons == ["upstream_error"] * 5 + ["breaker_open"] * 5
    assert len(agency.calls(ISSUE)) == 5


def test_a_thread_that_waits_in_vain_is_deferred_in_time(agency: Connected) -> None:
    """Another instance holds the lease and never issues a token."""
    now = time.time()
    agency.world.dynamodb.items[KEY] = {"pk": {"S": KEY}, "issuing_until": {"N": f"{now + 1.5:.3f}"}}
    stopwatch = Stopwatch()
    outcome = agency.world.open(within=0.6)
    assert (outcome.name, outcome.reason) == ("deferred", "token_unavailable")
    assert stopwatch.seconds < 0.8
    assert agency.world.open(within=5).name == "opened", "its right has run out"
    assert agency.issued() == [LOCATION]


@pytest.mark.parametrize("error", [no_answer(), refusal("AccessDeniedException")])
def test_without_the_table_each_instance_issues_its_own_token(agency: Connected, error: Exception) -> None:
    agency.world.dynamodb.error = error
    assert [agency.world.open(f"c{number}").name for number in range(5)] == ["opened"] * 5
    assert opened_in(agency.world.environment(), "c5").name == "opened"
    assert agency.issued() == [LOCATION, LOCATION]


def test_a_table_that_fails_while_another_instance_issues_causes_no_second_token(agency: Connected) -> None:
    agency.world.dynamodb.items[KEY] = {"pk": {"S": KEY}, "issuing_until": {"N": f"{time.time() + 5:.3f}"}}
    threading.Timer(0.3, setattr, (agency.world.dynamodb, "error", refusal("ThrottlingException"))).start()
    outcome = agency.world.open(within=2)
    assert (outcome.name, outcome.reason) == ("deferred", "token_unavailable")
    assert agency.issued() == []


def test_without_time_the_lease_is_not_taken(agency: Connected) -> None:
    outcome = agency.world.open(within=1.4)
    assert (outcome.name, outcome.reason) == ("deferred", "deadline")
    assert KEY not in agency.world.dynamodb.items
    assert agency.issued() == []


def test_memory_is_bounded(agency: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOCATIONS", 3)
    agency.world.flow = agency.world.environment()
    for number in range(6):
        assert agency.world.open(location=f"location{number}").name == "opened"
    assert list(agency.world.flow.calls.tokens.location_tokens.entries) == ["location3", "location4", "location5"]
    assert agency.world.open("again", location="location0").name == "opened"
    assert len(agency.issued()) == 6


def test_the_secret_may_become_one_of_another_kind(agency: Connected) -> None:
    agency.world.token.get()
    agency.world.secrets.texts["HighLevelToken"] = TOKEN
    agency.server.revoke(agency.installation)
    assert agency.world.open().reason == "token_refused"
    assert agency.world.open().name == "opened"
    assert agency.calls() == [TOKEN]


def test_no_token_in_any_log(agency: Connected, log: Log) -> None:
    agency.world.highlevel.fail("status", path=ISSUE, status=401, message="Invalid JWT", times=1)
    agency.world.dynamodb.error = refusal("AccessDeniedException")
    agency.world.open()
    agency.world.open()
    for held in (agency.installation.access_token, agency.client_secret, agency.installation.refresh_token):
        assert held not in log.text


def test_nothing_secret_shows_in_a_repr(agency: Connected) -> None:
    token = agency.world.flow.calls.tokens.token_for(LOCATION, time.monotonic() + 3)
    entry = agency.world.flow.calls.tokens.location_tokens.entries.get(LOCATION)
    assert token.text not in repr(token) + repr(entry)
    assert agency.client_secret not in repr(token)


# Races


def test_instances_that_all_saw_no_token_issue_one(agency: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = [agency.world.environment() for _ in range(10)]
    all_have_looked = threading.Barrier(10)
    looked = threading.local()
    handle = agency.world.dynamodb.handle

    def handle_together(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = handle(operation, parameters)
        if operation == "GetItem" and not hasattr(looked, "once"):
            looked.once = True
            all_have_looked.wait(10)
        return answer

    monkeypatch.setattr(agency.world.dynamodb, "handle", handle_together)
    assert len(set(together(token_in, environments))) == 1
    assert agency.issued() == [LOCATION]


def test_a_token_issued_between_the_read_and_the_lease_is_found(
    agency: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = agency.world.environment()
    handle = agency.world.dynamodb.handle
    was_faster: list[str] = []

    def handle_late(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = handle(operation, parameters)
        if not was_faster:
            was_faster.append("at it")
            was_faster.append(token_in(faster))
        return answer

    monkeypatch.setattr(agency.world.dynamodb, "handle", handle_late)
    assert token_in(agency.world.flow) == was_faster[1]
    assert agency.issued() == [LOCATION]


def test_without_the_table_the_threads_of_an_instance_issue_one_token(agency: Connected) -> None:
    agency.world.dynamodb.error = refusal("AccessDeniedException")
    agency.world.highlevel.latency = 0.1
    assert len(set(together(token_in, [agency.world.flow] * 20))) == 1
    assert agency.issued() == [LOCATION]
