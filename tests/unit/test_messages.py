"""Messages through the real triggers, over the local HighLevel: answers, queues, log, metrics and result events."""

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from create_conversation import message_step
from create_conversation.errors import NotStoredError
from create_conversation.message_claims import TAKE_OVER_SECONDS
from create_conversation.submission import Submission
from local.highlevel import Limits
from tests.assertions import assert_accepted, assert_problem, assert_webhook_outcome
from tests.factories import (
    CONTACT,
    LOCATION,
    make_http_event,
    make_ids,
    make_senders,
    make_sqs_record,
    make_webhook_event,
    sample,
)
from tests.stopwatch import Stopwatch
from tests.unit.conftest import Log
from tests.unit.fakes import no_answer
from tests.unit.world import CONTEXT, TOKEN, World, attributes

COMMENTS, NOTES, TAGS = "/conversations/messages", "/contacts/{contactId}/notes", "/contacts/{contactId}/tags"
HELLO = make_ids() | {"message": "Hello"}
SCOPE = "The token is not authorized for this scope."


@pytest.fixture
def world(world: World) -> World:
    world.settings = replace(world.settings, message="comment")
    world.flow = world.environment(world.token)
    return world


def restart(world: World) -> None:
    """The next submission reaches a new instance."""
    world.flow = world.environment(world.token)


def take_over(world: World) -> None:
    """Every claim is as old as it must be."""
    for key, item in world.dynamodb.items.items():
        if key.startswith(("message#", "address#")):
            claims = [
                claim | {"claimed_at": claim["claimed_at"] - TAKE_OVER_SECONDS}
                for claim in json.loads(item["claims"]["S"])
            ]
            item["claims"] = {"S": json.dumps(claims)}
    restart(world)


def body_of(answer: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer["body"])
    return body


def post(world: World, **headers: Any) -> dict[str, Any]:
    return world.post(make_http_event(json.dumps(HELLO), **headers))


def comments(world: World) -> list[str]:
    """The texts of all comments that HighLevel has been sent and has answered, without their references."""
    calls = [call for call in world.highlevel.calls if (call.method, call.path) == ("POST", COMMENTS)]
    return [_text(json.loads(call.body)["message"]) for call in calls if call.status in (200, 201)]


def notes(world: World) -> list[str]:
    calls = [call for call in world.highlevel.calls if call.method == "POST" and call.path.endswith("/notes")]
    return [_text(json.loads(call.body)["body"]) for call in calls if call.status in (200, 201)]


def _text(sent: str) -> str:
    text, _, reference = sent.rpartition("\n")
    assert reference.startswith("ref ")
    return text.strip()


# --- POST /conversations ----------------------------------------------------------------------------------------------


def test_a_caller_s_message_is_written_and_reported(world: World, log: Log) -> None:
    answer = post(world)
    assert (answer["statusCode"], body_of(answer)["messageStatus"]) == (201, "written")
    assert body_of(answer)["conversation"]["contactId"] == CONTACT
    assert (log.line["message_status"], log.line["outcome"]) == ("written", "opened")
    again = post(world)
    assert (again["statusCode"], body_of(again)["messageStatus"]) == (200, "written")
    assert comments(world) == ["Hello"]
    assert world.sqs.calls == []


def test_a_caller_without_a_message_writes_none(world: World) -> None:
    answer = world.post(make_http_event())
    assert (answer["statusCode"], body_of(answer)["messageStatus"]) == (201, "off")
    assert comments(world) == []
    assert not [key for key in world.dynamodb.items if key.startswith("message#")]


@pytest.mark.parametrize("message", ["x" * 5001, 1, ["a"], {}, True])
def test_an_unusable_message_is_named(world: World, message: object) -> None:
    answer = world.post(make_http_event(json.dumps(make_ids() | {"message": message})))
    assert "message" in assert_problem(answer, 422, "invalid_body")["detail"]
    assert world.highlevel.calls == []


def test_a_key_makes_equal_bodies_two_deliveries_and_different_ones_one(world: World) -> None:
    for key in ("one", "two", "one"):
        assert body_of(post(world, idempotency_key=key))["messageStatus"] == "written"
    assert comments(world) == ["Hello", "Hello"]
    changed = json.dumps(HELLO | {"message": "Changed"})
    world.post(make_http_event(changed, idempotency_key="one"))
    assert comments(world) == ["Hello", "Hello"]


@pytest.mark.parametrize("key", ["", "x" * 129, "two words", "ümlaut", "\t"])
def test_an_unusable_key_is_a_400_that_names_the_header(world: World, key: str) -> None:
    problem = assert_problem(post(world, idempotency_key=key), 400, "invalid_idempotency_key")
    assert "Idempotency-Key" in problem["title"] + problem["detail"]
    assert world.highlevel.calls == []


@pytest.mark.parametrize("kind", ["reset", "commit_then_drop"])
def test_a_message_of_unknown_outcome_is_stored_and_the_conversation_stays_opened(
    world: World, log: Log, kind: str
) -> None:
    world.highlevel.fail(kind, path=COMMENTS, times=1)
    answer = post(world)
    assert (answer["statusCode"], body_of(answer)["messageStatus"]) == (201, "deferred")
    assert (log.line["outcome"], log.line["message_reason"]) == ("opened", "upstream_connection_lost")
    [queued] = world.queued()
    assert Submission.from_message(queued["MessageBody"]).is_reported
    take_over(world)
    assert world.retry(make_sqs_record(queued["MessageBody"])) == []
    sent = [call for call in world.highlevel.calls if (call.method, call.path) == ("POST", COMMENTS)]
    assert len(sent) == (2 if kind == "reset" else 1)
    assert body_of(post(world))["messageStatus"] == "written"
    assert len(sent) == (2 if kind == "reset" else 1)


def test_a_claim_that_hangs_does_not_change_the_conversation_s_outcome(
    world: World, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle, released = world.dynamodb.handle, threading.Event()

    def hang_at_the_claim(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation == "UpdateItem" and "claims" in parameters["UpdateExpression"]:
            released.wait(3)
        return handle(operation, parameters)

    monkeypatch.setattr(message_step, "MIN_MESSAGE_SECONDS", 0.1)
    monkeypatch.setattr(world.dynamodb, "handle", hang_at_the_claim)
    stopwatch = Stopwatch()
    answer = post(world)
    assert (answer["statusCode"], body_of(answer)["messageStatus"]) == (201, "deferred")
    assert stopwatch.seconds < 1.0
    assert len(world.queued()) == 1
    released.set()


def test_a_message_that_can_be_neither_written_nor_stored_is_not_stored(world: World) -> None:
    world.highlevel.fail("status", status=503, path=COMMENTS)
    world.sqs.error = no_answer("SendMessage")
    assert_problem(post(world), 503, "not_stored")
    webhook = world.post(make_webhook_event(make_ids(contact="another") | {"note": "x"}))
    assert_problem(webhook, 429, "not_stored")
    event = sample("event_conversation_requested")
    event["detail"]["message"] = "Hello"
    with pytest.raises(NotStoredError):
        world.events.handle(event, CONTEXT)
    assert len(world.highlevel.conversations) == 3


def test_a_refused_message_is_a_dead_letter_and_a_redrive_writes_it(world: World, log: Log) -> None:
    for path in (COMMENTS, NOTES):
        world.highlevel.fail("status", status=422, message="no", path=path)
    answer = post(world)
    assert (answer["statusCode"], body_of(answer)["messageStatus"]) == (201, "refused")
    [letter] = world.dead_letters()
    assert attributes(letter) == {
        "reason": "message_failed",
        "sender": "api",
        "location": LOCATION,
        "attempts": "1",
        "last_error": "message_refused: HighLevel: no.",
    }
    assert (log.line["outcome"], log.line["message_status"]) == ("opened", "refused")
    assert (log.line["message_reason"], log.line["detail"]) == ("message_refused", "HighLevel: no.")
    world.highlevel.heal()
    assert world.retry(make_sqs_record(letter["MessageBody"])) == []
    assert comments(world) == ["Hello"]
    assert [kind for kind, _ in world.events_published()] == ["ConversationOpened"]


def test_a_dead_letter_that_cannot_be_stored_is_not_stored(world: World) -> None:
    for path in (COMMENTS, NOTES):
        world.highlevel.fail("status", status=422, message="no", path=path)
    world.sqs.error = no_answer("SendMessage")
    assert_problem(post(world), 503, "not_stored")


def test_a_deferred_conversation_says_that_its_message_is(world: World) -> None:
    world.highlevel.fail("status", status=503)
    answer = post(world)
    assert body_of(answer)["messageStatus"] == "deferred"
    assert_accepted(answer, "deferred")
    [queued] = world.queued()
    assert not Submission.from_message(queued["MessageBody"]).is_reported


# --- webhooks and events ----------------------------------------------------------------------------------------------

JANE = {"locationId": LOCATION, "email": "jane@example.com", "firstName": "Jane", "budget": "500"}


def test_a_webhook_s_answers_are_written(world: World) -> None:
    answer = world.post(make_webhook_event(JANE))
    assert_webhook_outcome(answer, "opened")
    assert body_of(answer)["messageStatus"] == "written"
    [text] = comments(world)
    assert "Budget: 500" in text
    assert_webhook_outcome(world.post(make_webhook_event(JANE)), "existing")
    assert len(comments(world)) == 1


REPEATED = {
    "a caller's message": ("", HELLO),
    "a caller without a message": ("", make_ids()),
    "a webhook with an e-mail address": ("token", JANE),
    "a webhook with a contact id": ("token", make_ids() | {"note": "x"}),
    "a webhook with both": ("token", make_ids() | JANE),
}


@pytest.mark.parametrize(("sender", "body"), REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("place", ["comment", "off"])
def test_a_repeat_that_this_instance_has_finished_needs_neither_a_call_nor_a_thread(
    world: World, sender: str, body: dict[str, str], place: str
) -> None:
    event = make_webhook_event(body, sender) if sender else make_http_event(json.dumps(body))
    world.settings = replace(world.settings, message=place)
    restart(world)
    first = body_of(world.post(event))
    world.highlevel.calls.clear()
    world.dynamodb.calls.clear()

    def no_thread(call: object, seconds: float) -> Any:
        raise AssertionError("a call that may take time")

    again = body_of(replace(world.http, call_with_time_limit=no_thread).handle(event, CONTEXT))
    assert again.get("outcome", "existing") == "existing"
    assert (again["messageStatus"], again.get("conversation", {}).get("id")) == (
        first["messageStatus"],
        first.get("conversation", {}).get("id"),
    )
    assert (world.highlevel.calls, world.dynamodb.calls) == ([], [])


def test_another_submission_of_a_finished_contact_is_not_taken_for_the_first(world: World) -> None:
    for note in ("x", "y", "x"):
        world.post(make_webhook_event(make_ids() | {"note": note}))
    assert len(comments(world)) == 2


def test_a_status_that_only_a_later_version_knows_is_looked_up_in_the_claim(world: World) -> None:
    world.post(make_webhook_event(JANE))
    [key] = [key for key in world.dynamodb.items if key.startswith("delivery#")]
    world.dynamodb.items[key]["message_status"] = {"S": "written-twice"}
    restart(world)
    assert body_of(world.post(make_webhook_event(JANE)))["messageStatus"] == "written"
    assert len(comments(world)) == 1


def test_an_array_names_the_most_severe_status(world: World) -> None:
    world.highlevel.fail("status", status=503, path=COMMENTS, contact="two")
    bodies = [make_ids(contact=contact) | {"note": "x"} for contact in ("one", "two", "three")]
    answer = world.post(make_webhook_event(bodies))
    assert (body_of(answer)["outcome"], body_of(answer)["messageStatus"]) == ("opened", "deferred")
    assert len(world.queued()) == 1


def test_an_event_s_message_is_written_once_also_in_a_replay(world: World) -> None:
    event = sample("event_conversation_requested")
    event["detail"]["message"] = "Hello"
    for replayed in (event, event, event | {"replay-name": "again"}):
        world.events.handle(replayed, CONTEXT)
    assert comments(world) == ["Hello"]
    world.events.handle(event | {"id": "another"}, CONTEXT)
    assert comments(world) == ["Hello", "Hello"]


@pytest.mark.parametrize("kind", ["OutboundMessage", "NoteCreate", "ContactUpdate", "ContactTagUpdate"])
@pytest.mark.parametrize(("message", "reason"), [("comment", "own_write"), ("note", "own_write"), ("off", "")])
def test_what_the_stack_s_own_writes_cause_is_ignored(
    world: World, log: Log, tmp_path: Any, kind: str, message: str, reason: str
) -> None:
    world.settings = replace(world.settings, message=message)
    world.senders = make_senders(tmp_path, highlevel_app={"app_id": "x", "when": "contactId != 'x'"})
    body = json.dumps({"type": kind, "locationId": LOCATION, "contactId": CONTACT, "id": CONTACT}).encode()
    stored = Submission("webhook", "highlevel-app", "r", 1.0, "application/json", body)
    assert world.retry(make_sqs_record(stored.to_message())) == []
    assert log.line.get("reason", "") == reason
    assert world.highlevel.calls == [] if reason else len(world.highlevel.calls) == 1


@pytest.mark.parametrize(
    "address",
    [
        {"email": "ann@example.com"},
        {"email": "ANN@WORK.example"},
        {"phone": "+1 (555) 555-0100"},
        {"email": "ann@work.example", "phone": "+15555550100"},
    ],
    ids=["primary", "secondary", "phone", "secondary-and-phone"],
)
def test_a_known_contact_stays_as_it_is(world: World, address: dict[str, str]) -> None:
    known = {
        "id": "ann",
        "locationId": LOCATION,
        "email": "ann@example.com",
        "phone": "+15555550100",
        "firstName": "Ann-Marie",
        "lastName": "McDoe",
        "additionalEmails": [{"email": "ann@work.example"}],
        "tags": ["customer"],
        "source": "fair",
    }
    world.highlevel.contacts["ann"] = dict(known)
    names = {"locationId": LOCATION, "firstName": "ann", "lastName": "MCDOE", "message": "Hello", **address}
    answer = world.post(make_webhook_event(names))
    assert_webhook_outcome(answer, "opened")
    assert json.loads(answer["body"])["messageStatus"] == "written"
    assert {name: world.highlevel.contacts["ann"].get(name) for name in known} == known
    assert [*world.highlevel.contacts] == ["ann"]
    assert (LOCATION, "ann") in world.highlevel.conversations


def test_a_sender_s_tags_source_and_fields_reach_a_new_contact(world: World, tmp_path: Any) -> None:
    entry = {"tags": ["lead"], "source": "form", "locations": ["*"]}
    world.senders = make_senders(tmp_path, token=entry)
    assert_webhook_outcome(world.post(make_webhook_event(JANE)), "opened")
    [contact] = world.highlevel.contacts.values()
    assert (contact["tags"], contact["source"], contact["firstName"]) == (["lead"], "form", "Jane")


# --- the retry queue --------------------------------------------------------------------------------------------------


def deferred(world: World) -> str:
    """The queue message of a submission whose conversation could not be opened."""
    world.highlevel.fail("status", status=503, times=1)
    post(world)
    [queued] = world.queued()
    return str(queued["MessageBody"])


def metrics(log: Log) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.text.splitlines() if line.startswith("{")]
    return [line for line in lines if "_aws" in line]


def test_a_message_stays_in_the_queue_until_its_words_are_written(world: World, log: Log) -> None:
    text = deferred(world)
    world.highlevel.fail("status", status=503, path=COMMENTS, times=1)
    assert world.retry(make_sqs_record(text)) == ["message-1"]
    assert (log.lines[-1]["outcome"], log.lines[-1]["message_status"]) == ("opened", "deferred")
    take_over(world)
    assert world.retry(make_sqs_record(text, receives=2)) == []
    assert log.lines[-1]["message_only"] is True
    assert comments(world) == ["Hello"]
    assert [kind for kind, _ in world.events_published()] == ["ConversationOpened"], "once"
    counted = [line["MessageRetries"] for line in metrics(log) if "MessageRetries" in line]
    assert counted == [[1.0]]


def test_a_retry_that_has_reported_its_conversation_does_not_do_so_again(world: World, log: Log) -> None:
    text = deferred(world)
    world.highlevel.fail("status", status=503, path=COMMENTS)
    for receives in range(1, 6):
        assert world.retry(make_sqs_record(text, receives=receives)) == ["message-1"]
        for key, item in world.dynamodb.items.items():  # almost a day passes
            if key.startswith("reported#"):
                item["expires_at"] = {"N": str(int(item["expires_at"]["N"]) - 86_000)}
    assert [line["outcome"] for line in log.lines].count("opened") == 1
    assert [kind for kind, _ in world.events_published()] == ["ConversationOpened"]


def test_each_call_counts_in_the_pace_of_a_location(world: World) -> None:
    """Conversation, comment, badge: the next submission of the location waits for three intervals."""
    world.highlevel.limits = Limits(max=100, interval_ms=10_000)
    records = []
    for number in (1, 2):
        body = json.dumps(make_ids(contact=f"contact-{number}") | {"message": "Hello"}).encode()
        stored = Submission("http", "api", f"request-{number}", time.time(), "application/json", body)
        records.append(make_sqs_record(stored.to_message(), number))
    assert world.retry(*records) == []
    times = [call.at for call in world.highlevel.calls if call.path == "/conversations/"]
    assert len(world.highlevel.calls) == 6
    assert times[1] - times[0] > 0.25


@pytest.mark.parametrize("status", [503, 429])
def test_words_that_fail_for_too_long_are_a_dead_letter(world: World, log: Log, status: int) -> None:
    post_with_fault(world, 503)
    [queued] = world.queued()
    take_over(world)
    world.highlevel.fail("status", status=status, path=COMMENTS)
    old = make_sqs_record(queued["MessageBody"], receives=300, age=73 * 3600)
    is_tried = status == 503
    assert world.retry(old) == ([] if is_tried else ["message-1"])
    if is_tried:
        assert world.reasons() == ["message_failed"]
        assert (log.lines[-1]["outcome"], log.lines[-1]["reason"]) == ("rejected", "message_failed")
    assert [kind for kind, _ in world.events_published()] == ["ConversationOpened"]


def post_with_fault(world: World, status: int) -> None:
    world.highlevel.fail("status", status=status, path=COMMENTS)
    assert body_of(post(world))["messageStatus"] == "deferred"
    world.highlevel.heal()


def test_a_retry_without_the_scope_for_comments_writes_a_note(world: World) -> None:
    text = deferred(world)
    world.highlevel.scopes[TOKEN] = {"conversations.write", "contacts.write", "contacts.readonly"}
    try:
        assert world.retry(make_sqs_record(text)) == []
    finally:
        world.highlevel.scopes.clear()
    assert (comments(world), notes(world)) == ([], ["Hello"])


def test_while_paused_the_words_of_a_known_conversation_are_stored(world: World) -> None:
    world.dynamodb.put(LOCATION, CONTACT, "conv-1")
    world.pause()
    answer = post(world)
    assert (answer["statusCode"], body_of(answer)["messageStatus"]) == (200, "deferred")
    assert len(world.queued()) == 1
    assert world.highlevel.calls == []
