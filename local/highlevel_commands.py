"""`/_local`: with which a terminal, a test or the page reads the state of the local HighLevel and changes it.

- `GET /_local`: the state, see below. `POST /_local/reset`: delete it.
- `POST /_local/faults`: add a fault (`Fault`) or a list of them. `DELETE /_local/faults`: remove all.
- `POST /_local/settings`: change settings (`Settings`). `DELETE /_local/settings`: those of the start.

The state, in which `contact` and `contacts` have the same format, is:

    {"conversations": [                             in order of creation
       {"id", "contactId", "locationId", …          as in the answer of its creation
        "unreadCount": 1, "starred": false,
        "thread": [                                 oldest first
          {"id", "text", "user", "mentions", "date"}    user: null without one; date: ISO
        ],
        "contact": {                                now; null if only its id is known
          "id", "locationId", "firstName", "lastName", "email", "phone", "additionalEmails": [{"email"}],
          "tags", "source", "customFields": [{"id", "value"}], …      members without a value are missing
          "notes": [{"id", "body", "userId", "dateAdded", "contactId"}]    always there, oldest first
        },
        "contactBefore": {…}                        before its first change; null if it did not exist then
       }],
     "contacts": [{…, "notes": […], "before": {…}}],    `before` as `contactBefore`
     "calls": {"count": 5, "last": […]},
     "faults": […], "limits": {…}, "settings": {…}}

In Python: `read_out(local)`, or `conversation_read_out(local, each)` for one of `local.conversations.values()`.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from local.highlevel_faults import Fault

if TYPE_CHECKING:
    from local.highlevel import LocalHighLevel

# Of a call: no headers, because they contain tokens.
SHOWN = ("at", "method", "path", "route", "query", "location", "contact", "status", "fault")
MAX_CALLS = 50


def read_out(local: "LocalHighLevel") -> dict[str, Any]:
    """Return the state as JSON."""
    last = [{name: getattr(call, name) for name in SHOWN} for call in local.calls[-MAX_CALLS:]]
    return {
        "conversations": [conversation_read_out(local, each) for each in list(local.conversations.values())],
        "contacts": [_contact_read_out(local, each) for each in list(local.contacts)],
        "calls": {"count": len(local.calls), "last": last},
        "faults": [fault.as_json() for fault in local.faults],
        "limits": asdict(local.limits),
        "settings": local.settings(),
    }


def conversation_read_out(local: "LocalHighLevel", conversation: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation with its thread and its contact."""
    thread, contact = local.thread(conversation["id"]), conversation["contactId"]
    return conversation | {
        "unreadCount": thread.unread_count,
        "starred": thread.starred,
        "thread": [_comment_read_out(comment.message) for comment in list(thread.comments)],
        "contact": local.contact_now(contact),
        "contactBefore": local.contact_before(contact),
    }


def _comment_read_out(message: dict[str, Any]) -> dict[str, Any]:
    user, mentions = message.get("userId"), message.get("mentions", [])
    return {
        "id": message["id"],
        "text": message["body"],
        "user": user,
        "mentions": mentions,
        "date": message["dateAdded"],
    }


def _contact_read_out(local: "LocalHighLevel", contact: str) -> dict[str, Any]:
    return (local.contact_now(contact) or {}) | {"before": local.contact_before(contact)}


def command(local: "LocalHighLevel", method: str, path: str, body: bytes) -> Response:
    """Handle a request of a path that begins with `/_local`."""
    handle = _COMMANDS.get((method, path))
    if handle is None:
        commands = ", ".join(" ".join(each) for each in _COMMANDS)
        return JSONResponse({"error": f"the commands are {commands}"}, 404)
    try:
        return handle(local, body)
    except (ValueError, RecursionError) as error:
        return JSONResponse({"error": str(error)}, 422)


def _state(local: "LocalHighLevel", _body: bytes) -> Response:
    return JSONResponse(read_out(local))


def _add_faults(local: "LocalHighLevel", body: bytes) -> Response:
    local.faults += _faults(body)
    return JSONResponse([fault.as_json() for fault in local.faults], 201)


def _heal(local: "LocalHighLevel", _body: bytes) -> Response:
    local.heal()
    return Response(status_code=204)


def _set(local: "LocalHighLevel", body: bytes) -> Response:
    given = json.loads(body)
    if not isinstance(given, dict):
        raise ValueError("settings are a JSON object")
    local.set(given)
    return JSONResponse(local.settings())


def _reset_settings(local: "LocalHighLevel", _body: bytes) -> Response:
    local.reset_settings()
    return Response(status_code=204)


def _reset(local: "LocalHighLevel", _body: bytes) -> Response:
    local.reset()
    return Response(status_code=204)


_COMMANDS: dict[tuple[str, str], Callable[["LocalHighLevel", bytes], Response]] = {
    ("GET", "/_local"): _state,
    ("POST", "/_local/faults"): _add_faults,
    ("DELETE", "/_local/faults"): _heal,
    ("POST", "/_local/settings"): _set,
    ("DELETE", "/_local/settings"): _reset_settings,
    ("POST", "/_local/reset"): _reset,
}


def _faults(body: bytes) -> list[Fault]:
    given = json.loads(body)
    faults = []
    for each in given if isinstance(given, list) else [given]:
        if not isinstance(each, dict) or "kind" not in each:
            raise ValueError("a fault is a JSON object with a kind")
        if unknown := each.keys() - {member.name for member in fields(Fault)}:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
        if isinstance(each.get("body"), str):
            each["body"] = each["body"].encode()
        faults.append(Fault(**each))
    return faults
