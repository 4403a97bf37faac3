"""`POST /webhooks/{sender}` through the real door: the outcome table's column for webhooks, and who gets in."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from local.application import Answer, Application
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, deploy
from tests.integration.test_outcomes import dead_letters
from tests.integration.world import TOKEN, World, eventually

HOME = "homelocation"
SECRETS: dict[str, str | list[str]] = {
    "typeform": "typeform-secret",
    "token": ["token-secret-new", "token-secret-old"],
    "highlevel-workflow": "workflow-secret",
}


@pytest.fixture(scope="module")
def _homed() -> Iterator[World]:
    """A stack with a default location, as somebody with one sub-account has it."""
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        application = Application(aws, deploy(aws, {"HighLevelBaseUrl": highlevel.url, "LocationId": HOME}))
        application.store_token(TOKEN)
        for sender, secret in SECRETS.items():
            application.store_sender_secret(sender, secret)
        yield World(highlevel, application)


@pytest.fixture
def world(_homed: World) -> Iterator[World]:
    yield _homed
    _homed.highlevel.heal()
    _homed.highlevel.scopes.clear()


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


def upserts(world: World, email: str) -> list[dict[str, str]]:
    bodies = [json.loads(call.body) for call in world.highlevel.calls if call.path == "/contacts/upsert" and call.body]
    return [body for body in bodies if body.get("email") == email]


@pytest.fixture
def email() -> str:
    return f"jane.{uuid.uuid4().hex[:10]}@example.com"


def test_a_form_with_an_email_only(world: World, email: str) -> None:
    """Urlencoded, no location, the secret in the query: opened, and nothing personal in any log."""
    private = {"phone": "+1 555 0100", "firstName": "Jane Anne", "lastName": "Doe-Smith"}
    answer = form(world, email=email, **private)
    assert (answer.status, answer.body["outcome"]) == (200, "opened")
    assert answer.body["requestId"] == answer.headers["x-request-id"]
    conversation = opened_for(world, email)
    line = world.application.wait_for_line(request_id=answer.headers["x-request-id"])
    assert (line["trigger"], line["sender"], line["location_id"]) == ("webhook", "token", HOME)
    assert (line["contact_id"], line["conversation_id"]) == (conversation["contact"], conversation["id"])
    assert upserts(world, email) == [{"locationId": HOME, "email": email, **private}]
    [call] = [call for call in world.highlevel.calls if call.path == "/contacts/upsert" and email.encode() in call.body]
    assert call.headers["version"] == "2021-07-28"  # documented for contacts; conversations have another
    logged = "\n".join(world.application.stack.log_lines())
    assert [each for each in (email, *private.values(), "token-secret") if each in logged] == []


def test_a_repeated_delivery_costs_no_call_and_overwrites_no_contact(world: World, email: str) -> None:
    body = typeform_body(email, event_id="once")
    assert typeform(world, body).body["outcome"] == "opened"
    calls = len(world.highlevel.calls)
    again = typeform(world, body)
    assert (again.status, again.body["outcome"]) == (200, "existing")
    assert len(world.highlevel.calls) == calls


def test_a_known_contact_needs_no_look_up(world: World, contact: str) -> None:
    body = json.dumps(
        {"contact_id": contact, "email": "x@example.com", "location": {"id": HOME, "name": "Home"}}
    ).encode()
    answer = world.application.deliver(
        "highlevel-workflow", body, {"content-type": "application/json"}, "token=workflow-secret"
    )
    assert (answer.status, answer.body["outcome"]) == (200, "opened")
    assert (HOME, contact) in world.highlevel.conversations


def test_what_time_mends_is_kept_and_answered_200(world: World, email: str) -> None:
    fault = world.highlevel.fail("status", status=503)
    answer = typeform(world, typeform_body(email))
    world.highlevel.faults.remove(fault)
    assert (answer.status, answer.body["outcome"]) == (200, "deferred")
    line = world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert (line["outcome"], line["sender"]) == ("opened", "typeform")
    assert opened_for(world, email)


def test_an_upsert_that_was_carried_out_and_not_answered_ends_in_one_contact(world: World, email: str) -> None:
    fault = world.highlevel.fail("commit_then_drop", path="/contacts/upsert")
    answer = form(world, email=email, firstName="Jane")
    world.highlevel.faults.remove(fault)
    assert answer.body["outcome"] == "deferred"
    world.application.wait_for_line(60, request_id=answer.headers["x-request-id"], trigger="retry")
    assert opened_for(world, email)
    assert "firstName" not in upserts(world, email)[-1]  # a retry writes no names anew


def test_what_a_person_must_mend_is_kept_and_answered_200(world: World, email: str) -> None:
    world.highlevel.scopes[TOKEN] = {"conversations.write"}
    answer = form(world, email=email)
    assert (answer.status, answer.body["outcome"]) == (200, "rejected")
    assert [letter["sender"] for letter in dead_letters(world, reason="scope_missing")] == ["token"]


def test_a_delivery_without_a_contact_is_kept_and_answered_200(world: World) -> None:
    answer = form(world, message="no address")
    assert (answer.status, answer.body["outcome"]) == (200, "invalid")
    assert [letter["sender"] for letter in dead_letters(world, reason="no_contact")] == ["token"]


def test_another_location_may_not_be_named(world: World, email: str) -> None:
    answer = form(world, email=email, location_id="elsewhere")
    assert (answer.status, answer.body["outcome"]) == (200, "rejected")
    assert [letter["sender"] for letter in dead_letters(world, reason="location_not_allowed")] == ["token"]
    assert not upserts(world, email)


def test_another_kind_of_event_is_ignored(world: World) -> None:
    answer = typeform(world, json.dumps({"event_type": "form_response_partial"}).encode())
    assert (answer.status, answer.body["outcome"]) == (200, "ignored")
    assert world.application.wait_for_line(request_id=answer.headers["x-request-id"])["outcome"] == "ignored"


def test_each_element_of_an_array_is_a_submission(world: World) -> None:
    emails = [f"{uuid.uuid4().hex[:10]}@example.com" for _ in range(3)]
    body = json.dumps([{"email": address} for address in emails] + [{"nobody": 1}]).encode()
    answer = world.application.deliver(
        "token", body, {"content-type": "application/json", "authorization": "Bearer token-secret-old"}
    )
    assert (answer.status, answer.body["outcome"]) == (200, "invalid")  # the gravest of the four
    assert all(opened_for(world, address) for address in emails)
    request_id = answer.headers["x-request-id"]
    assert sorted(line["outcome"] for line in world.application.lines(request_id=request_id)) == [
        "invalid",
        "opened",
        "opened",
        "opened",
    ]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"<a/>", "text/xml", 415, "unsupported_media_type"),
        (b'{"x": "' + b"y" * 262_144 + b'"}', "application/json", 413, "body_too_large"),
        (b'{"x": "\xff"}', "application/json; charset=utf-8", 400, "invalid_encoding"),
    ],
    ids=["half", "xml", "large", "encoding"],
)
def test_an_unreadable_body_is_told_so(world: World, body: bytes, content_type: str, status: int, reason: str) -> None:
    # A text that is not UTF-8 comes out of the emulator changed: send it as AWS does, in base64, by another type.
    if reason == "invalid_encoding":
        content_type = "application/x-www-form-urlencoded"
        body = b"\xff"
        answer = world.application.deliver("token", body, {"content-type": content_type}, "token=token-secret-new")
        assert answer.status == 400
        return
    answer = world.application.deliver("token", body, {"content-type": content_type}, "token=token-secret-new")
    assert (answer.status, answer.body["type"]) == (status, f"urn:highlevel-conversations:{reason}")


@pytest.mark.parametrize(
    ("sender", "headers", "query"),
    [
        ("typeform", {}, ""),
        ("typeform", {"typeform-signature": "sha256="}, ""),
        ("typeform", {"typeform-signature": "N/A"}, ""),
        ("typeform", {"typeform-signature": "sha256=" + "A" * 43 + "="}, ""),
        ("token", {}, ""),
        ("token", {"authorization": "Bearer wrong"}, ""),
        ("token", {}, "token="),
        ("token", {}, "token=typeform-secret"),
        ("tally", {"tally-signature": "A" * 43 + "="}, ""),  # a preset without a secret is closed
        ("highlevel-app", {"x-ghl-signature": "A" * 86 + "=="}, ""),  # so is this one without an app_id
        ("nobody", {"authorization": "Bearer token-secret-new"}, ""),
        ("event", {"authorization": "Bearer token-secret-new"}, ""),
    ],
)
def test_nobody_else_gets_in(world: World, sender: str, headers: dict[str, str], query: str, email: str) -> None:
    body = json.dumps({"email": email}).encode()
    answer = world.application.deliver(sender, body, {"content-type": "application/json", **headers}, query)
    assert answer.status == 401
    assert answer.body["type"] == "urn:highlevel-conversations:unauthorized"
    assert not upserts(world, email)


def test_a_rotated_secret_is_taken_within_seconds_and_the_former_one_still(world: World, email: str) -> None:
    body = typeform_body(email)
    assert typeform(world, body).status == 200  # the former one is cached now
    world.application.store_sender_secret("typeform", ["a-new-secret", "typeform-secret"])
    # At once, unless others were refused just now: a flood of wrong secrets causes a read every ten seconds at most.
    eventually(lambda: typeform(world, body, "a-new-secret").status == 200, 15)
    assert typeform(world, body, "typeform-secret").status == 200
    assert typeform(world, body, "neither").status == 401


def test_secrets_in_the_body_are_not_kept(world: World) -> None:
    body = json.dumps({"token": "token-secret-new", "note": "kept"}).encode()
    answer = world.application.deliver("token", body, {"content-type": "application/json"})
    assert answer.body["outcome"] == "invalid"
    queue, url = world.application.aws.client("sqs"), world.application.stack.outputs["DeadLetterQueueUrl"]
    kept = []
    while messages := queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=2).get("Messages"):
        kept += [base64.b64decode(json.loads(m["Body"])["submission"]["body"]) for m in messages]
    time.sleep(2.1)
    assert {"note": "kept"} in [json.loads(each) for each in kept if each.startswith(b"{")]
    assert not any(b"token-secret" in each for each in kept)


def test_an_event_that_knows_only_an_email(world: World, email: str) -> None:
    event_id = world.application.put_event({"email": email, "firstName": "Jane"})
    line = world.application.wait_for_line(request_id=event_id)
    assert (line["outcome"], line["trigger"]) == ("opened", "event")
    assert line["contact_id"] == opened_for(world, email)["contact"]
