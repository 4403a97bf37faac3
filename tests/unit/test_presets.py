"""Each preset on the sample that its sender sends: let in and understood; spoilt, refused; mapped wrongly, kept."""

import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from create_conversation.submission import Submission
from tests.samples import LOCATION, PEOPLE, SENDERS, Sent, mistaken, sample_of, secret_of
from tests.unit.conftest import Log
from tests.unit.test_webhooks import attributes, check_problem, check_told
from tests.unit.world import World

PRESETS = sorted(PEOPLE)


@pytest.fixture(autouse=True)
def _stack(world: World) -> None:
    """All senders have a secret; the stack serves one location."""
    world.settings = replace(world.settings, location_id=LOCATION)
    world.secrets.texts["SenderSecrets"] = json.dumps({name: [secret_of(name)] for name in PRESETS})


def event_of(sent: Sent) -> dict[str, Any]:
    """As API Gateway hands it over."""
    event = sample_of(sent.sender.name)
    body = base64.b64encode(sent.body).decode() if event["isBase64Encoded"] else sent.body.decode()
    event["requestContext"]["timeEpoch"] = int(1000 * time.time())
    return event | {"headers": sent.headers, "rawQueryString": sent.query, "body": body}


def told(world: World) -> dict[str, Any]:
    """Whom HighLevel was asked for."""
    (call,) = [call for call in world.highlevel.calls if call.path == "/contacts/upsert"]
    person: dict[str, Any] = json.loads(call.body)
    assert person.pop("locationId") == LOCATION
    return person


def test_every_preset_has_a_sample_or_knows_the_contact_id() -> None:
    others = {name for name, sender in SENDERS.items() if sender.scheme in ("token", "mac")} - PEOPLE.keys()
    assert others == {"api", "token", "highlevel-workflow"}


@pytest.mark.parametrize("name", PRESETS)
def test_its_sample_is_let_in_and_understood(name: str, world: World, log: Log) -> None:
    sent = Sent.of(name)
    check_told(world.post(event_of(sent)), "opened")
    assert told(world) == PEOPLE[name]
    check_told(world.post(event_of(Sent.of(name))), "existing")
    told(world)
    assert {line["sender"] for line in log.lines} == {name}
    assert secret_of(name) not in log.text
    assert PEOPLE[name]["email"] not in log.text


@pytest.mark.parametrize("name", PRESETS)
def test_one_byte_changed_is_refused(name: str, world: World) -> None:
    check_problem(world.post(event_of(Sent.of(name).spoilt())), 401, "unauthorized")
    assert not world.highlevel.calls
    assert not world.sqs.calls


@pytest.mark.parametrize("name", PRESETS)
def test_without_what_proves_it_it_is_refused(name: str, world: World) -> None:
    check_problem(world.post(event_of(Sent.of(name).unproved())), 401, "unauthorized")
    assert not world.highlevel.calls
    assert not world.sqs.calls


@pytest.mark.parametrize("name", PRESETS)
def test_with_the_secret_of_another_it_is_refused(name: str, world: World) -> None:
    world.secrets.texts["SenderSecrets"] = json.dumps({other: [secret_of(name)] for other in PRESETS if other != name})
    check_problem(world.post(event_of(Sent.of(name))), 401, "unauthorized")


@pytest.mark.parametrize("name", PRESETS)
def test_a_wrong_mapping_is_kept(name: str, world: World) -> None:
    world.senders[name] = mistaken(SENDERS[name])
    check_told(world.post(event_of(Sent.of(name))), "invalid")
    (letter,) = world.dead_letters()
    assert attributes(letter) == {"reason": "no_contact", "sender": name, "location": LOCATION, "attempts": "1"}
    assert secret_of(name).encode() not in Submission.from_message(letter["MessageBody"]).body


@pytest.mark.parametrize("name", PRESETS)
def test_somebody_without_address_and_number_is_kept(name: str, world: World) -> None:
    check_told(world.post(event_of(Sent.of(name).nobody())), "invalid")
    assert world.reasons() == ["no_contact"]
