"""A person becomes one contact, and a contact that HighLevel has stays as it is, in virtual time."""

from dataclasses import replace
from typing import Any

import pytest

from create_conversation.message_claims import TAKE_OVER_SECONDS
from create_conversation.senders.mapping import ContactFields, Person, Target
from tests.factories import LOCATION
from tests.unit.fakes import Clock, no_answer
from tests.unit.inbox import SCOPE, Inbox, Stack, make_person

NO_SCOPE = "search for the contact: scope_missing, contacts.readonly"


@pytest.fixture
def inbox(clock: Clock) -> Inbox:
    return Inbox(clock)


@pytest.fixture
def stack(inbox: Inbox, clock: Clock) -> Stack:
    return Stack(inbox, clock, place="off")


def outcome_of(stack: Stack, target: Target, **options: Any) -> tuple[str, str]:
    outcome = stack.process(target=target, **options)
    return str(outcome.name), outcome.reason


def test_two_deliveries_of_a_new_person_together_make_one_contact(stack: Stack, inbox: Inbox, clock: Clock) -> None:
    beside: list[tuple[str, str]] = []
    inbox.lag = 30.0
    second = make_person(delivery="t#d2")
    inbox.faults["contact"] = [lambda: beside.append(outcome_of(stack, second))]
    assert outcome_of(stack, make_person()) == ("opened", "")
    assert beside == [("deferred", "already_claimed")]
    clock.now += 5
    assert outcome_of(stack, second) == ("existing", ""), "the claim says which contact, the search not yet"
    clock.now += 100
    assert outcome_of(stack, make_person(delivery="t#d3")) == ("existing", "")
    assert len(inbox.contacts) == 1


@pytest.mark.parametrize(
    "second",
    [
        ("jane@example.com", None),
        (None, "+15555550100"),
        ("JANE@EXAMPLE.COM", None),
        ("other@example.com", "+15555550100"),
        (None, "+1 (555) 555-0100"),
    ],
    ids=["e-mail", "phone", "another case", "another e-mail", "another spelling"],
)
def test_each_address_is_claimed(stack: Stack, inbox: Inbox, second: tuple[str | None, str | None]) -> None:
    inbox.lag = 3600.0
    stack.process(target=make_person("jane@example.com", "+15555550100"))
    assert outcome_of(stack, make_person(*second, delivery="t#d2"))[0] == "existing"
    assert len(inbox.contacts) == 1


@pytest.mark.parametrize("fault", ["lost", "late", "killed after", "killed", "timeout", 500])
def test_a_create_of_unknown_outcome_is_searched_for_before_the_next(
    stack: Stack, inbox: Inbox, clock: Clock, fault: object
) -> None:
    inbox.late, inbox.lag = 20.0, 30.0
    inbox.faults["contact"] = [fault]
    if str(fault).startswith("killed"):
        stack.die(target=make_person())
    else:
        assert outcome_of(stack, make_person())[0] == "deferred"
    for _ in range(5):
        outcome_of(stack, make_person())
        clock.now += 5
    clock.now += TAKE_OVER_SECONDS
    assert outcome_of(stack, make_person())[0] in ("opened", "existing")
    assert len(inbox.contacts) == 1


def test_of_two_that_take_over_a_create_together_one_creates(
    stack: Stack, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.faults["contact"] = ["killed"]
    stack.die(target=make_person())
    clock.now += TAKE_OVER_SECONDS
    answer, beside = stack.dynamodb.handle, list[tuple[str, str]]()
    others = [make_person(delivery="t#d2")]

    def answer_beside(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Let another instance take the claim over once the first one has read it."""
        read = answer(operation, parameters)
        if others and operation == "GetItem" and parameters["Key"]["pk"]["S"].startswith("address#"):
            beside.append(outcome_of(stack, others.pop()))
        return read

    monkeypatch.setattr(stack.dynamodb, "handle", answer_beside)
    assert outcome_of(stack, make_person()) == ("deferred", "already_claimed")
    assert beside == [("opened", "")]
    assert len(inbox.contacts) == 1


def test_a_person_whom_highlevel_refuses_to_search_for_is_created(stack: Stack, inbox: Inbox) -> None:
    inbox.faults["search contact"] = [(422, "number must be a phone number")]
    outcome = stack.process(target=make_person("jane@example.com", "+15555550100"))
    assert (outcome.name, outcome.explanation.dropped) == ("opened", ())
    [contact] = inbox.contacts.values()
    assert (contact["email"], contact["phone"]) == ("jane@example.com", "+15555550100")


@pytest.mark.parametrize("fields", [ContactFields(), ContactFields(source="form")], ids=["bare", "with a source"])
@pytest.mark.parametrize("message", ["email is taken", "no"])
def test_a_422_that_has_created_the_contact_all_the_same(
    stack: Stack, inbox: Inbox, fields: ContactFields, message: str
) -> None:
    def create() -> tuple[int, str]:
        inbox.contacts["c1"] = {"id": "c1", "email": "jane@example.com", "seen_at": 0.0}
        return 422, message

    inbox.faults["contact"] = [create]
    assert outcome_of(stack, make_person(), fields=fields) == ("opened", "")
    assert list(inbox.contacts) == ["c1"]


@pytest.mark.parametrize("fault", ["unsent", 429, 401])
def test_a_create_that_was_not_carried_out_releases_the_claims(stack: Stack, inbox: Inbox, fault: object) -> None:
    inbox.faults["contact"] = [fault]
    assert outcome_of(stack, make_person())[0] == "deferred"
    assert outcome_of(stack, make_person()) == ("opened", "")
    assert len(inbox.contacts) == 1


@pytest.mark.parametrize("seconds", [61.0, 3 * 86_400.0])
def test_a_freeze_between_claim_and_create_creates_nothing(
    stack: Stack, inbox: Inbox, clock: Clock, seconds: float
) -> None:
    def freeze() -> None:
        clock.now += seconds

    inbox.faults["contact"] = [freeze]
    assert outcome_of(stack, make_person())[0] == "deferred"
    assert inbox.contacts == {}


def test_while_dynamodb_fails_no_contact_is_created(stack: Stack, inbox: Inbox, clock: Clock) -> None:
    stack.dynamodb.error = no_answer("UpdateItem")
    assert outcome_of(stack, make_person()) == ("deferred", "claim_unavailable")
    inbox.contacts["c1"] = {"id": "c1", "email": "jane@example.com", "seen_at": 0.0}
    assert outcome_of(stack, make_person()) == ("opened", ""), "a known one needs no claim"


@pytest.mark.parametrize("allows_duplicates", [True, False])
def test_without_the_scope_to_search_it_is_created_under_the_claim(
    stack: Stack, inbox: Inbox, clock: Clock, allows_duplicates: bool
) -> None:
    inbox.refusals["search contact"] = (401, SCOPE)
    inbox.allows_duplicates = allows_duplicates
    inbox.contacts["c1"] = {"id": "c1", "email": "jane@example.com", "seen_at": 0.0}
    outcome = stack.process(target=make_person())
    assert (outcome.name, outcome.explanation.dropped) == ("opened", (NO_SCOPE,))
    assert (outcome.contact == "c1") == (not allows_duplicates), "HighLevel refuses the second contact"
    clock.now += 30 * 86_400
    assert stack.process(target=make_person(delivery="t#d2")).contact == outcome.contact
    assert len(inbox.contacts) == (2 if allows_duplicates else 1)


def test_names_are_as_they_were_typed(stack: Stack, inbox: Inbox) -> None:
    stack.process(target=make_person())
    [contact] = inbox.contacts.values()
    assert (contact["firstName"], contact["lastName"]) == ("Jane", "McDonald")


def test_an_existing_contact_stays_as_it_is(stack: Stack, inbox: Inbox) -> None:
    known = {"id": "c1", "email": "jane@example.com", "firstName": "JANE", "tags": ["old"], "seen_at": 0.0}
    inbox.contacts["c1"] = dict(known)
    stack.process(target=make_person("jane@example.com", "+15555550100"), fields=ContactFields(source="form"))
    assert inbox.contacts == {"c1": known}
    assert inbox.calls == ["search contact", "conversation"]


def test_source_and_custom_fields_are_of_a_new_contact(stack: Stack, inbox: Inbox) -> None:
    fields = ContactFields(source="form", custom_fields={"f1": "500"})
    stack.process(target=make_person(), fields=fields)
    [contact] = inbox.contacts.values()
    assert contact["source"] == "form"
    assert contact["customFields"] == [{"id": "f1", "field_value": "500"}]
    assert "update" not in inbox.calls


@pytest.mark.parametrize(
    ("fields", "calls"),
    [
        (ContactFields(), []),
        (ContactFields(tags=("web",)), ["tags"]),
        (ContactFields(update_contact=True), ["update"]),
        (ContactFields(tags=("web",), update_contact=True), ["tags", "update"]),
    ],
    ids=["nothing", "tags", "names", "both"],
)
def test_each_kind_of_field_costs_a_call_of_its_own(
    stack: Stack, inbox: Inbox, fields: ContactFields, calls: list[str]
) -> None:
    inbox.contacts["c1"] = {"id": "c1", "email": "jane@example.com", "seen_at": 0.0}
    stack.process(target=make_person(), fields=fields)
    assert inbox.calls == ["search contact", "conversation", *calls]


def test_custom_fields_that_highlevel_refuses_do_not_cost_the_contact(stack: Stack, inbox: Inbox) -> None:
    inbox.faults["contact"] = [(422, "customFields.0.id is unknown")]
    fields = ContactFields(custom_fields={"wrong": "500"})
    outcome = stack.process(target=make_person(), fields=fields)
    assert (outcome.name, outcome.explanation.dropped) == (
        "opened",
        ("source and custom fields: refused by HighLevel",),
    )
    [contact] = inbox.contacts.values()
    assert "customFields" not in contact


def test_an_address_that_highlevel_refuses_is_left_out(stack: Stack, inbox: Inbox) -> None:
    inbox.faults["contact"] = [(422, "email must be an email")]
    outcome = stack.process(target=make_person("jane@example", "+15555550100"))
    assert (outcome.name, outcome.explanation.dropped) == ("opened", ("email: refused by HighLevel",))
    [contact] = inbox.contacts.values()
    assert (contact.get("email"), contact["phone"]) == (None, "+15555550100")


def test_another_person_is_another_contact(stack: Stack, inbox: Inbox) -> None:
    stack.process(target=make_person())
    other = replace(make_person(delivery="t#d2"), person=Person("joe@example.com"))
    assert outcome_of(stack, other) == ("opened", "")
    assert len(inbox.contacts) == len(inbox.conversations) == 2
    assert {key.split("#")[1] for key in stack.dynamodb.items if key.startswith("address#")} == {LOCATION}
