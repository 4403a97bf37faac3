"""The secret that authenticated a delivery is in nothing that is mapped or stored, however it is spelled."""

import base64
import html
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from create_conversation.errors import InvalidError
from create_conversation.senders import redaction
from create_conversation.senders.body import Body, text_codec
from create_conversation.senders.config import load
from create_conversation.senders.multipart import parts_of
from create_conversation.senders.redaction import redacted_bytes, without_secrets
from create_conversation.senders.verification import Request

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
MULTIPART = 'multipart/form-data; boundary="the-boundary"'
SENDERS = load()
TOKEN = SENDERS["token"]
SECRET = "kD93-_jfkei39dkfjei3kdjfie93kdmfie93kdjfie9"
type Spelling = Callable[[str], str]


def body_of(body: bytes, secret: str = SECRET, content_type: str = JSON, sender: str = "token") -> bytes:
    return redacted_bytes(SENDERS[sender], body, text_codec(content_type), (secret,))


# --- spellings --------------------------------------------------------------------------------------------------------


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def units(text: str) -> list[str]:
    raw = text.encode("utf-16-be")
    return [f"\\u{raw[at : at + 2].hex()}" for at in range(0, len(raw), 2)]


def in_base64(text: str, before: bytes = b"", after: bytes = b"") -> str:
    return base64.b64encode(before + text.encode() + after).decode()


SPELLINGS: dict[str, Spelling] = {
    "raw": lambda text: text,
    "percent": lambda text: quote(text, ""),
    "percent, lower case": lambda text: quote(text, "").replace("%2F", "%2f").replace("%C3", "%c3"),
    "form": quote_plus,
    "percent, all": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent, all, lower case": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent, every other": lambda text: "".join(
        quote(c, "") if at % 2 else "".join(f"%{b:02x}" for b in c.encode()) for at, c in enumerate(text)
    ),
    "json": in_json,
    "json, slashes": lambda text: in_json(text).replace("/", "\\/"),
    "json, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json, all": lambda text: "".join(units(text)),
    "json, all, upper case": lambda text: "".join(f"\\u{unit[2:].upper()}" for unit in units(text)),
    "json, the first": lambda text: "".join(units(text[0])) + in_json(text[1:]),
    "json, the last": lambda text: in_json(text[:-1]) + "".join(units(text[-1])),
    "html": html.escape,
    "html, numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "html, hex": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "html, no semicolons": lambda text: "".join(f"&#{ord(c)}" for c in text) + ";",
    "html, hex, no semicolons": lambda text: "".join(f"&#x{ord(c):X}" for c in text) + ";",
    "base64": in_base64,
    "base64, no padding": lambda text: in_base64(text).rstrip("="),
    "base64, second alignment": lambda text: in_base64(text, b"u", b"\n"),
    "base64, third alignment": lambda text: in_base64(text, b"u:", b"!!"),
    "base64, for URLs": lambda text: base64.urlsafe_b64encode(b"user:" + text.encode()).decode(),
}
ESCAPES = [name for name in SPELLINGS if not name.startswith("base64")]


def simple_spellings(secret: str) -> list[bytes]:
    """What must not be found in the bytes: written apart from the code that it tests."""
    texts = [SPELLINGS[name](secret) for name in ESCAPES]
    texts += [quote(quote(secret, ""), ""), quote_plus(quote_plus(secret)), in_json(in_json(secret))]
    for before in range(3):
        encoded = in_base64(secret, b"\0" * before).rstrip("=")
        core = encoded[(0, 2, 3)[before] :]
        core = core if (before + len(secret.encode())) % 3 == 0 else core[:-1]
        texts += [core, core.replace("+", "-").replace("/", "_"), quote(core, ""), core.replace("/", "\\/")]
    return [text.encode() for text in texts]


# --- places -----------------------------------------------------------------------------------------------------------


def multipart(head: str, value: str) -> bytes:
    parts = ['Content-Disposition: form-data; name="a"\r\n\r\n1', f"{head}\r\n\r\n{value}"]
    parts.append('Content-Disposition: form-data; name="z"\r\n\r\n2')
    return "".join(f"--the-boundary\r\n{part}\r\n" for part in parts).encode() + b"--the-boundary--\r\n"


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


NAMED = 'Content-Disposition: form-data; name="x"'
# By place: the content type, and a body with that text there.
PLACES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "JSON value": (JSON, lambda text: dumped({"a": 1, "x": text, "z": [2]})),
    "JSON name": (JSON, lambda text: dumped({"a": 1, text: "x", "z": [2]})),
    "JSON value, not ASCII": (JSON, lambda text: json.dumps({"x": text}, ensure_ascii=False).encode()),
    "JSON, deep": (JSON, lambda text: dumped({"a": [{"b": [[text, {"c": {text: text}}]]}], "z": None})),
    "JSON in JSON": (JSON, lambda text: dumped({"a": json.dumps({"b": json.dumps([text, 1])})})),
    "JSON of an array": (JSON, lambda text: dumped([{"x": "y"}, {"x": text}])),
    "URL in JSON": (JSON, lambda text: dumped({"url": f"https://a.example/hook?b=c&token={quote(text, '')}#d"})),
    "URL in a URL": (
        JSON,
        lambda text: dumped({"u": f"https://a.example/?to={quote(f'/x?{urlencode({"t": text})}')}"}),
    ),
    "form value": (FORM, lambda text: urlencode({"a": "1", "x": text, "z": "2"}).encode()),
    "form name": (FORM, lambda text: urlencode({"a": "1", text: "x", "z": "2"}).encode()),
    "JSON in a form": (FORM, lambda text: urlencode({"a": "1", "x": json.dumps({"b": [text]}), "z": "2"}).encode()),
    "URL in JSON in a form": (
        FORM,
        lambda text: urlencode({"a": "1", "x": json.dumps({"b": f"?t={quote_plus(text)}"}), "z": "2"}).encode(),
    ),
    "multipart value": (MULTIPART, lambda text: multipart(NAMED, text)),
    "JSON in multipart": (MULTIPART, lambda text: multipart(NAMED, json.dumps({"b": [text]}).replace("/", "\\/"))),
    "multipart name": (MULTIPART, lambda text: multipart(f'Content-Disposition: form-data; name="{quote(text)}"', "x")),
    "file name": (MULTIPART, lambda text: multipart(f'{NAMED}; filename="{quote(text, "")}.txt"', "x")),
    "multipart header": (MULTIPART, lambda text: multipart(f"{NAMED}\r\nX-Source: {quote(text, '')}", "x")),
}


def parsed(body: bytes, content_type: str) -> Any:
    """The payload, and JSON inside of it."""
    if content_type == JSON:
        return json.loads(body)
    if content_type == FORM:
        fields = parse_qsl(body.decode(), keep_blank_values=True)
    else:
        fields = [(part.name.decode(), part.value.decode()) for part in parts_of(body, b"the-boundary", 10)]
    return {name: json.loads(value) if value[:1] == "{" and name == "x" else value for name, value in fields}


def structure(value: Any) -> Any:
    """Of a payload: what kinds of values it has, where."""
    if isinstance(value, dict):
        return [structure(each) for each in value.values()]
    return [structure(each) for each in value] if isinstance(value, list) else type(value).__name__


URL_SAFE = st.text("abcXYZ019-_", min_size=8, max_size=44)
PRINTABLE = st.text([chr(code) for code in range(0x20, 0x7F)], min_size=16, max_size=40)
OTHER = st.text("äß漢😀 aZ/", min_size=8, max_size=20)
SECRETS = st.one_of(URL_SAFE, PRINTABLE, OTHER).map(lambda text: f"k{text.strip()}7")
AROUND = st.text("ab \\%&=/\"'{}:,;+漢", max_size=6)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    secret=SECRETS,
    spelling=st.one_of(
        st.sampled_from(sorted(SPELLINGS)).map(lambda name: [name]),
        st.lists(st.sampled_from(sorted(ESCAPES)), min_size=1, max_size=2),
    ),
    place=st.sampled_from(sorted(PLACES)),
    before=AROUND,
    after=AROUND,
)
@example(secret="41ab/cdefgh", spelling=["raw"], place="JSON in multipart", before="%", after="")
@example(secret="deadbeef/7654321", spelling=["json, slashes"], place="JSON value", before="100%", after="%")
@example(secret="nabc/defghi", spelling=["percent"], place="multipart value", before="\\", after="")
def test_no_spelling_at_no_place_is_left(secret: str, spelling: list[str], place: str, before: str, after: str) -> None:
    text = secret
    for name in spelling:
        text = SPELLINGS[name](text)
    content_type, body_with = PLACES[place]
    body = body_with(f"{before}{text}{after}")
    left = body_of(body, secret, content_type)
    assert left != body
    assert [each for each in simple_spellings(secret) if each in left] == []
    try:
        before_it = structure(parsed(body, content_type))
    except ValueError:
        return  # the text around it has spoilt it
    assert structure(parsed(left, content_type)) == before_it
    assert body_of(left, secret, content_type) == left
    assert len(left) <= len(body)


PIECES = [
    "%41",
    "%%",
    r"\u0041",
    r"\ud83d\ude00",
    r"\n",
    r"\/",
    "\\",
    "&amp;",
    "&#65;",
    "&#x41;",
    "&",
    "a",
    "B9",
    "-",
    "=",
]
PIECES += ["\0", "\r\n", "\r", "\n \t", " ", '"']


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(str.encode), runs=st.booleans())
def test_a_kind_of_escape_is_never_found_without_its_mark(data: bytes, runs: bool) -> None:
    """A layer without the mark of a kind is not searched for it."""
    for match in redaction._pattern(tuple(redaction._ESCAPES), runs=runs).finditer(data):
        assert any(mark in match[0] for mark in redaction._MARKS[str(match.lastgroup)])


LINE_BREAKS = {"CRLF": "\r\n", "LF": "\n", "CR": "\r", "folded": "\r\n\t"}


@pytest.mark.parametrize("line_break", LINE_BREAKS.values(), ids=LINE_BREAKS)
@pytest.mark.parametrize("width", [76, 64, 19, 1])
@pytest.mark.parametrize("before", range(50, 53), ids=["first", "second", "third"])
@pytest.mark.parametrize(
    "place", ["JSON value", "JSON in JSON", "URL in JSON", "form value", "JSON in a form", "multipart value"]
)
def test_base64_in_lines(place: str, before: int, width: int, line_break: str) -> None:
    """MIME breaks base64 after 76 characters, PEM after 64; so does PHP's chunk_split."""
    encoded = in_base64(SECRET, b"u" * before, b" and more" * 9)
    lines = line_break.join(encoded[at : at + width] for at in range(0, len(encoded), width))
    content_type, body_with = PLACES[place]
    body = body_with(lines)
    left = body_of(body, SECRET, content_type)
    assert b"REDACTED" in left
    assert structure(parsed(left, content_type)) == structure(parsed(body, content_type))
    whole = SPELLINGS["base64"](SECRET)[4:-4]
    assert not any(
        core in "".join(c for c in json.dumps(parsed(left, content_type)).replace("\\r", "") if c.isalnum())
        for core in (whole, in_base64(SECRET, b"u")[8:-8], in_base64(SECRET, b"uu")[8:-8])
    )
    assert body_of(left, SECRET, content_type) == left


def test_lines_of_other_base64_stay() -> None:
    body = dumped({"x": base64.encodebytes(bytes(range(256))).decode(), "y": "first\nsecond\r\n\tthird"})
    assert body_of(body) == body


# --- each kind of body and sender -------------------------------------------------------------------------------------

ESCAPED = SPELLINGS["percent, all, lower case"](SECRET)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b'{"x": "%s"', JSON, id="cut off"),
        pytest.param(b'{"x": %s}', JSON, id="no JSON"),
        pytest.param(b'\xff\xfe{"x": "%s"}\xff', JSON, id="no UTF-8"),
        pytest.param(b'{"x": "%s"}', f"{JSON}; charset=klingon", id="an unknown charset"),
        pytest.param(b'{"x": "%s"} ', f"{JSON}; charset=utf-16", id="another charset than declared"),
        pytest.param(b"<x>%s</x>", "text/xml", id="another media type"),
        pytest.param(b"--other\r\n%s\r\n", MULTIPART, id="another boundary"),
        pytest.param(b'--the-boundary\r\nX: y; z="%s"\r\n\r\n', MULTIPART, id="a part without an end"),
        pytest.param(b"%s", "", id="nothing else"),
        pytest.param(b"[" * 9_000 + b'"%s"' + b"]" * 9_000, JSON, id="nested too deeply"),
        pytest.param(b"&".join([b"a=b"] * 2_000) + b"&x=%s", FORM, id="too many fields"),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, ESCAPED], ids=["raw", "percent"])
def test_a_body_that_cannot_be_read(body: bytes, content_type: str, secret: str) -> None:
    with_secret = body.replace(b"%s", secret.encode())
    assert body_of(with_secret, SECRET, content_type) == body.replace(b"%s", b"REDACTED")


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "shift_jis", "cp037"])
@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("secret", [SECRET, "k-pässwörd-7"], ids=["ASCII", "umlauts"])
def test_each_charset(charset: str, content_type: str, secret: str) -> None:
    if charset == "shift_jis" and not secret.isascii():
        secret = "k-日本語のひみつ-7"
    texts = {JSON: '{"x": "<%s>", "y": "%s"}', FORM: "x=<%s>&y=%s"}
    escape = in_json if content_type == JSON else SPELLINGS["percent, all"]
    with_secret = (texts[content_type] % (secret, escape(secret))).encode(charset)
    left = body_of(with_secret, secret, f"{content_type}; charset={charset}")
    assert left.decode(charset) == texts[content_type] % ("REDACTED", "REDACTED")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_charset_that_is_not_declared(codec: str) -> None:
    left = body_of(f'{{"x": "{SECRET}"}}'.encode(codec))
    assert SECRET.encode() not in left.replace(b"\0", b"")


@pytest.mark.parametrize(
    ("sender", "secret", "repeated"),
    [
        ("typeform", SECRET, SECRET),
        ("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw==", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("token", "someone:a-pass/word-of-theirs", "a-pass/word-of-theirs"),
        ("token", "someone:a-pass/word-of-theirs", base64.b64encode(b"someone:a-pass/word-of-theirs").decode()),
    ],
    ids=["HMAC", "whsec", "the password alone", "the header of HTTP Basic"],
)
def test_what_else_is_as_good_as_the_secret(sender: str, secret: str, repeated: str) -> None:
    left = body_of(dumped({"x": [repeated]}), secret, sender=sender)
    assert repeated.encode() not in left
    assert b"REDACTED" in left


def test_an_old_secret_that_is_still_valid() -> None:
    request = Request({"content-type": JSON}, "", dumped(["the-new-secret", "the-old-secret"]))
    left = without_secrets(TOKEN, request, ("the-new-secret", "the-old-secret"))
    assert json.loads(left.raw) == ["REDACTED", "REDACTED"]
    assert isinstance(left.parsed, Body)
    assert left.parsed.payload == ["REDACTED", "REDACTED"]


def test_what_describes_the_body() -> None:
    sender = replace(TOKEN, id="header:x-delivery")
    headers = {"content-type": f"{JSON}; x={SECRET}", "x-delivery": f"d-{SECRET}", "authorization": f"Bearer {SECRET}"}
    left = without_secrets(sender, Request(headers, f"token={SECRET}", b"{}"), (SECRET,))
    assert (left.content_type, left.raw, left.delivery_id) == (f"{JSON}; x=REDACTED", b"{}", "d-REDACTED")
    assert SECRET not in repr(left)


def test_a_multipart_body_is_stored_without_its_boundary() -> None:
    body = multipart(NAMED, "y").replace(b"the-boundary", SECRET.encode())
    headers = {"content-type": f"multipart/form-data; boundary={SECRET}"}
    left = without_secrets(TOKEN, Request(headers, "", body), (SECRET,))
    assert (left.content_type, json.loads(left.raw)) == (JSON, {"a": "1", "x": "y", "z": "2"})


UNREADABLE = {
    "JSON": (JSON, '{"token": "hush", "email": "a@example.com'),
    "JSON in which it is a number": (JSON, '{"token":hush, "email": "a@example.com'),
    "JSON under a form's type": (f"{FORM}; charset=x", '{"email": "a@example.com", "token" : "hush"'),
    "form": (f"{FORM}; charset=zip", "email=a@example.com&token=hush&b=2"),
    "multipart, cut off": (MULTIPART, multipart('Content-Disposition: form-data; name="token"', "hush").decode()[:-8]),
    "XML": ("text/xml", "<lead><email>a@example.com</email>token='hush'</lead>"),
}


@pytest.mark.parametrize(("content_type", "text"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_short_secret_is_taken_out_of_an_unreadable_body_by_its_name(content_type: str, text: str) -> None:
    left = without_secrets(TOKEN, Request({"content-type": content_type}, "", text.encode()), ("hush",))
    assert isinstance(left.parsed, InvalidError)
    assert b"hush" not in left.raw
    assert (b"a@example.com" in left.raw) == ("a@example.com" in text)


@pytest.mark.parametrize("secret", ["77777771", "11111111", "-1234567.5", "12345e678"])
def test_a_number_stays_a_number(secret: str) -> None:
    body = f'{{"x": 9{secret.lstrip("-")}, "y": [{secret}], "z": "{secret}", "j": "[{secret}]"}}'.encode()
    left = body_of(body, secret)
    assert secret.encode() not in left
    assert structure(json.loads(left)) == structure(json.loads(body))
    json.loads(json.loads(left)["j"])


@pytest.mark.parametrize("secret", ["1234567", "secret", "--------", "        "], ids=repr)
def test_a_secret_that_is_short_or_no_word_is_left_alone(secret: str) -> None:
    body = json.dumps({"x": f"{secret} {secret}", "phone": "+15551234567"}, indent=8).encode()
    assert body_of(body, secret) == body


def test_a_public_key_is_not_a_secret() -> None:
    body = dumped({"key": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="})
    assert body_of(body, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", sender="standard-webhooks-v1a") == body


def test_nothing_else_changes() -> None:
    body = rb' {"a": "\/\u00e4 %41 &amp; + ", "b": 1.50, "b": 2 } '
    assert body_of(body) == body
    assert body_of(body.replace(b"%41", SECRET.encode())) == body.replace(b"%41", b"REDACTED")


SIZE = 256 * 1024
MALICIOUS = {
    "backslashes": b"\\",
    "slashes": b"\\/x",
    "percent": b"%41",
    "percent, apart": b"%41x",
    "percent, nested": b"%25252525252525252525",
    "percent, nested endlessly": b"25",
    "units, nested": b"\\u005cu005cu005cu005cu005cu005c",
    "entities, nested": b"&amp;amp;amp;amp;amp;amp;",
    "entities that are none": b"&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "everything": b"%41\\/&#1;\\\\%25x",
    "NUL": b"\0a",
    "lines": b"a\r\n",
    "lines, escaped": rb"a\r\n",
    "entities without an end": b"&#65",
    "almost": SECRET[:-1].encode(),
    "often": SECRET.encode(),
    "often, escaped": ESCAPED.encode(),
    "often, in base64": base64.b64encode(SECRET.encode()),
    "often, in lines of base64": b"\n".join(base64.b64encode(SECRET.encode())[at : at + 4] for at in range(0, 60, 4)),
}


@pytest.mark.parametrize("piece", MALICIOUS.values(), ids=MALICIOUS)
def test_the_largest_body_is_searched_in_linear_time(piece: bytes) -> None:
    def seconds(size: int) -> float:
        body = b"%" + piece * (size // len(piece))
        started = time.process_time()
        body_of(body)
        return time.process_time() - started

    whole = seconds(SIZE)
    assert whole < max(12 * seconds(SIZE // 4), 0.5)
    assert whole < 2.0
