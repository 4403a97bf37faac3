"""The EventBridge trigger: done, or stored in one of the queues, or raised for Lambda to repeat."""

import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from create_conversation.errors import NotStoredError
from create_conversation.senders.config import Sender, load
from create_conversation.senders.mapping import target_of
from create_conversation.submission import Submission
from highlevel.client import HighLevel
from tests.factories import make_sqs_record, sample
from tests.unit.conftest import Log
from tests.unit.fakes import no_answer
from tests.unit.world import CONTEXT, SENDERS, TOKEN, World

EVENT = sample("event_conversation_requested")
LOCATION, CONTACT = EVENT["detail"]["locationId"], EVENT["detail"]["contactId"]


def changed(**members: Any) -> dict[str, Any]:
    return {**copy.deepcopy(EVENT), **members}


def test_an_event_opens_the_conversation(world: World, log: Log) -> None:
    world.events.handle(EVENT, CONTEXT)
    assert (LOCATION, CONTACT) in world.highlevel.conversations
    assert world.sqs.calls == []
    assert (log.line["outcome"], log.line["trigger"], log.line["sender"]) == ("opened", "event", "event")
    assert log.line["request_id"] == EVENT["id"]


def test_a_repeat_is_existing_and_looks_for_no_id(world: World, log: Log) -> None:
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, CONTACT, within=2)
    world.events.handle(EVENT, CONTEXT)
    assert log.line["outcome"] == "existing"
    assert [call.path for call in world.highlevel.calls] == ["/conversations/"] * 2
    assert world.sqs.calls == []


def test_deferred_is_stored_for_another_try(world: World, log: Log) -> None:
    world.highlevel.fail(kind="status", status=503)
    world.events.handle(EVENT, CONTEXT)
    (message,) = world.queued()
    assert message["MessageGroupId"] == LOCATION
    stored = Submission.from_message(message["MessageBody"])
    assert json.loads(stored.body) == EVENT
    assert target_of(stored, SENDERS, None).contact == CONTACT
    assert (log.line["outcome"], log.line["reason"]) == ("deferred", "upstream_error")


@pytest.mark.parametrize(
    ("event", "reason", "location"),
    [
        (EVENT, "ids_refused", LOCATION),
        (changed(detail={"locationId": LOCATION}), "no_contact", LOCATION),
        (sample("event_without_contact"), "no_contact", LOCATION),
        (changed(detail={"contactId": CONTACT}), "no_location", None),
        (changed(detail={"locationId": "a b", "contactId": CONTACT}), "invalid_body", None),
        (changed(detail=None), "no_location", None),
        (changed(detail=[]), "no_location", None),
        (changed(detail={"note": "\ud800"}), "no_location", None),
        ({}, "no_location", None),
    ],
)
def test_what_needs_an_operator_is_a_dead_letter(
    world: World, log: Log, event: dict[str, Any], reason: str, location: str | None
) -> None:
    world.highlevel.fail(kind="status", status=422, message="no such contact")
    world.events.handle(event, CONTEXT)
    (letter,) = world.dead_letters()
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert abs(int(attributes.pop("first_time")) - time.time()) < 60
    attributes.pop("detail", None)
    expected = {"reason": reason, "sender": "event", "attempts": "1"}
    assert attributes == (expected | {"location": location} if location else expected)
    assert Submission.from_message(letter["MessageBody"]).trigger == "event"
    assert log.line["reason"] == reason
    assert world.queued() == []


def test_another_location_than_the_stacks_is_a_dead_letter(world: World) -> None:
    world.settings = replace(world.settings, location_id="another-location")
    world.events.handle(EVENT, CONTEXT)
    assert world.reasons() == ["location_not_allowed"]
    assert world.highlevel.calls == []


@pytest.mark.parametrize("event", [[], ["a"], "text", None, 5, True, {}, {"Records": 5}])
def test_a_malformed_event_is_a_dead_letter(world: World, event: Any) -> None:
    world.events.handle(event, CONTEXT)
    (letter,) = world.dead_letters()
    assert json.loads(Submission.from_message(letter["MessageBody"]).body) == event
    assert world.reasons() == ["no_location" if isinstance(event, dict) else "invalid_body"]


def test_a_lone_surrogate_in_an_event_does_no_harm(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, times=1)
    world.events.handle(changed(detail=EVENT["detail"] | {"note": "\ud800"}), CONTEXT)
    stored = Submission.from_message(world.queued()[0]["MessageBody"])
    assert json.loads(stored.body)["detail"]["note"] == "\ud800"
    assert target_of(stored, SENDERS, None).contact == CONTACT


@pytest.mark.parametrize(
    "member",
    [*("x" * (size * 1024) for size in (300, 700, 800, 1000)), [1e15] * 200_000],
    ids=["300 KiB", "700 KiB", "800 KiB", "1000 KiB", "larger when it is written again"],
)
def test_a_large_event_is_refused_with_its_reason_and_its_only_copy_stays_whole(world: World, member: object) -> None:
    event = changed(detail=EVENT["detail"] | {"transcript": member})
    world.events.handle(event, CONTEXT)
    for redriven in range(3):
        assert world.reasons() == ["body_too_large"] * (redriven + 1)
        text = world.dead_letters()[-1]["MessageBody"]
        assert json.loads(Submission.from_message(text).body) == event
        assert world.retry(make_sqs_record(text)) == []
    assert world.highlevel.calls == []


def test_an_event_that_knows_only_a_person_opens_theirs(world: World, log: Log) -> None:
    detail = {"locationId": LOCATION, "email": "jane@example.com", "firstName": "Jane"}
    for _ in range(2):
        world.events.handle(changed(detail=detail), CONTEXT)
    ((_, contact),) = world.highlevel.conversations
    [sent] = [json.loads(call.body) for call in world.highlevel.calls if b"firstName" in call.body]
    assert sent["firstName"] == "Jane"
    assert [line["outcome"] for line in log.lines] == ["opened", "existing"]
    assert {line["contact_id"] for line in log.lines} == {contact}
    assert "jane@example.com" not in log.text


def own_senders(folder: Path, text: str) -> dict[str, Sender]:
    """The presets with these entries in senders.toml."""
    (folder / "senders.toml").write_text(text)
    return load(folder)


OWN = """
[our-app]
scheme = "event"
source = "our.app"
when = "detail.kind == 'signup'"
location_id = "detail.place"
contact_id = "detail.customer"
"""


def test_an_event_of_another_kind_is_ignored(world: World, log: Log, tmp_path: Path) -> None:
    world.senders = own_senders(tmp_path, OWN)
    detail = {"place": LOCATION, "customer": CONTACT}
    world.events.handle(changed(source="our.app", detail=detail | {"kind": "payment"}), CONTEXT)
    assert (log.line["outcome"], log.line["reason"], log.line["sender"]) == ("ignored", "other_event", "our-app")
    assert world.sqs.calls == []
    assert world.highlevel.calls == []
    world.events.handle(changed(source="our.app", detail=detail | {"kind": "signup"}), CONTEXT)
    assert (LOCATION, CONTACT) in world.highlevel.conversations


@pytest.mark.parametrize("status", [503, 422])
def test_what_cannot_be_stored_is_raised_for_lambda_to_repeat(world: World, log: Log, status: int) -> None:
    world.highlevel.fail(kind="status", status=status, message="no")
    world.sqs.error = no_answer()
    with pytest.raises(NotStoredError):
        world.events.handle(EVENT, CONTEXT)
    assert (log.line["outcome"], log.line["reason"]) == ("not_stored", "not_stored")


@pytest.mark.parametrize("identifier", [None, 7, "", "a\nb", "x" * 129])
def test_without_an_id_lambdas_is_used(world: World, log: Log, identifier: object) -> None:
    world.events.handle(changed(id=identifier), CONTEXT)
    assert log.line["request_id"] == CONTEXT.aws_request_id
