"""How many calls to HighLevel a submission makes, and which: by what it names, and by what is written."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.factories import API_SECRET, CONTACT, LOCATION, TOKEN_SECRET, sample
from tests.unit.world import World

EMAIL = "ada@example.com"
SEARCH, CREATE = "GET /contacts/search/duplicate", "POST /contacts/"
OPEN, FIND = "POST /conversations/", "GET /conversations/search"
COMMENT, NOTE = "POST /conversations/messages", "POST /contacts/{id}/notes"
READ, BADGE = "GET /conversations/{id}", "PUT /conversations/{id}"
WRITES: dict[str, dict[str, Any]] = {
    "nothing": {"message": "off", "mark_unread": False},
    "message": {"message": "comment", "mark_unread": False},
    "message and badge": {"message": "comment", "mark_unread": True},
    "note and badge": {"message": "note", "mark_unread": True},
}


def routes(world: World) -> list[str]:
    """The calls since the last time, as routes of HighLevel's document."""
    found = [f"{call.method} {call.path.partition('?')[0]}" for call in world.highlevel.calls]
    world.highlevel.calls.clear()
    named = r"(/contacts/|/conversations/)(?!search|messages)[A-Za-z0-9_-]{8,}"
    return [re.sub(named, r"\1{id}", route) for route in found]


def send(world: World, members: dict[str, Any]) -> list[str]:
    """Post a webhook; return the calls that it makes."""
    event = sample("webhook_token")
    event["headers"]["authorization"] = f"Bearer {TOKEN_SECRET}"
    event["body"] = json.dumps({"locationId": LOCATION, "question": "What does it cost?"} | members)
    world.highlevel.calls.clear()
    answer = world.http.handle(event, None)
    assert json.loads(answer["body"])["outcome"] in ("opened", "existing"), answer
    return routes(world)


def post(world: World, **members: Any) -> list[str]:
    """Call POST /conversations; return the calls that it makes."""
    event = sample("http_conversation")
    event["headers"]["authorization"] = f"Bearer {API_SECRET}"
    event["body"] = json.dumps({"locationId": LOCATION, "contactId": CONTACT} | members)
    world.highlevel.calls.clear()
    answer = world.http.handle(event, None)
    assert answer["statusCode"] in (200, 201), answer
    return routes(world)


@pytest.fixture(params=WRITES)
def written(request: pytest.FixtureRequest, world: World) -> str:
    world.settings = replace(world.settings, **WRITES[request.param])
    world.flow = world.environment(world.token)
    return str(request.param)


def of(written: str, *, exists: bool = False) -> list[str]:
    """The calls after the conversation is open. `exists`: it was before."""
    badge = [READ, BADGE] if exists else [BADGE]
    return {
        "nothing": [],
        "message": [COMMENT],
        "message and badge": [COMMENT, *badge],
        "note and badge": [NOTE, *badge],
    }[written]


def test_a_contact_id(world: World, written: str) -> None:
    assert send(world, {"contactId": CONTACT}) == [OPEN, *of(written)]


def test_a_new_person(world: World, written: str) -> None:
    assert send(world, {"email": EMAIL}) == [SEARCH, CREATE, OPEN, *of(written)]


def test_a_known_person(world: World, written: str) -> None:
    world.highlevel.contacts["KnownContact"] = {"id": "KnownContact", "locationId": LOCATION, "email": EMAIL}
    assert send(world, {"email": EMAIL}) == [SEARCH, OPEN, *of(written)]


def test_the_next_submission_of_a_contact_is_not_opened_again(world: World, written: str) -> None:
    send(world, {"contactId": CONTACT})
    assert send(world, {"contactId": CONTACT, "question": "And a second one?"}) == of(written, exists=True)


@pytest.mark.parametrize("members", [{"contactId": CONTACT}, {"email": EMAIL}], ids=["contact id", "e-mail address"])
def test_a_repeated_delivery_makes_no_call(world: World, written: str, members: dict[str, str]) -> None:
    send(world, members)
    assert send(world, members) == []
    world.flow = world.environment(world.token)  # nor in another environment
    assert send(world, members) == []


def test_a_conversation_opened_elsewhere(world: World, written: str) -> None:
    post(world)
    world.dynamodb.items.clear()
    world.flow = world.environment(world.token)
    # A note's answer does not name the conversation, as the comment's does. The search shows its unread count too.
    expected = [NOTE, FIND, BADGE] if written == "note and badge" else of(written, exists=True)
    assert send(world, {"contactId": CONTACT}) == [OPEN, *expected]


def test_post_conversations_looks_for_the_id_once(world: World, written: str) -> None:
    post(world)
    world.dynamodb.items.clear()
    world.flow = world.environment(world.token)
    calls = post(world, message="What does it cost?")
    assert calls.count(OPEN) == 1
    assert calls.count(FIND) == (1 if written in ("nothing", "note and badge") else 0)
