"""multipart/form-data: what real encoders make of a form is read, whatever else comes is refused, and neither costs."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from email.parser import BytesParser
from email.policy import compat32
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from create_conversation.errors import InvalidError
from create_conversation.senders.body import MULTIPART, in_utf8, read_body, without_members
from create_conversation.senders.config import load
from create_conversation.senders.mapping import body_of, target_of
from create_conversation.senders.multipart import boundary_of, parts_of
from create_conversation.senders.redaction import secret_members
from create_conversation.submission import MAX_BODY_BYTES, Submission
from tests.samples import LOCATION, Sent

SENDERS = load()
CURL = "------------------------d74496d66958873e"


def part(name: str, value: str, boundary: str = "x", **parameters: str) -> bytes:
    more = "".join(f'; {key}="{text}"' for key, text in parameters.items())
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return f"{head}{value}\r\n".encode()


def submission(body: bytes, parameters: str = "; boundary=x", sender: str = "jotform") -> Submission:
    return Submission("webhook", sender, "r", 0.0, f"{MULTIPART}{parameters}", body)


def reason(body: bytes, parameters: str = "; boundary=x") -> str:
    with pytest.raises(InvalidError) as error:
        payload_of(submission(body, parameters))
    return error.value.reason


END = b"--x--\r\n"


def payload_of(sent: Submission) -> Any:
    return body_of(sent).payload


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["x", "a" * 70, CURL, "'()+_,-./:=? z", "WebKitFormBoundary7MA4YWxkTrZu0gW"])
def test_what_urllib3_encodes_is_read(boundary: str) -> None:
    fields = {"formID": "1", "": "no name", "ünï": "Zoë\r\n--", "empty": "", "rawRequest": '{"a": "--"}', "x;y": "1"}
    body, _ = encode_multipart_formdata(fields, boundary)
    assert payload_of(submission(body, f'; boundary="{boundary}"')) == fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (END, {}),
        (b"--x--", {}),
        (b"a preamble\r\n" + part("a", "1") + END + b"an epilogue", {"a": "1"}),
        (part("a", "1") + part("a", "2") + part("a", "3") + END, {"a": ["1", "2", "3"]}),
        (part("a", "1") + part("file", "GIF89a\x00", filename="a.gif") + END, {"a": "1"}),
        (part("a", "1") + part("file", "x", filename="") + END, {"a": "1"}),
        (b"--x \t\r\ncontent-DISPOSITION:form-data;NAME=a\r\n\r\n1\r\n" + END, {"a": "1"}),
        (b'--x\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' + END, {"a": "1"}),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n\r\n\r\n' + END, {"a": "\r\n\r\n"}),
        (part("a", "see --x, and\n--x") + END, {"a": "see --x, and\n--x"}),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n'
            b"--y\r\n\r\nnested\r\n--y--\r\n" + END,
            {"a": "--y\r\n\r\nnested\r\n--y--"},
        ),
    ],
    ids=range(11),
)
def test_odd_but_right(body: bytes, fields: dict[str, object]) -> None:
    assert payload_of(submission(body)) == fields


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=iso-8859-1", "; charset=utf-16"])
def test_a_charset_is_that_of_the_values(charset: str) -> None:
    codec = "latin-1" if "8859" in charset else "utf-8"
    body = '--x\r\nContent-Disposition: form-data; name="ñ"\r\n\r\nZoë\r\n'.encode(codec) + END
    assert payload_of(submission(body, f"; boundary=x{charset}")) == {"ñ": "Zoë"}


def test_a_body_that_the_gateway_has_read_as_text_keeps_its_boundary() -> None:
    given = f'{MULTIPART}; charset=iso-8859-1; boundary="x y"'
    assert boundary_of(in_utf8(given).partition(";")[2]) == b"x y"
    assert "utf-8" in in_utf8(given)
    assert in_utf8(f"{MULTIPART}; boundary=x") == f"{MULTIPART}; boundary=x"


# --- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        *("", ";", "; boundary", "; boundary=", '; boundary=""', '; boundary="', "; boundary=" + "a" * 71),
        *(
            "; boundary=a b",
            '; boundary="a "',
            "; boundary=ü",
            '; boundary="a\x00"',
            "; boundary=a;b=c@",
            "; xboundary=x",
        ),
        *("; boundary=x; charset=zip", "; boundary=x; charset=x", "; boundary=*", '; boundary="' + "a" * 100_000),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_no_boundary_that_can_be_one_is_an_unsupported_type(parameters: str) -> None:
    if parameters == "; boundary=a;b=c@":
        assert boundary_of(parameters) == b"a"
    else:
        assert reason(part("a", "1") + END, parameters) == "unsupported_media_type"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"x", b"--x", b"--x\r\n", b"--y--\r\n", part("a", "1"), part("a", "1")[:-2], part("a", "1") + b"--x"),
        part("a", "1") + b"--x-",
        (part("a", "1") + END).replace(b"\r\n", b"\n"),
        b"--x\r\n\r\nno head\r\n" + END,
        b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + END,
        b'--x\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n' + END,
        b'--x\r\nContent-Type: text/plain; name="a"\r\n\r\n1\r\n' + END,
        b"--xx\r\n" + part("a", "1")[5:] + END,
        part("a", "1") + END + part("b", "2") + END,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nX: ' + b"y" * 2100 + b"\r\n\r\n1\r\n" + END,
        part("a", "1") * 1001 + END,
    ],
    ids=range(18),
)
def test_cut_off_or_malformed_is_refused(body: bytes) -> None:
    assert reason(body) == "invalid_form"


def test_it_may_have_a_thousand_parts() -> None:
    assert len(payload_of(submission(part("a", "1") * 1000 + END))["a"]) == 1000


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=us-ascii"])
def test_bytes_of_another_charset_are_refused(charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nZo\xeb\r\n' + END
    assert reason(body, f"; boundary=x{charset}") == "invalid_encoding"


def test_a_large_one_is_refused() -> None:
    assert reason(part("a", "1" * MAX_BODY_BYTES) + END) == "body_too_large"


def test_post_conversations_takes_none() -> None:
    with pytest.raises(InvalidError, match="unsupported_media_type"):
        payload_of(replace(submission(part("a", "1") + END, sender="api"), trigger="http"))


def fuzzed() -> Iterator[tuple[str, bytes, str]]:
    """What costs other parsers seconds, memory or their stack, each as large as a body may be."""
    head = b"--x\r\nContent-Disposition: form-data"
    nested = (b"--%d\r\nContent-Type: multipart/a;boundary=%d\r\n\r\n" % (n, n + 1) for n in range(5000))
    yield from (
        ("many parts", part("a", "") * 6000, "x"),
        ("empty parts", b"--x\r\n" * 60_000, "x"),
        ("nested", b"".join(nested), "0"),
        ("lines", part("a", "\n" * 250_000) + END, "x"),
        ("dashes", b"--" + b"-" * 70 + b"\r\n--" * 60_000, "-" * 70),
        ("almost", (b"\r\n--" + b"a" * 69 + b"b") * 3500, "a" * 70),
        ("parameters", (head + b"; a=b" * 390 + b"\r\n\r\n\r\n") * 120 + END, "x"),
        ("names", (head + b';name="' * 285 + b"\r\n\r\n\r\n") * 120 + END, "x"),
        ("blanks", (head + b";" + b" " * 1990 + b"\r\n\r\n\r\n") * 120 + END, "x"),
        ("heads", (head + b"\r\na:b" * 390 + b"\r\n\r\n\r\n") * 120 + END, "x"),
        ("a head", head + b'; name="' + b'a\\"' * 80_000 + END, "x"),
        ("encoded words", head + b'; name="' + b"=?utf-8?q?a?=" * 20_000 + b'"\r\n\r\n' + END, "x"),
    )


@pytest.mark.parametrize(("body", "boundary"), [case[1:] for case in fuzzed()], ids=[case[0] for case in fuzzed()])
def test_malicious_bytes_cost_no_time(body: bytes, boundary: str) -> None:
    """The slowest takes 16 ms. The standard library's parser: up to 8 s for one of these, or it overflows the stack."""
    started = time.thread_time()
    with suppress(InvalidError):
        payload_of(submission(body[:MAX_BODY_BYTES], f"; boundary={boundary}"))
    assert time.thread_time() - started < 0.3


EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=500)
WHOLE = part("a", "1") + part("file", "x", filename="f") + part("b", "Zoë") + END
PIECES = (
    b"--x",
    b"--x--",
    b"\r\n",
    b"\r\n\r\n",
    b'"',
    b";",
    b"name=",
    b"filename=",
    b"\x00",
    b"\xff",
    b"Content-",
    b"=",
)
# Where in the body, how many bytes are replaced, and by which.
EDITS = st.lists(
    st.tuples(
        st.integers(0, len(WHOLE)),
        st.sampled_from([0, 1, 3, 20]),
        st.sampled_from(PIECES) | st.binary(min_size=2, max_size=2),
    ),
    max_size=3,
)


@given(edits=EDITS, sender=st.sampled_from(["jotform", "token"]))
@settings(EXAMPLES, max_examples=2000)
def test_whatever_comes_is_read_or_refused(edits: list[tuple[int, int, bytes]], sender: str) -> None:
    body = WHOLE
    for at, length, piece in edits:
        body = body[:at] + piece + body[at + length :]
    with suppress(InvalidError):
        read = without_members(body_of(submission(body, sender=sender)), secret_members(SENDERS[sender]))
        assert len(str(read.payload)) < 8 * len(body)
        assert read_body(read.raw, read.content_type).payload == read.payload


FORM_TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n'), max_size=12)


@given(fields=st.dictionaries(FORM_TEXT, st.text(st.characters(codec="utf-8"), max_size=40), max_size=6))
@EXAMPLES
def test_any_form_that_urllib3_encodes_is_read(fields: dict[str, str]) -> None:
    body, _ = encode_multipart_formdata(fields, CURL)
    assert payload_of(submission(body, f"; boundary={CURL}")) == fields


@pytest.mark.parametrize("name", ["a", "a b", "ü", "a;b", "1.3", "fields[email]"])
def test_the_standard_library_reads_the_same(name: str) -> None:
    body, content_type = encode_multipart_formdata({name: "Zoë", "b": "2"}, CURL)
    message = BytesParser(policy=compat32).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    theirs = [each.get_payload(decode=True) for each in message.get_payload() if not isinstance(each, str)]
    assert [each.value for each in parts_of(body, CURL.encode(), 10)] == theirs


# --- as a sender's ----------------------------------------------------------------------------------------------------


def test_a_secret_in_a_part_is_not_stored() -> None:
    body = (
        b"preamble\r\n"
        + part("a", "1")
        + part("token", "hush")
        + part("token", "hush", filename="f")
        + part("b", "2")
        + END
    )
    read = read_body(body, f"{MULTIPART}; boundary=x")
    stored = without_members(read, secret_members(SENDERS["token"]))
    assert b"hush" not in stored.raw
    assert stored.payload == json.loads(stored.raw) == {"a": "1", "b": "2"}
    assert len(stored.raw) <= len(body)
    without = read_body(part("a", "1") + END, f"{MULTIPART}; boundary=x")
    assert without_members(without, secret_members(SENDERS["token"])) is without


def jotform(answers: object) -> Submission:
    text = answers if isinstance(answers, str) else json.dumps(answers)
    return submission(part("submissionID", "60774") + part("rawRequest", text) + END)


@pytest.mark.parametrize(
    ("answers", "person"),
    [
        ({"q4_email": "a@example.com"}, ("a@example.com", None, None, None)),
        ({"q9_mail": "a@example.com", "q3_x": {"first": "A", "last": "B"}}, ("a@example.com", None, "A", "B")),
        (
            {"q1_note": "me @ home", "q2_url": "https://x/@y", "q4": "a@example.com"},
            ("a@example.com", None, None, None),
        ),
        ({"q4_email": "a@example.com", "q5_friend": "b@example.com"}, ("a@example.com", None, None, None)),
        ({"q5_phone": {"full": "(555) 555-0100"}}, (None, "(555) 555-0100", None, None)),
        ({"q5_phone": {"area": "555", "phone": "5550100"}}, (None, "555 5550100", None, None)),
        ({"q5_phone": {"country": "1", "area": "555", "phone": "5550100"}}, (None, "+1 555 5550100", None, None)),
        (
            {"q4_email": ["a@example.com"], "q1": 7, "q2": None, "q5": {"full": "5550100"}},
            ("a@example.com", "5550100", None, None),
        ),
    ],
    ids=range(8),
)
def test_jotforms_answers_are_known_by_their_format(answers: object, person: tuple[str | None, ...]) -> None:
    target = target_of(jotform(answers), SENDERS, LOCATION)
    assert target.person
    assert (target.person.email, target.person.phone, target.person.first_name, target.person.last_name) == person
    assert target.delivery == f"jotform#{LOCATION}#60774"


@pytest.mark.parametrize("answers", ["", "{", "null", "7", '"a@example"', "[]", "[" * 100_000, {}, {"q4_email": ""}])
def test_answers_that_name_no_one_are_stored(answers: object) -> None:
    with pytest.raises(InvalidError, match="no_contact"):
        target_of(jotform(answers), SENDERS, LOCATION)


def test_the_sample_is_what_a_form_posts() -> None:
    sent = Sent.of("jotform")
    fields = payload_of(Submission("webhook", "jotform", "r", 0.0, sent.headers["content-type"], sent.body))
    assert json.loads(fields["rawRequest"])["q4_email"] == "nora@example.com"
