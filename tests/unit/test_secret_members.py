"""The members that hold a sender's secret are taken out of what is stored; nothing else changes."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from create_conversation.errors import InvalidError
from create_conversation.senders.body import FORM, Body, read_body, without_members
from create_conversation.senders.config import Sender
from create_conversation.senders.redaction import secret_members
from tests.factories import make_senders
from tests.unit.world import SENDERS

JSON = "application/json"
SECRET = "s3cr3t-t0ken"
AFTER = {
    "email": "jane@example.com",
    "name": "Zoë 💥",
    "n": 1.5,
    "big": 10**30,
    "none": None,
    "list": [{"token": "mine"}],
}


def without(body: bytes, content_type: str = JSON, sender: Sender = SENDERS["token"]) -> Body:
    return without_members(read_body(body, content_type), secret_members(sender))


def stripped(body: bytes, content_type: str = JSON, sender: Sender = SENDERS["token"]) -> Any:
    """What is stored of a body, as it is read later."""
    stored = without(body, content_type, sender)
    assert SECRET.encode() not in stored.raw
    assert SECRET.encode("utf-16-le") not in stored.raw
    assert read_body(stored.raw, stored.content_type).payload == stored.payload
    return stored.payload


@pytest.mark.parametrize(
    ("charset", "content_type"),
    [
        ("utf-8", ""),
        ("utf-8", JSON),
        ("utf-8", "text/json+json; charset=utf-8"),
        ("utf-8-sig", JSON),
        ("utf-16", "application/json; charset=utf-16"),
    ],
)
def test_a_secret_is_stripped_from_json_and_nothing_else(charset: str, content_type: str) -> None:
    for written in (
        json.dumps({"token": SECRET, **AFTER}),
        json.dumps({**AFTER, "token": SECRET}, ensure_ascii=False),
        json.dumps({"tok\u0065n": SECRET, **AFTER}).replace('"token": "s3', '"tok\\u0065n": "s3'),
        json.dumps({"token": [SECRET], **AFTER}),
        json.dumps({"token": SECRET, **AFTER})[:-1] + f', "token": "{SECRET}"}}',
    ):
        assert stripped(written.encode(charset), content_type) == AFTER


@pytest.mark.parametrize("content_type", ["application/json; charset=latin-1", "application/json; charset=cp1252"])
def test_a_secret_is_stripped_from_json_in_the_character_set_that_it_is_read_in(content_type: str) -> None:
    body = f'{{"token": "{SECRET}", "name": "Zoë"}}'.encode("latin-1")
    assert stripped(body, content_type) == {"name": "Zoë"}


def test_a_secret_is_stripped_from_each_element_of_an_array() -> None:
    elements = [{"token": SECRET, "email": "a@example.com"}, "text", {"email": "b@example.com"}]
    assert stripped(json.dumps(elements).encode()) == [{"email": "a@example.com"}, "text", {"email": "b@example.com"}]


@pytest.mark.parametrize("text", ["д" * 100_000, "\\ud83d\\ude00" * 10_000, "\\ud800"], ids=lambda text: text[:6])
def test_stripping_makes_no_body_larger(text: str) -> None:
    body = f'{{"token": "{SECRET}", "text": "{text}"}}'.encode()
    stored = without(body)
    assert len(stored.raw) < len(body)
    assert json.loads(stored.raw) == {"text": json.loads(f'"{text}"')}


@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=utf-8", FORM.upper(), f" {FORM}", f"{FORM} ;x=y"])
@pytest.mark.parametrize(
    "body",
    [
        f"token={SECRET}&name=Zo%C3%AB&a=%26%3D%2B&a=+&b=",
        f"name=Zo%C3%AB&tok%65n={SECRET}&a=%26%3D%2B&token={SECRET}&a=+&b=&token=",
        f"name=Zoë&a=%26%3D%2B&a=+&b=&token={SECRET}",
        f"&name=Zo%C3%AB&&a=%26%3D%2B&a=%20&b&token={SECRET}&",
    ],
)
def test_a_secret_is_stripped_from_a_form_and_nothing_else(body: str, content_type: str) -> None:
    assert stripped(body.encode(), content_type) == {"name": "Zoë", "a": ["&=+", " "], "b": ""}


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (f"token={SECRET}&name=Zoë".encode("latin-1"), "latin-1"),
        (f"token={SECRET}&name=Zo%EB".encode(), "latin-1"),
        (f"token={SECRET}&name=Zo%EB".encode(), "windows-1252"),
        (f"token={SECRET}&name=Zoë".encode("utf-16"), "utf-16"),
    ],
)
def test_a_secret_is_stripped_from_a_form_in_the_character_set_that_it_is_read_in(body: bytes, charset: str) -> None:
    assert stripped(body, f"{FORM}; charset={charset}") == {"name": "Zoë"}


@pytest.mark.parametrize("content_type", [JSON, FORM])
def test_a_secret_under_a_name_that_is_not_ascii_is_stripped(content_type: str, tmp_path: Path) -> None:
    own = make_senders(tmp_path, own={"scheme": "token", "where": ["body:schlüssel"], "email": "email"})["own"]
    fields = {"schlüssel": SECRET, "email": "jane@example.com"}
    for body in (
        (json.dumps(fields),)
        if content_type != FORM
        else (urlencode(fields), f"schlüssel={SECRET}&email=jane@example.com")
    ):
        assert stripped(body.encode(), content_type, own) == {"email": "jane@example.com"}


def test_what_holds_no_secret_stays_as_it_is() -> None:
    for body in (b'{ "email" :"a@b" }\r\n', b'{"data": {"token": "x"}}', b"null", b'["token"]', b'"token"'):
        assert without(body).raw == body
    assert without(b"a=%c3%ab&&b=+", FORM).raw == b"a=%c3%ab&&b=+"
    for name in ("api", "highlevel-workflow", "typeform"):
        assert without(b'{"token": "x"}', sender=SENDERS[name]).raw == b'{"token": "x"}'


def test_what_is_read_is_stripped_however_deep_it_is() -> None:
    for depth in range(9_950, 10_010):
        body = b'{"token": "' + SECRET.encode() + b'", "x": ' + b"[" * depth + b"]" * depth + b"}"
        with suppress(InvalidError):
            assert SECRET.encode() not in without(body).raw


def test_many_fields_are_stripped_fast() -> None:
    body = b"token=x&" + b"a=&" * 80_000
    assert without(body[:1000], FORM).payload["a"][:1] == [""]
    with pytest.raises(InvalidError, match="invalid_form"):
        without(body, FORM)
