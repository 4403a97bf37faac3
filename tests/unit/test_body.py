"""Bodies: read as what they are, stored so that they are read the same again; properties with Hypothesis."""

import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_conversation.errors import InvalidError
from create_conversation.senders.body import (
    FORM,
    LARGE_CHARACTERS,
    LEFT_OUT,
    MAX_BODY_BYTES,
    Body,
    read_body,
    without_large_members,
    without_members,
)

JSON = "application/json"
EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=300)
TYPES = ["", JSON, "text/json", "text/plain", FORM, "x/y", "application/json, application/json"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALAR = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXT
PAYLOAD = st.dictionaries(
    TEXT,
    st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)),
    max_size=5,
)
FIELDS = st.lists(st.tuples(st.text("abc[].-_ ü", min_size=1, max_size=6), TEXT), min_size=1, max_size=6)


@given(payload=PAYLOAD, content_type=st.sampled_from(TYPES), escaped=st.booleans(), indent=st.sampled_from([None, 2]))
@EXAMPLES
def test_a_json_object_is_read_under_any_type(
    payload: dict[str, Any], content_type: str, escaped: bool, indent: int | None
) -> None:
    raw = json.dumps(payload, ensure_ascii=escaped, indent=indent).encode()
    body = read_body(raw, content_type)
    assert body.payload == payload
    assert body.raw == raw
    assert read_body(body.raw, body.content_type).payload == payload


@given(payload=PAYLOAD, names=st.frozensets(st.text(max_size=10), max_size=3))
@EXAMPLES
def test_what_is_stored_is_read_the_same(payload: dict[str, Any], names: frozenset[str]) -> None:
    stored = without_members(Body.of_json(payload), names)
    assert stored.payload == {name: value for name, value in payload.items() if name not in names}
    assert read_body(stored.raw, stored.content_type).payload == stored.payload


@given(fields=FIELDS, boundary=st.sampled_from(["x", "----WebKitFormBoundary7MA4YWxkTrZu0gW"]))
@EXAMPLES
def test_a_form_says_the_same_in_both_encodings(fields: list[tuple[str, str]], boundary: str) -> None:
    fields = [(name, text.replace("\r", "").replace("\n", "")) for name, text in fields]
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields
    )
    multipart = "".join([*parts, f"--{boundary}--\r\n"]).encode()
    read = read_body(multipart, f"multipart/form-data; boundary={boundary}")
    assert read.payload == read_body(urlencode(fields).encode(), FORM).payload
    assert read_body(read.raw, read.content_type).payload == read.payload


@given(
    raw=st.binary(max_size=200) | st.text(max_size=200).map(str.encode), content_type=st.sampled_from([*TYPES, "a;b"])
)
@EXAMPLES
def test_any_bytes_are_read_or_refused(raw: bytes, content_type: str) -> None:
    with suppress(InvalidError):
        body = read_body(raw, content_type)
        assert read_body(body.raw, body.content_type).payload == body.payload


@given(payload=PAYLOAD, depth=st.integers(0, 3), as_text=st.booleans())
@settings(EXAMPLES, max_examples=50)
def test_large_texts_are_left_out_at_any_depth(payload: dict[str, Any], depth: int, as_text: bool) -> None:
    large: Any = {"q1": "A" * (MAX_BODY_BYTES + 1), "q2_email": "jane@example.com"}
    for _ in range(depth):
        large = {"inner": [json.dumps(large) if as_text else large]}
    smaller = without_large_members(Body.of_json({"payload": payload, "large": large}))
    assert len(smaller.raw) <= MAX_BODY_BYTES
    assert smaller.payload["payload"] == payload
    assert b"jane@example.com" in smaller.raw
    assert LEFT_OUT.encode() in smaller.raw


def test_a_body_of_the_limit_is_left_as_it_is() -> None:
    body = Body.of_json({"a": "A" * (MAX_BODY_BYTES - 8)})
    assert len(body.raw) == MAX_BODY_BYTES
    assert without_large_members(body) is body


def test_a_body_of_many_small_members_is_too_large() -> None:
    body = Body.of_json({f"q{number}": "A" * (LARGE_CHARACTERS - 1) for number in range(40)})
    with pytest.raises(InvalidError) as error:
        without_large_members(body)
    assert error.value.reason == "body_too_large"


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"name=J%FCrg&city=Z%FCrich", FORM),
        (b"name=J\xfcrg&city=Z\xfcrich", FORM),
        (b'{"name": "J\xfcrg", "city": "Z\xfcrich"}', JSON),
        (b'{"name": "J\xfcrg", "city": "Z\xfcrich"}', ""),
        (b"name=J\xfcrg&city=Z\xfcrich", ""),
        (b"name=J%C3%BCrg&city=Z%C3%BCrich", FORM),
        ("name=J\u00fcrg&city=Z\u00fcrich".encode(), FORM),
    ],
)
def test_a_body_in_latin_1_may_be_undeclared(raw: bytes, content_type: str) -> None:
    body = read_body(raw, content_type)
    assert body.payload == {"name": "J\u00fcrg", "city": "Z\u00fcrich"}
    assert read_body(body.raw, body.content_type).payload == body.payload


def test_broken_utf_8_is_not_taken_for_latin_1() -> None:
    assert read_body(b"name=J%C3%BCrg&cut=%E2%82", FORM).payload == {"name": "J\u00fcrg", "cut": "\ufffd"}
    for raw, content_type in (
        ('{"name": "J\u00fcrg", "cut": "'.encode() + b'\xe2\x82"}', JSON),
        (b'{"name": "J\xfcrg"}', f"{JSON}; charset=utf-8"),
        (b"\xff", FORM),
    ):
        with pytest.raises(InvalidError) as error:
            read_body(raw, content_type)
        assert error.value.reason == "invalid_encoding"


def test_a_caller_of_the_api_declares_latin_1() -> None:
    with pytest.raises(InvalidError) as error:
        read_body(b'{"contactId": "\xfc"}', JSON, only_json=True)
    assert error.value.reason == "invalid_encoding"


def test_a_form_under_the_type_of_json_is_read_as_a_form() -> None:
    body = read_body(b"email=ana%40example.com&note=a+b", JSON)
    assert (body.payload, body.is_form) == ({"email": "ana@example.com", "note": "a b"}, True)
    assert read_body(body.raw, body.content_type).payload == body.payload
    for raw in (b"email", b'{"email=a"', b"<a href=b>", b""):
        with pytest.raises(InvalidError):
            read_body(raw, JSON)


@pytest.mark.parametrize(
    ("raw", "charset"),
    [
        ("name=Zoë&a=1".encode(), ""),
        (b"name=Zo%C3%AB&a=1", ""),
        (b"name=Zo%C3%AB&a=1", "UTF-8"),
        (b"name=Zo%C3%AB&a=1", '"utf-8"'),
        ("name=Zoë&a=1".encode("latin-1"), "latin-1"),
        (b"name=Zo%EB&a=1", "ISO-8859-1"),
        (b"name=Zo%EB&a=1", "windows-1252"),
        (b"&&name=Zo%c3%ab&&a=1&", ""),
    ],
)
def test_a_form_is_read_in_its_character_set(raw: bytes, charset: str) -> None:
    content_type = f"{FORM}; charset={charset}" if charset else FORM
    assert read_body(raw, content_type).payload == {"name": "Zoë", "a": "1"}


def test_a_form_has_a_thousand_fields_at_most() -> None:
    assert len(read_body(b"&".join(b"%d=x" % number for number in range(1000)), FORM).payload) == 1000
    with pytest.raises(InvalidError) as error:
        read_body(b"&".join(b"%d=x" % number for number in range(1001)), FORM)
    assert error.value.reason == "invalid_form"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"{", "", "invalid_json"),
        (b"", "", "invalid_json"),
        (b"[" * 100_000, "", "invalid_json"),
        (b'{"a":' * 50_000, "", "invalid_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "", "invalid_json"),
        (b"\xff", JSON, "invalid_encoding"),
        (b'{"a": "\xe9"}', "application/json; charset=utf-8", "invalid_encoding"),
        (b"{}", "application/json; charset=utf-32", "invalid_encoding"),
        (b"{", "text/plain", "invalid_json"),
        (b"{}", "multipart/form-data", "unsupported_media_type"),
        *((b"<lead/>", kind, "unsupported_media_type") for kind in ("text/plain", "text/xml", "x", "/", FORM + "x")),
        *(
            (b"{}", f"application/json; charset={charset}", "unsupported_media_type")
            for charset in ("", "x", "hex", "zip", "rot13", "unicode_escape", "raw-unicode-escape", "utf-7", "idna")
        ),
        (b"{}", "application/json; charset=punycode", "unsupported_media_type"),
        (b"{}", "application/json; charset=\x00", "unsupported_media_type"),
        (b"{}", "application/json; charset=" + "x" * 9000, "unsupported_media_type"),
        (b"{}", "application/json; charset*=utf-8''utf-8; charset*1=x", "unsupported_media_type"),
        (b"{}", "application/json; charset*" + "9" * 5000 + "=x", "unsupported_media_type"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_body_that_cannot_be_read_is_invalid(body: bytes, content_type: str, expected: str) -> None:
    with pytest.raises(InvalidError) as error:
        read_body(body, content_type)
    assert error.value.reason == expected


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"name": "Zoë"}'.encode(), ""),
        ('\ufeff{"name": "Zoë"}'.encode(), JSON),
        ('{"name": "Zoë"}'.encode("utf-16"), "application/json; charset=utf-16"),
        ('{"name": "Zoë"}'.encode("latin-1"), "application/vnd.api+json; charset=ISO-8859-1"),
        (b'{"name": "Zo\\u00eb"}', "APPLICATION/JSON ; x=y; Charset=US-ASCII"),
        (b'{"name": "x", "name": "Zo\\u00eb"}', "application/json;"),
        *(
            (b'{"name": "Zo\\u00eb"}', content_type)
            for content_type in (
                "text/plain",
                "text/json",
                "text/html; charset=utf-8",
                "application/octet-stream",
                FORM,
                f"{FORM}; charset=UTF-8",
                "application/json, application/json",
                "application/json; charset=utf-8, application/json; charset=utf-8",
                "x",
            )
        ),
        (b"name=Zo%C3%AB", "text/plain"),
        (b"name=Zo%C3%AB", ""),
    ],
)
def test_json_is_read_in_its_character_set(body: bytes, content_type: str) -> None:
    assert read_body(body, content_type).payload == {"name": "Zoë"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"a": 1,\n "b": x}', "Line 2, column 7: Expecting value."),
        (b'{"a": 1\n "b": 2}', "Line 2, column 2: Expecting ',' delimiter."),
        (b"", "Line 1, column 1: Expecting value."),
        (b"[" * 100_000, "It is nested too deeply."),
        (b"[" + b"9" * 5000 + b"]", "It holds a number that is too long."),
    ],
    ids=["value", "comma", "empty", "depth", "number"],
)
def test_an_error_in_json_has_its_place(body: bytes, detail: str) -> None:
    with pytest.raises(InvalidError) as error:
        read_body(body, JSON)
    assert error.value.detail == detail
