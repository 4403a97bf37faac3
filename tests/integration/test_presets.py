"""Each preset in the deployed application: its signed sample opens a conversation for the right person."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.application import Answer
from local.highlevel import Limits
from tests.assertions import assert_webhook_outcome
from tests.integration.world import TOKEN, World, deployed_world
from tests.payloads import delivery, on_the_wire
from tests.samples import LOCATION, PEOPLE, Sent, secret_of


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A stack of one sub-account, in which each sender has its secret."""
    with deployed_world(LocationId=LOCATION) as world:
        world.highlevel.tokens = {TOKEN: LOCATION}
        world.highlevel.limits = Limits(max=1000)  # all samples name one location, at up to five calls each
        for sender in PEOPLE:
            world.application.store_sender_secret(sender, secret_of(sender))
        yield world


def deliver(world: World, sent: Sent) -> Answer:
    return world.application.deliver(sent.sender.name, sent.body, sent.headers, sent.query)


def creates(world: World, email: str) -> list[dict[str, Any]]:
    bodies = [json.loads(call.body) for call in world.highlevel.calls if call.path == "/contacts/"]
    return [body for body in bodies if body.get("email") == email]


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_a_sample_of_a_preset_opens_a_conversation(name: str, world: World) -> None:
    email = PEOPLE[name]["email"]
    for refused in (Sent.of(name).spoilt(), Sent.of(name).without_credentials()):
        assert deliver(world, refused).status == 401
    assert creates(world, email) == []

    answer = deliver(world, Sent.of(name))
    assert_webhook_outcome(answer, "opened")
    assert deliver(world, Sent.of(name)).body["outcome"] == "existing"
    assert creates(world, email) == [{"locationId": LOCATION, **PEOPLE[name]}]
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["sender"], line["outcome"], line["location_id"]) == (name, "opened", LOCATION)
    assert (LOCATION, line["contact_id"]) in world.highlevel.conversations


def test_a_person_without_email_and_phone_is_a_dead_letter(world: World) -> None:
    for name in PEOPLE:
        answer = deliver(world, Sent.of(name).without_contact())
        assert_webhook_outcome(answer, "invalid")
    letters = world.dead_letters(reason="no_contact")
    assert sorted(letter["attributes"]["sender"] for letter in letters) == sorted(PEOPLE)


def test_the_unsigned_ping_of_woocommerce_is_ignored(world: World) -> None:
    calls = len(world.highlevel.calls)
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = world.application.deliver("woocommerce", b"webhook_id=7", form)
    assert_webhook_outcome(answer, "ignored")
    assert world.application.deliver("woocommerce", b"webhook_id=7&x=1", form).status == 401
    assert world.application.deliver("shopify", b"webhook_id=7", form).status == 401
    assert len(world.highlevel.calls) == calls


def test_the_secret_may_be_in_a_multipart_body(world: World) -> None:
    body, content_type = on_the_wire(delivery("wufoo--multipart-handshake-key"))
    for secret, status in (("wrong", 401), (secret_of("wufoo"), 200)):
        sent = body.replace(b"<secret>", secret.encode())
        answer = world.application.deliver("wufoo", sent, {"content-type": content_type})
        assert answer.status == status
    assert [person["firstName"] for person in creates(world, "ike@example.com")] == ["Ike"]


def test_no_address_and_no_secret_is_logged(world: World) -> None:
    """This is the last test of the file, so that it reads the log of all others."""
    logged = "\n".join(world.application.stack.log_lines())
    private = [value for person in PEOPLE.values() for value in person.values() if len(value) > 6]
    assert [each for each in (*private, *map(secret_of, PEOPLE)) if each in logged] == []
