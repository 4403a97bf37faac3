"""Senders of the user's own on the page of `make serve`: without a sample file they have a body to send or replace."""

import json
import time
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from create_conversation.senders.config import Sender, load
from create_conversation.senders.verification import Request, is_authentic, secrets_for
from local.page.samples import Sample, SampleError, Samples
from local.run import LOCATION

TOKEN = 'scheme = "token"\nwhere = ["query:key"]\n'
MAC = 'scheme = "mac"\nsig_header = "x-signature"\nencoding = "hex"\nsigned = "{body}"\n'
ENTRIES = {
    "nested": TOKEN + 'email = "contact.mail"\nphone = "contact.mobile"\nfirst_name = "contact.first"',
    "a form's name": TOKEN + "email = '\"your-email\"'\nphone = 'tel'",
    "either of two": TOKEN + 'email = "email || contact.mail"',
    "a list of fields": TOKEN
    + "email = \"fields[?key == 'mail'].value | [0]\"\nphone = \"fields[?key == 'tel'].value | [0]\"",
    "an element": TOKEN + 'email = "people[0].mail"\nphone = "people[0].tel"',
    "a condition": TOKEN + "when = \"kind == 'signup' && form.is_live\"\nemail = 'mail'",
    "one of two conditions": TOKEN + "when = \"type == 'lead' || type == 'order'\"\nemail = 'mail'",
    "no path": TOKEN + 'format = "flat"',
    "a computed path": TOKEN + "email = \"values(@)[?type(@) == 'string' && contains(@, '@')] | [0]\"",
    "one path in another": TOKEN + 'email = "contact"\nphone = "contact.tel"',
    "a contact id": TOKEN + 'contact_id = "crm.contact"',
    "a location": TOKEN + 'email = "mail"\nlocation_id = "site.location"\nlocations = ["berlin", "vienna"]',
    "a secret in the body": 'scheme = "token"\nwhere = ["body:key"]\nemail = "mail"',
    "a preset's format": TOKEN + 'format = "typeform"',
    "a form's format": TOKEN + 'format = "elementor"',
    "a signature": MAC + 'email = "customer.email"',
    "a signature with an id": MAC.replace("{body}", "{id}.{body}") + 'id = "header:x-id"\nemail = "mail"',
}


def senders(folder: Path, entry: str) -> dict[str, Sender]:
    (folder / "senders.toml").write_text(f"[our-site]\n{entry}\n")
    return load(folder)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_body_of_the_entry_is_authentic_and_names_a_contact(entry: str, tmp_path: Path) -> None:
    known = senders(tmp_path, entry)
    samples = Samples(known, LOCATION)
    stored = json.dumps(samples.missing_secrets("{}"))
    sample = samples.original("our-site")
    headers, query, body = samples.signed("our-site", sample, stored, "right")
    assert is_authentic(known["our-site"], Request(headers, query, body), secrets_for(stored, "our-site"), time.time())
    target = samples.target("our-site", sample.text)
    assert target
    assert target.location == ("berlin" if "berlin" in entry else LOCATION)
    assert target.contact or (target.person and (target.person.email or target.person.phone))
    another = samples.target("our-site", samples.fresh("our-site", sample).text)
    assert another
    assert (another.contact, another.person) != (target.contact, target.person)


@pytest.mark.parametrize(
    ("text", "content_type", "sent"),
    [
        pytest.param('{"mail": "a@example.com"}', "application/json", '{"mail": "a@example.com"}', id="JSON"),
        pytest.param(' \n[{"mail": "a@example.com"}]', "application/json", None, id="an array"),
        pytest.param('{"mail": ', "application/json", None, id="half a body"),
        pytest.param("", "application/json", None, id="nothing"),
        pytest.param(
            "mail=a%40example.com&name=J\n",
            "application/x-www-form-urlencoded",
            "mail=a%40example.com&name=J",
            id="a form with a line break after it",
        ),
        pytest.param(
            '--x1\nContent-Disposition: form-data; name="mail"\n\na@example.com\n--x1--\n',
            "multipart/form-data; boundary=x1",
            '--x1\r\nContent-Disposition: form-data; name="mail"\r\n\r\na@example.com\r\n--x1--\r\n',
            id="multipart",
        ),
    ],
)
def test_pasted_body_is_sent_as_what_it_is(text: str, content_type: str, sent: str | None, tmp_path: Path) -> None:
    samples = Samples(senders(tmp_path, TOKEN + "email = 'mail'"), LOCATION)
    headers, _query, body = samples.signed("our-site", Sample(text), '{"our-site": "secret"}', "right")
    assert headers["content-type"] == content_type
    assert body.decode() == (text if sent is None else sent)
    target = samples.target("our-site", text)
    assert (target is not None) == (sent is not None)


def test_person_of_a_pasted_form_can_be_changed(tmp_path: Path) -> None:
    samples = Samples(senders(tmp_path, TOKEN + "email = 'mail'"), LOCATION)
    text = samples.fresh("our-site", Sample("mail=a%40example.com&note=hello")).text
    fields = dict(parse_qsl(text))
    assert fields["note"] == "hello"
    assert fields["mail"].endswith("@example.com")
    assert fields["mail"] != "a@example.com"


def test_own_senders_are_marked_and_have_a_secret(tmp_path: Path) -> None:
    samples = Samples(senders(tmp_path, TOKEN + "email = 'mail'"), LOCATION)
    listed = {each["name"]: each for each in samples.listed()}
    assert [name for name, each in listed.items() if each["own"]] == ["our-site"]
    assert listed["our-site"]["where"] == "POST /webhooks/our-site"
    secrets = samples.missing_secrets("{}")
    closed = {name for name, each in listed.items() if each["note"] or each["trigger"] == "event"}
    assert secrets.keys() == listed.keys() - closed
    assert closed == {"event", "highlevel-app"}


def test_own_events_have_their_source_and_detail_type(tmp_path: Path) -> None:
    entry = 'scheme = "event"\nsource = "my.shop"\nemail = "detail.customer.email"'
    samples = Samples(senders(tmp_path, entry), LOCATION)
    [listed] = [each for each in samples.listed() if each["own"]]
    assert (listed["trigger"], listed["note"]) == ("event", "")
    sample = samples.original("our-site")
    event = samples.event("our-site", sample.text)
    assert event == {
        "source": "my.shop",
        "detail_type": "ConversationRequested",
        "detail": {"customer": {"email": "jane@example.com"}},
    }
    target = samples.target("our-site", sample.text)
    assert target
    assert target.person
    samples = Samples(senders(tmp_path, f'{entry}\ndetail_type = "OrderPlaced"'), LOCATION)
    [listed] = [each for each in samples.listed() if each["own"]]
    assert "ConversationRequested only" in listed["note"]


@pytest.mark.parametrize(("text", "place"), [("{\n  oops", "Line 2, column 3"), ("", "Line 1, column 1")])
def test_error_in_an_event_names_line_and_column(text: str, place: str, tmp_path: Path) -> None:
    samples = Samples(senders(tmp_path, TOKEN + "email = 'mail'"), LOCATION)
    with pytest.raises(SampleError, match=place):
        samples.event("event", text)
