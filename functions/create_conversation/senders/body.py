"""A body: decoded and parsed once, into a value that redaction and mapping share.

Whatever its Content-Type says, a body that is JSON is read as JSON; else as the form that was declared. Pure.
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from create_conversation.errors import InvalidError
from create_conversation.senders.multipart import boundary_of, parts_of

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_FORM_FIELDS = 1000
# A body that is mapped. Larger ones lose their large members first.
MAX_BODY_BYTES = 256 * 1024
# What a message of SQS (1 MiB) holds in base64. An event can be larger, or grow when it is written again (1e15).
MAX_STORED_BYTES = 720 * 1024
# What Lambda takes from API Gateway. Most of a body of that size is a file or a picture, which is left out.
MAX_READ_BYTES = 6 * 1024 * 1024
# The texts that are left out of a body that is too large: pictures, signatures, files.
LARGE_CHARACTERS = 8 * 1024
LEFT_OUT = "(large value, left out)"

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([a-z0-9._:-]{1,40})"?\s*(?:[;,]|$)', re.IGNORECASE)
_BOMS_OF_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LOOKS_LIKE_FORM = re.compile(r"[\w.\[\]%+-]{1,200}=[^\s<>{}]*|(?:[\w.\[\] -]{1,200}=[^\r\n]*(?:\r?\n|$)){2,1000}")
# Text codecs of Python that are not character sets of the web, or cost more than linear time.
_NO_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7", "undefined", "mbcs", "oem"}


@dataclass(frozen=True, slots=True, repr=False)
class Body:
    """A body that could be read.

    `raw` and `content_type` are what is stored, and read again later; `payload` is the JSON value, or a form's fields
    by name: one that comes several times is a list.
    """

    raw: bytes
    content_type: str
    payload: Any
    is_form: bool = False

    @classmethod
    def of_json(cls, payload: Any) -> "Body":
        """Make the body of a JSON value."""
        return cls(json_bytes(payload), JSON, payload)


def read_body(raw: bytes, content_type: str, *, is_text: bool = False, only_json: bool = False) -> Body:
    """Decode and parse a body. `is_text`: it is in UTF-8, whatever the type says. `only_json`: refuse all other types.

    Raises InvalidError; its detail has the place of an error in JSON.
    """
    limit = MAX_BODY_BYTES if only_json else MAX_READ_BYTES
    if len(raw) > limit:
        raise too_large(limit)
    media_type, charset = _declared(content_type)
    if only_json and not _is_json(media_type):
        raise InvalidError("unsupported_media_type", "Send application/json.")
    if is_text and charset != "utf-8-sig":
        content_type, charset = in_utf8(content_type), "utf-8-sig"
    if charset == "utf-8-sig" and raw.startswith(_BOMS_OF_UTF16):
        content_type, charset = f"{media_type or JSON}; charset=utf-16", "utf-16"
    elif not only_json and _is_undeclared_latin_1(raw, media_type, content_type):
        content_type, charset = f"{content_type}; charset=windows-1252", "cp1252"
    try:
        if media_type == MULTIPART:
            fields = _by_name(_multipart(raw, content_type, charset))
            return Body(json_bytes(fields), JSON, fields, is_form=True)
        body = _text_body(raw, content_type, media_type, charset)
    except UnicodeError:
        raise InvalidError("invalid_encoding", "The body is not encoded as its Content-Type says.") from None
    if only_json and body.is_form:
        raise InvalidError("invalid_json", "The body is a form.")
    return body


def without_members(body: Body, names: frozenset[str]) -> Body:
    """Remove these members: of the payload, or of each element of an array."""
    payload = body.payload
    each = payload if isinstance(payload, list) else [payload]
    if not any(isinstance(one, dict) and names & one.keys() for one in each):
        return body
    each = [{k: v for k, v in one.items() if k not in names} if isinstance(one, dict) else one for one in each]
    return Body.of_json(each if isinstance(payload, list) else each[0])


def without_large_members(body: Body) -> Body:
    """Leave out the large texts of a body over MAX_BODY_BYTES. Raises InvalidError if it stays larger."""
    if len(body.raw) <= MAX_BODY_BYTES:
        return body
    try:
        smaller = Body.of_json(_without_large(body.payload))
    except RecursionError:
        smaller = body
    if len(smaller.raw) > MAX_BODY_BYTES:
        raise too_large()
    return smaller


def too_large(limit: int = MAX_BODY_BYTES) -> InvalidError:
    """Say what size a body may have."""
    return InvalidError("body_too_large", f"A body may have {limit} bytes.")


def _without_large(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_large(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_large(item) for item in value]
    if not isinstance(value, str) or len(value) <= LARGE_CHARACTERS:
        return value
    parsed = json_or_text(value)
    return _without_large(parsed) if isinstance(parsed, dict | list) else LEFT_OUT


def json_or_text(text: str) -> Any:
    """Parse a member that is itself JSON; return the text, if it is not."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def json_bytes(value: Any) -> bytes:
    """Write JSON in UTF-8, no larger than it came.

    In ASCII it could have six times the bytes, and a message has a limit. A lone surrogate, which has no bytes, is
    escaped.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def text_codec(content_type: str) -> str:
    """Name the codec in which the whole body is text; UTF-8 where none is declared, or one that is not known."""
    try:
        media_type, charset = _declared(content_type)
    except InvalidError:
        return "utf-8"
    return "utf-8" if media_type == MULTIPART else charset.removesuffix("-sig")


def in_utf8(content_type: str) -> str:
    """Return the content type of the same body in UTF-8. Raises InvalidError for one that is not known."""
    media_type, charset = _declared(content_type)
    if charset == "utf-8-sig":
        return content_type
    boundary = f'; boundary="{_boundary(content_type).decode()}"' if media_type == MULTIPART else ""
    return f"{media_type}{boundary}; charset=utf-8"


# --- the declared type ------------------------------------------------------------------------------------------------


def _declared(content_type: str) -> tuple[str, str]:
    """Read media type and codec of a Content-Type header; the first counts if it is doubled."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.partition(",")[0].strip().lower()
    declared = _CHARSET.search(f";{parameters}")
    if declared is None:
        if "charset" in parameters.lower():
            raise InvalidError("unsupported_media_type", "The declared charset cannot be read.")
        return media_type, "utf-8-sig"
    try:
        charset = codecs.lookup(declared[1]).name
        if charset in _NO_CHARSETS:
            raise LookupError
        b" ".decode(charset, "ignore")  # LookupError for codecs that do not make text of bytes: zip, hex, …
    except (LookupError, ValueError):
        raise InvalidError("unsupported_media_type", "The declared charset is not known here.") from None
    return media_type, "utf-8-sig" if charset == "utf-8" else charset


def _is_undeclared_latin_1(raw: bytes, media_type: str, content_type: str) -> bool:
    """Return whether a body without a declared charset is in that of old form mailers, and not broken UTF-8."""
    if media_type == MULTIPART or "charset" in content_type.lower():
        return False
    data = unquote_to_bytes(raw) if media_type == FORM and b"%" in raw else raw
    if data.isascii() or not any(mark in data for mark in (b"=", b'"')):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", "ignore").isascii()
    return False


def _is_json(media_type: str) -> bool:
    return media_type in ("", JSON) or media_type.endswith("+json")


def _boundary(content_type: str) -> bytes:
    boundary = boundary_of(content_type.partition(";")[2])
    if boundary is None:
        raise InvalidError("unsupported_media_type", "The Content-Type names no boundary of 1 to 70 characters.")
    return boundary


def _in_form(charset: str) -> str:
    """Name the codec of a form's percent-encoded bytes; those of UTF-16 and the like are in UTF-8."""
    return "utf-8" if charset.startswith(("utf-16", "utf-32", "utf-8")) else charset


# --- the text ---------------------------------------------------------------------------------------------------------


def _text_body(raw: bytes, content_type: str, media_type: str, charset: str) -> Body:
    text = raw.decode(charset)
    is_form = media_type == FORM or _LOOKS_LIKE_FORM.fullmatch(text)
    if _is_json(media_type) or media_type == "text/json" or text.lstrip()[:1] in ("{", "["):
        try:
            return Body(raw, content_type if _is_json(media_type) else _json_in(charset), json.loads(text))
        except (ValueError, RecursionError) as error:
            if not is_form:
                raise InvalidError("invalid_json", _position(error)) from None
    if is_form and media_type == "text/plain" and "\n" in text.strip():
        return Body.of_json(_by_name(_lines(text)))
    if is_form:
        declared = content_type if media_type == FORM else f"{FORM}; charset={charset.removesuffix('-sig')}"
        return Body(raw, declared, _by_name(_urlencoded(text, charset)), is_form=True)
    raise InvalidError("unsupported_media_type", "Send JSON or a form: the body is neither.")


def _json_in(charset: str) -> str:
    return f"{JSON}; charset={charset.removesuffix('-sig')}"


def _position(error: Exception) -> str:
    """Describe the place of an error in JSON, without any of its text."""
    if isinstance(error, json.JSONDecodeError):
        return f"Line {error.lineno}, column {error.colno}: {error.msg}."
    return "It is nested too deeply." if isinstance(error, RecursionError) else "It holds a number that is too long."


def _urlencoded(text: str, charset: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, encoding=_in_form(charset))
    except UnicodeError:
        raise
    except ValueError:
        raise InvalidError("invalid_form", f"A form may have {MAX_FORM_FIELDS} fields.") from None


def _lines(text: str) -> list[tuple[str, str]]:
    """Read the third encoding of an HTML form: a line `name=value` for each field."""
    pairs = [line.partition("=") for line in text.splitlines() if line]
    return [(name, value) for name, _, value in pairs]


def _multipart(raw: bytes, content_type: str, charset: str) -> list[tuple[str, str]]:
    """List the fields; files are passed over."""
    try:
        parts = parts_of(raw, _boundary(content_type), MAX_FORM_FIELDS)
    except ValueError as error:
        raise InvalidError("invalid_form", f"The multipart body has {error}.") from None
    codec = _in_form(charset)
    return [(part.name.decode(codec), part.value.decode(codec)) for part in parts if not part.is_file]


def _by_name(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields
