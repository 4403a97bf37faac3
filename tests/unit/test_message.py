"""The text that a submission becomes: what people read of it, and what no visitor can make of it."""

import json
import random
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from create_conversation.senders.answers import FORMATS
from create_conversation.senders.config import JmesPath, Sender
from create_conversation.senders.message import (
    FILE_NOT_SHOWN,
    MAX_CHARACTERS,
    NOT_SHOWN,
    own_write,
    render_message,
)
from create_conversation.senders.message_lines import is_private, shown_label
from create_conversation.senders.redaction import without_secrets
from create_conversation.senders.verification import Request
from tests.factories import CONTACT, LOCATION
from tests.messages import REFERENCE, deliveries, expected, payload_of, samples, texts
from tests.samples import SENDERS, Sent, secret_of

EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=300)
TOKEN = SENDERS["token"]
TEXTS = texts()


def text_of(payload: Any, sender: str = "token", reference: str = "", **changes: Any) -> str:
    return render_message(replace(SENDERS[sender], **changes), payload, reference=reference)


def with_path(expression: str, sender: str = "token") -> Sender:
    entry = SENDERS[sender]
    return replace(entry, message=expression, paths=entry.paths | {"message": JmesPath(expression)})


# --- what people read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_payload_becomes_the_text_of_the_file(name: str) -> None:
    assert TEXTS[name] == expected()[name]


def test_each_text_of_the_file_is_of_a_payload() -> None:
    assert TEXTS.keys() == expected().keys()
    assert len(TEXTS) > 250


@pytest.mark.parametrize(
    ("sender", "payload", "lines"),
    [
        (
            "typeform",
            {
                "form_response": {
                    "definition": {
                        "title": "Quote",
                        "fields": [
                            {"id": "1", "title": "Which *services*?", "type": "multiple_choice"},
                            {"id": "2", "title": "Plan", "type": "file_upload"},
                            {"id": "3", "title": "Insured?", "type": "yes_no"},
                            {"id": "4", "title": "When", "type": "date"},
                        ],
                    },
                    "answers": [
                        {"type": "choices", "choices": {"labels": ["Roof", "Gutter"]}, "field": {"id": "1"}},
                        {"type": "file_url", "file_url": "https://f.example/p.pdf", "field": {"id": "2"}},
                        {"type": "boolean", "boolean": False, "field": {"id": "3"}},
                        {"type": "date", "date": "2026-12-01", "field": {"id": "4"}},
                    ],
                }
            },
            [
                "Typeform: Quote",
                "Which *services*?: Roof, Gutter",
                "Plan: https://f.example/p.pdf",
                "Insured?: no",
                "When: 2026-12-01",
            ],
        ),
        (
            "jotform",
            {
                "formTitle": "Booking",
                "pretty": "Your name:Ana Lind, How many guests?:4",
                "rawRequest": '{"q3_yourName": {"last": "Lind", "first": "Ana"}, "q4_howMany": "4"}',
            },
            ["Jotform: Booking", "Your name: Ana Lind", "How many guests?: 4"],
        ),
        (
            "gravity-forms",
            {"id": "7", "form_id": "2", "Your Name": "Ana", "Postcode": "SW1", "ip": "203.0.113.1", "user_agent": "M"},
            ["Gravity Forms", "Your Name: Ana", "Postcode: SW1"],
        ),
        (
            "shopify",
            {
                "id": 820982911946154508,
                "name": "#1001",
                "currency": "EUR",
                "total_price": "57.50",
                "total_tax": "9.18",
                "total_discounts": "5.00",
                "discount_codes": [{"code": "WELCOME", "amount": "5.00"}],
                "line_items": [
                    {
                        "name": "Mug - Red",
                        "quantity": 2,
                        "price": "24.00",
                        "properties": [{"name": "Engraving", "value": "Ana"}, {"name": "_sku", "value": "X"}],
                    },
                    {"title": "Card", "quantity": 1, "price": "9.50"},
                ],
                "shipping_lines": [{"title": "Standard"}],
                "financial_status": "paid",
                "customer": {"first_name": "Ana", "last_name": "Lind", "email": "ana@example.com"},
                "shipping_address": {"first_name": "Ana", "last_name": "Lind", "address1": "Oak St 1", "zip": "1010"},
                "note": "Call twice",
                "note_attributes": [{"name": "Gift wrap", "value": "yes"}, {"name": "location_id", "value": "x1"}],
            },
            [
                "Shopify: Order",
                "Order: #1001",
                "Items: 2 \u00d7 Mug - Red (Engraving: Ana), 24.00 EUR each",
                "    1 \u00d7 Card, 9.50 EUR",
                "Discount: 5.00 EUR, WELCOME",
                "Shipping: Standard",
                "Tax: 9.18 EUR",
                "Total: 57.50 EUR",
                "Payment: paid",
                "Name: Ana Lind",
                "Email: ana@example.com",
                "Ship to: Ana Lind, Oak St 1, 1010",
                "Note: Call twice",
                "Gift wrap: yes",
            ],
        ),
        (
            "stripe",
            {
                "type": "checkout.session.completed",
                "data": {
                    "object": {
                        "id": "cs_1",
                        "amount_total": 5850,
                        "currency": "eur",
                        "line_items": {
                            "data": [{"description": "Course", "quantity": 1, "amount_total": 5850, "currency": "eur"}]
                        },
                        "total_details": {"amount_discount": 500, "amount_tax": 0},
                        "payment_status": "paid",
                        "customer_details": {"email": "ana@example.com", "name": "Ana Lind"},
                        "custom_fields": [
                            {
                                "key": "size",
                                "label": {"custom": "T-shirt size", "type": "custom"},
                                "type": "dropdown",
                                "dropdown": {"value": "m", "options": [{"label": "Medium", "value": "m"}]},
                            },
                            {"key": "n", "label": {"custom": "Team"}, "type": "text", "text": {"value": "Blue"}},
                        ],
                        "metadata": {"location_id": "x", "course_date": "2026-12-01"},
                    }
                },
            },
            [
                "Stripe: Checkout session completed",
                "Amount: 58.50 EUR",
                "Items: 1 \u00d7 Course, 58.50 EUR",
                "Discount: 5.00 EUR",
                "Payment: paid",
                "Name: Ana Lind",
                "Email: ana@example.com",
                "T-shirt size: Medium",
                "Team: Blue",
                "Course date: 2026-12-01",
            ],
        ),
        (
            "woocommerce",
            {
                "number": "801",
                "status": "processing",
                "currency": "GBP",
                "total": "30.00",
                "shipping_total": "5.00",
                "discount_total": "0.00",
                "customer_note": "Leave it behind the fence",
                "payment_method_title": "Card",
                "billing": {"first_name": "Ana", "last_name": "Lind", "email": "ana@example.com"},
                "line_items": [
                    {
                        "name": "Tee",
                        "quantity": 1,
                        "total": "25.00",
                        "meta_data": [{"display_key": "Size", "display_value": "M"}, {"key": "_x", "value": "y"}],
                    }
                ],
                "meta_data": [{"key": "_gift", "value": "1"}, {"key": "Delivery date", "value": "Monday"}],
            },
            [
                "WooCommerce: Order",
                "Order: 801",
                "Items: 1 \u00d7 Tee (Size: M), 25.00 GBP",
                "Shipping: 5.00 GBP",
                "Total: 30.00 GBP",
                "Payment: Card",
                "Status: processing",
                "Name: Ana Lind",
                "Email: ana@example.com",
                "Note: Leave it behind the fence",
                "Delivery date: Monday",
            ],
        ),
        (
            "token",
            {
                "first_name": "Ana",
                "howManyRooms": 3,
                "contact.email": "ana@example.com",
                "E-Mail": "b@example.com",
                "agreed": True,
                "files": ["https://f.example/1", "https://f.example/2"],
                "member_id": "4711",
            },
            [
                "Webhook",
                "First name: Ana",
                "How many rooms: 3",
                "Contact email: ana@example.com",
                "E-Mail: b@example.com",
                "Agreed: yes",
                "Files: https://f.example/1, https://f.example/2",
                "Member id: 4711",
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_message_is_the_form_and_its_answers(sender: str, payload: dict[str, Any], lines: list[str]) -> None:
    assert text_of(payload, sender).splitlines() == lines


@pytest.mark.parametrize(
    ("sender", "payload", "lines"),
    [
        ("token", {"a.city": "Graz", "a.zip": "8010", "a": {"street": "Oak St 1", "city": "Linz"}}, 4),
        ("token", {"when": {"day": "22", "month": "11", "year": "2026"}}, ["When: 2026-11-22"]),
        (
            "token",
            {"files": '["https://f.example/1","https://f.example/2"]'},
            ["Files: https://f.example/1, https://f.example/2"],
        ),
        ("token", {"note": '["not a list"'}, ['Note: ["not a list"']),
        (
            "token",
            {
                "plans": [
                    {"name": "a.pdf", "url": "https://f.example/1"},
                    {"url": "https://f.example/2", "name": "b.pdf"},
                ]
            },
            ["Plans 1: https://f.example/1 (a.pdf)", "Plans 2: https://f.example/2 (b.pdf)"],
        ),
        ("elementor", {"Name": "Ana", "Date": "1 May", "Time": "10:00"}, ["Name: Ana", "Date: 1 May", "Time: 10:00"]),
        ("elementor", {"Date": "1 May", "Time": "9", "Page URL": "u", "Remote IP": "203.0.113.9"}, ["Page URL: u"]),
        (
            "jotform",
            {
                "pretty": "Address:Oak St 1, Graz, Comments, please:Call twice, Rooms:2",
                "rawRequest": '{"q1_address": {"addr_line1": "Oak St 1", "city": "Graz"}, "q2_rooms": "2"}',
            },
            ["Address: Oak St 1, Graz", "Rooms: 2"],
        ),
        (
            "tally",
            {
                "data": {
                    "fields": [
                        {
                            "label": "How often?",
                            "type": "MATRIX",
                            "value": {"r1": ["c1", "c2"], "r2": []},
                            "rows": [{"id": "r1", "text": "Roof"}, {"id": "r2", "text": "Gutter"}],
                            "columns": [{"id": "c1", "text": "Yearly"}, {"id": "c2", "text": "Monthly"}],
                        }
                    ]
                }
            },
            ["How often?: Roof: Yearly, Monthly", "    Gutter:"],
        ),
    ],
)
def test_parts_of_an_answer_are_joined(sender: str, payload: dict[str, Any], lines: list[str] | int) -> None:
    shown = text_of(payload, sender).splitlines()[1:]
    assert (len(shown) if isinstance(lines, int) else shown) == lines


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (4900, "usd", "49.00 USD"),
        (4900, "jpy", "4900 JPY"),
        (4900, "kwd", "4.900 KWD"),
        (5, "eur", "0.05 EUR"),
        (0, "eur", "0.00 EUR"),
        (-150, "eur", "-1.50 EUR"),
        (500, "isk", "5.00 ISK"),
        (4900, None, "49.00"),
    ],
)
def test_an_amount_of_stripe_has_its_currency_s_digits(amount: int, currency: str | None, shown: str) -> None:
    payload = {"type": "x.y", "data": {"object": {"amount_total": amount, "currency": currency}}}
    assert f"Amount: {shown}" in text_of(payload, "stripe").splitlines()


def test_a_form_of_no_answers_shows_its_name_only() -> None:
    assert text_of({"form_response": {"definition": {"title": "Poll"}, "answers": []}}, "typeform") == "Typeform: Poll"
    assert text_of({"locationId": "ve9EPM428h8vShlRW1KT", "contactId": "Vd8LrTq0NfKxZ5hJ2wYe"}) == ""
    assert text_of({"detail-type": "X", "detail": {"contactId": "Vd8LrTq0NfKxZ5hJ2wYe"}}, "event") == ""


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("your-message", "Your message"),
        ("firstName", "First name"),
        ("FULL_NAME", "Full name"),
        ("names.first_name", "Names first name"),
        ("data.fields.email", "Email"),
        ("billing.city", "Billing city"),
        ("utm_source", "UTM source"),
        ("what_is_your_budget?", "What is your budget?"),
        ("HowCanWeHelp", "How can we help"),
        ("E-Mail-Adresse", "E-Mail-Adresse"),
        ("e-mail", "E-mail"),
        ("WhatsApp", "WhatsApp"),
        ("Email-3", "Email-3"),
        ("items[0].name", "Items 1 name"),
        ("4.3", "Field 4.3"),
        ("What is it? (e.g. roof)", "What is it? (e.g. roof)"),
        ("Straße", "Straße"),
    ],
)
def test_a_member_s_name_is_written_as_words(label: str, shown: str) -> None:
    assert shown_label(label) == shown


# --- what is left out -------------------------------------------------------------------------------------------------

PRIVATE = [
    *("payment.card.exp", "card_exp_month"),
    *("Password", "Passwort", "Mot de passe", "Contraseña", "Wachtwoord", "Hasło", "Şifre", "Пароль", "パスワード"),
    *(
        "密码",
        "비밀번호",
        "סיסמה",
        "كلمة المرور",
        "passwd",
        "userPassword",
        "user_pass",
        "pass1",
        "new_password",
        "Confirm password *",
    ),
    *("Credit card number", "card_number", "cardNumber", "Kartennummer", "Numéro de carte", "Número de tarjeta"),
    *("Kreditkartennummer", "クレジットカード番号", "信用卡号", "카드번호", "Numero di carta"),
    *("CVC", "CVV2", "cvc_code", "Security code", "Prüfziffer", "Código de seguridad", "PIN"),
    *("cc_ccv", "cc_exp_month", "Kartennr.", "Carte bleue", "NRIC number", "Seguro social", "NI number"),
    *("SSN", "Please enter your SSN:", "Social Security Number", "Last 4 of SSN", "Sozialversicherungsnummer", "DNI"),
    *("Numéro de sécurité sociale", "CPF", "Codice fiscale", "BSN", "PESEL", "Personnummer", "Rodné číslo"),
    *("TC Kimlik No", "СНИЛС", "Номер паспорта", "マイナンバー", "身份证号码", "주민등록번호", "תעודת זהות"),
    *("رقم الهوية", "Aadhaar number", "National ID", "national_id", "Passport number", "IBAN", "Personalausweisnummer"),
    f"A visitor asks a question that is much longer than the name of any field, {'and then goes on ' * 9}your password",
]
NOT_PRIVATE = [
    *("Pass type", "Season pass", "Card experience"),
    *("Name", "Email", "Zip / PIN code", "Pin code", "Gift card?", "Business card design", "Ile dni?", "Order number"),
    *("Company number", "How did you pass the time?", "Security system installed?", "Social media", "Insurance number"),
    *("Personal message", "Passions", "Number of cards", "Sin fecha", "Card design", "Cvičení", "so that we can help"),
    *("Preferred PINstripe", "Nationality", "ID of your listing", "Passenger name", "Parole chiave"),
]


@pytest.mark.parametrize("label", PRIVATE)
def test_a_private_answer_is_not_shown(label: str) -> None:
    text = text_of({"name": "Ana", label: "4111-top-secret"})
    assert "4111-top-secret" not in text
    assert NOT_SHOWN in text.splitlines()[-1]


@pytest.mark.parametrize("label", NOT_PRIVATE)
def test_a_label_that_only_sounds_private_is_shown(label: str) -> None:
    assert not is_private(label)


@pytest.mark.parametrize(
    ("sender", "payload"),
    [
        ("tally", {"data": {"fields": [{"label": "Q", "type": "PASSWORD", "value": "4111-top-secret"}]}}),
        ("paperform", {"data": [{"title": "Q", "type": "credit_card", "value": "4111-top-secret"}]}),
        ("elementor", {"fields[a][title]": "Q", "fields[a][type]": "password", "fields[a][value]": "4111-top-secret"}),
        ("shopify", {"line_items": [{"name": "A", "properties": [{"name": "PIN", "value": "4111-top-secret"}]}]}),
        ("shopify", {"note": "x", "note_attributes": [{"name": "SSN", "value": "4111-top-secret"}]}),
        (
            "stripe",
            {
                "data": {
                    "object": {
                        "custom_fields": [
                            {"label": {"custom": "National ID"}, "type": "text", "text": {"value": "4111-top-secret"}}
                        ]
                    }
                }
            },
        ),
        ("token", {"account": {"password": {"value": "4111-top-secret", "confirmed": "4111-top-secret"}}, "a": "b"}),
        ("token", {"ssn": ["4111-top-secret", "x"]}),
    ],
)
def test_a_private_type_or_place_is_not_shown(sender: str, payload: dict[str, Any]) -> None:
    assert "4111-top-secret" not in text_of(payload, sender)


def test_a_private_answer_is_not_shown_by_an_expression_that_names_its_object() -> None:
    assert (
        render_message(with_path("form"), {"form": {"Password": "hunter22", "a": "b"}})
        == f"Password: {NOT_SHOWN}\nA: b"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("form_id", "7"), ("submissionId", "f3"), ("contact_id", "Vd8LrTq0NfKxZ5hJ2wYe"), ("page_uuid", "a-b")),
        *(("ip", "203.0.113.9"), ("Remote IP", "203.0.113.9"), ("ip_address", "2001:db8::1"), ("gclid", "Cj0KC")),
        *(("created_at", "2026-11-22T14:46:07Z"), ("timestamp", "1763632800"), ("submitted_at", "2026-11-22 10:00")),
        ("object", "contact"),
        *(("User Agent", "Mozilla/5.0"), ("user_agent", "x"), ("_wpnonce", "ab"), ("g-recaptcha-response", "03A")),
    ],
)
def test_what_is_technical_is_left_out(name: str, value: str) -> None:
    assert text_of({"message": "Hello", name: value}) == "Webhook\nMessage: Hello"


@pytest.mark.parametrize(
    ("key", "expression", "payload"),
    [
        ("location_id", "site.location", {"site": {"location": LOCATION}}),
        ("location_id", "branch || 'default'", {"branch": LOCATION}),
        ("location_id", '"our-location"', {"our-location": LOCATION}),
        ("contact_id", "person.crm || crm", {"crm": CONTACT}),
    ],
)
def test_the_ids_that_an_entry_names_are_left_out(key: str, expression: str, payload: dict[str, Any]) -> None:
    paths = SENDERS["token"].paths | {key: JmesPath(expression)}
    assert text_of({"message": "Hello"} | payload, paths=paths) == "Webhook\nMessage: Hello"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Student ID", "4711"), ("member_id", "4711"), ("Date", "2026-12-01"), ("appointment_time", "10:00")),
        *(("VIP", "yes"), ("updated", "no"), ("IP rating", "67"), ("utm_source", "news"), ("Grid", "3")),
        *(
            ("event_date", "2026-12-01"),
            ("date_received", "2026-12-01"),
            ("Object", "Herengracht 1"),
            ("object", "Roof 2"),
        ),
        *(("delivery_date", "2026-12-01"), ("created_at", "a bakery"), ("page_url", "https://x.example/")),
    ],
)
def test_what_a_person_typed_is_shown(name: str, value: str) -> None:
    assert value in text_of({"message": "Hello", name: value})


@pytest.mark.parametrize("name", [name for name in SENDERS if name not in ("api", "event")])
def test_the_secret_is_in_no_message(name: str) -> None:
    secret = secret_of(name)
    if SENDERS[name].scheme == "pubkey":
        pytest.skip("its key is public")
    sent = Sent.of(name)
    place = json.dumps({"a": secret, "b": [f"https://x.example/?token={secret}"]}).encode()
    for body, content_type in ((sent.body, sent.headers["content-type"]), (place, "application/json")):
        request = Request(sent.headers | {"content-type": content_type}, sent.query, body)
        clean = without_secrets(SENDERS[name], request, (secret,))
        payload = payload_of(SENDERS[name], clean.raw, clean.content_type)
        assert secret not in text_of(payload, name, message=True)


@pytest.mark.parametrize(
    "name", [name for name, sender in SENDERS.items() if sender.strip or "body:" in str(sender.where)]
)
def test_a_member_that_is_stripped_is_not_shown(name: str) -> None:
    sender = SENDERS[name]
    members = {*sender.strip, *(place[5:] for place in sender.where if place.startswith("body:"))}
    assert "hidden-here" not in text_of(dict.fromkeys(members, "hidden-here") | {"Question": "Answer"}, name)


def test_a_file_in_the_payload_is_not_shown() -> None:
    text = text_of({"signature": "data:image/png;base64,iVBORw0KGgo=", "note": "data: see below"})
    assert text == f"Webhook\nSignature: {FILE_NOT_SHOWN}\nNote: data: see below"


# --- nothing forged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\v", "\f", "\n\n\n"])
def test_a_line_break_makes_no_question(newline: str) -> None:
    text = text_of({"message": f"Hello{newline}Email: evil@example.com", f"a{newline}b": "c"}, reference=REFERENCE)
    questions = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert questions == ["Webhook", "Message: Hello", "a b: c", REFERENCE]


@pytest.mark.parametrize(
    "typed",
    [
        *("{{contact.email}}", "{\u200b{contact.email}\u200b}", "{\u2060{x}}", "{{{x}}}", "{% if x %}", "{# x #}"),
        *("{\u200d{x}\u200d}", "{\ufe0f{x}}", "{\x00{x}}", "{\u202e{x}}"),
    ],
)
def test_no_merge_field_is_left(typed: str) -> None:
    for text in (text_of({"message": typed, typed: "x"}), render_message(SENDERS["api"], {"message": typed})):
        assert not re.search(r"\{\{|\}\}|\{%|%\}", text)


@pytest.mark.parametrize("typed", ["<script>alert(1)</script>", "<b>", "<\u200bimg src=x>", "<!--", "</p>", "<?php"])
def test_no_markup_is_left(typed: str) -> None:
    text = text_of({"message": typed, typed: "x", "form_name": typed})
    assert not re.search(r"<[A-Za-z/!?]", text)
    assert "1 < 2 <3" in text_of({"message": "1 < 2 <3"})


@pytest.mark.parametrize(
    "typed",
    [
        *(REFERENCE, REFERENCE.upper(), f"x\n\n{REFERENCE}", REFERENCE.replace(" ", "\u00a0"), "ref: 0123abcd"),
        REFERENCE.replace("ref", "r\u200bef"),
    ],
)
def test_nothing_looks_like_the_reference(typed: str) -> None:
    text = text_of({"message": typed, typed: "x"}, reference=REFERENCE)
    assert re.findall(r"(?i)\bref[\s:#]+[0-9a-f]{4}", text) == ["ref 0123"]
    assert text.endswith(f"\n{REFERENCE}")


def test_a_reference_of_another_format_is_not_copied_either() -> None:
    text = text_of({"message": "see [#k-77]"}, reference="[#k-77]")
    assert text.count("[#k-77]") == 1


@pytest.mark.parametrize(
    "invisible",
    ["\u202e", "\u200b", "\u2066", "\ufeff", "\u00ad", "\u200e", "\u200d", "\u200c", "\ufe0f", "\x07", "\U000e0041"],
)
def test_invisible_characters_are_removed(invisible: str) -> None:
    assert text_of({f"na{invisible}me": f"A{invisible}na"}).splitlines()[1].endswith(": Ana")
    assert invisible not in text_of({f"na{invisible}me": f"A{invisible}na"})


@pytest.mark.parametrize(
    "word",
    ["\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "क्\u200dष", "👩\u200d👧", "❤\ufe0f", "résumé", "İstanbul", "👍🏽"],
)
def test_letters_of_all_scripts_stay_as_they_are_typed(word: str) -> None:
    assert text_of({"message": f"{word} {word}"}) == f"Webhook\nMessage: {word} {word}"


# --- length -----------------------------------------------------------------------------------------------------------


def test_a_long_message_is_cut_visibly_and_ends_with_the_reference() -> None:
    text = text_of({"message": "word " * 3000, "last": "z" * 20}, reference=REFERENCE)
    *_, note, blank, reference = text.split("\n")
    assert (blank, reference) == ("", REFERENCE)
    left = re.fullmatch(r"… \(cut: ([\d,]+) more characters\)", note)
    assert left
    whole = len("Webhook\nMessage: ") + 15_000 + len("\nLast: ") + 20
    shown = len(text) - len(f"\n{note}\n\n{REFERENCE}")
    assert abs(int(left[1].replace(",", "")) - (whole - shown)) < 5
    assert MAX_CHARACTERS - 60 < len(text) <= MAX_CHARACTERS


def test_a_message_that_just_fits_is_not_cut() -> None:
    room = MAX_CHARACTERS - len(f"Webhook\nA: \n\n{REFERENCE}")
    assert "cut:" not in text_of({"a": "x" * room}, reference=REFERENCE)
    assert "cut: " in text_of({"a": "x" * (room + 1)}, reference=REFERENCE)


def test_a_private_answer_that_is_long_is_not_cut() -> None:
    assert text_of({"password": "x" * 20_000}) == f"Webhook\nPassword: {NOT_SHOWN}"


# --- the sender's entry -----------------------------------------------------------------------------------------------


def test_a_sender_without_messages_has_none() -> None:
    assert text_of({"message": "Hello"}, message=False) == ""
    assert not SENDERS["highlevel-app"].message
    assert not SENDERS["highlevel-workflow"].message


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("notes", "First line\nSecond: {{x}}".replace("{{x}}", "{ {x} }")),
        ("rooms", "2\n3"),
        ("items", "Name: A\nPrice: 1\nName: B\nPrice: 2"),
        ("person", "Name: Ana\nCity: Graz\n    Austria"),
        ("list", "one\ntwo\n    and more"),
        ("missing", ""),
        ("join(', ', [person.name, 'of', person.city])", "Ana, of, Graz\nAustria"),
        ("length(missing)", "Webhook"),
    ],
)
def test_an_expression_chooses_the_text(expression: str, text: str) -> None:
    payload = {
        "notes": "First line\nSecond: {{x}}",
        "rooms": [2, 3],
        "items": [{"name": "A", "price": 1}, {"name": "B", "price": 2}],
        "person": {"name": "Ana", "city": "Graz\nAustria"},
        "list": ["one", "two\nand more"],
    }
    rendered = render_message(with_path(expression), payload)
    assert rendered.startswith(text) if text == "Webhook" else rendered == text


@pytest.mark.parametrize(
    ("sender", "payload", "text"),
    [
        (
            "api",
            {"locationId": "l", "contactId": "c", "message": "  As <b>written</b>:\n\nyes  "},
            "As <b>written</b>:\n\nyes",
        ),
        ("api", {"locationId": "l", "contactId": "c"}, ""),
        ("api", {"message": 5}, ""),
        ("event", {"detail-type": "X", "detail": {"message": "Hi {{x}}", "email": "a@example.com"}}, "Hi { {x} }"),
        ("event", {"detail-type": "LeadCreated", "detail": {"name": "Ana"}}, "Event: LeadCreated\nName: Ana"),
    ],
)
def test_a_caller_s_own_text_is_written_as_it_is(sender: str, payload: dict[str, Any], text: str) -> None:
    assert text_of(payload, sender) == text


@pytest.mark.parametrize(
    ("sender", "payload", "is_own"),
    [
        *(("highlevel-app", {"type": t}, True) for t in ("OutboundMessage", "NoteCreate", "ContactUpdate")),
        *(("highlevel-app", {"type": t}, True) for t in ("ContactTagUpdate", "ConversationUnreadUpdate")),
        *(("highlevel-app", {"type": t}, False) for t in ("ContactCreate", "InboundMessage", "INSTALL")),
        ("highlevel-app", {"type": None}, False),
        ("highlevel-app", {"type": []}, False),
        ("highlevel-app", {}, False),
        ("highlevel-app", [], False),
        ("token", {"type": "OutboundMessage"}, False),
    ],
)
def test_the_stack_s_own_writes_are_recognised(sender: str, payload: Any, is_own: bool) -> None:
    assert own_write(SENDERS[sender], payload) is is_own


def test_an_app_s_sender_of_another_name_is_recognised_too() -> None:
    assert own_write(replace(SENDERS["highlevel-app"], name="our-app"), {"type": "NoteCreate"})


# --- properties -------------------------------------------------------------------------------------------------------

LETTERS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")), max_size=40
)
PLAIN = st.text(st.characters(whitelist_categories=("Ll", "Lu", "Nd"), max_codepoint=0x24F), min_size=1, max_size=40)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
WILD = st.text(st.sampled_from("ab {}<>:%#\n\r\t\u200b\u200d\u202e\u2028\x00ref0123é:"), max_size=60)


def typeform_of(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    fields = [{"id": str(place), "title": label, "type": "short_text"} for place, (label, _) in enumerate(pairs)]
    items = [
        {"type": "text", "text": value, "field": {"id": str(place), "type": "short_text"}}
        for place, (_, value) in enumerate(pairs)
    ]
    return {"form_response": {"definition": {"title": "Form", "fields": fields}, "answers": items}}


@EXAMPLES
@given(st.lists(st.tuples(WILD | LETTERS, WILD | LETTERS), max_size=12), st.sampled_from(["", REFERENCE]))
def test_no_answers_forge_a_line(pairs: list[tuple[str, str]], reference: str) -> None:
    text = text_of(typeform_of(pairs), "typeform", reference)
    lines = [line for line in text.split("\n") if line and not line.startswith(" ")]
    shown = [
        1 for label, value in pairs if is_private(label) or text_of(typeform_of([("Q", value)]), "typeform").count("\n")
    ]
    assert len(text.splitlines()) == len(text.split("\n"))
    assert lines[0] == "Typeform: Form"
    assert len(lines) <= 1 + len(shown) + bool(reference)
    assert not re.search(r"\{\{|\}\}|\{%|%\}|<[A-Za-z/!?]|[\u200b\u202e\u2028\x00]", text)
    assert len(text) <= MAX_CHARACTERS
    assert text.endswith(reference)
    assert text.count(REFERENCE) == bool(reference)


@EXAMPLES
@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=20))
def test_every_answer_is_found_in_the_text(pairs: list[tuple[str, str]]) -> None:
    labelled = [(f"Question {label}", value) for label, value in pairs]
    assume(not any(is_private(label) for label, _ in labelled))
    lines = text_of(typeform_of(labelled), "typeform").splitlines()
    assert lines[1:] == [f"{label}: {value}" for label, value in labelled]


@EXAMPLES
@given(
    st.lists(st.tuples(PLAIN, PLAIN), max_size=5), st.sampled_from(PRIVATE), PLAIN.filter(lambda text: len(text) > 7)
)
def test_no_private_answer_is_found_in_the_text(pairs: list[tuple[str, str]], label: str, value: str) -> None:
    assume(not any(value in text for pair in pairs for text in pair) and value not in label)
    assert value not in text_of(typeform_of([*pairs, (label, value)]), "typeform")


@EXAMPLES
@given(JSON, st.sampled_from(sorted(SENDERS)), st.sampled_from(["", REFERENCE]))
def test_no_json_raises(payload: Any, sender: str, reference: str) -> None:
    text = text_of(payload, sender, reference, message=True)
    assert len(text) <= MAX_CHARACTERS
    assert not text or text.endswith(reference)


_KNOWN = [
    *("data", "object", "payload", "form_response", "answers", "definition", "fields", "line_items", "billing"),
    *(
        "customer_details",
        "address",
        "metadata",
        "custom_fields",
        "name",
        "label",
        "value",
        "type",
        "contact",
        "detail",
    ),
    *("questions_and_answers", "scheduled_event", "location", "additional_fields", "form_data", "customer", "message"),
    *("total_details", "shipping", "properties", "meta_data", "note_attributes", "rawRequest", "first", "last", "url"),
]
OF_KNOWN_NAMES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KNOWN), inner, max_size=5),
    max_leaves=25,
)


@EXAMPLES
@given(OF_KNOWN_NAMES, st.sampled_from(sorted(FORMATS)))
def test_no_json_of_known_names_raises(payload: Any, format: str) -> None:
    render_message(replace(TOKEN, format=format), payload)


def _reordered(node: Any, rng: random.Random) -> Any:
    if isinstance(node, list):
        return [_reordered(item, rng) for item in node]
    if not isinstance(node, dict):
        return node
    names = [*node]
    rng.shuffle(names)
    return {name: _reordered(node[name], rng) for name in names}


ORDERED = ("typeform", "tally", "paperform", "google-ads", "fillout", "calendly", "shopify", "stripe", "woocommerce")


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_members_does_not_matter_where_a_list_has_the_form_s_order(seed: int) -> None:
    for name, sender, payload in [*samples(), *deliveries()]:
        has_order = isinstance(payload, dict) and "flat" not in name and "ecommerce" not in name
        if sender.format in ORDERED and has_order and not (sender.format == "typeform" and "hidden" in str(payload)):
            again = _reordered(payload, random.Random(seed))
            assert sorted(render_message(sender, again).splitlines()) == sorted(TEXTS[name].splitlines()), name


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        {f"question number {n} of many": f"answer {n}" for n in range(3000)},
        {"a": "{" * 250_000},
        {"a": "<a" * 120_000},
        {"a": "ref " * 60_000},
        {"a": ("\n" + " " * 50) * 4_000 + "x"},
        {"a": "x" + "\u0301" * 200_000},
        {"a": "\u0915\u200d" * 100_000},
        {"w " * 250 + str(n): "v" for n in range(400)},
        {f"a.{n}": "v" for n in range(3000)},
        {"a" * n: "b" for n in range(1, 500)},
    ],
    ids=["answers", "braces", "markup", "references", "breaks", "marks", "joiners", "labels", "choices", "names"],
)
def test_malicious_payloads_take_bounded_time(payload: dict[str, Any]) -> None:
    start = time.process_time()
    text_of(payload, reference=REFERENCE)
    assert time.process_time() - start < 1
