"""`POST /webhooks/{sender}` of the deployed application: every outcome of a webhook, and authentication."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from local.application import Answer
from shared.json_text import json_or_none
from tests.assertions import assert_dead_letter, assert_problem, assert_webhook_outcome
from tests.integration.world import TOKEN, World, deployed_world, eventually

HOME = "homelocation"
SECRETS: dict[str, str | list[str]] = {
    "typeform": "typeform-secret",
    "token": ["token-secret-new", "token-secret-old"],
    "highlevel-workflow": "workflow-secret",
}


@pytest.fixture(scope="module")
def _stack() -> Iterator[World]:
    """A stack with a default location, for one sub-account."""
    with deployed_world(LocationId=HOME) as world:
        for sender, secret in SECRETS.items():
            world.application.store_sender_secret(sender, secret)
        yield world


@pytest.fixture
def world(_stack: World) -> Iterator[World]:
    yield _stack
    _stack.highlevel.heal()
    _stack.highlevel.scopes.clear()


def form(world: World, **fields: str) -> Answer:
    """A form builder that can only post its fields to a URL, the secret in the query."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return world.application.deliver("token", urlencode(fields).encode(), headers, "token=token-secret-new")


def typeform(world: World, body: bytes, secret: str = "typeform-secret") -> Answer:
    signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    headers = {"content-type": "application/json", "typeform-signature": f"sha256={signature}"}
    return world.application.deliver("typeform", body, headers)


def typeform_body(email: str, event_id: str | None = None) -> bytes:
    answers = [{"type": "email", "email": email, "field": {"id": "f1", "type": "email", "ref": "r1"}}]
    event = {"event_id": event_id or str(uuid.uuid4()), "event_type": "form_response"}
    return json.dumps({**event, "form_response": {"form_id": "lT4Z3j", "answers": answers}}).encode()


def opened_for(world: World, email: str) -> dict[str, str]:
    """The conversation of the contact with that e-mail address, and the contact."""
    [contact] = [c for c in world.highlevel.contacts.values() if c.get("email") == email]
    return {**world.highlevel.conversations[HOME, contact["id"]], "contact": contact["id"]}


def creates(world: World, email: str) -> list[dict[str, str]]:
    bodies = [json.loads(call.body) for call in world.highlevel.calls if call.path == "/contacts/" and call.body]
    return [body for body in bodies if body.get("email") == email]


@pytest.fixture
def email() -> str:
    return f"jane.{uuid.uuid4().hex[:10]}@example.com"


def test_a_form_with_only_an_email_opens_and_logs_nothing_private(world: World, email: str) -> None:
    """The form is urlencoded, without a location, with the secret in the query."""
    private = {"phone": "+1 555 0100", "firstName": "Jane Anne", "lastName": "Doe-Smith"}
    answer = form(world, email=email, **private)
    assert_webhook_outcome(answer, "opened")
    conversation = opened_for(world, email)
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["trigger"], line["sender"], line["location_id"]) == ("webhook", "token", HOME)
    assert (line["contact_id"], line["conversation_id"]) == (conversation["contact"], conversation["id"])
    assert creates(world, email) == [{"locationId": HOME, "email": email, **private}]
    [call] = [call for call in world.highlevel.calls if call.path == "/contacts/" and email.encode() in call.body]
    assert call.headers["version"] == "2021-07-28"  # documented for contacts; conversations have another version
    logged = "\n".join(world.application.stack.log_lines())
    assert [each for each in (email, *private.values(), "token-secret") if each in logged] == []


def test_a_repeated_delivery_costs_no_call_and_overwrites_no_contact(world: World, email: str) -> None:
    body = typeform_body(email, event_id="once")
    assert typeform(world, body).body["outcome"] == "opened"
    calls = len(world.highlevel.calls)
    again = typeform(world, body)
    assert (again.status, again.body["outcome"]) == (200, "existing")
    assert len(world.highlevel.calls) == calls


def test_a_contact_id_needs_no_look_up(world: World, contact: str) -> None:
    body = json.dumps(
        {"contact_id": contact, "email": "x@example.com", "location": {"id": HOME, "name": "Home"}}
    ).encode()
    answer = world.application.deliver(
        "highlevel-workflow", body, {"content-type": "application/json"}, "token=workflow-secret"
    )
    assert_webhook_outcome(answer, "opened")
    assert (HOME, contact) in world.highlevel.conversations


def test_a_transient_failure_is_200_and_opened_by_a_retry(world: World, email: str) -> None:
    fault = world.highlevel.fail("status", status=503)
    answer = typeform(world, typeform_body(email))
    world.highlevel.faults.remove(fault)
    assert_webhook_outcome(answer, "deferred")
    line = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert (line["outcome"], line["sender"]) == ("opened", "typeform")
    assert opened_for(world, email)


def test_an_unanswered_create_ends_in_one_contact(world: World, email: str) -> None:
    fault = world.highlevel.fail("commit_then_drop", path="/contacts/")
    answer = form(world, email=email, firstName="Jane")
    world.highlevel.faults.remove(fault)
    assert answer.body["outcome"] == "deferred"
    world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert opened_for(world, email)
    assert len(creates(world, email)) == 1  # the retry has searched first


def test_a_permanent_failure_is_200_and_a_dead_letter(world: World, email: str) -> None:
    world.highlevel.scopes[TOKEN] = {"conversations.write"}
    answer = form(world, email=email)
    assert_webhook_outcome(answer, "rejected")
    assert_dead_letter(world.dead_letters(reason="scope_missing"), sender="token")


def test_a_delivery_without_a_contact_is_200_and_a_dead_letter(world: World) -> None:
    answer = form(world, message="no address")
    assert_webhook_outcome(answer, "invalid")
    assert_dead_letter(world.dead_letters(reason="no_contact"), sender="token")


def test_a_location_that_the_sender_may_not_use_is_rejected(world: World, email: str) -> None:
    answer = form(world, email=email, location_id="elsewhere")
    assert_webhook_outcome(answer, "rejected")
    assert_dead_letter(world.dead_letters(reason="location_not_allowed"), sender="token")
    assert not creates(world, email)


def test_another_type_of_event_is_ignored(world: World) -> None:
    answer = typeform(world, json.dumps({"event_type": "form_response_partial"}).encode())
    assert_webhook_outcome(answer, "ignored")
    assert world.application.wait_for_line(request_id=answer.headers["x-request-id"])["outcome"] == "ignored"


def test_each_element_of_an_array_is_a_submission(world: World) -> None:
    emails = [f"{uuid.uuid4().hex[:10]}@example.com" for _ in range(3)]
    body = json.dumps([{"email": address} for address in emails] + [{"no_address": 1}]).encode()
    answer = world.application.deliver(
        "token", body, {"content-type": "application/json", "authorization": "Bearer token-secret-old"}
    )
    assert_webhook_outcome(answer, "invalid")  # the most severe of the four
    assert all(opened_for(world, address) for address in emails)
    request_id = answer.headers["x-request-id"]
    outcomes = sorted(line["outcome"] for line in world.application.lines(request_id=request_id))
    assert outcomes == ["invalid", "opened", "opened", "opened"]


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"{", "application/json", "invalid_json"),
        (b"<a/>", "text/xml", "unsupported_media_type"),
        (b"y" * 262_145, "application/json", "body_too_large"),
        # The emulator changes JSON that is not UTF-8; of this type it passes base64, as AWS does.
        (b"\xff", "application/x-www-form-urlencoded", "invalid_encoding"),
    ],
    ids=["half", "xml", "large", "encoding"],
)
def test_an_unreadable_body_is_a_dead_letter_then_200(
    world: World, body: bytes, content_type: str, reason: str
) -> None:
    headers = {"content-type": content_type}
    answer = world.application.deliver("token", body, headers, "token=token-secret-new")
    assert_webhook_outcome(answer, "invalid")
    assert answer.body["reason"] == reason
    assert_dead_letter(world.dead_letters(reason=reason), sender="token")


def test_a_sender_that_retries_is_answered_400_for_an_unreadable_body(world: World) -> None:
    answer = typeform(world, b"{", "typeform-secret")
    assert_problem(answer, 400, "invalid_json")


UNAUTHENTICATED: dict[str, tuple[str, dict[str, str], str]] = {
    "typeform-unsigned": ("typeform", {}, ""),
    "typeform-empty": ("typeform", {"typeform-signature": "sha256="}, ""),
    "typeform-other-format": ("typeform", {"typeform-signature": "N/A"}, ""),
    "typeform-wrong": ("typeform", {"typeform-signature": "sha256=" + "A" * 43 + "="}, ""),
    "token-missing": ("token", {}, ""),
    "token-wrong": ("token", {"authorization": "Bearer wrong"}, ""),
    "token-empty": ("token", {}, "token="),
    "token-of-another-sender": ("token", {}, "token=typeform-secret"),
    "no-secret-stored": ("tally", {"tally-signature": "A" * 43 + "="}, ""),
    "no-app-id": ("highlevel-app", {"x-ghl-signature": "A" * 86 + "=="}, ""),
    "unknown-sender": ("unknown", {"authorization": "Bearer token-secret-new"}, ""),
    "event-sender": ("event", {"authorization": "Bearer token-secret-new"}, ""),
}


@pytest.mark.parametrize(("sender", "headers", "query"), UNAUTHENTICATED.values(), ids=UNAUTHENTICATED)
def test_an_unauthenticated_delivery_is_401(
    world: World, sender: str, headers: dict[str, str], query: str, email: str
) -> None:
    body = json.dumps({"email": email}).encode()
    answer = world.application.deliver(sender, body, {"content-type": "application/json", **headers}, query)
    assert_problem(answer, 401, "unauthorized")
    assert not creates(world, email)


def test_a_rotated_secret_is_valid_within_seconds_and_the_previous_one_still(world: World, email: str) -> None:
    body = typeform_body(email)
    assert typeform(world, body).status == 200  # the previous one is cached now
    world.application.store_sender_secret("typeform", ["a-new-secret", "typeform-secret"])
    # Immediately, unless a delivery was just refused: wrong secrets cause a read every ten seconds at most.
    eventually(lambda: typeform(world, body, "a-new-secret").status == 200, 15)
    assert typeform(world, body, "typeform-secret").status == 200
    assert typeform(world, body, "neither").status == 401


def test_secrets_in_the_body_are_not_stored(world: World) -> None:
    body = json.dumps({"token": "token-secret-new", "note": "stored"}).encode()
    answer = world.application.deliver("token", body, {"content-type": "application/json"})
    assert answer.body["outcome"] == "invalid"
    letters = [json.loads(letter["text"]) for letter in world.dead_letters()]
    stored = [base64.b64decode(letter["submission"]["body"]) for letter in letters]
    assert {"note": "stored"} in [json_or_none(each) for each in stored]
    assert not any(b"token-secret" in each for each in stored)


def test_an_event_with_only_an_email_opens(world: World, email: str) -> None:
    event_id = world.application.put_event({"email": email, "firstName": "Jane"})
    line = world.application.wait_for_line(request_id=event_id)
    assert (line["outcome"], line["trigger"]) == ("opened", "event")
    assert line["contact_id"] == opened_for(world, email)["contact"]
