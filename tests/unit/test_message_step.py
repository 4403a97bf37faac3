"""The words of each submission are written once: each way to lose or double them, in virtual time."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from create_conversation.aws_client import AwsError
from create_conversation.errors import MessageStatus
from create_conversation.message_claims import TAKE_OVER_SECONDS
from create_conversation.senders.mapping import ContactFields, Message
from tests.factories import CONTACT, LOCATION
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, no_answer, refusal
from tests.unit.inbox import SCOPE, Inbox, Stack, make_message, make_person

DAY = 86_400.0


@pytest.fixture
def inbox(clock: Clock) -> Inbox:
    return Inbox(clock)


@pytest.fixture
def stack(inbox: Inbox, clock: Clock) -> Stack:
    return Stack(inbox, clock)


@pytest.fixture
def message(clock: Clock) -> Message:
    return make_message(received_at=clock.time())


def status_of(stack: Stack, message: Message, **options: Any) -> tuple[str, str]:
    """The status, and why the words are not written."""
    outcome = stack.process(message, **options)
    assert outcome.is_open
    return str(outcome.message), outcome.unfinished.reason if outcome.unfinished else ""


def lose_table(stack: Stack) -> None:
    stack.dynamodb.error = no_answer("UpdateItem")


def claims_of(stack: Stack) -> list[dict[str, Any]]:
    [item] = [item for key, item in stack.dynamodb.items.items() if key.startswith("message#")]
    claims: list[dict[str, Any]] = json.loads(item["claims"]["S"])
    return claims


# --- written once -----------------------------------------------------------------------------------------------------


def test_the_words_are_written_and_the_conversation_is_unread(stack: Stack, inbox: Inbox, message: Message) -> None:
    outcome = stack.process(message)
    assert (outcome.name, outcome.message, outcome.unfinished) == ("opened", MessageStatus.WRITTEN, None)
    [comment] = inbox.comments
    first, last = comment.body.splitlines()
    assert (first, last.startswith("ref "), len(last)) == ("Question: answer", True, 20)
    assert inbox.unread == {inbox.conversations[CONTACT]: 1}
    assert inbox.calls == ["conversation", "comment", "unread"]
    operations = [operation for operation, _ in stack.dynamodb.calls]
    assert operations == ["BatchGetItem", "GetItem", *["UpdateItem"] * 3], "the GetItem: is sending paused"


def test_a_repeat_that_is_known_to_be_written_costs_one_read(stack: Stack, inbox: Inbox, message: Message) -> None:
    opened = stack.process(message)
    stack.dynamodb.calls.clear()
    inbox.calls.clear()
    again = stack.process(message)
    assert (again.name, again.message, again.conversation) == ("existing", MessageStatus.WRITTEN, opened.conversation)
    assert inbox.calls == []
    assert [operation for operation, _ in stack.dynamodb.calls] == ["BatchGetItem"]


def test_a_person_s_repeat_costs_one_read_too(stack: Stack, inbox: Inbox, message: Message) -> None:
    stack.process(message, target=make_person())
    stack.dynamodb.calls.clear()
    again = stack.process(message, target=make_person())
    assert (again.name, again.message) == ("existing", MessageStatus.WRITTEN)
    assert [operation for operation, _ in stack.dynamodb.calls] == ["GetItem"]
    assert len(inbox.comments) == 1


def test_a_written_repeat_is_not_rendered(stack: Stack, message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.process(message)

    def render(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(type(message), "render", render)
    assert status_of(stack, message) == ("written", "")


def test_another_submission_of_the_contact_is_another_message(stack: Stack, inbox: Inbox, message: Message) -> None:
    stack.process(message)
    assert status_of(stack, replace(message, delivery="typeform#d2")) == ("written", "")
    first, second = (comment.body.splitlines()[-1] for comment in inbox.comments)
    assert first != second
    assert inbox.unread == {inbox.conversations[CONTACT]: 2}


def test_no_words_are_no_message(stack: Stack, inbox: Inbox, clock: Clock) -> None:
    assert status_of(stack, make_message("", received_at=clock.time())) == ("off", "")
    assert inbox.calls == ["conversation"]
    assert not [key for key in stack.dynamodb.items if key.startswith("message#")]


@pytest.mark.parametrize(
    ("place", "status", "written"), [("comment", "written", (1, 0)), ("note", "note", (0, 1)), ("off", "off", (0, 0))]
)
def test_the_parameter_says_where(
    stack: Stack, inbox: Inbox, message: Message, place: str, status: str, written: tuple[int, int]
) -> None:
    stack.place = place
    assert status_of(stack, message) == (status, "")
    assert (len(inbox.comments), len(inbox.notes)) == written


# --- the table of the message step ------------------------------------------------------------------------------------


def test_a_repeat_while_the_claim_is_held_waits(stack: Stack, inbox: Inbox, message: Message, clock: Clock) -> None:
    """Killed after the claim, before the call; the sender repeats a second later."""
    inbox.faults["comment"] = ["killed"]
    stack.die(message)
    for seconds in (1, 60, TAKE_OVER_SECONDS - 63):
        clock.now += seconds
        assert status_of(stack, message) == ("deferred", "already_claimed")
    assert inbox.comments == []
    clock.now += 63
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


def test_a_repeat_beside_an_attempt_that_is_alive_writes_nothing(stack: Stack, inbox: Inbox, message: Message) -> None:
    beside: list[tuple[str, str]] = []
    inbox.faults["comment"] = [lambda: beside.append(status_of(stack, message))]
    assert status_of(stack, message) == ("written", "")
    assert beside == [("deferred", "already_claimed")]
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


@pytest.mark.parametrize("call", ["comments", "comment"], ids=["during the read", "during the call"])
def test_of_two_that_take_over_together_one_writes(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, call: str
) -> None:
    inbox.faults["comment"] = ["timeout"]
    assert status_of(stack, message)[0] == "deferred"
    clock.now += TAKE_OVER_SECONDS
    beside: list[tuple[str, str]] = []
    inbox.faults[call] = [lambda: beside.append(status_of(stack, message))]
    results = [status_of(stack, message), *beside]
    assert len(inbox.comments) == 1
    assert ("written", "") in results
    assert {status for status, _ in results} <= {"written", "deferred"}


@pytest.mark.parametrize("late", [5.0, 100.0])
@pytest.mark.parametrize("lag", [0.0, 15.0])
def test_a_late_commit_is_found_and_not_written_again(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, late: float, lag: float
) -> None:
    inbox.late, inbox.lag = late, lag
    inbox.faults["comment"] = ["late"]
    assert status_of(stack, message) == ("deferred", "upstream_timeout")
    while status_of(stack, message)[0] == "deferred":
        clock.now += 5
    assert len(inbox.comments) == 1
    assert "ref " in inbox.comments[0].body


def test_the_thread_is_not_read_before_the_take_over(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    inbox.faults["comment"] = ["timeout"]
    status_of(stack, message)
    clock.now += TAKE_OVER_SECONDS - 2
    status_of(stack, message)
    assert "comments" not in inbox.calls
    clock.now += 2
    assert status_of(stack, message) == ("written", "")
    assert inbox.calls.count("comments") == 1


@pytest.mark.parametrize("fault", [429, 500, 503, "timeout", "lost", "unsent"])
def test_a_thread_that_cannot_be_read_now_is_not_written_into(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, fault: object
) -> None:
    inbox.faults["comment"] = ["lost"]
    status_of(stack, message)
    clock.now += TAKE_OVER_SECONDS
    inbox.faults["comments"] = [fault]
    assert status_of(stack, message)[0] == "deferred"
    clock.now += 60
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


def test_a_conversation_that_the_search_does_not_show_yet_is_not_written_into(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    inbox.faults["comment"] = ["lost"]
    status_of(stack, message)
    stack.dynamodb.items = {key: item for key, item in stack.dynamodb.items.items() if key.startswith("message#")}
    conversation = inbox.conversations.pop(CONTACT)
    inbox.faults["conversation"] = [(400, "Conversation already exists!")]
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("deferred", "not_readable")
    inbox.conversations[CONTACT] = conversation
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


@pytest.mark.parametrize("call", ["comments", "search conversation"])
def test_without_the_scope_to_read_it_is_written_again_and_logged(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, log: Log, call: str
) -> None:
    inbox.refusals[call] = (401, SCOPE)
    inbox.faults["comment"] = ["lost"]
    status_of(stack, message)
    stack.dynamodb.items = {key: item for key, item in stack.dynamodb.items.items() if key.startswith("message#")}
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 2
    assert log.text.count("possible_duplicate") == 1


@pytest.mark.parametrize("fault", ["unsent", 429, 401])
def test_a_call_that_has_certainly_not_been_carried_out_releases_the_claim(
    stack: Stack, inbox: Inbox, message: Message, fault: object
) -> None:
    inbox.faults["comment"] = [fault]
    assert status_of(stack, message)[0] == "deferred"
    assert claims_of(stack) == []
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1
    assert "comments" not in inbox.calls


@pytest.mark.parametrize("days", [1.1, 3, 15, 28])
@pytest.mark.parametrize("fault", ["lost", "timeout", "killed after"])
def test_a_redrive_days_later_reads_before_it_writes(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, days: float, fault: str
) -> None:
    inbox.faults["comment"] = [fault]
    (stack.die if fault == "killed after" else stack.process)(message)
    clock.now += days * DAY
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1
    clock.now += (34 - days) * DAY
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


@pytest.mark.parametrize("error", [no_answer("UpdateItem"), refusal("ThrottlingException", "UpdateItem")])
def test_while_dynamodb_fails_nothing_is_written(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, error: AwsError
) -> None:
    stack.dynamodb.error = error
    assert status_of(stack, message) == ("deferred", "claim_unavailable")
    assert inbox.comments == []
    stack.dynamodb.error = None
    clock.now += 10
    assert status_of(stack, message) == ("written", "")


@pytest.mark.parametrize("is_applied", [True, False])
def test_a_claim_whose_write_is_not_answered_is_read_back(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, is_applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle, failing = stack.dynamodb.handle, [True]

    def lose(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        is_claim = operation == "UpdateItem" and "claims" in parameters["UpdateExpression"]
        if not (is_claim and failing):
            return handle(operation, parameters)
        failing.clear()
        if is_applied:
            handle(operation, parameters)
        raise no_answer(operation)

    monkeypatch.setattr(stack.dynamodb, "handle", lose)
    expected = ("written", "") if is_applied else ("deferred", "claim_unavailable")
    assert status_of(stack, message) == expected
    clock.now += 5
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


@pytest.mark.parametrize("target", [None, make_person()], ids=["a contact", "a person"])
def test_a_claim_that_the_connection_sent_twice_is_this_attempt_s(
    stack: Stack, inbox: Inbox, message: Message, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle, sent_twice = stack.dynamodb.handle, set()

    def handle_twice(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = handle(operation, parameters)
        key = str(parameters.get("Key"))
        if operation == "UpdateItem" and "claims" in parameters["UpdateExpression"] and key not in sent_twice:
            sent_twice.add(key)
            handle(operation, parameters)  # its condition is false now
        return answer

    monkeypatch.setattr(stack.dynamodb, "handle", handle_twice)
    assert status_of(stack, message, target=target) == ("written", "")
    assert (len(inbox.comments), len(sent_twice)) == (1, 2 if target else 1)


def test_a_result_that_cannot_be_saved_is_found_later(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    inbox.faults["comment"] = [lambda: lose_table(stack)]
    assert status_of(stack, message) == ("written", "")
    stack.dynamodb.error = None
    clock.now += 10
    assert status_of(stack, message) == ("deferred", "already_claimed")
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("written", "")
    assert status_of(stack, message) == ("written", "")
    assert (len(inbox.comments), inbox.calls.count("comments")) == (1, 1)


@pytest.mark.parametrize("target", [None, make_person()], ids=["a contact", "a person"])
def test_an_attempt_that_died_after_the_conversation_leaves_the_words_to_the_next(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat is answered from a record, and passes the message step all the same."""
    inbox.faults["comment"] = ["killed"]
    stack.die(message, target=target)
    clock.now += TAKE_OVER_SECONDS
    inbox.calls.clear()
    outcome = stack.process(message, target=target)
    assert (outcome.name, outcome.message) == ("existing", MessageStatus.WRITTEN)
    assert len(inbox.comments) == 1
    assert "conversation" not in inbox.calls


def test_without_time_nothing_is_claimed(stack: Stack, inbox: Inbox, message: Message) -> None:
    assert status_of(stack, message, within=1.2) == ("deferred", "deadline")
    assert inbox.calls == ["conversation"]
    assert not [key for key in stack.dynamodb.items if key.startswith("message#")]


@pytest.mark.parametrize("seconds", [61.0, 3600.0, 3 * DAY])
def test_a_freeze_between_claim_and_call_sends_nothing(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, seconds: float
) -> None:
    """Another attempt takes over while the first is frozen; thawed, it must not write."""

    def freeze() -> None:
        clock.now += seconds
        beside.append(status_of(stack, message))

    beside: list[tuple[str, str]] = []
    inbox.faults["comment"] = [freeze]
    thawed = status_of(stack, message)
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1
    assert thawed[0] == "deferred"


# --- comment or note --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "is_saved"),
    [
        ((401, SCOPE), True),
        ((401, "Auth channel OAUTH is not supported"), True),
        ((400, "type must be one of"), False),
        ((422, "message is too long"), False),
    ],
    ids=["scope", "channel", "400", "422"],
)
def test_a_refused_comment_becomes_a_note(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, refusal: tuple[int, str], is_saved: bool
) -> None:
    inbox.refusals["comment"] = refusal
    instance = stack.instance()
    assert status_of(stack, message, instance=instance) == ("note", "")
    assert (len(inbox.comments), len(inbox.notes)) == (0, 1)
    assert status_of(stack, message, instance=instance) == ("note", "")
    for delivery in ("d2", "d3"):
        status_of(stack, replace(message, delivery=delivery), instance=instance)
    assert inbox.calls.count("comment") == (1 if is_saved else 3)
    assert len(inbox.notes) == 3
    clock.now += 3601
    inbox.refusals.clear()
    assert status_of(stack, replace(message, delivery="d4"), instance=instance) == ("written", "")


def test_a_location_is_not_saved_while_its_notes_fail(stack: Stack, inbox: Inbox, message: Message) -> None:
    inbox.refusals |= {"comment": (401, SCOPE), "note": (401, SCOPE)}
    instance = stack.instance()
    status_of(stack, message, instance=instance)
    status_of(stack, message, instance=instance)
    assert inbox.calls.count("comment") == 2


def test_a_comment_of_unknown_outcome_is_looked_for_before_a_note_is_written(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    inbox.faults["comment"] = ["lost"]
    status_of(stack, message)
    inbox.refusals["comment"] = (401, SCOPE)
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("written", "")
    assert (len(inbox.comments), len(inbox.notes)) == (1, 0)


def test_a_comment_that_was_written_and_refused_gets_no_note(stack: Stack, inbox: Inbox, message: Message) -> None:
    inbox.faults["comment"] = ["written 422"]
    assert status_of(stack, message) == ("written", "")
    assert (len(inbox.comments), len(inbox.notes)) == (1, 0)
    assert inbox.unread == {inbox.conversations[CONTACT]: 1}
    assert status_of(stack, message) == ("written", "")
    assert len(inbox.comments) == 1


@pytest.mark.parametrize("answer", [503, 429, "timeout"])
def test_where_the_thread_cannot_be_read_now_a_refused_comment_waits(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, answer: int | str
) -> None:
    inbox.faults = {"comment": ["written 422"], "comments": [answer]}
    assert status_of(stack, message)[0] == "deferred"
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("written", "")
    assert (len(inbox.comments), len(inbox.notes)) == (1, 0)


def test_a_note_of_unknown_outcome_is_looked_for_among_the_notes(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    inbox.refusals["comment"] = (401, SCOPE)
    inbox.faults["note"] = ["lost"]
    assert status_of(stack, message)[0] == "deferred"
    clock.now += TAKE_OVER_SECONDS
    inbox.refusals.clear()
    assert status_of(stack, message) == ("note", "")
    assert (len(inbox.comments), len(inbox.notes)) == (0, 1)


@pytest.mark.parametrize(
    ("refusal", "detail"),
    [
        pytest.param((422, "no"), "message_refused: HighLevel: no.", id="with HighLevel's message"),
        pytest.param((422, "no ann@example.com"), "message_refused", id="its message has an address"),
        pytest.param((401, SCOPE), "scope_missing: A note needs the scope contacts.write.", id="the scope"),
    ],
)
def test_what_is_refused_as_comment_and_as_note_needs_an_operator(
    stack: Stack, inbox: Inbox, message: Message, refusal: tuple[int, str], detail: str
) -> None:
    inbox.refusals |= {"comment": (422, "no"), "note": refusal}
    outcome = stack.process(message)
    assert (outcome.name, outcome.message) == ("opened", MessageStatus.REFUSED)
    assert outcome.to_retry is None
    letter = outcome.to_dead_letter
    assert letter is not None
    assert (letter.name, letter.reason, letter.detail) == ("rejected", "message_failed", detail)
    inbox.refusals.clear()
    assert status_of(stack, message) == ("written", ""), "a redrive"


THIS_LOCATION = (403, "The token does not have access to this location.")


@pytest.mark.parametrize("place", ["comment", "note"])
@pytest.mark.parametrize("refusal", [THIS_LOCATION, (401, SCOPE)], ids=["location", "scopes"])
def test_a_redrive_reads_what_could_neither_be_read_nor_written_before(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, refusal: tuple[int, str], place: str
) -> None:
    """The outcome of the first attempt is unknown. Then HighLevel refuses all calls, until an operator has fixed it."""
    stack.place = place
    inbox.faults[place] = ["lost"]
    status_of(stack, message)
    inbox.refusals |= dict.fromkeys(("comments", "notes", "comment", "note"), refusal)
    clock.now += TAKE_OVER_SECONDS
    for _ in range(2):
        assert status_of(stack, message)[0] == "refused"
    inbox.refusals.clear()
    clock.now += 15 * DAY
    assert status_of(stack, message)[0] in ("written", "note")
    assert len(inbox.comments) + len(inbox.notes) == 1


@pytest.mark.parametrize(
    ("refusal", "logged"),
    [
        pytest.param((400, "Type is not allowed"), ("message_refused", "type is not allowed"), id="type"),
        pytest.param((400, "no +49 170 1234567"), ("message_refused", None), id="a message with a number"),
        pytest.param((401, "Auth channel OAUTH is not supported"), ("scope_missing", None), id="channel"),
    ],
)
def test_the_log_says_why_a_comment_is_refused(
    stack: Stack, inbox: Inbox, message: Message, log: Log, refusal: tuple[int, str], logged: tuple[str, str | None]
) -> None:
    inbox.refusals["comment"] = refusal
    assert status_of(stack, message) == ("note", "")
    [line] = [line for line in map(json.loads, log.text.splitlines()) if line.get("message") == "comment_refused"]
    assert (line["level"], line["location_id"]) == ("WARNING", LOCATION)
    assert (line["reason"], line.get("detail")) == logged


def test_what_is_not_about_the_scope_is_not_a_possible_duplicate(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, log: Log
) -> None:
    inbox.faults["comment"] = ["lost"]
    status_of(stack, message)
    inbox.refusals["comments"] = THIS_LOCATION
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("refused", "location_refused")
    assert (len(inbox.comments), log.text.count("possible_duplicate")) == (1, 0)


@pytest.mark.parametrize("fault", [429, "unsent"])
def test_a_take_over_whose_call_is_not_carried_out_leaves_the_earlier_claim(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock, fault: object
) -> None:
    inbox.faults["comment"] = ["timeout", fault]
    status_of(stack, message)
    [earlier] = claims_of(stack)
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message)[0] == "deferred"
    assert claims_of(stack) == [earlier]
    assert status_of(stack, message) == ("written", "")


# --- deliveries without an id -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "messages"), [(0.0, 1), (23.9, 1), (24.1, 2), (24.0 * 7, 2)])
def test_equal_bodies_are_one_delivery_for_a_day(
    stack: Stack, inbox: Inbox, clock: Clock, hours: float, messages: int
) -> None:
    first = make_message(received_at=clock.time(), is_by_body=True)
    stack.process(first)
    clock.now += hours * 3600
    second = replace(first, received_at=clock.time())
    assert status_of(stack, second) == ("written", "")
    assert len(inbox.comments) == messages
    for repeat in (first, second):
        assert status_of(stack, repeat) == ("written", "")
    assert len(inbox.comments) == messages


@pytest.mark.parametrize("target", [None, make_person()], ids=["a contact", "a person"])
def test_the_same_words_every_day_for_two_months(stack: Stack, inbox: Inbox, clock: Clock, target: Any) -> None:
    for day in range(60):
        message = make_message(received_at=clock.time(), is_by_body=True)
        for _ in range(2):
            assert status_of(stack, message, target=target) == ("written", "")
        assert len(inbox.comments) == day + 1
        clock.now += DAY + 60
    assert max(len(item["claims"]["S"]) for item in stack.dynamodb.items.values() if "claims" in item) < 10_000


def test_a_late_retry_and_a_new_submission_of_the_same_body_are_two(stack: Stack, inbox: Inbox, clock: Clock) -> None:
    first = make_message(received_at=clock.time(), is_by_body=True)
    inbox.faults["comment"] = ["lost", "lost"]
    status_of(stack, first)
    clock.now += 2 * DAY
    second = replace(first, received_at=clock.time())
    status_of(stack, second)
    clock.now += TAKE_OVER_SECONDS
    assert [status_of(stack, each) for each in (first, second, first)] == [("written", "")] * 3
    assert len(inbox.comments) == 2
    assert len({comment.body for comment in inbox.comments}) == 2, "each has its own reference"


@pytest.mark.parametrize("target", [None, make_person()], ids=["a contact", "a person"])
@pytest.mark.parametrize("is_warm", [True, False])
def test_a_record_of_a_late_retry_does_not_answer_for_a_new_submission(
    stack: Stack, inbox: Inbox, clock: Clock, target: Any, is_warm: bool
) -> None:
    instance = stack.instance() if is_warm else None
    first = make_message(received_at=clock.time(), is_by_body=True)
    clock.now += 25 * 3600
    stack.process(first, target=target, instance=instance)
    clock.now += 60
    second = replace(first, received_at=clock.time())
    assert status_of(stack, second, target=target, instance=instance) == ("written", "")
    assert len(inbox.comments) == 2


def test_a_repeat_of_an_id_weeks_later_is_the_same_delivery(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    stack.process(message)
    clock.now += 20 * DAY
    assert status_of(stack, replace(message, received_at=clock.time())) == ("written", "")
    assert len(inbox.comments) == 1


def test_the_key_names_the_contact_and_no_address(stack: Stack, message: Message) -> None:
    stack.process(message, target=make_person("Jane@Example.com"))
    [key] = [key for key in stack.dynamodb.items if key.startswith("message#")]
    assert key.startswith(f"message#{LOCATION}#contact")
    assert "example" not in json.dumps(stack.dynamodb.items).lower()


# --- unread badge -----------------------------------------------------------------------------------------------------


def test_an_existing_conversation_gets_one_unread_more(stack: Stack, inbox: Inbox, message: Message) -> None:
    inbox.conversations[CONTACT] = "c1"
    inbox.unread["c1"] = 3
    assert stack.process(message).name == "existing"
    assert inbox.unread == {"c1": 4}
    assert inbox.calls == ["conversation", "comment", "read conversation", "unread"]


@pytest.mark.parametrize("call", ["unread", "read conversation"])
@pytest.mark.parametrize("fault", [500, 401, 422, "timeout", "unsent"])
def test_a_badge_that_fails_changes_nothing(
    stack: Stack, inbox: Inbox, message: Message, call: str, fault: object
) -> None:
    inbox.conversations[CONTACT] = "c1"
    inbox.faults[call] = [fault]
    assert status_of(stack, message) == ("written", "")
    assert status_of(stack, message) == ("written", "")
    assert inbox.unread == {}


def test_the_badge_may_be_left_alone(stack: Stack, inbox: Inbox, message: Message) -> None:
    stack.mark_unread = False
    stack.process(message)
    assert inbox.calls == ["conversation", "comment"]


def test_a_take_over_that_finds_the_words_leaves_the_badge_alone(
    stack: Stack, inbox: Inbox, message: Message, clock: Clock
) -> None:
    inbox.faults["comment"] = ["lost"]
    status_of(stack, message)
    clock.now += TAKE_OVER_SECONDS
    assert status_of(stack, message) == ("written", "")
    assert inbox.unread == {}


# --- tags and fields --------------------------------------------------------------------------------------------------

TAGGED = ContactFields(tags=("lead", "web"))


def test_tags_are_added_after_the_message_and_once(stack: Stack, inbox: Inbox, message: Message) -> None:
    assert status_of(stack, message, fields=TAGGED) == ("written", "")
    assert inbox.calls == ["conversation", "comment", "unread", "tags"]
    assert inbox.tags == ["lead", "web"]
    inbox.calls.clear()
    assert status_of(stack, message, fields=TAGGED) == ("written", "")
    assert inbox.calls == []


@pytest.mark.parametrize("fault", [500, 429, "timeout", "lost", "unsent"])
def test_tags_that_fail_are_retried_without_the_message(
    stack: Stack, inbox: Inbox, message: Message, fault: object
) -> None:
    inbox.faults["tags"] = [fault]
    outcome = stack.process(message, fields=TAGGED)
    assert (outcome.message, outcome.to_retry is not None) == (MessageStatus.WRITTEN, True)
    assert status_of(stack, message, fields=TAGGED) == ("written", "")
    assert (inbox.tags, len(inbox.comments)) == (["lead", "web"], 1)
    inbox.calls.clear()
    assert status_of(stack, message, fields=TAGGED) == ("written", "")
    assert inbox.calls == []


def test_tags_are_added_where_there_are_no_words(stack: Stack, inbox: Inbox, clock: Clock) -> None:
    assert status_of(stack, make_message("", received_at=clock.time()), fields=TAGGED) == ("off", "")
    assert (inbox.tags, inbox.calls) == (["lead", "web"], ["conversation", "tags"])


def test_tags_are_added_where_the_result_of_the_words_cannot_be_saved(
    stack: Stack, inbox: Inbox, message: Message
) -> None:
    inbox.faults["comment"] = [lambda: lose_table(stack)]
    assert status_of(stack, message, fields=TAGGED) == ("written", "")
    assert inbox.calls == ["conversation", "comment", "unread", "tags"]


def test_tags_that_are_refused_need_an_operator(stack: Stack, inbox: Inbox, message: Message) -> None:
    inbox.refusals["tags"] = (401, SCOPE)
    outcome = stack.process(message, fields=TAGGED)
    letter = outcome.to_dead_letter
    assert letter is not None
    assert (letter.reason, outcome.message) == ("message_failed", MessageStatus.WRITTEN)
    assert "contacts.write" in letter.detail


@pytest.mark.parametrize("target", [None, make_person()], ids=["a contact", "a person"])
def test_an_existing_contact_is_changed_only_where_the_entry_says_so(
    stack: Stack, inbox: Inbox, clock: Clock, target: Any
) -> None:
    inbox.contacts["c1"] = {"id": "c1", "email": "jane@example.com", "firstName": "JANE", "seen_at": 0.0}
    fields = ContactFields(custom_fields={"f1": "blue"})
    before = dict(inbox.contacts["c1"])
    stack.process(target=target, fields=fields)
    assert inbox.contacts["c1"] == before
    assert "update" not in inbox.calls
    message = make_message(delivery="typeform#d2", received_at=clock.time())
    stack.process(
        message,
        target=target and replace(target, delivery="t#d2"),
        fields=replace(fields, update_contact=True),
    )
    changed = inbox.contacts["c1" if target else CONTACT]
    assert changed["customFields"] == [{"id": "f1", "field_value": "blue"}]
    assert changed.get("lastName") == ("McDonald" if target else None)


# --- many at the same time --------------------------------------------------------------------------------------------

FAULTS: list[Any] = [
    None,
    None,
    None,
    "lost",
    "timeout",
    "late",
    "killed",
    "killed after",
    429,
    500,
    503,
    "unsent",
    401,
]


def _endings(seed: int) -> Callable[[int], Any]:
    """Return a sequence that looks like chance and is the same each time."""
    state = seed * 2_654_435_761 + 1

    def next_below(limit: int) -> int:
        nonlocal state
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (state >> 33) % limit

    return next_below


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happens_the_words_are_there_once(seed: int, clock: Clock) -> None:
    below = _endings(seed)
    inbox = Inbox(clock, late=float(below(60)), lag=float(below(30)))
    stack = Stack(inbox, clock)
    message = make_message(received_at=clock.time(), is_by_body=bool(below(2)))
    target = make_person() if below(2) else None
    for call in ("comment", "comments", "conversation", "search conversation", "search contact", "contact"):
        inbox.faults[call] = [FAULTS[below(len(FAULTS))] for _ in range(6)]
    beside = below(4)
    if beside < 2:
        inbox.faults[("comment", "comments")[beside]].insert(0, lambda: _try_beside(stack, message, target))
    for _ in range(200):
        if _try(stack, message, target):
            break
        if below(6) == 0:
            lose_table(stack)
            _try(stack, message, target)
            stack.dynamodb.error = None
        clock.now += (1, 5, 30, 130, 3600, 2 * DAY)[below(6)]
    assert _try(stack, message, target)
    assert len(inbox.comments) == 1
    assert len(inbox.contacts) == (1 if target else 0)
    assert len(inbox.conversations) == 1


def _try_beside(stack: Stack, message: Message, target: Any) -> None:
    _try(stack, message, target)


def _try(stack: Stack, message: Message, target: Any) -> bool:
    from tests.unit.inbox import KilledError

    try:
        outcome = stack.process(message, target=target)
    except KilledError:
        return False
    return outcome.is_open and outcome.message == MessageStatus.WRITTEN and outcome.unfinished is None
