"""What a call to HighLevel may contain, whatever a fuzzed request was."""

import json
import re
from collections.abc import Iterator
from typing import Any

from local.highlevel import Call

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PATTERNS = {
    "email": re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}"),
    "phone": re.compile(r"[0-9+() ./\u00a0\u2010-\u2015-]{4,36}"),
}
_HEADERS = {
    *("host", "accept-encoding", "content-length", "authorization", "version", "accept", "user-agent", "content-type")
}
_MEMBERS = {
    "/conversations/": {"locationId", "contactId"},
    "/contacts/upsert": {"locationId", "email", "phone", "firstName", "lastName", "name"},
}


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
    for name, text in members.items():
        pattern = _ID if name.endswith("Id") else _PATTERNS.get(name)
        if pattern and not pattern.fullmatch(text):
            yield name
        elif len(text) > 254 or not text.replace("\u00a0", " ").isprintable():
            yield f"{name} with invisible characters"
    if call.path == "/contacts/upsert" and not members.keys() & {"email", "phone"}:
        yield "neither e-mail nor phone"


def _members(call: Call) -> dict[str, str]:
    """The members of the query or the body. Raises ValueError if route, names or types are not HighLevel's."""
    if call.method == "GET":
        members: Any = call.query
        if re.fullmatch(r"/contacts/[A-Za-z0-9_-]{1,64}", call.path) and not members:
            return {}
        if call.path != "/conversations/search" or members.keys() != {"locationId", "contactId"}:
            raise ValueError("path or query")
    else:
        if call.method != "POST" or call.path not in _MEMBERS or call.query:
            raise ValueError("path")
        try:
            members = json.loads(call.body.decode("utf-8"), object_pairs_hook=_unique)
        except ValueError:
            raise ValueError("body is not JSON") from None
        if not isinstance(members, dict) or members.keys() - _MEMBERS[call.path]:
            raise ValueError("members")
    if not all(isinstance(text, str) and text for text in members.values()):
        raise ValueError("a member that is not a text")
    return dict(members)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("duplicated members")
    return dict(pairs)
