"""Each preset on the sample that its sender sends: accepted and mapped; changed, refused; mapped wrongly, stored."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from cli.signing import sign
from create_conversation.errors import IgnoredError
from create_conversation.senders.body import FORM, read_body, without_members
from create_conversation.senders.config import lacks_locations, load
from create_conversation.senders.mapping import Person, Target, target_of
from create_conversation.senders.redaction import secret_members
from create_conversation.senders.verification import Request, is_authentic
from create_conversation.submission import Submission
from tests.assertions import assert_problem, assert_webhook_outcome
from tests.factories import make_sqs_record
from tests.payloads import delivery
from tests.samples import LOCATION, PEOPLE, SENDERS, Sent, mistaken, sample_of, secret_of
from tests.unit.conftest import Log
from tests.unit.world import World, attributes

PRESETS = sorted(PEOPLE)
JSON = "application/json"
# Their samples name a location.
PLACED = ("typeform", "tally", "wpforms", "formstack", "stripe", "elementor", "paperform", "standard-webhooks")


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


def sent_person(world: World) -> dict[str, Any]:
    """Whom HighLevel was asked for."""
    (call,) = [call for call in world.highlevel.calls if call.path == "/contacts/"]
    person: dict[str, Any] = json.loads(call.body)
    assert person.pop("locationId") == LOCATION
    return person


def test_every_preset_has_a_sample_or_knows_the_contact_id() -> None:
    others = {name for name, sender in SENDERS.items() if sender.scheme in ("token", "mac")} - PEOPLE.keys()
    assert others == {"api", "token", "highlevel-workflow"}


@pytest.mark.parametrize("name", PRESETS)
def test_its_sample_is_let_in_and_understood(name: str, world: World, log: Log) -> None:
    sent = Sent.of(name)
    assert_webhook_outcome(world.post(event_of(sent)), "opened")
    assert sent_person(world) == PEOPLE[name]
    assert_webhook_outcome(world.post(event_of(Sent.of(name))), "existing")
    sent_person(world)
    assert {line["sender"] for line in log.lines} == {name}
    assert secret_of(name) not in log.text
    assert PEOPLE[name]["email"] not in log.text


@pytest.mark.parametrize("name", PRESETS)
def test_one_byte_changed_is_refused(name: str, world: World) -> None:
    assert_problem(world.post(event_of(Sent.of(name).spoilt())), 401, "unauthorized")
    assert not world.highlevel.calls
    assert not world.sqs.calls


@pytest.mark.parametrize("name", PRESETS)
def test_without_what_authenticates_it_it_is_refused(name: str, world: World) -> None:
    assert_problem(world.post(event_of(Sent.of(name).without_credentials())), 401, "unauthorized")
    assert not world.highlevel.calls
    assert not world.sqs.calls


@pytest.mark.parametrize("name", PRESETS)
def test_with_the_secret_of_another_it_is_refused(name: str, world: World) -> None:
    world.secrets.texts["SenderSecrets"] = json.dumps({other: [secret_of(name)] for other in PRESETS if other != name})
    assert_problem(world.post(event_of(Sent.of(name))), 401, "unauthorized")


@pytest.mark.parametrize("name", PRESETS)
def test_a_wrong_mapping_is_stored(name: str, world: World) -> None:
    world.senders[name] = mistaken(SENDERS[name])
    assert_webhook_outcome(world.post(event_of(Sent.of(name))), "invalid")
    (letter,) = world.dead_letters()
    assert attributes(letter) == {"reason": "invalid_body", "sender": name, "attempts": "1"}
    assert secret_of(name).encode() not in Submission.from_message(letter["MessageBody"]).body


@pytest.mark.parametrize("name", PRESETS)
def test_someone_without_address_and_number_is_stored(name: str, world: World) -> None:
    assert_webhook_outcome(world.post(event_of(Sent.of(name).without_contact())), "invalid")
    assert world.reasons() == ["no_contact"]


@pytest.mark.parametrize("name", ["jotform", "formstack", "google-ads"])
def test_transient_failures_is_stored_whole_and_opened_later(name: str, world: World) -> None:
    world.highlevel.fail(kind="status", status=503, times=1)
    assert_webhook_outcome(world.post(event_of(Sent.of(name))), "deferred")
    (message,) = world.queued()
    world.highlevel.calls.clear()
    assert world.retry(make_sqs_record(message["MessageBody"])) == []
    assert sent_person(world)["email"] == PEOPLE[name]["email"]
    assert len(world.highlevel.conversations) == 1


# --- their other formats ----------------------------------------------------------------------------------------------

A, PHONE = "a@example.com", "+15555550199"


def target(name: str, payload: dict[str, Any], content_type: str = JSON) -> Target:
    body = json.dumps(payload) if content_type == JSON else urlencode(payload)
    return target_of(Submission("webhook", name, "r", 0.0, content_type, body.encode()), SENDERS, LOCATION)


def answers(**fields: object) -> dict[str, Any]:
    return {"triggerType": "form_submission", "payload": {"data": fields}}


def lead(**columns: str) -> dict[str, Any]:
    """As Google sends it: `column_name` is not always there."""
    return {"user_column_data": [{"column_id": name, "string_value": value} for name, value in columns.items()]}


def session(**members: object) -> dict[str, Any]:
    return {"type": "checkout.session.completed", "data": {"object": members}}


def invitee(**members: object) -> dict[str, Any]:
    return {"event": "invitee.created", "payload": {"email": A, "name": "Ada Byron", **members}}


@pytest.mark.parametrize(
    ("name", "payload", "content_type", "person"),
    [
        # labels
        ("webflow", answers(**{"Your e-mail": A, "Phone": PHONE, "Name": "Ada"}), JSON, (A, PHONE, None, None, "Ada")),
        ("webflow", answers(Message="me @ home", Link="https://x/@y", M=A), JSON, (A,)),
        ("webflow", answers(Email="", email=A, n=1, agree=True, list=[A], none=None), JSON, (A,)),
        ("wpforms", {"Email": A, "First Name": "Ada", "Last Name": "Byron"}, JSON, (A, None, "Ada", "Byron", None)),
        ("wpforms", {"Your address": A, "when": {"value": "1", "unix": 1}, "multi": "a||b"}, JSON, (A,)),
        (
            "formstack",
            {"E-mail address": A, "Name": "first = Ada\nlast = Byron"},
            FORM,
            (A, None, "Ada", "Byron", None),
        ),
        ("formstack", {"Email": A, "Name": {"first": "Ada", "last": "Byron"}}, JSON, (A, None, "Ada", "Byron", None)),
        ("formstack", {"Phone": PHONE, "12345": "x"}, FORM, (None, PHONE)),
        ("elementor", {"Name": "Ada", "Email": A, "Phone": PHONE, "form_id": "1"}, FORM, (A, PHONE, None, None, "Ada")),
        ("elementor", {"No Label field_1": A, "Page URL": "https://x/@y", "form_id": "1"}, FORM, (A,)),
        ("elementor", {"fields[tel][value]": PHONE, "fields[x][title]": "Tel @"}, FORM, (None, PHONE)),
        ("elementor", {"First Name": "Ada", "email": A}, FORM, (A, None, "Ada")),
        ("gravity-forms", {"email": A, "phone": PHONE, "first_name": "Ada"}, FORM, (A, PHONE, "Ada")),
        ("gravity-forms", {"id": "7", "2.3": "Ada", "5": A, "source_url": "https://x/@y"}, JSON, (A, None, "Ada")),
        # events
        ("calendly", invitee(first_name="Ada", last_name="Byron"), JSON, (A, None, "Ada", "Byron", None)),
        (
            "calendly",
            invitee(questions_and_answers=[{"question": "Phone", "answer": PHONE}]),
            JSON,
            (A, PHONE, None, None, "Ada Byron"),
        ),
        (
            "calendly",
            invitee(questions_and_answers=None, text_reminder_number=PHONE),
            JSON,
            (A, PHONE, None, None, "Ada Byron"),
        ),
        ("calendly", invitee(questions_and_answers=[{"question": None}]), JSON, (A, None, None, None, "Ada Byron")),
        ("shopify", {"id": 1, "email": "", "contact_email": A, "note_attributes": []}, JSON, (A,)),
        ("shopify", {"id": 1, "email": None, "customer": {"email": A, "first_name": "Ada"}}, JSON, (A, None, "Ada")),
        (
            "shopify",
            {"email": A, "phone": None, "customer": None, "billing_address": {"phone": PHONE}},
            JSON,
            (A, PHONE),
        ),
        ("stripe", session(customer_details={"email": A, "phone": None, "name": None}), JSON, (A,)),
        ("stripe", session(customer_details=None, customer_email=A, metadata=None), JSON, (A,)),
        ("google-ads", lead(WORK_EMAIL=A, WORK_PHONE=PHONE, FIRST_NAME="Ada"), JSON, (A, PHONE, "Ada")),
        ("google-ads", lead(EMAIL=A, FULL_NAME="Ada Byron", LAST_NAME="Byron"), JSON, (A, None, "Ada", "Byron", None)),
        ("google-ads", lead(EMAIL=A) | {"is_test": False}, JSON, (A,)),
        ("paperform", {"data": [{"type": "email", "value": A}, {"type": "phone", "value": PHONE}]}, JSON, (A, PHONE)),
        (
            "paperform",
            {"data": [{"type": "email", "value": A}, {"custom_key": "name", "value": "A"}]},
            JSON,
            (A, None, None, None, "A"),
        ),
    ],
)
def test_another_format(name: str, payload: dict[str, Any], content_type: str, person: tuple[str | None, ...]) -> None:
    found = target(name, payload, content_type)
    assert found.person == Person(*(*person, *[None] * (5 - len(person))))
    assert (found.location, found.contact) == (LOCATION, None)


@pytest.mark.parametrize(
    ("name", "payload", "content_type"),
    [
        ("webflow", answers(contact_id="c1"), JSON),
        ("wpforms", {"contact_id": "c1", "email": A}, JSON),
        ("formstack", {"contact_id": "c1"}, FORM),
        ("stripe", session(metadata={"contact_id": "c1"}), JSON),
        ("elementor", {"fields[contact_id][value]": "c1"}, FORM),
        ("gravity-forms", {"contact_id": "c1"}, JSON),
        ("paperform", {"data": [{"custom_key": "contact_id", "value": "c1"}]}, JSON),
    ],
)
def test_a_contact_id_needs_no_look_up(name: str, payload: dict[str, Any], content_type: str) -> None:
    found = target(name, payload, content_type)
    assert (found.location, found.contact) == (LOCATION, "c1")
    assert found.is_unverified == (found.person is not None)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("webflow", {"triggerType": "site_publish"}),
        ("calendly", invitee() | {"event": "invitee.canceled"}),
        ("calendly", {"event": "routing_form_submission.created"}),
        ("stripe", {"type": "customer.created", "data": {"object": {"email": A}}}),
        ("stripe", {"type": "payment_intent.succeeded"}),
        ("google-ads", lead(EMAIL="test@example.com") | {"is_test": True}),
    ],
)
def test_other_events_and_test_leads_are_ignored(name: str, payload: dict[str, Any]) -> None:
    with pytest.raises(IgnoredError):
        target(name, payload)


@pytest.mark.parametrize(
    ("name", "payload", "delivery"),
    [
        ("webflow", {"triggerType": "form_submission", "payload": {"id": "6321", "data": {"m": A}}}, "6321"),
        ("formstack", {"UniqueID": "150", "Email": A}, "150"),
        ("calendly", invitee(uri=f"https://api.calendly.com/scheduled_events/{'e' * 36}/invitees/{'i' * 36}"), None),
        ("stripe", session(customer_email=A) | {"id": "evt_1"}, "evt_1"),
        ("google-ads", lead(EMAIL=A) | {"lead_id": "TeSter-1"}, "TeSter-1"),
        ("gravity-forms", {"id": "42", "email": A}, "42"),
        ("paperform", {"submission_id": "674", "data": [{"type": "email", "value": A}]}, "674"),
    ],
)
def test_a_repeated_delivery_is_known_by_its_id(name: str, payload: dict[str, Any], delivery: str | None) -> None:
    shown = payload["payload"]["uri"] if delivery is None else delivery
    assert target(name, payload).delivery == f"{name}#{LOCATION}#{shown}"


# --- what is particular to one of them --------------------------------------------------------------------------------


def woocommerce(body: bytes, **headers: str) -> dict[str, Any]:
    """What API Gateway hands over of an unsigned delivery."""
    sent = Sent(SENDERS["woocommerce"], {"content-type": FORM, **headers}, "", body)
    return event_of(sent) | {"isBase64Encoded": False, "body": body.decode()}


@pytest.mark.parametrize("secrets", ["its own", "none"])
def test_woocommerces_ping_is_answered_200_and_nothing_is_done(secrets: str, world: World, log: Log) -> None:
    if secrets == "none":
        world.secrets.texts["SenderSecrets"] = "{}"
    assert_webhook_outcome(world.post(woocommerce(b"webhook_id=7")), "ignored")
    assert not world.highlevel.calls
    assert not world.sqs.calls
    (line,) = log.lines
    assert (line["sender"], line["outcome"], line["reason"]) == ("woocommerce", "ignored", "ping")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"webhook_id=7&email=a@example.com", {}),
        (b"webhook_id=seven", {}),
        (b"webhook_id=7", {"content-type": JSON}),
        (b"webhook_id=7", {"x-wc-webhook-signature": "wrong"}),
        (b'{"webhook_id": 7}', {"content-type": JSON}),
    ],
    ids=["a field more", "no number", "no form", "a wrong signature", "JSON"],
)
def test_what_is_not_quite_that_ping_is_refused(body: bytes, headers: dict[str, str], world: World) -> None:
    assert_problem(
        world.post(woocommerce(body, **{name.replace("_", "-"): v for name, v in headers.items()})), 401, "unauthorized"
    )
    assert not world.highlevel.calls


def test_two_orders_of_one_second_are_two_deliveries(world: World) -> None:
    """They share X-WC-Webhook-Delivery-ID."""
    first = Sent.of("woocommerce")
    order = json.loads(first.body)
    order |= {
        "order_key": "wc_order_another",
        "billing": order["billing"] | {"email": "other@example.com", "phone": ""},
    }
    second = Sent.of("woocommerce", json.dumps(order).encode())
    assert first.headers["x-wc-webhook-delivery-id"] == second.headers["x-wc-webhook-delivery-id"]
    for sent in (first, second):
        assert_webhook_outcome(world.post(event_of(sent)), "opened")


@pytest.mark.parametrize(
    "name", ["formidable-forms--default-array", "formidable-forms--array-with-phone-under-random-key"]
)
def test_formidables_array_is_one_submission(name: str, world: World) -> None:
    entry = {
        "id": "88",
        "item_key": "k7q2m",
        "name": "Tess",
        "qh4icy": "Tess",
        "ocfup1": "Lang",
        "29yf4d": "tess@example.com",
    }
    payload = delivery(name)["json"] if name.endswith("key") else [entry]
    assert_webhook_outcome(world.post(event_of(Sent.of("formidable-forms", json.dumps(payload).encode()))), "opened")
    assert sent_person(world)["email"] in ("tess@example.com", "jude@example.com")


@pytest.mark.parametrize(
    "name", ["heyflow--test-button", "clickfunnels--anonymous-contact", "stripe--expired", "google-ads--test-lead"]
)
def test_what_carries_no_contact_is_answered_200_and_ignored(name: str, world: World) -> None:
    spec = delivery(name)
    assert_webhook_outcome(world.post(event_of(Sent.of(spec["sender"], json.dumps(spec["json"]).encode()))), "ignored")
    assert not world.highlevel.calls
    assert not world.sqs.calls


@pytest.mark.parametrize("kind", ["form", "multipart"])
def test_the_key_in_the_body_is_not_stored(kind: str, world: World) -> None:
    """Neither in a form nor in multipart, whatever charset that claims to be in."""
    sender, secret = SENDERS["wufoo"], secret_of("wufoo")
    body, content_type = b"Field1=Cora", FORM
    if kind == "multipart":
        body = b'--b\r\nContent-Disposition: form-data; name="Field1"\r\n\r\nCora\r\n--b--\r\n'
        content_type = "multipart/form-data; boundary=b; charset=utf-8"
    headers, query, body = sign(sender, secret, body, content_type, time.time())
    assert secret.encode() in body
    sent = Sent(sender, headers | {"content-type": content_type}, query, body)
    assert_webhook_outcome(world.post(event_of(sent)), "invalid")
    (letter,) = world.dead_letters()
    stored = Submission.from_message(letter["MessageBody"]).body
    assert b"Cora" in stored
    assert secret.encode() not in stored


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "latin-1"])
def test_a_multipart_secret_is_removed_in_each_charset(charset: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="HandshakeKey"\r\n\r\nhush\r\n--b--\r\n'
    content_type = f"multipart/form-data; boundary=b; charset={charset}"
    assert is_authentic(SENDERS["wufoo"], Request({"content-type": content_type}, "", body), ("hush",), 0)
    assert without_members(read_body(body, content_type), secret_members(SENDERS["wufoo"])).raw == b"{}"


@pytest.mark.parametrize("content_type", [JSON, FORM])
def test_formstacks_key_in_the_body_is_not_stored(content_type: str, world: World) -> None:
    fields = {"FormID": "1", "HandshakeKey": "hush-hush", "Name": "no one"}
    body = (json.dumps(fields) if content_type == JSON else urlencode(fields)).encode()
    headers, query, body = sign(SENDERS["formstack"], secret_of("formstack"), body, content_type, time.time())
    sent = Sent(SENDERS["formstack"], headers | {"content-type": content_type}, query, body)
    assert_webhook_outcome(world.post(event_of(sent)), "invalid")
    (letter,) = world.dead_letters()
    stored = Submission.from_message(letter["MessageBody"]).body
    assert b"no one" in stored
    assert b"hush" not in stored


# --- the secret, repeated in the payload ------------------------------------------------------------------------------


def with_secret(name: str, text: str) -> Sent:
    """The sample, with that text in more fields, signed."""
    sent = Sent.of(name)
    content_type = sent.headers["content-type"]
    if content_type.startswith("multipart"):
        boundary = content_type.partition("boundary=")[2].encode()
        part = b'--%b\r\nContent-Disposition: form-data; name="x"\r\n\r\n%b\r\n' % (boundary, text.encode())
        return replace(sent, body=part + sent.body)
    if content_type.startswith("application/x-www-form-urlencoded"):
        return Sent.of(name, sent.body + b"&" + urlencode({"x": text, text: json.dumps([text])}).encode())
    more = {"x": {"url": f"https://a.example/?token={text}", "json": json.dumps({"deep": [text]})}, text: [text]}
    return Sent.of(name, json.dumps(json.loads(sent.body) | more).encode())


SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda secret: secret,
    "percent": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "base64": lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("status", [503, 422], ids=["retry queue", "dead letter"])
def test_the_secret_is_in_nothing_that_is_stored(name: str, spelling: str, status: int, world: World, log: Log) -> None:
    text = SPELLINGS[spelling](secret_of(name))
    world.highlevel.fail(kind="status", status=status, message="email must be an email")
    assert_webhook_outcome(world.post(event_of(with_secret(name, text))), "deferred" if status == 503 else "rejected")
    world.highlevel.heal()
    (message,) = world.queued() or world.dead_letters()
    stored = Submission.from_message(message["MessageBody"])
    for hidden in (text, secret_of(name)):
        assert hidden not in json.dumps(message) + log.text
        assert hidden.encode() not in stored.body
    assert b"REDACTED" in stored.body
    world.highlevel.calls.clear()
    assert world.retry(make_sqs_record(message["MessageBody"])) == []
    again = sent_person(world)  # a later try leaves out the names
    assert {each: again.get(each) for each in ("email", "phone")} == {
        each: PEOPLE[name].get(each) for each in ("email", "phone")
    }


def test_jotform_posts_its_own_url(world: World) -> None:
    sent = Sent.of("jotform")
    assert f"?token={secret_of('jotform')}".encode() in sent.body
    world.highlevel.fail(kind="status", status=503, times=1)
    assert_webhook_outcome(world.post(event_of(sent)), "deferred")
    (message,) = world.queued()
    body = Submission.from_message(message["MessageBody"]).body
    assert b'/webhooks/jotform?token=REDACTED","' in body


# --- a stack without LocationId ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_without_a_location_of_its_own_it_is_closed(name: str, world: World, log: Log) -> None:
    """Whatever the payload names: a visitor may have chosen it."""
    world.settings = replace(world.settings, location_id=None)
    world.senders = load()
    refused = world.post(event_of(Sent.of(name)))
    assert_problem(refused, 401, "unauthorized")
    assert refused == world.post(event_of(Sent.of(name).spoilt()))
    assert [line["reason"] for line in log.lines] == ["location_not_allowed", "credentials_wrong"]
    assert {(line["outcome"], line["sender"]) for line in log.lines} == {("unauthorized", name)}
    assert not world.highlevel.calls
    assert not world.sqs.calls


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("locations", [(LOCATION,), ("*",)], ids=["its own", "any"])
def test_with_locations_it_is_open(name: str, locations: tuple[str, ...], world: World) -> None:
    world.settings = replace(world.settings, location_id=None)
    world.senders = load()
    world.senders[name] = replace(world.senders[name], locations=locations)
    answer = world.post(event_of(Sent.of(name)))
    names_none = locations == ("*",) and name not in PLACED
    assert_webhook_outcome(answer, "invalid" if names_none else "opened")
    assert world.reasons() == (["no_location"] if names_none else [])


@pytest.mark.parametrize("location_id", [None, "another-location"])
def test_a_stored_one_obeys_the_same_rule(location_id: str | None, world: World) -> None:
    """A submission of before an upgrade, or of before `locations` was taken away."""
    world.settings = replace(world.settings, location_id=location_id)
    world.senders = load()
    sent = Sent.of("typeform")
    stored = Submission("webhook", "typeform", "request-1", time.time(), "application/json", sent.body)
    assert world.retry(make_sqs_record(stored.to_message())) == []
    assert world.reasons() == ["location_not_allowed"]
    assert not world.highlevel.calls


@pytest.mark.parametrize("name", ["api", "event", "highlevel-app", "highlevel-workflow"])
def test_callers_that_are_trusted_with_the_location(name: str) -> None:
    assert not lacks_locations(load()[name], None)
