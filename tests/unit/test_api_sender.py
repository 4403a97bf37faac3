"""The sender `api` (and `event`), as presets.toml has it: who gets in, and whose conversation a body asks for."""

import codecs
import json
from typing import Any

import pytest

from create_conversation.errors import InvalidError, RejectedError, SubmissionError
from create_conversation.senders.mapping import Target, target_of
from create_conversation.senders.verification import Request, is_authentic, secrets_for
from create_conversation.submission import MAX_BODY_BYTES
from tests.factories import CONTACT, LOCATION, make_ids, make_submission
from tests.unit.world import SENDERS


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ('{"api": "one"}', ("one",)),
        ('{"api": ["new", "old"]}', ("new", "old")),
        ('{"api": ["new", "", null, 7, ["x"], "old"]}', ("new", "old")),
        ('{"api": ""}', ()),
        ('{"api": []}', ()),
        ('{"api": null}', ()),
        ('{"api": 7}', ()),
        ('{"api": true}', ()),
        ('{"api": {"secret": "one"}}', ()),
        ('{"typeform": "one"}', ()),
        ("{}", ()),
        ("[]", ()),
        ('["api"]', ()),
        ('"api"', ()),
        ("7", ()),
        ("null", ()),
        ("", ()),
        ("api", ()),
        ('{"api": "one"', ()),
        ("[" * 100_000, ()),
        ("9" * 5000, ()),
    ],
)
def test_a_sender_has_the_secrets_that_are_there_in_the_promised_format(text: str, secrets: tuple[str, ...]) -> None:
    assert secrets_for(text, "api") == secrets


def bearer_is_known(header: str | None, secrets: tuple[str, ...]) -> bool:
    headers = {} if header is None else {"authorization": header}
    return is_authentic(SENDERS["api"], Request(headers, "", b""), secrets, 0.0)


@pytest.mark.parametrize(
    "header", ["Bearer new", "Bearer old", "bearer new", "BEARER new", "Bearer  new", "Bearer new  "]
)
def test_any_of_the_secrets_lets_in(header: str) -> None:
    assert bearer_is_known(header, ("new", "old"))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "new",
        "Basic new",
        "Bearernew",
        "Bearer:new",
        "Bearer\tnew",
        "Bearer\nnew",
        " Bearer new",
        "Bearer ne",
        "Bearer newer",
        "Bearer NEW",
        "Bearer new,",
        "Bearer new new",
        "Bearer new, Bearer new",
        'Bearer "new"',
        "Bearer new\n",
        "Bearer new\0",
        "Bearer nëw",
        "Bearer \ud800",
        "Bearer \uff4e\uff45\uff57",
        "Beärer new",
        "Bearer " + "n" * 100_000,
    ],
)
def test_any_other_header_does_not(header: str | None) -> None:
    assert not bearer_is_known(header, ("new", "old"))
    assert not bearer_is_known(header, ())


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer   ", "", None])
@pytest.mark.parametrize("text", ['{"api": ""}', '{"api": [""]}', '{"api": []}', "{}", ""])
def test_an_empty_secret_lets_no_request_in(header: str | None, text: str) -> None:
    assert not bearer_is_known(header, secrets_for(text, "api"))


@pytest.mark.parametrize("secret", ["nëw", "\ud800"])
def test_a_secret_beyond_ascii_is_compared_like_any_other(secret: str) -> None:
    assert bearer_is_known(f"Bearer {secret}", secrets_for(json.dumps({"api": secret}), "api"))


def target(body: Any, content_type: str = "application/json", default: str | None = None, **changes: Any) -> Target:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return target_of(make_submission(body=raw, content_type=content_type, **changes), SENDERS, default)


GOOD = Target(LOCATION, CONTACT)


def test_a_body_names_location_and_contact() -> None:
    assert target(make_ids()) == GOOD


def test_members_that_are_not_known_are_ignored() -> None:
    extra = {"note": "Grüße", "amount": 10**40, "nested": [[{}]], "locationID": "x", "a\0b": None}
    assert target(make_ids() | extra) == GOOD


@pytest.mark.parametrize("location", [{}, {"locationId": None}, {"locationId": LOCATION}])
def test_the_default_location_serves_when_none_other_is_named(location: dict[str, str | None]) -> None:
    assert target(location | {"contactId": CONTACT}, default=LOCATION) == GOOD


def test_where_there_is_a_default_location_no_other_may_be_named() -> None:
    with pytest.raises(RejectedError) as caught:
        target(make_ids(location="another"), default=LOCATION)
    assert caught.value.reason == "location_not_allowed"


@pytest.mark.parametrize("body", [{}, {"locationId": None, "contactId": CONTACT}, {"contactId": CONTACT}])
def test_without_a_default_a_location_must_be_named(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        target(body)
    assert caught.value.reason == "no_location"


@pytest.mark.parametrize("contact", [{}, {"contactId": None}])
def test_a_contact_must_be_named(contact: dict[str, None]) -> None:
    with pytest.raises(InvalidError) as caught:
        target({"locationId": LOCATION} | contact)
    assert caught.value.reason == "no_contact"


IDS = ["a", "A-_9", "x" * 64]
NO_IDS = ["", " ", "a b", "a\n", "\na", "a\0", "ü", "１", "٣", "\ud800", "x" * 65, "a/b", "a#b", "a.b", "%41"]  # noqa: RUF001
NO_STRINGS = [7, 1.5, True, False, [], ["a"], {}, {"a": 1}]


@pytest.mark.parametrize("name", ["locationId", "contactId"])
@pytest.mark.parametrize("value", NO_IDS + NO_STRINGS)
def test_a_malformed_id_is_refused_before_it_gets_anywhere(name: str, value: object) -> None:
    with pytest.raises(InvalidError) as caught:
        target(make_ids() | {name: value}, default=LOCATION)
    assert caught.value.reason == "invalid_body"


@pytest.mark.parametrize("value", IDS)
def test_an_id_is_1_to_64_letters_digits_and_the_two(value: str) -> None:
    assert target({"locationId": value, "contactId": value}) == Target(value, value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid_json"),
        (b" ", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"contactId": "a"} x', "invalid_json"),
        (b"contactId=a", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"a":' * 40_000, "invalid_json"),
        (b'{"contactId": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b"\xff\xff", "invalid_encoding"),
        (b"\xff\xfe", "invalid_json"),  # the byte order mark of UTF-16, and no text
        (b'{"contactId": "\xfc"}', "invalid_encoding"),
        (b'{"contactId": "\xed\xa0\x80"}', "invalid_encoding"),
        (b"[]", "invalid_body"),
        (b'[{"locationId": "a", "contactId": "b"}]', "invalid_body"),
        (b"null", "invalid_body"),
        (b"7", "invalid_body"),
        (b"NaN", "invalid_body"),
        (b'"text"', "invalid_body"),
        (b'{"locationId": "a", "contactId": NaN}', "invalid_body"),
        (b'{"locationId": "a", "contactId": Infinity}', "invalid_body"),
        (b'{"locationId": "a", "contactId": 1e999}', "invalid_body"),
    ],
)
def test_what_is_not_the_promised_json_is_invalid(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        target(body)
    assert caught.value.reason == reason


BODY = json.dumps(make_ids() | {"note": "Grüße"}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", BODY.encode()),
        ("application/json", BODY.encode("utf-8-sig")),
        ("application/json; charset=utf-8", BODY.encode("utf-8-sig")),
        ("application/json;charset=UTF8", BODY.encode()),
        ('application/json; charset="utf-8"', BODY.encode()),
        ("application/json; charset=utf-16", BODY.encode("utf-16")),
        ("application/json; charset=utf-16", codecs.BOM_UTF16_BE + BODY.encode("utf-16-be")),
        ("application/json; charset=UTF-16LE", BODY.encode("utf-16-le")),
        ("application/json; charset=utf-32", BODY.encode("utf-32")),
        ("application/json; charset=iso-8859-1", BODY.encode("latin-1")),
        ("application/json; charset=latin1", BODY.encode("latin-1")),
        ("application/json; charset=windows-1252", BODY.encode("cp1252")),
        ("APPLICATION/JSON", BODY.encode()),
        ("application/vnd.api+json; version=1", BODY.encode()),
        ("application/cloudevents+json", BODY.encode()),
        ("application/json; boundary=x; charset=utf-8", BODY.encode()),
        ("application/json;", BODY.encode()),
        ("", BODY.encode()),
    ],
)
def test_a_body_is_decoded_as_its_content_type_says(content_type: str, body: bytes) -> None:
    assert target(body, content_type) == GOOD


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "json",
        "None",
        "\u00fc",
        "\ud800",
        *(
            f"application/json; charset={charset}"
            for charset in [
                "",
                "klingon",
                "hex",
                "base64",
                "rot13",
                "zip",
                "bz2",
                "idna",
                "punycode",
                "unicode_escape",
                "unicode-escape",
                "raw_unicode_escape",
                "raw-unicode-escape",
                "utf-7",
                "undefined",
                "../../etc/passwd",
                "\u00fc",
                "a" * 10_000,
            ]
        ),
    ],
)
def test_another_media_type_or_charset_is_not_supported(content_type: str) -> None:
    with pytest.raises(InvalidError) as caught:
        target(BODY.encode(), content_type)
    assert caught.value.reason == "unsupported_media_type"


@pytest.mark.parametrize(
    ("charset", "body"),
    [("utf-8", BODY.encode("latin-1")), ("us-ascii", BODY.encode()), ("utf-16", b"{\xd8"), ("utf-32", BODY.encode())],
)
def test_a_body_in_another_encoding_than_declared_is_invalid(charset: str, body: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        target(body, f"application/json; charset={charset}")
    assert caught.value.reason == "invalid_encoding"


@pytest.mark.parametrize("header", ["a\r\nb: c", "application/json\r\nX: y", "\0"])
def test_control_characters_in_a_content_type_do_no_harm(header: str) -> None:
    with pytest.raises(InvalidError, match="unsupported_media_type"):
        target(BODY.encode(), header)


def test_a_body_may_have_256_kib_and_not_a_byte_more() -> None:
    padded = json.dumps(make_ids()).encode().ljust(MAX_BODY_BYTES)
    assert target(padded) == GOOD
    with pytest.raises(InvalidError) as caught:
        target(padded + b" ")
    assert caught.value.reason == "body_too_large"


def test_an_event_names_them_in_its_detail() -> None:
    assert target({"detail": make_ids(), "locationId": "x"}, trigger="event", sender="event") == GOOD


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({}, "no_location"),
        ({"detail": None}, "no_location"),
        ({"detail": []}, "no_location"),
        ({"detail": "text"}, "no_location"),
        ([], "invalid_body"),
        (None, "invalid_body"),
    ],
)
def test_an_event_without_a_detail_object_is_invalid(event: object, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        target(event, trigger="event", sender="event")
    assert caught.value.reason == reason
    with pytest.raises(InvalidError):
        target(event, default=LOCATION, trigger="event", sender="event")


def test_no_refusal_repeats_what_the_body_held() -> None:
    for body in (make_ids(contact="pe ter@example.com"), make_ids(location="pe ter@example.com"), [make_ids()]):
        with pytest.raises(SubmissionError) as caught:
            target(body, default=LOCATION)
        assert "example.com" not in str(caught.value) + caught.value.detail
