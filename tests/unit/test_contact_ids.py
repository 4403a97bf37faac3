"""Contact ids that a visitor may have filled in, that HighLevel refuses, and details that it refuses."""

import base64
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from create_conversation.senders.config import load
from create_conversation.submission import Submission
from highlevel.client import HighLevel
from tests.factories import CONTACT, LOCATION, make_sqs_record, make_webhook_event
from tests.unit.conftest import Log
from tests.unit.world import TOKEN, World, attributes

JANE = {"email": "jane@example.com", "phone": "+15555550100"}
CREATE = "/contacts/"


@pytest.fixture(autouse=True)
def _one_location(world: World) -> None:
    world.settings = replace(world.settings, location_id=LOCATION)


def post(world: World, sender: str = "token", **members: Any) -> dict[str, Any]:
    """The answer to a delivery with the contact's id and these members."""
    answer = world.post(make_webhook_event({"contactId": CONTACT} | members, sender))
    assert answer["statusCode"] == 200
    body: dict[str, Any] = json.loads(answer["body"])
    del body["requestId"]
    assert body.pop("messageStatus", "off") in ("off", "deferred")
    return body


def put_contact(world: World, **members: Any) -> None:
    world.highlevel.contacts[CONTACT] = {"id": CONTACT, "locationId": LOCATION, **members}


def paths(world: World) -> list[str]:
    return [call.path for call in world.highlevel.calls]


def opened_for(world: World) -> str:
    ((_, contact),) = world.highlevel.conversations
    return contact


# --- a visitor's id ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known",
    [
        {"email": "jane@example.com"},
        {"email": "JANE@Example.com"},
        {"phone": "+1 555-555-0100", "email": "other@example.com"},
        {"phone": "5555550100"},
    ],
    ids=["e-mail", "case", "phone", "phone without its country"],
)
def test_an_id_with_the_same_email_or_phone_is_used(world: World, known: dict[str, str]) -> None:
    put_contact(world, **known)
    assert post(world, **JANE) == {"outcome": "opened"}
    assert opened_for(world) == CONTACT
    assert paths(world) == [f"/contacts/{CONTACT}", "/conversations/"]
    assert world.highlevel.contacts[CONTACT] == {"id": CONTACT, "locationId": LOCATION, **known}, "nothing is changed"


def test_a_repeat_of_it_makes_no_call(world: World) -> None:
    put_contact(world, **JANE)
    post(world, **JANE)
    world.highlevel.calls.clear()
    assert post(world, **JANE) == {"outcome": "existing"}
    assert paths(world) == []


@pytest.mark.parametrize(
    "known",
    [{"email": "other@example.com"}, {"email": "other@example.com", "phone": "+15555550199"}, {}, None],
    ids=["another e-mail", "another person", "neither", "no such contact"],
)
def test_an_id_of_another_person_is_not_used(world: World, log: Log, known: dict[str, str] | None) -> None:
    if known is not None:
        put_contact(world, **known)
    assert post(world, **JANE) == {"outcome": "opened", "dropped": ["contact_id: not_used"]}
    contact = opened_for(world)
    assert contact != CONTACT
    assert world.highlevel.contacts[contact]["email"] == "jane@example.com"
    assert (log.line["contact_id"], log.line["dropped"]) == (contact, ["contact_id: not_used"])


def test_an_id_of_another_location_is_not_used(world: World) -> None:
    world.highlevel.contacts[CONTACT] = {"id": CONTACT, "locationId": "elsewhere", **JANE}
    assert post(world, **JANE)["outcome"] == "opened"
    assert opened_for(world) != CONTACT


def test_a_token_that_may_not_read_contacts_goes_by_the_email(world: World) -> None:
    put_contact(world, **JANE)
    world.highlevel.scopes[TOKEN] = {"conversations.write", "contacts.write"}
    answer = post(world, **JANE)
    assert (answer["outcome"], answer["dropped"]) == (
        "opened",
        ["search for the contact: scope_missing, contacts.readonly", "contact_id: not_used"],
    )
    assert opened_for(world) == CONTACT, "HighLevel refuses a second contact and names the first"
    assert world.highlevel.contacts[CONTACT] == {"id": CONTACT, "locationId": LOCATION, **JANE}


def test_a_contact_that_may_not_be_read_goes_by_the_email(world: World) -> None:
    put_contact(world, **JANE)
    path = f"/contacts/{CONTACT}"
    world.highlevel.fail(kind="status", status=403, message="Forbidden resource", path=path)
    assert post(world, **JANE) == {"outcome": "opened", "dropped": ["contact_id: not_used"]}
    assert world.dead_letters() == []


def test_an_id_alone_is_used_as_it_is(world: World) -> None:
    assert post(world) == {"outcome": "opened"}
    assert paths(world) == ["/conversations/"]


def test_it_is_deferred_while_the_contact_cannot_be_read(world: World) -> None:
    put_contact(world, **JANE)
    world.highlevel.fail(kind="status", status=503, times=1)
    assert post(world, **JANE)["outcome"] == "deferred"
    (message,) = world.queued()
    assert world.retry(make_sqs_record(message["MessageBody"])) == []
    assert opened_for(world) == CONTACT


# --- an id that HighLevel refuses -------------------------------------------------------------------------------------


def test_a_refused_id_of_a_trusted_sender_falls_back_to_the_email(world: World) -> None:
    world.highlevel.fail(kind="status", status=400, message="Contact not found", contact=CONTACT)
    event = {"id": "e1", "detail-type": "x", "detail": {"locationId": LOCATION, "contactId": CONTACT, **JANE}}
    world.secrets.texts["SenderSecrets"] = json.dumps({"highlevel-workflow": "s"})
    answer = world.post(make_webhook_event({"contact_id": CONTACT, **JANE}, "highlevel-workflow", secret="s"))
    assert json.loads(answer["body"])["outcome"] == "opened"
    assert opened_for(world) != CONTACT
    world.events.handle(event, None)
    assert len(world.highlevel.conversations) == 1
    assert world.dead_letters() == []


def test_a_refused_id_alone_is_rejected(world: World) -> None:
    world.highlevel.fail(kind="status", status=400, message="Contact not found", contact=CONTACT)
    assert post(world)["reason"] == "ids_refused"
    assert world.reasons() == ["ids_refused"]


# --- details that HighLevel refuses -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_refused(world: World) -> Iterator[None]:
    yield
    world.highlevel.refused_details.clear()


@pytest.mark.parametrize(
    ("refused", "members", "left", "dropped"),
    [
        ([JANE["email"]], JANE, {"phone": JANE["phone"]}, ["email"]),
        ([JANE["phone"]], JANE, {"email": JANE["email"]}, ["phone"]),
        (
            [JANE["email"]],
            {"email": JANE["email"], "work_email": "jane@work.example"},
            {"email": "jane@work.example"},
            ["email"],
        ),
        (
            [JANE["email"], "jane@work.example"],
            {**JANE, "work_email": "jane@work.example"},
            {"phone": JANE["phone"]},
            ["email"],
        ),
    ],
    ids=["e-mail", "phone", "another e-mail", "both e-mails"],
)
def test_a_refused_detail_is_left_out(
    world: World,
    log: Log,
    refused: list[str],
    members: dict[str, str],
    left: dict[str, str],
    dropped: list[str],
) -> None:
    world.highlevel.refused_details.update(dict.fromkeys(refused, ""))
    answer = post(world, contactId="", **members)
    expected = [f"{name}: refused by HighLevel" for name in dropped]
    assert answer == {"outcome": "opened", "dropped": expected}
    (contact,) = world.highlevel.contacts.values()
    assert {name: contact[name] for name in ("email", "phone") if name in contact} == left
    assert log.line["dropped"][-1:] == expected


@pytest.mark.parametrize("message", ["invalid country calling code", "jane@example.com or +15555550100 is wrong", ""])
@pytest.mark.parametrize("refused", ["email", "phone"])
def test_a_message_that_does_not_name_the_refused_detail(world: World, refused: str, message: str) -> None:
    world.highlevel.refused_details[JANE[refused]] = message
    answer = post(world, contactId="", **JANE)
    assert answer == {"outcome": "opened", "dropped": [f"{refused}: refused by HighLevel"]}
    (contact,) = world.highlevel.contacts.values()
    assert {name: contact[name] for name in ("email", "phone") if name in contact} == {
        name: JANE[name] for name in ("email", "phone") if name != refused
    }


@pytest.mark.parametrize("message", ["invalid country calling code", ""], ids=["unnamed", "named"])
@pytest.mark.parametrize("names", [["email", "phone"], ["email"], ["phone"]], ids=" and ".join)
def test_a_rejected_contact_names_each_refused_detail(world: World, log: Log, names: list[str], message: str) -> None:
    details = {name: JANE[name] for name in names}
    world.highlevel.refused_details.update(dict.fromkeys(details.values(), message))
    answer = post(world, contactId="", **details)
    assert (answer["outcome"], answer["reason"]) == ("rejected", "contact_refused")
    notes = [f"{name}: refused by HighLevel" for name in names]
    assert sorted(log.line["dropped"][-len(notes) :]) == notes
    (letter,) = world.dead_letters()
    detail = letter["MessageAttributes"]["detail"]["StringValue"]
    assert [note for note in notes if note not in detail] == []


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ("email must be an email", "HighLevel: email must be an email."),
        ("jane@example.com is not an email", "HighLevel's message may not be shown."),
        ("+15555550100 is taken", "HighLevel's message may not be shown."),
    ],
)
def test_a_contact_that_is_refused_names_the_reason(world: World, log: Log, message: str, detail: str) -> None:
    world.highlevel.fail(kind="status", status=422, message=[message], path=CREATE)
    answer = post(world, contactId="", **JANE)
    assert (answer["outcome"], answer["reason"]) == ("rejected", "contact_refused")
    assert answer["detail"].startswith(detail)
    assert "email: refused by HighLevel" in answer["detail"]
    (letter,) = world.dead_letters()
    assert attributes(letter)["reason"] == "contact_refused"
    assert letter["MessageAttributes"]["detail"]["StringValue"].startswith(detail)
    assert not [value for value in JANE.values() if value in log.text + answer["detail"]]


# --- a captured delivery ----------------------------------------------------------------------------------------------


def test_another_unsigned_delivery_id_makes_no_new_delivery(world: World) -> None:
    """Shopify's id is not signed: with another one, a captured delivery would write its old names again."""
    world.senders = load()
    world.secrets.texts["SenderSecrets"] = json.dumps({"shopify": "s"})
    body = json.dumps({"id": 1, "email": "jane@example.com", "first_name": "Jnae"})
    signature = base64.b64encode(hmac.digest(b"s", body.encode(), "sha256")).decode()

    def send(delivery: str) -> str:
        headers = {"x_shopify_hmac_sha256": signature, "x_shopify_webhook_id": delivery}
        outcome: str = json.loads(world.post(make_webhook_event(body, "shopify", secret=None, **headers))["body"])[
            "outcome"
        ]
        return outcome

    assert send("id-1") == "opened"
    (contact,) = world.highlevel.contacts.values()
    contact["firstName"] = "Jane"
    assert [send("id-1"), send("id-2")] == ["existing", "existing"]
    assert contact["firstName"] == "Jane"
    assert paths(world).count(CREATE) == 1


@pytest.mark.parametrize(("sender", "is_used"), [("framer", True), ("standard-webhooks", True), ("shopify", False)])
def test_a_delivery_id_travels_only_if_it_is_signed(world: World, sender: str, is_used: bool) -> None:
    from create_conversation.senders.redaction import without_secrets
    from create_conversation.senders.verification import Request

    entry = load()[sender]
    headers = {entry.id.removeprefix("header:"): "delivery-1", "content-type": "application/json"}
    left = without_secrets(entry, Request(headers, "", b"{}"), ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))
    assert left.delivery_id == ("delivery-1" if is_used else "")
    assert Submission("webhook", sender, "r", 0.0, left.content_type, left.raw).delivery_id == ""


# --- the call ---------------------------------------------------------------------------------------------------------


def test_a_contact_is_read_by_its_id(world: World) -> None:
    put_contact(world, **JANE)
    client = HighLevel(world.highlevel.url)
    found = client.get_contact(TOKEN, LOCATION, CONTACT, within=2)
    assert (found.outcome, found.contact, found.email, found.phone) == ("found", CONTACT, *JANE.values())
    assert not [value for value in JANE.values() if value in repr(found)]
    unknown = client.get_contact(TOKEN, LOCATION, "unknown", within=2)
    assert (unknown.outcome, unknown.reason) == ("rejected", "ids_refused")
    elsewhere = client.get_contact(TOKEN, "elsewhere", CONTACT, within=2)
    assert (elsewhere.outcome, elsewhere.reason) == ("rejected", "ids_refused")
    (call, *_) = world.highlevel.calls
    assert call.headers["version"] == "2021-07-28"
