"""The contact in a submission's answers: what people type, paste and are called, in a dozen languages."""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_conversation.senders.answers import Answer, answers
from create_conversation.senders.body import _by_name
from create_conversation.senders.contact_details import (
    Found,
    Person,
    clean_email,
    clean_id,
    clean_name,
    clean_phone,
    find_person,
    is_same_person,
    shown,
)

REPORTS = Path(__file__).parent.parent / "data" / "reports"
EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=200)
ANA = "ana@example.com"


def found(payload: Any, format: str = "flat", **preferred: Sequence[tuple[str, Any]]) -> Found:
    return find_person(answers(payload, format), preferred)


def email_of(payload: Any) -> str | None:
    return found(payload).person.email


def phone_of(payload: Any) -> str | None:
    return found(payload).person.phone


def names_of(payload: Any) -> tuple[str | None, str | None, str | None]:
    person = found(payload).person
    return person.first_name, person.last_name, person.full_name


# --- e-mail -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (noisy, ANA)
            for noisy in (
                ANA,
                f" {ANA}\n",
                f"\u00a0{ANA}\u3000",
                f"{ANA}\u200b",
                f"\ufeff\u202a{ANA}\u202c",
                "ana@exam\u00adple.com",
                f"mailto:{ANA}",
                f"MAILTO:{ANA}?subject=Hi%20there&cc=b@x.co",
                "mailto:ana%40example.com",
                f"<{ANA}>",
                f"Ana <{ANA}>",
                f'"Prado, Ana" <{ANA}>',
                f"Ana <mailto:{ANA}>",
                f"[{ANA}](mailto:{ANA})",
                f"{ANA}.",
                f"{ANA};",
                f"{ANA},",
                f"{ANA} .;",
                f"'{ANA}'",
                f"\u201c{ANA}\u201d",
                f"\u2039{ANA}\u203a",
                f"\u3010{ANA}\u3011",
                f"mailto://{ANA}",
                f"{ANA}/",
                f"{ANA}\\",
                f"E-mail: {ANA}",
                f"{ANA} (work)",
                f"{ANA}, bob@example.com",
                f"{ANA}\nbob@example.com",
                f"{ANA} or bob@example.com",
                f"@ana; ana@; {ANA}",
                "\uff41na\uff20example\uff0ecom",
            )
        ),
        ("Jane.O'Neil+x@Sub.Example.com", "Jane.O'Neil+x@Sub.Example.com"),
        ("jäne@exämple.com", "jäne@exämple.com"),
        ("用户@例子.中国", "用户@例子.中国"),
        ("a@xn--exmple-cua.xn--p1ai", "a@xn--exmple-cua.xn--p1ai"),
        *((none, None) for none in ("", " ", "ana", "@ana", "ana@", "@example.com", "@", "ana@gmail", "a@b@c.de")),
        *((none, None) for none in (".ana@x.co", "ana.@x.co", "a..na@x.co", "ana@x..co", "ana@.x.co", "ana@-x.co")),
        *((none, None) for none in ("ana@x-.co", "ana@x.c", "ana@10.0.0.1", "a na@x.co", "ana@x co.com", "a/b@x.co")),
        *((none, None) for none in ("a\0na@x.co", "ana\x1b@x.co", "a\x7f@x.co", "a\ud800@x.co", "https://x.co/@ana")),
        *(
            (none, None)
            for none in ("a" * 65 + "@x.co", "a@" + "b" * 64 + ".co", "a@" + "b.co" * 70, "ä" * 120 + "@x.co")
        ),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_clean_email(text: str, expected: str | None) -> None:
    assert clean_email(text) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"instagram": "@ana", "mail": ANA}, ANA),
        ({"email": "", "other": ANA}, ANA),
        ({"email": "ana@gmail", "contact": ANA}, ANA),
        ({"email": ["", "ana@", ANA]}, ANA),
        ({"email[]": [None, ANA]}, ANA),
        ({"note": "bob@example.com", "email": ANA}, ANA),
        ({"work_email": "bob@example.com", "email": ANA}, ANA),
        ({"Manager email": "bob@example.com", "Your work email": ANA}, ANA),
        ({"Child's e-mail": "bob@example.com", "Other e-mail": ANA}, ANA),
        ({"Manager email": ANA}, ANA),
        ({"_replyto": ANA, "_subject": "Hi"}, ANA),
        ({"reply_to": "bob@example.com", "email": ANA}, ANA),
        ({"Message": "Please ask my boss: bob@example.com", "phone": "5555550100"}, None),
        ({"Message": f"My e-mail: {ANA}"}, ANA),
        ({"Manager email": "bob@example.com", "Reply": ANA}, ANA),
        ({"owner_email": "bob@example.com", "Visitor": ANA}, ANA),
        ({"owner_email": "bob@example.com", "email": ""}, None),
        ({"owner_email": "bob@example.com", "phone": "5555550100"}, None),
        ({"Dog's name": "Rex", "Owner name": "Ana P", "Owner email": ANA}, ANA),
        ({"Guest email": ANA}, ANA),
        ({"admin_email": "bob@example.com"}, None),
        ({"owner_email": "bob@example.com", "your_email": ANA}, ANA),
        ({"_site_admin_email": "bob@example.com", "your-email": ANA}, ANA),
        ({"to": "bob@example.com", "from": ANA}, ANA),
        ({"notification email": "bob@example.com", "reply": ANA}, ANA),
        ({"Recipient": "bob@example.com", "Visitor": ANA}, ANA),
        ({"Friend's e-mail": "bob@example.com", "Your e-mail": ANA}, ANA),
        ({"E-Mail des Empfängers": "bob@example.com", "E-Mail": ANA}, ANA),
        (
            {
                "fields": [
                    {"label": "x", "type": "text", "value": "bob@example.com"},
                    {"label": "y", "type": "email", "value": ANA},
                ]
            },
            ANA,
        ),
        ({"photo": "roof@home.jpg"}, None),
        ({"message": "ask bob@example.com please"}, None),
        ({"message": "Hi,\nask\nbob@example.com"}, None),
        ({"source": "https://example.com/@ana"}, None),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_which_email_is_the_leads(payload: dict[str, Any], expected: str | None) -> None:
    assert email_of(payload) == expected


@pytest.mark.parametrize(
    "label",
    [
        *("email", "E-Mail", "EMAIL", "e_mail", "Your email address *", "emailAddress", "q4_email", "Email-3", "mail"),
        *(
            "E-Mail-Adresse",
            "Mailadresse",
            "Courriel",
            "Adresse électronique",
            "Correo electrónico",
            "Endereço eletrónico",
        ),
        *("Posta elettronica", "E-mailadres", "Adres e-mail", "Poczta", "E-postadress", "Epost", "Sähköposti", "Mejl"),
        *(
            "E-posta",
            "Электронная почта",
            "Эл. почта",
            "Пошта",
            "Ηλεκτρονικό ταχυδρομείο",
            "メールアドレス",
            "电子邮箱",
            "電子郵件",
        ),
        *("이메일 주소", "אימייל", 'דוא"ל', "البريد الإلكتروني", "ایمیل", "ईमेल", "อีเมล"),
    ],
)
def test_labels_that_say_email(label: str) -> None:
    """Such a field comes before one that merely holds an address."""
    assert email_of({"notes": "bob@example.com", label: ANA}) == ANA


# --- phone ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u202d+1 (555) 555-5001\u202c", "+1 (555) 555-5001"),
        ("\u200e+1\u2011555\u2013555\u22120100", "+1-555-555-0100"),
        ("\uff0b\uff14\uff19\u3000\uff11\uff17\uff11 2345678", "+49 171 2345678"),
        ("\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667", "01234567"),
        ("\u096f\u096e\u096d\u096c\u096b\u096a\u0969\u0968\u0967\u0966", "9876543210"),
        ("tel:+49-171-2345678", "+49-171-2345678"),
        ("tel:+15555550100;ext=12", "+15555550100"),
        ("callto:15555550100", "15555550100"),
        ("sms:+15555550100", "+15555550100"),
        ("https://wa.me/4915112345678", "4915112345678"),
        *(
            (f"555-555-5004{ext}", "555-555-5004")
            for ext in (" ext. 12", " x12", "x12", " #12", " extension 12", ", ext 12")
        ),
        ("030 1234567 Durchwahl 12", "030 1234567"),
        ("(mobile) +49 171 2345678", "+49 171 2345678"),
        ("Tel.: 030/123456-7", "030/123456-7"),
        ("+49 171 2345678 (mobile)", "+49 171 2345678"),
        ("(030) 12 34.56/7", "(030) 12 34.56/7"),
        ("+49 (0) 171 2345678", "+49 171 2345678"),
        ("+49(0)171/2345678", "+49 171/2345678"),
        ("(+49) 171 2345678", "+49 171 2345678"),
        ("0049 171 2345678", "+49 171 2345678"),
        ("+ 49 171 2345678", "+49 171 2345678"),
        ("555-555-0100, 555-555-0101", "555-555-0100"),
        ("5555550100 / 5555550101", "5555550100"),
        ("555-555-0100 or 555-555-0101", "555-555-0100"),
        ("+1 555 555 0100 +1 555 555 0101", "+1 555 555 0100"),
        ("\u00a0(555)\u00a0555-0100\n", "(555) 555-0100"),
        ("15550100", "15550100"),
        ("555\u00b7555\u00b70100", "555 555 0100"),
        ("555 \u2022 555 \u2022 0100", "555 555 0100"),
        ("+49_171_2345678", "+49 171 2345678"),
        ("+49+171+2345678", "+49 171 2345678"),
        ("+15555550100+15555550101", "+15555550100"),
        ("[555] 555 0100", "(555) 555 0100"),
        ("555 555 0100 [12]", "555 555 0100"),
        ("tel:%2B49%20171%202345678", "+49 171 2345678"),
        *(
            (none, None)
            for none in ("", "12", "123456", "+", "n/a", "yes", "1" * 16, "4242 4242 4242 4242", "2026-11-28")
        ),
        *((none, None) for none in ("28.11.2026", "123\n456", "1-800-FLOWERS")),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_clean_phone(text: str, expected: str | None) -> None:
    assert clean_phone(text) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"phone": "555-555-5004 ext. 12"}, "555-555-5004"),
        ({"phone": 15555550100}, "15555550100"),
        ({"phone": 15555550100.0}, "15555550100"),
        ({"phone": ["", "555-555-0100"]}, "555-555-0100"),
        ({"phone": "", "mobile": "555-555-0100"}, "555-555-0100"),
        ({"fax": "555-555-0199", "phone": "555-555-0100"}, "555-555-0100"),
        ({"Work phone": "555-555-0199", "Phone": "555-555-0100"}, "555-555-0100"),
        ({"area_code": "555", "phone": "555-0100"}, "555 555-0100"),
        ({"Phone": "555 0100", "Area code": "(555)"}, "555 555 0100"),
        ({"area_code": "555", "phone": "(555) 555-0100"}, "(555) 555-0100"),
        ({"area_code": "555", "phone": "+1 555 555 0100"}, "+1 555 555 0100"),
        ({"area_code": "north", "phone": "555-0100"}, "555-0100"),
        ({"Area of interest": "555", "phone": "555-0100"}, "555-0100"),
        ({"country_code": "+1", "area_code": "555", "phone": "555 0100"}, "+1 555 555 0100"),
        ({"Ländervorwahl": "+49", "Vorwahl": "030", "Telefon": "2312504"}, "+49 30 2312504"),
        ({"country_code": "+1", "phone": "555 555 0100"}, "+1 555 555 0100"),
        ({"country_code": "1", "phone": "555 555 0100"}, "+1 555 555 0100"),
        ({"phone_country": "US +1", "phone": "555 555 0100"}, "+1 555 555 0100"),
        ({"Dial code": "Germany (+49)", "Phone": "0171 2345678"}, "+49 171 2345678"),
        ({"Prefisso": "+39", "Telefono": "06 1234567"}, "+39 06 1234567"),
        ({"country_code": "+1", "phone": "+49 171 2345678"}, "+49 171 2345678"),
        ({"country_code": "US", "phone": "555 555 0100"}, "555 555 0100"),
        ({"phone": {"country": "+1", "area": "555", "phone": "5550100"}}, "+1 555 5550100"),
        ({"phone": {"country_code": "49", "number": "171 2345678"}}, "+49 171 2345678"),
        ({"phone": {"full": "(555) 555-0100"}}, "(555) 555-0100"),
        ({"Contact me at": "+1 555 555 0100"}, "+1 555 555 0100"),
        ({"Phone (with area code)": "555 555 0100"}, "555 555 0100"),
        ({"Phone number for your order": "555 555 0100"}, "555 555 0100"),
        ({"Phone number of the contact person": "555 555 0100"}, "555 555 0100"),
        ({"CEP": "01310-100", "Celular": "(11) 91234-5678"}, "(11) 91234-5678"),
        ({"CEP": "01310-100"}, None),
        ({"Invoice": "555-555-0100"}, None),
        ({"field_5e2b1c4": "555-555-0100"}, "555-555-0100"),
        ({"Field6": "5555550100"}, "5555550100"),
        ({"What number can we reach you at? (phone)": "5555550100"}, "5555550100"),
        *(
            ({label: value}, None)
            for label, value in (
                ("date", "2026-11-28 10:00"),
                ("created_at", "1763632800000"),
                ("card", "4242424242424242"),
                ("Order number", "5555550100"),
                ("amount", "1234567.00"),
                ("zip", "12345-6789"),
                ("phone_call.id", "5555550100"),
                ("Phone IMEI", "356938035643809"),
                ("Fax", "555-555-0100"),
                ("Tracking number", "+1 555 555 0100"),
                ("coordinates", "+48.1234567"),
                ("Emergency phone", "555-555-0100"),
                ("Is it ok to phone you?", "yes"),
            )
        ),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_which_phone_is_the_leads(payload: dict[str, Any], expected: str | None) -> None:
    assert phone_of(payload) == expected


@pytest.mark.parametrize(
    "label",
    [
        *(
            "phone",
            "Phone number *",
            "PHONE NUMBER",
            "Tel.",
            "your-tel",
            "mobilePhone",
            "Cell",
            "WhatsApp",
            "phone_number2",
        ),
        *("Telefonnummer", "Handynummer", "Mobilnummer", "Rufnummer", "Festnetz", "Téléphone", "Numéro de portable"),
        *(
            "Teléfono",
            "Móvil",
            "Celular",
            "Telemóvel",
            "Telefone",
            "Cellulare",
            "Telefoonnummer",
            "Mobiel",
            "Numer telefonu",
        ),
        *("Komórka", "Mobiltelefon", "Telefonnr", "Tlf", "Puhelinnumero", "Telefonní číslo", "Cep telefonu", "Телефон"),
        *(
            "Мобильный",
            "Мобільний телефон",
            "Τηλέφωνο",
            "Κινητό",
            "電話番号",
            "携帯",
            "手机号码",
            "电话",
            "전화번호",
            "휴대폰",
        ),
        *("טלפון", "נייד", "رقم الهاتف", "الجوال", "تلفن", "मोबाइल नंबर", "เบอร์โทรศัพท์", "Số điện thoại"),
        *(
            "Nomor Telepon",
            "No. HP",
            "Tālruņa numurs",
            "Telefono numeris",
            "Telefoninumber",
            "Mobitel",
            "Broj telefona",
        ),
        "What is the best number to call you?",
    ],
)
def test_labels_that_say_phone(label: str) -> None:
    assert phone_of({"order": "1234567890", label: "5555550100"}) == "5555550100"


def test_an_extension_is_reported() -> None:
    assert ("phone", "phone", "extension") in found({"phone": "555-555-5004 ext. 12"}).dropped


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Zoë Ünal ", "Zoë Ünal"),
        ("Jean\u00a0Pierre", "Jean Pierre"),
        ("Anne\r\n\tMarie", "Anne Marie"),
        ("\u5c71\u7530\u3000\u592a\u90ce", "\u5c71\u7530 \u592a\u90ce"),
        ("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"),
        ("\u200c\u0639\u0644\u06cc\u200d", "\u0639\u0644\u06cc"),
        ("An\u200ba\u202e\x00", "Ana"),
        ("Ana\ud800", "Ana"),
        ("x" * 500, "x" * 100),
        ("a" * 99 + "e\u0301\u0301", "a" * 99),
        ("O'Neil-Smith Jr.", "O'Neil-Smith Jr."),
        *(
            (none, None)
            for none in ("", " ", "\x00", "-", "123", "n/a", "undefined", "{{contact.first_name}}", "[your-name]")
        ),
        *((none, None) for none in (ANA, "\u200b", "xxxxx", "null")),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_clean_name(text: str, expected: str | None) -> None:
    assert clean_name(text) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"name": "Ana P"}, (None, None, "Ana P")),
        ({"your-name": "Ana P"}, (None, None, "Ana P")),
        ({"What's your name?": "Ana P"}, (None, None, "Ana P")),
        ({"Ihr Name (Pflichtfeld)": "Ana P"}, (None, None, "Ana P")),
        ({"first_name": "Ana"}, ("Ana", None, None)),
        ({"last_name": "P"}, (None, "P", None)),
        ({"firstName": "Ana", "LASTNAME": "P"}, ("Ana", "P", None)),
        ({"First Name": "Ana", "Name": "Ana Prado"}, ("Ana", "Prado", None)),
        ({"Vorname, Name": "Ana P"}, (None, None, "Ana P")),
        ({"First name and last name": "Ana P"}, (None, None, "Ana P")),
        ({"Prénom": "Anaïs", "Nom": "Petit"}, ("Anaïs", "Petit", None)),
        ({"Nome": "Ana", "Cognome": "P"}, ("Ana", "P", None)),
        ({"Nombre": "Ana", "Apellidos": "P Q"}, ("Ana", "P Q", None)),
        ({"Имя": "Ана", "Фамилия": "П"}, ("Ана", "П", None)),
        ({"Vorname": "Ana", "Name": "P"}, ("Ana", "P", None)),
        ({"Imię": "Ola", "Nazwisko": "Nowak"}, ("Ola", "Nowak", None)),
        ({"Imię i nazwisko": "Ola Nowak"}, (None, None, "Ola Nowak")),
        ({"Nom et prénom": "Petit Anaïs"}, (None, None, "Petit Anaïs")),
        ({"お名前": "田中"}, (None, None, "田中")),
        ({"お名前（姓）": "佐藤", "お名前（名）": "健"}, ("健", "佐藤", None)),  # noqa: RUF001 (as it is typed)
        ({"First name of child": "Kid", "Your name": "Ana P"}, (None, None, "Ana P")),
        ({"姓": "佐藤", "名": "健"}, ("健", "佐藤", None)),
        ({"Ad\u0131": "Elif", "Soyad\u0131": "Kaya"}, ("Elif", "Kaya", None)),
        ({"name": {"first": "Ana", "middle": "M", "last": "P", "prefix": "Dr"}}, ("Ana", "P", None)),
        ({"names": {"first_name": "Ana", "last_name": "P"}}, ("Ana", "P", None)),
        ({"billing": {"first_name": "Ana"}, "shipping": {"first_name": "Bob"}}, ("Ana", None, None)),
        ({"contact": {"name": "Ana P"}}, (None, None, "Ana P")),
        *(
            ({label: "Acme"}, (None, None, None))
            for label in (
                "Company name",
                "username",
                "User name",
                "form_name",
                "Pet's name",
                "event",
                "ad_id",
                "utm_name",
            )
        ),
        ({"line_items": [{"name": "Gift card", "qty": 1}]}, (None, None, None)),
        ({"form": {"name": "Contact us", "x": 1}}, (None, None, None)),
        ({"Friend's first name": "Bob", "First name": "Ana"}, ("Ana", None, None)),
        ({"name": ANA}, (None, None, None)),
        *(
            ({label: "Ana P"}, (None, None, "Ana P"))
            for label in ("Wie heißen Sie?", "Comment vous appelez-vous ?", "¿Cómo te llamas?", "Come si chiama?")
        ),
        ({"Vārds": "Ana", "Uzvārds": "P"}, ("Ana", "P", None)),
        ({"Vardas": "Ana", "Pavardė": "P"}, ("Ana", "P", None)),
        ({"Eesnimi": "Ana", "Perekonnanimi": "P"}, ("Ana", "P", None)),
        ({"Ime": "Ana", "Prezime": "P"}, ("Ana", "P", None)),
        ({"Ime in priimek": "Ana P"}, (None, None, "Ana P")),
        ({"Meno": "Ana", "Priezvisko": "P"}, ("Ana", "P", None)),
        ({"Nama lengkap": "Ana P"}, (None, None, "Ana P")),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_which_names(payload: dict[str, Any], expected: tuple[str | None, str | None, str | None]) -> None:
    assert names_of(payload) == expected


# --- the order of preference, and why ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_by_preset", "expected"),
    [
        ([("a", ANA)], ANA),
        ([("a", ["", ANA])], ANA),
        ([("a", "@ana"), ("b", ANA)], ANA),
        ([("a", {"value": ANA})], ANA),
        ([("a", None), ("b", True), ("c", 5)], "typed@example.com"),
        ([], "typed@example.com"),
    ],
    ids=ascii,
)
def test_a_presets_path_comes_before_types_and_labels(given_by_preset: Any, expected: str) -> None:
    listed = [
        Answer("x", "", "value@example.com"),
        Answer("E-mail", "", "label@example.com"),
        Answer("y", "email", "typed@example.com"),
    ]
    result = find_person(listed, {"email": given_by_preset})
    others = ("typed@example.com", "label@example.com", "value@example.com")
    assert result.person.email == expected
    assert result.more_emails == tuple(other for other in others if other != expected)


def test_a_presets_names_come_first() -> None:
    listed = [Answer("First name", "", "Label"), Answer("Last name", "", "Last")]
    assert find_person(listed, {"full_name": [("payload.name", "Ana P")]}).person.full_name == "Ana P"
    person = find_person(listed, {"first_name": [("a", "Ana")]}).person
    assert (person.first_name, person.last_name, person.full_name) == ("Ana", "Last", None)


def test_why() -> None:
    result = found(
        {
            "E-mail": "ana at example",
            "owner_email": "bob@example.com",
            "fax": "555-555-0100",
            "a@b.co": "x",
            "n 5555550100": "x",
        },
        email=[("data.email", "half@"), ("data.mail", None)],
        phone=[("data.phone", "12")],
    )
    assert result.person == Person()
    assert result.looked_at == ("data.email", "data.mail", "data.phone")
    assert result.fields == ("E-mail", "owner_email", "fax")  # no label that may be personal
    assert set(result.dropped) == {
        ("data.email", "email", "not_an_address"),
        ("E-mail", "email", "not_an_address"),
        ("owner_email", "email", "someone_else"),
        ("data.phone", "phone", "not_a_phone"),
        ("fax", "phone", "other_number"),
    }


def test_what_is_found_shows_nothing_personal() -> None:
    result = found({"email": ANA, "phone": "5555550100", "name": "Ana P"})
    assert not any(value in f"{result!r} {result.person!r}" for value in (ANA, "5555550100", "Ana P"))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("billing.email[0]", True),
        ("Téléphone", True),
        ("a@b.co", False),
        ("5555550100", False),
        ("x" * 65, False),
        ("Why?", False),
    ],
)
def test_labels_that_may_be_logged(label: str, expected: bool) -> None:
    assert shown(label) == (label if expected else None)


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["nmFmQEsNgz6AVpgLVUJ0", "c1", "abc_DEF-123"])
def test_an_id(value: str) -> None:
    assert clean_id(f" {value} ") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "undefined",
        "NULL",
        "None",
        "nan",
        "xxxxx",
        "XXXXXXXX",
        "{{contact.id}}",
        "{contact_id}",
        "[contact_id]",
        "%id%",
        "contact_id",
        "---",
        "0",
        "a b",
        "é",
        "x" * 65,
        5,
        None,
        True,
        ["c1"],
        {"id": "c1"},
    ],
    ids=ascii,
)
def test_a_leftover_is_not_an_id(value: object) -> None:
    assert clean_id(value) is None


@pytest.mark.parametrize(
    ("email", "phone", "expected"),
    [
        ("ANA@example.com", None, True),
        (None, "+49 171 2345678", True),
        ("bob@example.com", "0171/2345678", True),
        ("bob@example.com", "+49 171 2345679", False),
        (None, "5678", False),
        (None, None, False),
    ],
)
def test_is_same_person(email: str | None, phone: str | None, expected: bool) -> None:
    assert is_same_person(Person(email=ANA, phone="0171 2345678"), email, phone) is expected


# --- properties -------------------------------------------------------------------------------------------------------

ATOM = st.from_regex(r"[a-z0-9!#$%&'*+=?^_`{|}~äéж用-]{1,12}", fullmatch=True).filter(
    lambda text: not set(text) & set("'`!*?{}|&%") and text == unicodedata.normalize("NFKC", text)
)
LABEL = st.from_regex(r"[a-z0-9äж]{1,10}(?:-[a-z0-9]{1,5})?", fullmatch=True).map(
    lambda text: unicodedata.normalize("NFKC", text)
)
ADDRESS = st.builds(
    lambda local, domain, top: f"{'.'.join(local)}@{'.'.join(domain)}.{top}",
    st.lists(ATOM, min_size=1, max_size=3),
    st.lists(LABEL, min_size=1, max_size=3),
    st.sampled_from(["com", "de", "co.uk", "museum", "xn--p1ai"]),
)
INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202c\u202e\u2060\u2066\u2069\ufe0f\ufeff"
BLANK = st.text(" \n\r\u00a0\u2003\u3000" + INVISIBLE, max_size=5)
WRAPPED = st.sampled_from(
    [
        "{}",
        "<{}>",
        "mailto:{}",
        "Ana <{}>",
        "<mailto:{}>",
        "{}.",
        "{};",
        "{},",
        "{}.;",
        '"{}"',
        "E-mail: {}",
        "{} (work)",
        "({})",
        "mailto:{}?subject=x",
    ]
)


@given(ADDRESS, BLANK, WRAPPED, BLANK, st.integers(0, 30), st.sampled_from(["", *INVISIBLE]))
@EXAMPLES
def test_noise_around_an_address_changes_nothing(
    address: str, left: str, wrapped: str, right: str, at: int, hidden: str
) -> None:
    noisy = address[:at] + hidden + address[at:]
    assert clean_email(f"{left}{wrapped.format(noisy)}{right}") == address


@given(
    st.dictionaries(
        st.from_regex(r"(?:field|answer|q)_?[0-9]{0,5}", fullmatch=True),
        st.text(max_size=20).filter(lambda text: "@" not in unicodedata.normalize("NFKC", text)),
        max_size=8,
    ),
    st.sampled_from(["x", "field_99", "E-mail", "notes", "Kontakt", "kontakt.weg", "🙂", ""]),
    ADDRESS,
)
@EXAMPLES
def test_a_usable_address_anywhere_in_a_flat_payload_is_found(others: dict[str, Any], label: str, address: str) -> None:
    items = [*others.items()]
    assert email_of(dict([*items[:3], (label, address), *items[3:]])) == address
    assert email_of({**others, "nested": [{"deep": {label: [None, address]}}, 1]}) == address


NUMBER = st.builds(
    lambda plus, digits, blanks: (
        plus + "".join(digit + (" " if at in blanks else "") for at, digit in enumerate(digits)).strip()
    ),
    st.sampled_from(["", "+"]),
    st.text("123456789", min_size=7, max_size=15),
    st.sets(st.integers(2, 10), max_size=3),
)


@given(
    NUMBER,
    st.text(" \u00a0\u200b\u202d\u202c\ufeff\u2060", max_size=4),
    st.sampled_from(
        ["{}", "tel:{}", "Tel.: {}", "(mobile) {}", "{} ext. 12", "{} x7", "{} (mobile)", "callto:{}", "{}, {}"]
    ),
)
@EXAMPLES
def test_noise_around_a_number_changes_nothing(number: str, blank: str, wrapped: str) -> None:
    assert clean_phone(blank + wrapped.format(number, number) + blank) == number


@given(NUMBER, st.sampled_from([0x660, 0x6F0, 0x966, 0xFF10]))
@EXAMPLES
def test_digits_of_other_scripts_are_digits(number: str, zero: int) -> None:
    assert clean_phone(number.translate({ord(str(digit)): chr(zero + digit) for digit in range(10)})) == number


SOUP = st.text() | st.text(
    f"aB1@.+-() <>:;,/#x\n\t\0\u0301\ud800{INVISIBLE}\u0661\uff11\uff20\u0639\u3164\u115f\u2800", max_size=30
)


@pytest.mark.parametrize("clean", [clean_email, clean_phone, clean_name])
@given(text=SOUP | ADDRESS | NUMBER)
@EXAMPLES
def test_cleaning_twice_is_cleaning_once(clean: Any, text: str) -> None:
    once = clean(text)
    assert once is None or clean(once) == once


@pytest.mark.parametrize("clean", [clean_email, clean_phone, clean_name])
@given(text=SOUP | ADDRESS | NUMBER)
@EXAMPLES
def test_nothing_cleaned_holds_control_or_invisible_characters(clean: Any, text: str) -> None:
    cleaned = clean(text) or ""
    joiners = "\u200c\u200d" if clean is clean_name else ""
    hidden = [
        c for c in cleaned if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and c not in joiners
    ]
    assert not hidden
    assert not set(cleaned) & set("\u034f\u115f\u1160\u3164\uffa0\u2800")
    assert cleaned == cleaned.strip()


@given(text=SOUP | NUMBER)
@EXAMPLES
def test_a_phone_has_7_to_15_ascii_digits(text: str) -> None:
    cleaned = clean_phone(text)
    assert cleaned is None or re.fullmatch(r"\+?[0-9 ()./-]+", cleaned)
    assert cleaned is None or 7 <= sum(c in "0123456789" for c in cleaned) <= 15


@given(st.text(min_size=1))
@EXAMPLES
def test_a_name_has_at_most_100_characters(text: str) -> None:
    assert len(clean_name(text * 50) or "") <= 100


# --- real payloads ----------------------------------------------------------------------------------------------------


def payload_of(spec: dict[str, Any]) -> Any:
    if "json" in spec:
        return spec["json"]
    if "body" in spec:  # JSON under another content type
        return json.loads(spec["body"])
    return _by_name([(name, value) for name, value in spec.get("form") or spec["multipart"]])


FILES = sorted(REPORTS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_person_in_a_payload(path: Path) -> None:
    """Without any preset's path: what the answers alone say."""
    spec = json.loads(path.read_text("utf-8"))
    person = found(payload_of(spec), spec["sender"]).person
    name = " ".join(filter(None, [person.first_name, person.last_name])) or person.full_name
    expected = spec["expected"]
    assert (person.email, person.phone, name) == (expected["email"], expected["phone"], expected["name"])


def test_all_reported_payloads_are_here() -> None:
    assert len(FILES) == 42
