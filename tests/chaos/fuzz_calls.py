"""What a call to HighLevel may contain, whatever a fuzzed request was."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local.highlevel import Call

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PHONE = re.compile(r"[0-9+() ./\u00a0\u2010-\u2015-]{4,36}")
_PATTERNS = {"email": _EMAIL, "phone": _PHONE, "number": _PHONE}
_HEADERS = {
    *("host", "accept-encoding", "content-length", "authorization", "version", "accept", "user-agent", "content-type")
}
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_WORDS_END = re.compile(r"\n\nref [0-9a-f]{16}\Z")
_MAX_WORDS = 5_000
_NAMES = {"firstName", "lastName", "name"}


@dataclass(frozen=True)
class _Route:
    """A call that the function makes: the members it may have, and those of which it has one at least."""

    method: str
    path: str
    members: set[str]
    one_of: set[str]


_ADDRESSES = {"email", "phone"}
_ONE_CONTACT, _ONE_CONVERSATION = (rf"/{what}/[A-Za-z0-9_-]{{1,64}}" for what in ("contacts", "conversations"))
_ROUTES = (
    _Route("POST", "/conversations/", {"locationId", "contactId"}, {"contactId"}),
    _Route("GET", "/conversations/search", {"locationId", "contactId"}, {"contactId"}),
    _Route("GET", "/contacts/search/duplicate", {"locationId", "email", "number"}, {"email", "number"}),
    _Route("POST", "/contacts/", {"locationId", *_ADDRESSES, *_NAMES, "source", "customFields"}, _ADDRESSES),
    _Route("GET", _ONE_CONTACT, set(), set()),
    _Route("PUT", _ONE_CONTACT, {*_NAMES, "customFields"}, {*_NAMES, "customFields"}),
    _Route("POST", rf"{_ONE_CONTACT}/tags", {"tags"}, {"tags"}),
    _Route("POST", rf"{_ONE_CONTACT}/notes", {"body", "userId"}, {"body"}),
    _Route("GET", rf"{_ONE_CONTACT}/notes", set(), set()),
    _Route("POST", "/conversations/messages", {"type", "contactId", "message", "userId", "mentions"}, {"message"}),
    _Route("GET", rf"{_ONE_CONVERSATION}/messages", {"type", "limit", "lastMessageId"}, {"limit"}),
    _Route("GET", _ONE_CONVERSATION, set(), set()),
    _Route("PUT", _ONE_CONVERSATION, {"locationId", "unreadCount"}, {"unreadCount"}),
)


def unclean(call: Call) -> Iterator[str]:
    """Name everything in the call that HighLevel must never receive."""
    if extra := call.headers.keys() - _HEADERS:
        yield f"header {sorted(extra)}"
    if not all(re.fullmatch(r"[ -~]*", text) for text in call.headers.values()):
        yield "header's value"
    try:
        members = _members(call)
    except ValueError as error:
        yield str(error)
        return
    for name, value in members.items():
        if wrong := _wrong_member(name, value):
            yield wrong


def _members(call: Call) -> dict[str, Any]:
    """The members of the query or the body. Raises ValueError if route or names are not HighLevel's."""
    route = next((each for each in _ROUTES if each.method == call.method and re.fullmatch(each.path, call.path)), None)
    if route is None:
        raise ValueError("path")
    members: Any = call.query
    if call.method != "GET":
        if call.query:
            raise ValueError("query")
        members = _json(call.body)
    if not isinstance(members, dict) or members.keys() - route.members:
        raise ValueError("members")
    if "locationId" in route.members and "locationId" not in members:
        raise ValueError("no location")
    if route.one_of and not members.keys() & route.one_of:
        raise ValueError(f"none of {sorted(route.one_of)}")
    return members


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError:
        raise ValueError("body is not JSON") from None


def _wrong_member(name: str, value: Any) -> str | None:
    match name:
        case "unreadCount":
            return None if type(value) is int and value > 0 else name
        case "tags" | "mentions":
            is_list = isinstance(value, list) and value and all(isinstance(each, str) and each for each in value)
            return None if is_list else name
        case "customFields":
            return None if isinstance(value, list) and value and all(map(_is_custom_field, value)) else name
    if not isinstance(value, str) or not value:
        return f"{name}: not a text"
    return _wrong_text(name, value)


def _wrong_text(name: str, text: str) -> str | None:
    if name in ("message", "body"):
        return None if _is_message(text) else f"{name}: control characters, too long or without its reference"
    pattern = _ID if name.endswith("Id") else _PATTERNS.get(name)
    if pattern and not pattern.fullmatch(text):
        return name
    if len(text) > 254 or not text.replace("\u00a0", " ").isprintable():
        return f"{name} with invisible characters"
    return None


def _is_message(text: str) -> bool:
    return len(text) <= _MAX_WORDS and not _NO_TEXT.search(text) and bool(_WORDS_END.search(text))


def _is_custom_field(field: Any) -> bool:
    """Whether it is one as HighLevel documents it: an id, and a text, a number, true or false, or a list of texts."""
    if not isinstance(field, dict) or field.keys() != {"id", "field_value"} or not _ID.fullmatch(field["id"]):
        return False
    value = field["field_value"]
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) and not _NO_TEXT.search(each) for each in value)
    return isinstance(value, int | float) or (isinstance(value, str) and not _NO_TEXT.search(value))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("duplicated members")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
