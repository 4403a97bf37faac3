"""From a raw body to whom it is about, whatever the body is; and nothing personal is shown."""

import functools
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from create_conversation.errors import IgnoredError, InvalidError, RejectedError, SubmissionError
from create_conversation.senders.body import FORM
from create_conversation.senders.config import FUNCTIONS, Sender, load, of_event
from create_conversation.senders.mapping import Person, Target, body_of, target_of
from create_conversation.submission import MAX_BODY_BYTES, Submission
from tests.factories import make_senders
from tests.samples import PEOPLE
from tests.unit.world import SENDERS

PAYLOADS = Path(__file__).parent.parent / "data" / "payloads"
LOCATION, OTHER = "ve9EPM428h8vShlRW1KT", "AnotherLocation00000"
CONTACT = "nmFmQEsNgz6AVpgLVUJ0"
JANE = ("jane@example.com", "+15550100", "Jane", "Doe")
PRESETS = SENDERS
OWN = {"scheme": "token", "where": ["bearer"], "email": "email"}


def submission(sender: str, body: Any, content_type: str = "application/json", delivery_id: str = "") -> Submission:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    trigger = {"api": "http", "event": "event"}.get(sender, "webhook")
    return Submission(trigger, sender, "req-1", 1_767_225_600.0, content_type, raw, delivery_id)


def payload_of(sent: Submission) -> Any:
    return body_of(sent).payload


def documented(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))
    return payload


def known(person: Person | None) -> tuple[str | None, str | None, str | None, str | None] | None:
    return (person.email, person.phone, person.first_name, person.last_name) if person else None


def reason(error: pytest.ExceptionInfo[SubmissionError]) -> str:
    return error.value.reason


# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "contact", "person", "delivery"),
    [
        ("api", CONTACT, None, ""),
        ("highlevel-app", CONTACT, JANE, "f8a1c1a0-0000-4f16-b56f-000000000001"),
        ("highlevel-workflow", CONTACT, JANE, None),
        ("typeform", None, JANE, "01JDA7E9M3N8T5V2X4Z6B8C0D1"),
        ("tally", None, (*JANE[:2], None, None), "ce9f355d-0000-4f16-b56f-000000000001"),
        ("standard-webhooks", None, JANE, "msg_1"),
        ("standard-webhooks-v1a", None, JANE, "msg_1"),
        ("token", None, JANE, None),
        ("event", None, JANE, "6a7e8feb-b491-4cf7-a9f1-bf3703467718"),
    ],
)
def test_preset_maps_its_documented_payload(
    name: str, contact: str | None, person: tuple[str, ...] | None, delivery: str | None
) -> None:
    sent = submission(name, documented(name), delivery_id="msg_1" if name.startswith("standard") else "")
    target = target_of(sent, PRESETS, None)
    body_hash = hashlib.sha256(sent.body).hexdigest()
    expected = "" if person is None else f"{name}#{LOCATION}#{body_hash if delivery is None else delivery}"
    assert (target.location, target.contact, known(target.person), target.delivery) == (
        LOCATION,
        contact,
        person,
        expected,
    )


def test_every_preset_has_a_documented_payload_or_a_sample() -> None:
    """Those with a sample alone: test_presets."""
    documented = {path.stem for path in PAYLOADS.glob("*.json") if "--" not in path.stem}
    assert documented | PEOPLE.keys() == PRESETS.keys()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("typeform", {"event_type": "form_response_partial"}),
        ("typeform", {"event_type": None}),
        ("typeform", {"event_type": ["form_response"]}),
        ("typeform", {"event_type": "form_response_partial", "event_type == 'form_response'": True}),
        ("tally", {"eventType": "PING"}),
        *(("highlevel-app", {"type": kind}) for kind in ("ContactUpdate", "INSTALL", "", None, 1)),
    ],
)
def test_another_kind_of_event_is_ignored(name: str, change: dict[str, object]) -> None:
    with pytest.raises(IgnoredError) as error:
        target_of(submission(name, documented(name) | change), PRESETS, None)
    assert reason(error) == "other_event"


def test_typeform_hidden_fields_name_what_no_question_asks() -> None:
    payload = documented("typeform")
    payload["form_response"]["answers"] = []
    payload["form_response"]["hidden"] |= {"phone": "+15550199"}
    target = target_of(submission("typeform", payload), PRESETS, None)
    assert known(target.person) == ("hidden@example.com", "+15550199", "Jane", "Doe")
    payload["form_response"]["hidden"] |= {"contact_id": CONTACT}
    target = target_of(submission("typeform", payload), PRESETS, None)
    assert (target.contact, target.is_unverified) == (CONTACT, True)


def test_typeform_without_answers_or_hidden_fields_has_no_contact() -> None:
    payload = documented("typeform")
    del payload["form_response"]["answers"], payload["form_response"]["hidden"]
    with pytest.raises(InvalidError) as error:
        target_of(submission("typeform", payload), PRESETS, LOCATION)
    assert reason(error) == "no_contact"


def test_tally_hidden_contact() -> None:
    payload = documented("tally")
    payload["data"]["fields"] += [{"label": "contact_id", "type": "HIDDEN_FIELDS", "value": CONTACT}]
    target = target_of(submission("tally", payload), PRESETS, None)
    assert (target.contact, target.is_unverified) == (CONTACT, True)


@pytest.mark.parametrize(
    ("members", "contact"),
    [
        ({"type": "AppointmentCreate", "appointment": {"contactId": "c2"}, "id": "not-a-contact"}, "c2"),
        ({"type": "OpportunityCreate", "contactId": "c3", "id": "not-a-contact"}, "c3"),
        ({"type": "ContactUpdate", "id": "c4"}, "c4"),
        ({"type": "NoteCreate", "id": "not-a-contact"}, None),
    ],
)
def test_a_highlevel_app_may_listen_to_other_events(
    members: dict[str, Any], contact: str | None, tmp_path: Path
) -> None:
    changed = make_senders(tmp_path, highlevel_app={"app_id": "x", "when": "starts_with(type, '')"})
    sent = submission("highlevel-app", {"locationId": LOCATION, **members})
    if contact:
        assert target_of(sent, changed, None) == Target(LOCATION, contact)
    else:
        with pytest.raises(InvalidError, match="no_contact"):
            target_of(sent, changed, None)


# --- message and fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "delivery", "is_by_body"),
    [
        ("typeform", {}, "typeform#01JDA7E9M3N8T5V2X4Z6B8C0D1", False),
        ("token", {}, None, True),
        ("event", {"replay-name": "again"}, "event#6a7e8feb-b491-4cf7-a9f1-bf3703467718", False),
        ("api", {"message": "Hello"}, None, True),
    ],
)
def test_a_message_knows_its_delivery(
    name: str, change: dict[str, object], delivery: str | None, is_by_body: bool
) -> None:
    sent = replace(submission(name, documented(name) | change), received_at=12.5)
    message = target_of(sent, PRESETS, None).message
    assert message is not None
    expected = delivery or f"{name}#{hashlib.sha256(sent.body).hexdigest()}"
    assert (message.delivery, message.is_by_body, message.received_at) == (expected, is_by_body, 12.5)
    assert message.render("ref 1").endswith("ref 1")


@pytest.mark.parametrize("change", [{}, {"message": None}, {"message": ""}, {"message": " \n "}])
def test_a_caller_without_words_has_no_message(change: dict[str, object]) -> None:
    assert target_of(submission("api", documented("api") | change), PRESETS, None).message is None


@pytest.mark.parametrize("name", ["highlevel-app", "highlevel-workflow"])
def test_highlevel_s_own_deliveries_have_no_message(name: str) -> None:
    assert target_of(submission(name, documented(name)), PRESETS, None).message is None


def test_an_entry_says_what_the_contact_gets(tmp_path: Path) -> None:
    fields = {
        "tags": ["lead"],
        "source": "form",
        "update_contact": True,
        "custom_fields": {
            "text": "note",
            "number": "age",
            "list": "colors",
            "empty": "blank",
            "object": "deep",
            "no": "x",
        },
        "user_id": "u1",
        "mentions": ["u2", "u3"],
    }
    text = "\n".join(["[token]", *(f"{name} = {_toml(value)}" for name, value in fields.items())])
    (tmp_path / "senders.toml").write_text(text, "utf-8")
    payload = {"note": "hi", "age": 41, "colors": ["red", "blue"], "blank": " ", "deep": {"a": 1}}
    target = target_of(submission("token", documented("token") | payload), load(tmp_path), LOCATION)
    assert (target.fields.tags, target.fields.source, target.fields.update_contact) == (("lead",), "form", True)
    assert target.fields.custom_fields == {"text": "hi", "number": 41, "list": ["red", "blue"]}
    assert target.message is not None
    assert (target.message.user_id, target.message.mentions) == ("u1", ("u2", "u3"))


@pytest.mark.parametrize(
    ("json_text", "expected"),
    [
        pytest.param('"a\\u0000b\\u001b[31m"', "ab[31m", id="control-characters"),
        pytest.param('"a\\ud800b"', "ab", id="lone-surrogate"),
        pytest.param('"one\\r\\ntwo\\tthree"', "one\ntwo\tthree", id="lines-stay"),
        pytest.param('"\\u0000 "', None, id="nothing-left"),
        pytest.param('["red\\u0007", "\\u0000", "\U0001f600"]', ["red", "\U0001f600"], id="list"),
        pytest.param('["red", 1]', None, id="list-of-others"),
        pytest.param("1e400", None, id="infinity"),
        pytest.param("-2.5", -2.5, id="number"),
        pytest.param("false", False, id="false"),
    ],
)
def test_a_custom_field_gets_what_it_can_hold(json_text: str, expected: object, tmp_path: Path) -> None:
    (tmp_path / "senders.toml").write_text("[token]\ncustom_fields = { field = 'note' }\n", "utf-8")
    payload = documented("token") | json.loads(f'{{"note": {json_text}}}')
    fields = target_of(submission("token", payload), load(tmp_path), LOCATION).fields
    assert fields.custom_fields == ({} if expected is None else {"field": expected})


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {json.dumps(path)}" for name, path in value.items()) + " }"
    return json.dumps(value)


@pytest.mark.parametrize("kind", ["OutboundMessage", "NoteCreate", "ContactUpdate", "ContactTagUpdate"])
def test_own_writes_are_ignored_while_messages_are_on(kind: str) -> None:
    sent = submission("highlevel-app", documented("highlevel-app") | {"type": kind})
    with pytest.raises(IgnoredError) as error:
        target_of(sent, PRESETS, None, writes_messages=True)
    assert reason(error) == "own_write"
    with pytest.raises(IgnoredError) as error:
        target_of(sent, PRESETS, None)
    assert reason(error) == "other_event"


# --- people -----------------------------------------------------------------------------------------------------------


def person_of(**members: Any) -> tuple[str | None, ...] | None:
    return known(target_of(submission("token", members), PRESETS, LOCATION).person)


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        (15550100, "15550100"),
        ("+1 (555) 010-0000", "+1 (555) 010-0000"),
        (" 0301234567\n", "0301234567"),
        ("(030) 12 34.56/7", "(030) 12 34.56/7"),
        *((wrong, None) for wrong in (True, 1.5, 0, "", "12", "+", "n/a", "123\n456 ", "1" * 40)),
        ("١٢٣٤٥٦٧", "1234567"),
        ([15550100], "15550100"),
        ({"phone": 15550100}, "15550100"),
        ("555 0100 ext. 5", "555 0100"),
        ("\ud8005550100", "5550100"),
    ],
    ids=ascii,
)
def test_phone(phone: object, expected: str | None) -> None:
    assert person_of(email="jane@example.com", phone=phone) == ("jane@example.com", expected, None, None)


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        (" jane.o'neil+x@sub.example.com ", "jane.o'neil+x@sub.example.com"),
        ("jäne@exämple.com", "jäne@exämple.com"),
        *((wrong, None) for wrong in ("", "jane", "@example.com", "jane@", "a@b@c", "a b@example.com", "a@exam ple")),
        *((wrong, None) for wrong in (1, True, {"email": "a@b"}, "a" * 65 + "@b", "a@" + "b" * 190)),
        (["jane@example.com"], "jane@example.com"),
        ("jane@example.com\nBcc: all@example.com", "jane@example.com"),
        # what has no bytes, or what no one sees
        *((wrong, None) for wrong in ("a\0b@c.de", "a\x1b[2J@c.de", "a\x7f@c.de", "\ud800@c.de", "a@\ufffec.de")),
        *((hidden, "a@c.de") for hidden in ("a@\u202ec.de", "a\u200b@c.de", "\ufeffa@c.de")),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_email(email: object, expected: str | None) -> None:
    assert person_of(phone="+15550100", email=email) == (expected, "+15550100", None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("  Zoë Ünal ", "Zoë Ünal"),
        ("Anne\x00\r\n\u202e\ud800Marie", "Anne Marie"),
        ("x" * 500, "x" * 100),
        *((nothing, None) for nothing in ("", " ", "\x00", 1, None)),
        (["Jane"], "Jane"),
        ({"first": "Jane"}, "Jane"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_name(name: object, expected: str | None) -> None:
    assert person_of(email="jane@example.com", first_name=name) == ("jane@example.com", None, expected, None)


def test_a_person_shows_nothing_personal() -> None:
    target = target_of(submission("token", documented("token")), PRESETS, None)
    for shown in (repr(target), str(target), f"{target.person}", repr([target.person]), repr({"p": target.person})):
        assert not any(value in shown for value in JANE)


@pytest.mark.parametrize(
    "change",
    [
        {"email": "not-an-address", "phone": "none"},
        {"email": "", "phone": "", "contact_id": "not an id"},
        {"location_id": "bad\nplace"},
    ],
)
def test_what_the_caller_is_answered_holds_no_value_of_the_body(change: dict[str, str]) -> None:
    with pytest.raises(InvalidError) as error:
        target_of(submission("token", documented("token") | change), PRESETS, None)
    shown = f"{error.value.detail} {error.value.explanation}"
    assert not any(value in shown for value in (*change.values(), *JANE) if value)


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["a b", "é", "xy" * 33, 1, 0, True, False, [], ["c1"], {"id": "c1"}, "../c1", "c1?x=y", "\u0661"]
)
@pytest.mark.parametrize("member", ["contact_id", "location_id"])
def test_a_malformed_id_is_invalid_where_nothing_else_names_the_contact(member: str, value: object) -> None:
    payload = documented("token") | {"email": "", "phone": ""} | {member: value}
    with pytest.raises(InvalidError) as error:
        target_of(submission("token", payload), PRESETS, None)
    assert reason(error) == "invalid_body"


@pytest.mark.parametrize("value", ["a b", 1, ["c1"], "../c1", "undefined", "{{contact.id}}", "xxxxx", "null", "", None])
def test_an_unusable_contact_id_falls_back_to_the_email(value: object) -> None:
    target = target_of(submission("token", documented("token") | {"contact_id": value}), PRESETS, None)
    assert (target.contact, known(target.person)) == (None, JANE)
    was_dropped = any(each.startswith("contactId || contact_id: ") for each in target.explanation.dropped)
    assert was_dropped == (value is not None)


@pytest.mark.parametrize(
    "value",
    [
        *("undefined", "{{location.id}}", "xxxxx", "NULL", " ", "[id]", "<id>", "%ID%"),
        *("#location_id#", "*|LOCATION|*", "@location.id", '"undefined"', "Location ID", "location.id"),
        *("__location_id__", "\u00ablocation\u00bb", "n.a.", "(none)", "(not set)", "Not set"),
    ],
)
def test_a_leftover_location_falls_back_to_the_default(value: str) -> None:
    payload = documented("token") | {"location_id": value}
    target = target_of(submission("token", payload), PRESETS, LOCATION)
    assert target.location == LOCATION
    assert "locationId || location_id: leftover" in target.explanation.dropped


@pytest.mark.parametrize("value", ["*", "a b", 0, 5, ["undefined"], {"id": ""}])
def test_any_other_location_does_not(value: object) -> None:
    payload = documented("token") | {"location_id": value}
    with pytest.raises(SubmissionError):
        target_of(submission("token", payload), PRESETS, LOCATION)


@pytest.mark.parametrize("value", ["undefined", "{{contact.id}}", "", "xxxxx"])
def test_a_caller_of_post_conversations_names_ids_only(value: str) -> None:
    body = {"locationId": LOCATION, "contactId": value, "email": "jane@example.com"}
    if value in ("undefined", "xxxxx"):
        assert target_of(submission("api", body), PRESETS, None) == Target(LOCATION, value)
        return
    with pytest.raises(InvalidError) as error:
        target_of(submission("api", body), PRESETS, None)
    assert reason(error) == "invalid_body"


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_id_of_a_form_is_none(nothing: str | None) -> None:
    payload = documented("token") | {"contact_id": nothing, "location_id": nothing}
    target = target_of(submission("token", payload), PRESETS, OTHER)
    assert (target.location, known(target.person)) == (OTHER, JANE)


@pytest.mark.parametrize("member", ["locationId", "contactId"])
def test_an_empty_id_of_a_caller_is_invalid(member: str) -> None:
    with pytest.raises(InvalidError) as error:
        target_of(submission("api", documented("api") | {member: ""}), PRESETS, LOCATION)
    assert reason(error) == "invalid_body"


# --- the user's paths -------------------------------------------------------------------------------------------------


PATHS = [
    "floor(a)",
    "ceil(a)",
    "abs(a)",
    "avg(a)",
    "sum(a)",
    "max(a)",
    "sort(a)",
    "length(a)",
    "join('',a)",
    "keys(a)",
    "to_number(a)",
    "to_string(a)",
    "values(a)",
    "starts_with(a,'x')",
    "contains(a,'x')",
    "a[::2]",
    "map(&x,a)",
    "sort_by(a,&x)",
    "max_by(a,&x)",
    "merge(a,a)",
    "reverse(a)",
    "a[*].b[]",
    "a[?x>`1`].x",
    "a==b",
    "type(a)",
    "a.b.c",
    "a[0]",
    "*",
    "@",
]
VALUES = (
    *(b"1e999", b"-1e999", b"NaN", b"[1e308, 1e308]", b"[1" + b"0" * 400 + b"]", b"[" + b"9" * 4300 + b", 9]"),
    *(b"null", b'"text"', b"[]", b'["x", 1, null]', b"{}", b'[{"x": 1}, {"x": "y"}, {}]', b'"\\ud800"', b"true"),
    b"[" * 5000 + b"]" * 5000,
)


@functools.cache
def senders_with(**keys: str) -> dict[str, Sender]:
    """The presets, and the sender `own` with these keys."""
    with tempfile.TemporaryDirectory() as folder:
        return make_senders(Path(folder), own=OWN | keys)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:12].decode())
def test_a_path_that_does_not_fit_the_value_finds_nothing(path: str, value: bytes) -> None:
    body = b'{"email": "jane@example.com", "a": ' + value + b', "b": [[[1]]]}'
    senders = senders_with(phone=path, first_name=path, id=f"json:{path}")
    target = target_of(submission("own", body), senders, LOCATION)
    assert target.person
    assert target.person.email == "jane@example.com"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:12].decode())
def test_whatever_a_path_finds_the_outcome_is_one_in_the_code(path: str, value: bytes) -> None:
    sent = submission("own", b'{"email": "jane@example.com", "a": ' + value + b"}")
    with suppress(IgnoredError, InvalidError, RejectedError):
        target_of(sent, senders_with(when=path, contact_id=path, location_id=path), LOCATION)


# --- forms ------------------------------------------------------------------------------------------------------------


def form(fields: list[tuple[str, str]] | bytes) -> Submission:
    return submission("own", fields if isinstance(fields, bytes) else urlencode(fields).encode(), FORM)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("email", "email"),
        ('"your-email"', "your-email"),
        ('"fields[email]"', "fields[email]"),
        ('"form.email"', "form.email"),
        ('"E-Mail-Adresse (geschäftlich)"', "E-Mail-Adresse (geschäftlich)"),
        ('"1.3"', "1.3"),
        ('"1.3" || "2"', "2"),
        ("email || mail", "mail"),
    ],
)
def test_a_forms_field_is_found_by_its_name(path: str, name: str, tmp_path: Path) -> None:
    own = make_senders(tmp_path, own=OWN | {"email": path})
    target = target_of(form([("x", "y"), (name, "jane@example.com")]), own, LOCATION)
    assert known(target.person) == ("jane@example.com", None, None, None)


def test_a_field_that_comes_several_times_is_a_list(tmp_path: Path) -> None:
    fields = [("email", "jane@example.com"), ("email", "joe@example.com"), ("email", ""), ("tag", "a"), ("empty", "")]
    assert payload_of(form(fields)) == {
        "email": ["jane@example.com", "joe@example.com", ""],
        "tag": "a",
        "empty": "",
    }
    own = make_senders(tmp_path, own=OWN | {"email": "email[0] || email"})
    assert known(target_of(form(fields), own, LOCATION).person) == ("jane@example.com", None, None, None)
    assert known(target_of(form(fields[:1]), own, LOCATION).person) == ("jane@example.com", None, None, None)


@pytest.mark.parametrize("raw", [b"", b"&", b"=", b"&&==&=&%", b"%zz=%", b"a" * 1000, b"%00=%00", b"\xc3\xa9=%ff"])
def test_a_strange_form_is_a_form_without_a_contact(raw: bytes) -> None:
    with pytest.raises(InvalidError) as error:
        target_of(replace(form(raw), sender="token"), PRESETS, LOCATION)
    assert reason(error) == "no_contact"


def test_post_conversations_takes_no_form() -> None:
    sent = submission("api", f"locationId={LOCATION}&contactId={CONTACT}".encode(), FORM)
    with pytest.raises(InvalidError) as error:
        target_of(sent, PRESETS, None)
    assert reason(error) == "unsupported_media_type"


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_of_just_the_limit_is_read() -> None:
    assert payload_of(submission("token", b"{}".ljust(MAX_BODY_BYTES))) == {}
    with pytest.raises(InvalidError) as error:
        payload_of(submission("token", b"{}".ljust(MAX_BODY_BYTES + 1)))
    assert reason(error) == "body_too_large"


@pytest.mark.parametrize("body", [[], [{}], "text", 1, None, True])
@pytest.mark.parametrize("name", ["api", "token", "event"])
def test_a_body_that_is_not_an_object_is_invalid(name: str, body: object) -> None:
    with pytest.raises(InvalidError) as error:
        target_of(submission(name, body), PRESETS, LOCATION)
    assert reason(error) == "invalid_body"


def test_deep_nesting_and_lone_surrogates_harm_nothing() -> None:
    deep = b'{"email": "jane@example.com", "x": ' + b"[" * 5000 + b"]" * 5000 + b', "first_name": "\\ud83dJane"}'
    target = target_of(submission("token", deep), PRESETS, LOCATION)
    assert known(target.person) == ("jane@example.com", None, "Jane", None)


def test_a_sender_that_senders_toml_no_longer_has_is_rejected() -> None:
    with pytest.raises(RejectedError) as error:
        target_of(submission("removed", documented("token")), PRESETS, LOCATION)
    assert reason(error) == "unknown_sender"


# --- locations --------------------------------------------------------------------------------------------------------

REFUSED, UNNAMED = "location_not_allowed", "no_location"


@pytest.mark.parametrize(
    ("own", "default", "named", "expected"),
    [
        (None, None, LOCATION, REFUSED),
        (None, None, None, UNNAMED),
        (None, LOCATION, None, LOCATION),
        (None, LOCATION, LOCATION, LOCATION),
        (None, LOCATION, OTHER, REFUSED),
        (["*"], LOCATION, OTHER, OTHER),
        (["*"], LOCATION, None, LOCATION),
        (["*"], None, OTHER, OTHER),
        (["*"], None, None, UNNAMED),
        ([OTHER], LOCATION, None, OTHER),
        ([OTHER], LOCATION, OTHER, OTHER),
        ([OTHER], LOCATION, LOCATION, REFUSED),
        ([OTHER], None, LOCATION, REFUSED),
        ([LOCATION, OTHER], None, OTHER, OTHER),
        ([LOCATION, OTHER], None, None, UNNAMED),
        ([LOCATION, OTHER], None, "a-third", REFUSED),
        ([LOCATION, OTHER], LOCATION, None, LOCATION),
        ([LOCATION, OTHER], "a-third", None, REFUSED),
        ([LOCATION, OTHER], "a-third", "a-third", REFUSED),
        ([OTHER], None, OTHER.lower(), REFUSED),
        ([OTHER], None, "*", "invalid_body"),
    ],
)
def test_location(own: list[str] | None, default: str | None, named: str | None, expected: str, tmp_path: Path) -> None:
    entry = OWN | {"location_id": "location"} | ({"locations": own} if own else {})
    sent = submission("own", {"email": "jane@example.com", "location": named})
    own_senders = make_senders(tmp_path, own=entry)
    if expected not in (REFUSED, UNNAMED, "invalid_body"):
        assert target_of(sent, own_senders, default).location == expected
        return
    with pytest.raises(RejectedError if expected == REFUSED else InvalidError) as error:
        target_of(sent, own_senders, default)
    assert error.value.reason == expected


# --- deliveries -------------------------------------------------------------------------------------------------------


def delivery(sent: Submission, known_senders: Mapping[str, Sender]) -> str:
    return target_of(sent, known_senders, LOCATION).delivery


def test_the_header_names_a_delivery_before_the_body_does(tmp_path: Path) -> None:
    own = make_senders(tmp_path, own=OWN | {"id": "json:meta.id"}, other=OWN | {"id": "json:meta.id"})
    body = {"email": "jane@example.com", "meta": {"id": 42}}
    assert delivery(submission("own", body), own) == f"own#{LOCATION}#42"
    assert delivery(submission("own", body, delivery_id="msg_1"), own) == f"own#{LOCATION}#msg_1"
    assert delivery(submission("other", body), own) == f"other#{LOCATION}#42", (
        "ids of two senders have nothing to do with each other"
    )


def test_one_delivery_may_concern_two_locations(tmp_path: Path) -> None:
    own = make_senders(tmp_path, own=OWN | {"id": "json:id", "location_id": "location", "locations": ["*"]})
    body = {"email": "jane@example.com", "id": "d1", "location": LOCATION}
    here = target_of(submission("own", body), own, None)
    there = target_of(submission("own", body | {"location": OTHER}), own, None)
    assert here.delivery != there.delivery


@pytest.mark.parametrize("given", [None, "", True, 1.5, [], {}, "a b", "é", "x" * 129, "a\n", "\ud800"])
def test_without_a_usable_id_the_body_names_deliveries_apart(given: object, tmp_path: Path) -> None:
    own = make_senders(tmp_path, own=OWN | {"id": "json:id"})
    sent = submission("own", {"email": "jane@example.com", "id": given})
    assert delivery(sent, own) == f"own#{LOCATION}#{hashlib.sha256(sent.body).hexdigest()}"
    assert delivery(replace(sent, body=sent.body + b" "), own) != delivery(sent, own)
    assert delivery(replace(sent, request_id="another", received_at=0.0), own) == delivery(sent, own)


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_event_is_mapped_by_the_entry_that_fits_best(tmp_path: Path) -> None:
    entry = {"scheme": "event", "location_id": "detail.place"}
    own = make_senders(
        tmp_path,
        by_type=entry | {"detail_type": "lead.created", "contact_id": "detail.byType"},
        by_both=entry | {"source": "crm", "detail_type": "lead.created", "contact_id": "detail.byBoth"},
        by_source=entry | {"source": "crm", "contact_id": "detail.bySource"},
    )
    for source, detail_type, expected in (
        ("crm", "lead.created", "by-both"),
        ("crm", "other", "by-source"),
        ("shop", "lead.created", "by-type"),
        ("shop", "other", "event"),
        (None, None, "event"),
        (["crm"], {"a": 1}, "event"),
        ("", "", "event"),
    ):
        assert of_event(own, source, detail_type).name == expected
    without = {name: sender for name, sender in own.items() if name != "by-both"}
    assert of_event(without, "crm", "lead.created").name == "by-source"
    detail = {"place": LOCATION, "byBoth": "c1", "bySource": "c2", "byType": "c3"}
    event = {"source": "crm", "detail-type": "lead.created", "detail": detail}
    assert target_of(Submission.from_event(event), own, None) == Target(LOCATION, "c1")
    person = {"source": "shop", "detail-type": "x", "detail": {"email": "jane@example.com"}}
    assert target_of(Submission.from_event(person), own, LOCATION).delivery.startswith("event#")


def test_an_event_may_hold_a_lone_surrogate() -> None:
    event = documented("event")
    event["detail"] |= {"firstName": "\ud83dJane", "contactId": CONTACT}
    target = target_of(Submission.from_event(event), PRESETS, None)
    assert (target.location, target.contact, target.is_unverified) == (LOCATION, CONTACT, False)


def test_the_words_of_all_languages_are_loaded_only_for_a_person() -> None:
    """In a process of its own: callers of POST /conversations name ids."""
    code = """
import sys
from create_conversation.senders.config import load
from create_conversation.senders.mapping import target_of
from create_conversation.submission import Submission
def map_(sender, trigger, body):
    target_of(Submission(trigger, sender, "r", 0.0, "application/json", body), load(), "loc1")
    return "create_conversation.senders.label_words" in sys.modules
print(map_("api", "http", b'{"contactId": "c1x"}'), map_("token", "webhook", b'{"email": "a@example.com"}'))
"""
    environment = {"PYTHONPATH": str(FUNCTIONS)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "False True\n"
