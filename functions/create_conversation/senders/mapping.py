"""From a submission's raw body to whom it is about. Pure; runs anew at each try, so a redrive uses today's mapping."""

import codecs
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from jmespath.exceptions import JMESPathError, JMESPathTypeError

from create_conversation.errors import IgnoredError, InvalidError, RejectedError
from create_conversation.senders.config import Sender, lacks_locations, of_event
from create_conversation.senders.multipart import boundary_of, joined, parts_of
from create_conversation.submission import MAX_BODY_BYTES, Submission

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_FORM_FIELDS = 1000

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([a-z0-9._:-]{1,40})"?\s*(?:;|$)', re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PHONE = re.compile(r"[+(]{0,2} ?[0-9][0-9 \u00a0()./\u2010-\u2015-]{3,30}")
# Text codecs of Python that are no character sets of the web, or cost more than linear time.
_NO_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7", "undefined", "mbcs", "oem"}


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """What a payload tells of somebody whose contact id it does not know. Never logged: hence no repr."""

    email: str | None
    phone: str | None
    first_name: str | None
    last_name: str | None
    full_name: str | None = None  # where neither of these is known


@dataclass(frozen=True, slots=True)
class Target:
    """Whose conversation a submission asks for. Without a `contact` (HighLevel's id) there is a `person` to look up,
    and `delivery` (sender, location and id) then tells this delivery from all others."""

    location: str
    contact: str | None = None
    person: Person | None = None
    delivery: str = ""


def target_of(submission: Submission, senders: Mapping[str, Sender], default_location: str | None) -> Target:
    """Map a submission. `default_location` is the parameter LocationId.

    Raises Invalid (the body is not what was promised), Ignored (another kind of event) or Rejected (a location that
    this sender may not name).
    """
    payload = payload_of(submission)
    sender = _sender_of(submission, payload, senders)
    if not isinstance(payload, dict):
        raise InvalidError("invalid_body", "The body must be an object.")
    payload |= {name: _parsed(payload[name]) for name in sender.parse if isinstance(payload.get(name), str)}
    if "when" in sender.paths and not _is_wanted(sender, payload):
        raise IgnoredError("other_event")
    location = _location(sender, _id(sender, "location_id", payload), default_location)
    contact = _id(sender, "contact_id", payload)
    if contact:
        return Target(location, contact)
    first, last = _name(sender, "first_name", payload), _name(sender, "last_name", payload)
    person = Person(
        _text(sender, "email", payload, _EMAIL),
        _text(sender, "phone", payload, _PHONE),
        first,
        last,
        None if first or last else _name(sender, "full_name", payload),
    )
    if not (person.email or person.phone):
        raise InvalidError("no_contact", _names_missing(sender), location=location)
    return Target(location, None, person, f"{sender.name}#{location}#{_delivery(sender, submission, payload)}")


def payload_of(submission: Submission) -> Any:
    """The body, parsed: JSON, or a form's fields by name (one that comes several times is a list). Raises Invalid."""
    if len(submission.body) > MAX_BODY_BYTES:
        raise InvalidError("body_too_large", f"A body may have {MAX_BODY_BYTES} bytes.")
    media_type, charset = _declared(submission.content_type)
    is_form = media_type in (FORM, MULTIPART)
    if is_form and submission.trigger == "http":
        raise InvalidError("unsupported_media_type", "Send application/json.")
    try:
        if media_type == MULTIPART:
            return _by_name(_multipart(submission, charset))
        text = submission.body.decode(charset)
        return _by_name(_urlencoded(text, charset)) if is_form else json.loads(text)
    except UnicodeError:
        raise InvalidError("invalid_encoding", "The body is not encoded as its Content-Type says.") from None
    except (ValueError, RecursionError):
        raise InvalidError("invalid_form" if is_form else "invalid_json") from None


def without_secrets(sender: Sender, body: bytes, content_type: str) -> bytes:
    """The body without the members that may hold a secret, in the same charset and no larger. One that cannot be
    read stays as it is: it is refused, not kept."""
    names = {place.removeprefix("body:") for place in sender.where if place.startswith("body:")} | {*sender.strip}
    if not names:
        return body
    try:
        media_type, charset = _declared(content_type)
        if media_type == MULTIPART:
            boundary = _boundary(content_type)
            parts = parts_of(body, boundary, MAX_FORM_FIELDS)
            # By both readings of a name: that of the charset, and UTF-8, in which the proof reads it in any case.
            codecs_of_names = (_in_form(charset), "utf-8")
            others = [
                part
                for part in parts
                if names.isdisjoint(part.name.decode(codec, "replace") for codec in codecs_of_names)
            ]
            return body if len(others) == len(parts) else joined(others, boundary)
        if media_type == FORM:
            # Field by field, so that all others stay as they were; also as the proof reads them: in UTF-8 in any case.
            for codec, errors in (("utf-8", "surrogateescape"), (charset, "strict")):
                fields = body.decode(codec, errors).split("&")
                kept = [field for field in fields if _form_name(field, codec) not in names]
                if len(kept) < len(fields):
                    body = "&".join(kept).encode(codec.removesuffix("-sig"), errors)
            return body
        payload = json.loads(body.decode(charset))
    except (InvalidError, ValueError, RecursionError):
        return body
    each = payload if isinstance(payload, list) else [payload]
    if not any(isinstance(one, dict) and names & one.keys() for one in each):
        return body
    each = [{k: v for k, v in one.items() if k not in names} if isinstance(one, dict) else one for one in each]
    stripped = each if isinstance(payload, list) else each[0]
    try:
        return json.dumps(stripped, ensure_ascii=False, separators=(",", ":")).encode(charset.removesuffix("-sig"))
    except UnicodeEncodeError:  # escapes in the body stood for what the charset does not have
        return json.dumps(stripped, separators=(",", ":")).encode(charset.removesuffix("-sig"))


def _form_name(field: str, charset: str) -> str:
    return unquote_plus(field.partition("=")[0], _in_form(charset))


def _sender_of(submission: Submission, payload: Any, senders: Mapping[str, Sender]) -> Sender:
    if submission.trigger == "event" and isinstance(payload, dict):
        return of_event(senders, payload.get("source"), payload.get("detail-type"))
    if submission.sender not in senders:  # kept under a name that senders.toml no longer has
        raise RejectedError("unknown_sender")
    return senders[submission.sender]


def _declared(content_type: str) -> tuple[str, str]:
    """Media type and codec of a Content-Type header. Without one: JSON in UTF-8, with or without byte order mark."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower() or "application/json"
    if media_type not in ("application/json", FORM, MULTIPART) and not media_type.endswith("+json"):
        raise InvalidError("unsupported_media_type", "Send application/json.")
    declared = _CHARSET.search(f";{parameters}")
    if declared is None:
        if "charset" in parameters.lower():
            raise InvalidError("unsupported_media_type", "The declared charset cannot be read.")
        return media_type, "utf-8-sig"
    try:
        charset = codecs.lookup(declared[1]).name
        if charset in _NO_CHARSETS:
            raise LookupError
        b" ".decode(charset, "ignore")  # LookupError for codecs that make no text of bytes: zip, hex, …
    except (LookupError, ValueError):
        raise InvalidError("unsupported_media_type", "The declared charset is not known here.") from None
    return media_type, "utf-8-sig" if charset == "utf-8" else charset


def text_codec(content_type: str) -> str:
    """The codec in which the whole body is text; UTF-8 where none is declared, or one that is not known."""
    try:
        media_type, charset = _declared(content_type)
    except InvalidError:
        return "utf-8"
    return "utf-8" if media_type == MULTIPART else charset.removesuffix("-sig")


def in_utf8(content_type: str) -> str:
    """The content type of the same body, written anew in UTF-8. Raises Invalid for one that is not known."""
    media_type, charset = _declared(content_type)
    if charset == "utf-8-sig":
        return content_type
    boundary = f'; boundary="{_boundary(content_type).decode()}"' if media_type == MULTIPART else ""
    return f"{media_type}{boundary}; charset=utf-8"


def _boundary(content_type: str) -> bytes:
    boundary = boundary_of(content_type.partition(";")[2])
    if boundary is None:
        raise InvalidError("unsupported_media_type", "The Content-Type names no boundary of 1 to 70 characters.")
    return boundary


def _in_form(charset: str) -> str:
    """The codec of a form's percent-encoded bytes; those of UTF-16 and the like are in UTF-8."""
    return "utf-8" if charset.startswith(("utf-16", "utf-32", "utf-8")) else charset


def _urlencoded(text: str, charset: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, encoding=_in_form(charset))


def _multipart(submission: Submission, charset: str) -> list[tuple[str, str]]:
    """The fields; files are passed over."""
    parts = parts_of(submission.body, _boundary(submission.content_type), MAX_FORM_FIELDS)
    codec = _in_form(charset)
    return [(part.name.decode(codec), part.value.decode(codec)) for part in parts if not part.is_file]


def _parsed(text: str) -> Any:
    """A member that is JSON in itself; as it is, if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


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


def _is_wanted(sender: Sender, payload: dict[str, Any]) -> bool:
    """Whether `when` is true. Raises Invalid if that cannot be told: what is ignored is lost, so it must be meant."""
    try:
        return bool(sender.paths["when"].search(payload))
    except JMESPathTypeError:
        return False  # an event of another shape: what `when` looks at is not there, or is something else
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise InvalidError("mapping_failed", "The sender's `when` cannot be evaluated.") from None


def _found(sender: Sender, field: str, payload: dict[str, Any]) -> Any:
    if field not in sender.paths:
        return None
    try:
        return sender.paths[field].search(payload)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None  # a function of JMESPath met a value of another type


def _id(sender: Sender, field: str, payload: dict[str, Any]) -> str | None:
    value = _found(sender, field, payload)
    if value is None or (value == "" and sender.name != "api"):
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        what = sender.paths[field].expression
        raise InvalidError("invalid_body", f"{what} must be a string of 1 to 64 letters, digits, _ or -.")
    return value


def _location(sender: Sender, named: str | None, default: str | None) -> str:
    own = () if sender.locations == ("*",) else sender.locations
    location = named or (own[0] if len(own) == 1 else default)
    if location is None:
        raise InvalidError("no_location", "Name the location; this stack has no default one.")
    if lacks_locations(sender, default):
        raise RejectedError("location_not_allowed", location=location)
    any_location = not own and (sender.locations == ("*",) or default is None)
    if not any_location and location not in (own or (default,)):
        raise RejectedError("location_not_allowed", location=location)
    return location


def _text(sender: Sender, field: str, payload: dict[str, Any], shape: re.Pattern[str]) -> str | None:
    """An e-mail address or phone number (some senders give it as a JSON number); None if it is not shaped like one."""
    value = _found(sender, field, payload)
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**20
    text = str(value).strip() if is_number or isinstance(value, str) else ""
    # No control characters, lone surrogates or invisible ones: no address has them, and they would go to HighLevel.
    return text if shape.fullmatch(text) and text.replace("\u00a0", " ").isprintable() else None


def _name(sender: Sender, field: str, payload: dict[str, Any]) -> str | None:
    value = _found(sender, field, payload)
    if not isinstance(value, str):
        return None
    return "".join(c for c in value if c.isprintable()).strip()[:100] or None


def _names_missing(sender: Sender) -> str:
    looked = [sender.paths[field].expression for field in ("contact_id", "email", "phone") if field in sender.paths]
    return f"Name the contact: nothing usable at {' or '.join(looked)}."


def _delivery(sender: Sender, submission: Submission, payload: dict[str, Any]) -> str:
    given = submission.delivery_id or _found(sender, "id", payload)
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 10**20:
        given = str(given)
    if isinstance(given, str) and re.fullmatch(r"[!-~]{1,128}", given):
        return given
    return hashlib.sha256(submission.body).hexdigest()
