"""The trigger POST /webhooks/{sender}: what its sender gets for each outcome, and what is stored."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from cli.signing import sign
from create_conversation.senders.body import MAX_READ_BYTES
from create_conversation.senders.config import load
from create_conversation.submission import MAX_BODY_BYTES, MAX_STORED_BYTES, Submission
from create_conversation.triggers import http_api as http_module
from highlevel.client import HighLevel
from tests.assertions import assert_problem, assert_webhook_outcome
from tests.factories import (
    API_SECRET,
    CONTACT,
    LOCATION,
    REQUEST_ID,
    TOKEN_SECRET,
    make_ids,
    make_sqs_record,
    make_webhook_event,
)
from tests.stopwatch import in_time
from tests.unit.conftest import Log
from tests.unit.fakes import no_answer, refusal
from tests.unit.world import TOKEN, World, attributes

UNREACHABLE = no_answer()
FORM = "application/x-www-form-urlencoded"
JANE = {"locationId": LOCATION, "email": "jane@example.com", "phone": "+15555550100", "firstName": "Jane-Anne"}


# Done


def test_opened_is_200(world: World, log: Log) -> None:
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "opened")
    assert (LOCATION, CONTACT) in world.highlevel.conversations
    assert world.sqs.calls == []
    line = log.line
    assert (line["outcome"], line["trigger"], line["sender"]) == ("opened", "webhook", "token")
    assert (line["location_id"], line["contact_id"], line["request_id"]) == (LOCATION, CONTACT, REQUEST_ID)


def test_existing_is_200_and_no_id_is_looked_for(world: World) -> None:
    HighLevel(world.highlevel.url).create_conversation(TOKEN, LOCATION, CONTACT, within=2)
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "existing")
    assert [call.path for call in world.highlevel.calls] == ["/conversations/"] * 2
    assert world.sqs.calls == []


def test_a_person_is_opened_and_a_repeat_makes_no_call(world: World, log: Log) -> None:
    assert_webhook_outcome(world.post(make_webhook_event(JANE)), "opened")
    ((_, contact),) = world.highlevel.conversations
    [sent] = [json.loads(call.body) for call in world.highlevel.calls if b"firstName" in call.body]
    assert sent["firstName"] == "Jane-Anne"
    world.highlevel.calls.clear()
    assert_webhook_outcome(world.post(make_webhook_event(JANE)), "existing")
    assert world.highlevel.calls == []
    assert {line["contact_id"] for line in log.lines} == {contact}
    for private in ("jane@example.com", "+15555550100", "Jane-Anne"):
        assert private not in log.text


def test_a_form_is_understood(world: World) -> None:
    body = f"locationId={LOCATION}&email=jane%40example.com&phone=%2B15555550100"
    assert_webhook_outcome(world.post(make_webhook_event(body, content_type=FORM)), "opened")
    (contact,) = world.highlevel.contacts.values()
    assert (contact["email"], contact["phone"]) == ("jane@example.com", "+15555550100")


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_id_is_a_missing_one(world: World, empty: str | None) -> None:
    world.settings = replace(world.settings, location_id=LOCATION)
    assert_webhook_outcome(world.post(make_webhook_event(JANE | {"contactId": empty, "locationId": empty})), "opened")
    assert len(world.highlevel.contacts) == 1


# Stored


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "html"}, {"kind": "reset"}]
)
def test_deferred_is_stored_then_200(world: World, log: Log, fault: dict[str, Any]) -> None:
    world.highlevel.fail(**fault)
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "deferred")
    (message,) = world.queued()
    assert message["MessageGroupId"] == LOCATION
    stored = Submission.from_message(message["MessageBody"])
    assert (stored.trigger, stored.sender, stored.request_id) == ("webhook", "token", REQUEST_ID)
    assert json.loads(stored.body) == make_ids()
    assert log.line["outcome"] == "deferred"
    world.highlevel.heal()


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (422, ["contactId must be a string"], "ids_refused"),
        (401, "This location is not accessible from this token!", "location_refused"),
        (401, "The token is not authorized for this scope.", "scope_missing"),
        (410, "Gone", "upstream_refused"),
    ],
)
def test_rejected_is_a_dead_letter_then_200(world: World, log: Log, status: int, message: Any, reason: str) -> None:
    world.highlevel.fail(kind="status", status=status, message=message)
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "rejected")
    (letter,) = world.dead_letters()
    assert attributes(letter) == {"reason": reason, "sender": "token", "location": LOCATION, "attempts": "1"}
    assert json.loads(Submission.from_message(letter["MessageBody"]).body) == make_ids()
    assert (log.line["outcome"], log.line["reason"]) == ("rejected", reason)
    assert world.queued() == []


def test_a_person_whom_highlevel_refuses_is_a_dead_letter(world: World) -> None:
    world.highlevel.fail(kind="status", status=422, message="email must be an email", path="/contacts/")
    assert_webhook_outcome(world.post(make_webhook_event(JANE)), "rejected")
    assert world.reasons() == ["contact_refused"]


def test_a_missing_token_is_a_dead_letter(world: World) -> None:
    world.secrets.texts["HighLevelToken"] = None
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "rejected")
    assert world.reasons() == ["no_token"]


def test_a_location_that_it_may_not_name_is_a_dead_letter(world: World) -> None:
    world.senders = load()
    world.settings = replace(world.settings, location_id="another-location")
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "rejected")
    assert attributes(world.dead_letters()[0]) == {
        "reason": "location_not_allowed",
        "sender": "token",
        "location": LOCATION,
        "attempts": "1",
    }
    assert world.highlevel.calls == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"locationId": LOCATION}, "no_contact"),
        ({"locationId": LOCATION, "email": "no address"}, "no_contact"),
        (make_ids(location=None), "no_location"),
        (make_ids(contact="a b"), "invalid_body"),
        ({}, "no_location"),
        ("7", "invalid_body"),
        ("null", "invalid_body"),
        ('"text"', "invalid_body"),
    ],
)
def test_what_can_be_read_but_not_used_is_a_dead_letter_then_200(
    world: World, log: Log, body: object, reason: str
) -> None:
    assert_webhook_outcome(world.post(make_webhook_event(body)), "invalid")
    (letter,) = world.dead_letters()
    shown = attributes(letter)
    assert shown.pop("location", LOCATION) == LOCATION
    assert shown == {"reason": reason, "sender": "token", "attempts": "1"}
    assert (log.line["outcome"], log.line["reason"], log.line["sender"]) == ("invalid", reason, "token")
    assert world.highlevel.calls == []


# Refused


UNREADABLE: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty": (make_webhook_event(""), 400, "invalid_json"),
    "cut off": (make_webhook_event("{"), 400, "invalid_json"),
    "too deep": (make_webhook_event("[" * 100_000), 400, "invalid_json"),
    "charset": (make_webhook_event("ü", content_type="application/json; charset=zlib"), 415, "unsupported_media_type"),
    "fields": (make_webhook_event("&".join(["a=1"] * 1001), content_type=FORM), 400, "invalid_form"),
    "too large": (make_webhook_event("x" * (MAX_BODY_BYTES + 1)), 413, "body_too_large"),
    "text": (make_webhook_event("a", content_type="text/plain"), 415, "unsupported_media_type"),
    "no boundary": (make_webhook_event("a", content_type="multipart/form-data"), 415, "unsupported_media_type"),
    "no parts": (make_webhook_event("a", content_type="multipart/form-data; boundary=x"), 400, "invalid_form"),
    "compressed": (make_webhook_event(make_ids(), content_encoding="gzip"), 415, "unsupported_media_type"),
    "too many": (make_webhook_event([1] * 2001), 413, "too_many_submissions"),
}


@pytest.mark.parametrize(("event", "reason"), [(case[0], case[2]) for case in UNREADABLE.values()], ids=UNREADABLE)
def test_an_unreadable_body_is_a_dead_letter_then_200(
    world: World, log: Log, event: dict[str, Any], reason: str
) -> None:
    answer = world.post(event)
    assert_webhook_outcome(answer, "invalid")
    assert json.loads(answer["body"])["reason"] == reason
    (letter,) = world.dead_letters()
    assert attributes(letter) == {"reason": reason, "sender": "token", "attempts": "1"}
    assert Submission.from_message(letter["MessageBody"]).body == event["body"].encode()
    assert (log.line["outcome"], log.line["reason"], log.line["sender"]) == ("invalid", reason, "token")
    assert world.highlevel.calls == []


@pytest.mark.parametrize(("event", "status", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_sender_that_retries_gets_a_problem_for_an_unreadable_body(
    world: World, log: Log, event: dict[str, Any], status: int, reason: str
) -> None:
    world.senders["token"] = replace(world.senders["token"], retries=True)
    assert_problem(world.post(event), status, reason)
    assert world.sqs.calls == []
    assert (log.line["outcome"], log.line["reason"], log.line["sender"]) == ("invalid", reason, "token")


def test_a_body_that_no_queue_message_holds_is_a_413(world: World) -> None:
    assert_problem(world.post(make_webhook_event("x" * (MAX_STORED_BYTES + 1))), 413, "body_too_large")
    assert_webhook_outcome(world.post(make_webhook_event("x" * MAX_STORED_BYTES)), "invalid")
    assert world.reasons() == ["body_too_large"]


def test_an_unreadable_body_that_cannot_be_stored_is_a_429(world: World) -> None:
    world.sqs.error = UNREACHABLE
    assert_problem(world.post(make_webhook_event("{")), 429, "not_stored")


@pytest.mark.parametrize("content_type", ["application/json", FORM, "multipart/form-data; boundary=x"])
def test_large_members_are_left_out_and_not_the_delivery(world: World, content_type: str) -> None:
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 45_000
    answers = {"email": "jane@example.com", "raw": json.dumps({"q1": picture, "q2_phone": "+15555550100"})}
    members = answers | {"locationId": LOCATION, "signature": picture}
    if content_type == FORM:
        body = urlencode({name: text for name, text in members.items() if name != "signature"})
    elif content_type == "application/json":
        body = json.dumps({name: text for name, text in members.items() if name != "signature"})
    else:
        head = "--x\r\nContent-Disposition: form-data; name="
        parts = (f'{head}"{name}"\r\n\r\n{text}\r\n' for name, text in members.items() if name != "raw")
        body = "".join(parts) + "--x--\r\n"
    world.highlevel.fail(kind="status", status=503, times=1)
    assert_webhook_outcome(world.post(make_webhook_event(body, content_type=content_type)), "deferred")
    (message,) = world.queued()
    stored = Submission.from_message(message["MessageBody"])
    assert len(stored.body) < 2000
    assert world.retry(make_sqs_record(message["MessageBody"])) == []
    (contact,) = world.highlevel.contacts.values()
    assert contact["email"] == "jane@example.com"
    assert contact.get("phone") == (None if content_type.startswith("multipart") else "+15555550100")


@pytest.mark.parametrize("name", ["a picture as text", "a file"])
def test_a_body_of_megabytes_is_read_without_its_files(world: World, name: str) -> None:
    """A signature in Jotform's JSON, and an uploaded file: neither is in what is stored."""
    raw = {"q1_signature": "data:image/png;base64," + "A" * 3_000_000, "q2_email": "jane@example.com"}
    head, file = "--x\r\nContent-Disposition: form-data; name=", "GIF89a" * 500_000
    if name == "a file":
        raw.pop("q1_signature")
    body = f'{head}"rawRequest"\r\n\r\n{json.dumps(raw)}\r\n'
    body += f'{head}"upload"; filename="a.gif"\r\n\r\n{file}\r\n' if name == "a file" else ""
    world.settings = replace(world.settings, location_id=LOCATION)
    world.secrets.texts["SenderSecrets"] = json.dumps({"jotform": "a-secret"})
    form = "multipart/form-data; boundary=x"
    event = make_webhook_event(f"{body}--x--\r\n", "jotform", secret=None, content_type=form)
    world.highlevel.fail(kind="status", status=503, times=1)
    assert_webhook_outcome(world.post(event | {"rawQueryString": "token=a-secret"}), "deferred")
    (message,) = world.queued()
    assert len(message["MessageBody"]) < 1000
    assert world.retry(make_sqs_record(message["MessageBody"])) == []
    assert [contact["email"] for contact in world.highlevel.contacts.values()] == ["jane@example.com"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "credentials_missing"),
        ({"typeform_signature": "sha256="}, "credentials_malformed"),
        ({"typeform_signature": "sha1=abc"}, "credentials_malformed"),
        ({"typeform_signature": "sha256=abc"}, "credentials_malformed"),
        ({"typeform_signature": f"sha256={'ab' * 32}"}, "credentials_malformed"),
        ({"typeform_signature": f"sha256={base64.b64encode(bytes(32)).decode()}"}, "credentials_wrong"),
    ],
)
def test_the_log_says_why_a_request_is_not_authenticated(
    world: World, log: Log, headers: dict[str, str], reason: str
) -> None:
    world.secrets.texts["SenderSecrets"] = json.dumps({"typeform": "a-secret"})
    assert_problem(world.post(make_webhook_event(make_ids(), "typeform", secret=None, **headers)), 401, "unauthorized")
    assert (log.line["outcome"], log.line["reason"]) == ("unauthorized", reason)
    assert log.line["looked_at"] == ["header:typeform-signature"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "credentials_missing"),
        ({"authorization": "Bearer "}, "credentials_malformed"),
        ({"authorization": "Digest x"}, "credentials_malformed"),
        ({"x_webhook_token": "another"}, "credentials_wrong"),
    ],
    ids=str,
)
def test_the_log_says_where_a_secret_was_looked_for(
    world: World, log: Log, headers: dict[str, str], reason: str
) -> None:
    answer = world.post(make_webhook_event(make_ids(), secret=None, **headers))
    assert_problem(answer, 401, "unauthorized")
    assert log.line["reason"] == reason
    assert log.line["looked_at"] == ["bearer", "basic", "header:x-webhook-token", "query:token", "body:token"]
    assert "x-webhook-token" not in answer["body"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("<x/>", "Send JSON or a form: the body is neither."),
        ("y" * 740_000, f"A body may have {MAX_BODY_BYTES} bytes."),
        ("y" * (MAX_READ_BYTES + 1), f"A body may have {MAX_READ_BYTES} bytes."),
    ],
    ids=["neither", "over 720 KiB", "over 6 MiB"],
)
def test_the_log_says_why_a_body_cannot_be_read(world: World, log: Log, body: str, detail: str) -> None:
    world.post(make_webhook_event(body, content_type="text/x"))
    assert log.line["detail"] == detail


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le with BOM", "utf-16-be with BOM"])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", ""])
def test_json_in_utf_16_that_is_not_declared_is_read(world: World, codec: str, content_type: str) -> None:
    text = "\ufeff" * ("BOM" in codec) + json.dumps(JANE | {"copy": TOKEN_SECRET})
    body = base64.b64encode(text.encode(codec.partition(" ")[0])).decode()
    event = make_webhook_event("", content_type=content_type or None) | {"body": body, "isBase64Encoded": True}
    world.highlevel.fail(kind="status", status=503)
    assert json.loads(world.post(event)["body"])["outcome"] == "deferred"
    world.highlevel.heal()
    (message,) = world.queued()
    stored = Submission.from_message(message["MessageBody"])
    assert json.loads(stored.body.decode("utf-16")) == JANE | {"copy": "REDACTED"}
    assert world.retry(make_sqs_record(message["MessageBody"])) == []
    (contact,) = world.highlevel.contacts.values()
    assert contact["email"] == "jane@example.com"


def test_the_log_says_that_a_signed_time_is_stale(world: World, log: Log) -> None:
    world.secrets.texts["SenderSecrets"] = json.dumps({"stripe": "a-secret"})
    headers, _, body = sign(world.senders["stripe"], "a-secret", b"{}", "application/json", time.time() - 3600)
    signed = {name.replace("-", "_"): text for name, text in headers.items()}
    assert_problem(world.post(make_webhook_event(body.decode(), "stripe", secret=None, **signed)), 401, "unauthorized")
    assert log.line["reason"] == "credentials_stale"


def test_a_sender_without_a_secret_is_named_in_the_log(world: World, log: Log) -> None:
    assert_problem(world.post(make_webhook_event(make_ids(), "typeform")), 401, "unauthorized")
    assert log.line["reason"] == "sender_has_no_secret"


def test_an_invalid_submission_says_what_was_looked_at(world: World, log: Log) -> None:
    body = {"locationId": LOCATION, "E-mail": "jane at example", "note": "call 5550100", "a@b.com": "x", "n5555555": 1}
    answer = json.loads(world.post(make_webhook_event(body))["body"])
    detail = (
        "Name the contact: there is no usable id, e-mail address or phone number. Looked at: contactId || contact_id; "
        "email; phone; firstName; first_name; lastName; last_name. Fields: locationId; E-mail; note. "
        "Not used: E-mail: not_an_address."
    )
    assert (answer["reason"], answer["detail"]) == ("no_contact", detail)
    line = log.line
    assert line["fields"] == ["locationId", "E-mail", "note"]
    assert line["dropped"] == ["E-mail: not_an_address"]
    assert "contactId || contact_id" in line["looked_at"]
    (letter,) = world.dead_letters()
    assert letter["MessageAttributes"]["detail"]["StringValue"] == detail


UNKNOWN = {
    "wrong": make_webhook_event(make_ids(), secret="wrong"),
    "none": make_webhook_event(make_ids(), secret=None),
    "empty": make_webhook_event(make_ids(), secret=""),
    "of the callers of POST /conversations": make_webhook_event(make_ids(), secret=API_SECRET),
    "of another sender": make_webhook_event(make_ids(), "api"),
    "a sender without a secret": make_webhook_event(make_ids(), "typeform"),
    "no such sender": make_webhook_event(make_ids(), "no-such-sender"),
    "the events' entry": make_webhook_event(make_ids(), "event"),
    "no name": make_webhook_event(make_ids(), ""),
    "another spelling": make_webhook_event(make_ids(), "Token"),
    "a path": make_webhook_event(make_ids(), "../api"),
    "no path parameter": {**make_webhook_event(make_ids()), "pathParameters": None},
    "unreadable too": make_webhook_event("{", secret="wrong"),
    "oversized too": make_webhook_event(" " * (MAX_BODY_BYTES + 1), secret="wrong"),
    "signature of nothing": make_webhook_event(make_ids(), "typeform", typeform_signature="sha256="),
}


@pytest.mark.parametrize("event", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_sender_is_a_401_and_all_get_the_same(world: World, log: Log, event: dict[str, Any]) -> None:
    answer = world.post(event)
    assert_problem(answer, 401, "unauthorized")
    assert answer == World(world.highlevel).post(make_webhook_event(make_ids(), secret="wrong"))
    assert not world.highlevel.calls
    assert not world.dynamodb.calls
    assert not world.sqs.calls
    assert {line["outcome"] for line in log.lines} == {"unauthorized"}


@pytest.mark.parametrize("text", [None, "", "{}", "[", '{"token": ""}', '{"token": []}', '{"token": null}'])
def test_without_a_secret_a_sender_is_closed(world: World, text: str | None) -> None:
    world.secrets.texts["SenderSecrets"] = text
    for secret in (TOKEN_SECRET, "", None):
        assert_problem(world.post(make_webhook_event(make_ids(), secret=secret)), 401, "unauthorized")


@pytest.mark.parametrize(
    "make_event",
    [
        lambda: make_webhook_event(make_ids()),
        lambda: make_webhook_event(make_ids(), secret=None, x_webhook_token=TOKEN_SECRET),
        lambda: make_webhook_event(make_ids(), secret=None) | {"rawQueryString": f"token={TOKEN_SECRET}"},
        lambda: make_webhook_event(make_ids() | {"token": TOKEN_SECRET}, secret=None),
        lambda: make_webhook_event(
            make_ids(), secret=None, authorization=f"Basic {base64.b64encode(TOKEN_SECRET.encode()).decode()}"
        ),
        lambda: make_webhook_event(
            f"locationId={LOCATION}&contactId={CONTACT}&token={TOKEN_SECRET}", secret=None, content_type=FORM
        ),
        lambda: make_webhook_event(make_ids() | {"token": TOKEN_SECRET}, secret=None, content_type=FORM),
        lambda: make_webhook_event(make_ids() | {"token": TOKEN_SECRET}, secret=None, content_type="text/plain"),
        lambda: make_webhook_event(make_ids() | {"token": TOKEN_SECRET}, secret=None, content_type=None),
        lambda: make_webhook_event(
            "".join(
                f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
                for name, text in (make_ids() | {"token": TOKEN_SECRET}).items()
            )
            + "--x--\r\n",
            secret=None,
            content_type="multipart/form-data; boundary=x",
        ),
    ],
    ids=[
        "bearer",
        "header",
        "query",
        "json",
        "basic",
        "form",
        "JSON as a form",
        "JSON as text",
        "no type",
        "multipart",
    ],
)
def test_a_secret_may_ride_in_each_of_its_places_and_is_not_stored(
    world: World, log: Log, make_event: Callable[[], dict[str, Any]]
) -> None:
    event = make_event()  # not when the tests are collected: it says when API Gateway took the request
    world.highlevel.fail(kind="status", status=503, times=1)
    assert_webhook_outcome(world.post(event), "deferred")
    (message,) = world.queued()
    stored = Submission.from_message(message["MessageBody"])
    assert TOKEN_SECRET.encode() not in stored.body
    assert TOKEN_SECRET not in message["MessageBody"]
    assert TOKEN_SECRET not in log.text
    assert_webhook_outcome(world.post(event), "opened")


# Ignored


@pytest.mark.parametrize("kind", ["form_abandoned", "", None, 7])
def test_another_kind_of_event_is_ignored(world: World, log: Log, kind: object) -> None:
    world.senders["token"] = replace(
        world.senders["token"], paths=world.senders["token"].paths | {"when": world.senders["typeform"].paths["when"]}
    )
    assert_webhook_outcome(world.post(make_webhook_event(make_ids() | {"event_type": kind})), "ignored")
    assert (log.line["outcome"], log.line["reason"]) == ("ignored", "other_event")
    assert not world.highlevel.calls
    assert not world.dynamodb.calls
    assert not world.sqs.calls
    assert_webhook_outcome(world.post(make_webhook_event(make_ids() | {"event_type": "form_response"})), "opened")


# Not stored


@pytest.mark.parametrize(("status", "body"), [(503, make_ids()), (422, make_ids()), (200, {"locationId": LOCATION})])
def test_what_cannot_be_stored_is_a_429(world: World, log: Log, status: int, body: object) -> None:
    """A 503 would be final for some."""
    world.highlevel.fail(kind="status", status=status, message="no")
    world.sqs.error = UNREACHABLE
    assert_problem(world.post(make_webhook_event(body)), 429, "not_stored")
    assert (log.line["outcome"], log.line["sender"]) == ("not_stored", "token")


@pytest.mark.parametrize("error", [UNREACHABLE, refusal("ThrottlingException"), refusal("AccessDeniedException")])
def test_secrets_that_cannot_be_read_now_are_a_429(world: World, error: Exception) -> None:
    world.secrets.error = error
    assert_problem(world.post(make_webhook_event(make_ids())), 429, "sender_secrets_unavailable")


def test_a_sender_ahead_of_the_cache_is_a_429_while_secrets_cannot_be_read(world: World) -> None:
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "opened")
    world.secrets.error = UNREACHABLE
    assert_problem(world.post(make_webhook_event(make_ids(), secret="rotated")), 429, "sender_secrets_unavailable")
    assert_webhook_outcome(world.post(make_webhook_event(make_ids())), "existing")


def test_a_mistake_in_the_code_is_a_429_without_its_text(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object, **__: object) -> None:
        raise RuntimeError(TOKEN_SECRET)

    monkeypatch.setattr(http_module, "target_of", burst)
    assert_problem(world.post(make_webhook_event(make_ids())), 429, "failed")
    assert [line["error"] for line in log.failures] == ["RuntimeError"]
    assert TOKEN_SECRET not in log.text


# Arrays


def test_an_array_is_one_submission_each(world: World, log: Log) -> None:
    assert_webhook_outcome(
        world.post(make_webhook_event([make_ids(contact=f"contact-{number}") for number in range(3)])), "opened"
    )
    assert len(world.highlevel.conversations) == 3
    assert [line["contact_id"] for line in log.lines] == [f"contact-{number}" for number in range(3)]
    assert {(line["outcome"], line["request_id"]) for line in log.lines} == {("opened", REQUEST_ID)}


def test_an_array_names_the_most_severe_of_its_outcomes(world: World, log: Log) -> None:
    world.highlevel.fail(kind="status", status=503, contact="later")
    world.highlevel.fail(kind="status", status=422, message="no", contact="refused")
    done, later = make_ids(contact="done"), make_ids(contact="later")
    invalid, refused = make_ids(location=None), make_ids(contact="refused")
    assert_webhook_outcome(world.post(make_webhook_event([done])), "opened")
    assert_webhook_outcome(world.post(make_webhook_event([done, done])), "existing")
    assert_webhook_outcome(world.post(make_webhook_event([done, make_ids(contact="new")])), "opened")
    assert_webhook_outcome(world.post(make_webhook_event([done, later])), "deferred")
    assert_webhook_outcome(world.post(make_webhook_event([later, invalid, done])), "invalid")
    assert_webhook_outcome(world.post(make_webhook_event([refused, done, invalid, later])), "rejected")
    assert world.reasons() == ["no_location", "ids_refused", "no_location"]
    assert len(world.queued()) == 3
    for message in (*world.queued(), *world.dead_letters()):
        assert isinstance(json.loads(Submission.from_message(message["MessageBody"]).body), dict), "each alone"


@pytest.mark.parametrize("body", ["[]", " [ ] "])
def test_an_empty_array_is_nothing_to_do(world: World, body: str) -> None:
    assert_webhook_outcome(world.post(make_webhook_event(body)), "ignored")
    assert world.sqs.calls == []


def test_an_element_that_is_not_an_object_in_an_array_is_a_dead_letter_and_harms_no_other(world: World) -> None:
    assert_webhook_outcome(world.post(make_webhook_event([7, None, [make_ids()], "text", make_ids()])), "invalid")
    assert world.reasons() == ["invalid_body"] * 4
    assert (LOCATION, CONTACT) in world.highlevel.conversations


@pytest.mark.parametrize(
    "body", ["[" + ",".join(["1"] * 2001) + "]", "[" + "{}," * 80_000 + "{}]"], ids=["2,001", "80,001"]
)
def test_an_array_of_too_many_is_refused_as_a_whole(world: World, log: Log, body: str) -> None:
    assert len(body) <= MAX_BODY_BYTES
    answer = world.post(make_webhook_event(body))
    assert_webhook_outcome(answer, "invalid")
    assert "send it in parts" in json.loads(answer["body"])["detail"]
    assert world.reasons() == ["too_many_submissions"]
    assert world.highlevel.calls == []
    assert [(line["outcome"], line["reason"], line["sender"]) for line in log.lines] == [
        ("invalid", "too_many_submissions", "token")
    ]


def test_an_array_of_as_many_as_allowed_is_stored_in_time(world: World) -> None:
    world.highlevel.fail(kind="hang")
    body = [{"locationId": "LOC", "contactId": f"c{number}"} for number in range(2000)]
    with in_time(2.5 + 1.5 / 4):  # HighLevel's time, and a quarter of what is left for storing
        assert_webhook_outcome(world.post(make_webhook_event(body)), "deferred")
    assert len(world.queued()) == 2000


def test_persons_in_an_array_are_answered_apart(world: World) -> None:
    body = [JANE, {"locationId": LOCATION, "email": "joe@example.com"}]
    assert_webhook_outcome(world.post(make_webhook_event(body)), "opened")
    assert len(world.highlevel.contacts) == len(world.highlevel.conversations) == 2
    world.highlevel.calls.clear()
    assert_webhook_outcome(world.post(make_webhook_event(body)), "existing")
    assert world.highlevel.calls == []


def test_an_array_of_which_one_cannot_be_stored_is_a_429_and_its_repeat_ends_it(world: World) -> None:
    world.highlevel.fail(kind="status", status=503, contact="contact-1")
    world.sqs.error = UNREACHABLE
    body = [make_ids(contact=f"contact-{number}") for number in range(3)]
    assert_problem(world.post(make_webhook_event(body)), 429, "not_stored")
    world.sqs.error = None
    world.highlevel.heal()
    assert_webhook_outcome(world.post(make_webhook_event(body)), "opened")
    assert len(world.highlevel.conversations) == 3


def test_an_array_that_highlevel_is_too_slow_for_is_stored_in_time(world: World, log: Log) -> None:
    world.highlevel.fail(kind="slow", seconds=1.2)
    body = [make_ids(contact=f"contact-{number}") for number in range(20)]
    with in_time(4.0):
        assert_webhook_outcome(world.post(make_webhook_event(body)), "deferred")
    assert 15 <= len(world.queued()) <= 20
    assert len(world.highlevel.calls) <= 4
    assert (log.lines[-1]["outcome"], log.lines[-1]["reason"]) == ("deferred", "deadline"), "one line for the rest"


def test_an_array_that_cannot_be_stored_in_time_is_a_429_in_time(
    world: World, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.highlevel.fail(kind="hang")
    handle = world.sqs.handle

    def handle_slowly(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.2)
        return handle(operation, parameters)

    monkeypatch.setattr(world.sqs, "handle", handle_slowly)
    body = [make_ids(contact=f"contact-{number}") for number in range(300)]
    with in_time(4.0 / 4):
        assert_problem(world.post(make_webhook_event(body)), 429, "not_stored")


def test_an_element_may_be_as_large_as_a_body(world: World) -> None:
    """Not larger than it came, once it stands alone: what is too large for a queue could never be stored."""
    note = "ü" * 100_000
    assert_webhook_outcome(
        world.post(make_webhook_event(json.dumps(make_ids() | {"note": note}, ensure_ascii=False))), "opened"
    )
    body = json.dumps([make_ids(contact="another") | {"note": note}], ensure_ascii=False)
    assert_webhook_outcome(world.post(make_webhook_event(body)), "opened")


def test_a_body_is_not_larger_without_its_secret(world: World) -> None:
    note = "ü" * 100_000
    body = json.dumps(make_ids() | {"token": TOKEN_SECRET, "note": note}, ensure_ascii=False)
    assert_webhook_outcome(world.post(make_webhook_event(body, secret=None)), "opened")


# In time


def test_everything_hanging_together_is_answered_in_time(world: World, quick: None) -> None:
    world.sender_secrets.get()
    world.highlevel.fail(kind="hang")
    world.dynamodb.hang = world.secrets.hang = world.sqs.hang = 30.0
    with in_time(4.0 / 4):
        assert_problem(world.post(make_webhook_event([make_ids()] * 3)), 429, "not_stored")


def test_sender_secrets_that_hang_are_a_429_in_time(world: World, quick: None) -> None:
    world.secrets.hang = 3.0
    with in_time(4.0 / 4):
        assert_problem(world.post(make_webhook_event(make_ids())), 429, "sender_secrets_unavailable")


def test_a_highlevel_that_hangs_is_answered_for_in_time(world: World, quick: None) -> None:
    world.highlevel.fail(kind="hang")
    with in_time(2 * 2.5 / 4):
        assert_webhook_outcome(world.post(make_webhook_event(JANE)), "deferred")
    assert len(world.queued()) == 1


# Senders of the user's own


def test_a_sender_of_the_users_own_names_its_one_location(world: World, tmp_path: Path) -> None:
    (tmp_path / "senders.toml").write_text(
        f"""
        [our-site]
        scheme = "token"
        where = ["header:x-our-key"]
        email = "contact.mail"
        location_id = "place"
        locations = ["{LOCATION}"]
        """
    )
    world.senders = load(tmp_path)
    world.secrets.texts["SenderSecrets"] = '{"our-site": "its-secret"}'
    body: dict[str, Any] = {"contact": {"mail": "jane@example.com"}}
    sent = make_webhook_event(body, "our-site", secret=None, x_our_key="its-secret")
    assert_webhook_outcome(world.post(sent), "opened")
    elsewhere = make_webhook_event(body | {"place": "another"}, "our-site", secret=None, x_our_key="its-secret")
    assert_webhook_outcome(world.post(elsewhere), "rejected")
    assert world.reasons() == ["location_not_allowed"]
    assert_problem(world.post(make_webhook_event(body, "our-site", secret="its-secret")), 401, "unauthorized")
