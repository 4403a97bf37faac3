"""Each preset through the real door: its signed sample opens a conversation for the right person; else it is refused,
or kept."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.application import Answer, Application
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, deploy
from tests.integration.test_outcomes import dead_letters
from tests.integration.world import TOKEN, World
from tests.payloads import delivery, on_the_wire
from tests.samples import LOCATION, PEOPLE, Sent, secret_of


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A stack of one sub-account, in which each sender has its secret."""
    with LocalHighLevel(tokens={TOKEN: LOCATION}) as highlevel, LocalAws(enforce_iam=True) as aws:
        application = Application(aws, deploy(aws, {"HighLevelBaseUrl": highlevel.url, "LocationId": LOCATION}))
        application.store_token(TOKEN)
        for sender in PEOPLE:
            application.store_sender_secret(sender, secret_of(sender))
        yield World(highlevel, application)


def deliver(world: World, sent: Sent) -> Answer:
    return world.application.deliver(sent.sender.name, sent.body, sent.headers, sent.query)


def told(world: World, email: str) -> list[dict[str, Any]]:
    bodies = [json.loads(call.body) for call in world.highlevel.calls if call.path == "/contacts/upsert"]
    return [body for body in bodies if body.get("email") == email]


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_a_preset(name: str, world: World) -> None:
    email = PEOPLE[name]["email"]
    for refused in (Sent.of(name).spoilt(), Sent.of(name).unproved()):
        assert deliver(world, refused).status == 401
    assert told(world, email) == []

    answer = deliver(world, Sent.of(name))
    assert (answer.status, answer.body["outcome"]) == (200, "opened")
    assert deliver(world, Sent.of(name)).body["outcome"] == "existing"
    assert told(world, email) == [{"locationId": LOCATION, **PEOPLE[name]}]
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["sender"], line["outcome"], line["location_id"]) == (name, "opened", LOCATION)
    assert (LOCATION, line["contact_id"]) in world.highlevel.conversations


def test_somebody_without_address_and_number_is_kept(world: World) -> None:
    for name in PEOPLE:
        answer = deliver(world, Sent.of(name).nobody())
        assert (answer.status, answer.body["outcome"]) == (200, "invalid")
    assert sorted(letter["sender"] for letter in dead_letters(world, reason="no_contact")) == sorted(PEOPLE)


def test_woocommerces_unsigned_ping_is_answered_200_and_opens_nothing(world: World) -> None:
    calls = len(world.highlevel.calls)
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = world.application.deliver("woocommerce", b"webhook_id=7", form)
    assert (answer.status, answer.body["outcome"]) == (200, "ignored")
    assert world.application.deliver("woocommerce", b"webhook_id=7&x=1", form).status == 401
    assert world.application.deliver("shopify", b"webhook_id=7", form).status == 401
    assert len(world.highlevel.calls) == calls


def test_a_secret_may_be_a_field_of_a_multipart_body(world: World) -> None:
    body, content_type = on_the_wire(delivery("wufoo--multipart-handshake-key"))
    for secret, status in (("wrong", 401), (secret_of("wufoo"), 200)):
        sent = body.replace(b"<secret>", secret.encode())
        answer = world.application.deliver("wufoo", sent, {"content-type": content_type})
        assert answer.status == status
    assert [person["firstName"] for person in told(world, "ike@example.com")] == ["Ike"]


def test_nothing_personal_or_secret_is_logged(world: World) -> None:
    """The last of this file: after all the others."""
    logged = "\n".join(world.application.stack.log_lines())
    private = [value for person in PEOPLE.values() for value in person.values() if len(value) > 6]
    assert [each for each in (*private, *map(secret_of, PEOPLE)) if each in logged] == []
