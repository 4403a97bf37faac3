"""What the agency sees of one submission in HighLevel, from the state of the local HighLevel (`GET /_local`)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

# The fields of a contact as HighLevel's API names them, and the labels of the page.
FIELDS = {
    "name": "name",
    "firstName": "first name",
    "lastName": "last name",
    "email": "e-mail",
    "phone": "phone",
    "additionalEmails": "more e-mails",
    "tags": "tags",
    "source": "source",
    "customFields": "custom fields",
}


def inbox_of(
    state: Mapping[str, Any],
    location: str | None,
    contact: str | None,
    earlier: Mapping[str, Any] | None = None,
    since: float = 0.0,
) -> dict[str, Any] | None:
    """Describe the conversation of a contact: its unread count, comments, notes, and the contact before and after.

    `earlier`: the state before the submission; without it the contact before its first change is shown. `since`: the
    submission's Unix time: newer comments and notes are its own. Returns None if there is no such
    conversation, or the state lacks these members.
    """
    conversation = _conversation(state, location, contact)
    if conversation is None or "thread" not in conversation:
        return None
    after = conversation.get("contact") or {}
    before = conversation.get("contactBefore") if earlier is None else _contact(earlier, contact)
    old = _conversation(earlier or {}, location, contact) or {}
    return {
        "who": _who(after) or contact,
        "unread": conversation.get("unreadCount", 0),
        "unread_before": old.get("unreadCount", 0),
        "comments": [_written(each["text"], each["date"], since) for each in conversation["thread"]],
        "notes": [_written(each["body"], each["dateAdded"], since) for each in after.get("notes", ())],
        "is_new": bool(after) and before is None,
        "contact": _changes(before or {}, after),
    }


def _conversation(state: Mapping[str, Any], location: str | None, contact: str | None) -> Mapping[str, Any] | None:
    ids = (location, contact)
    found = [each for each in state.get("conversations", ()) if (each["locationId"], each["contactId"]) == ids]
    return found[0] if found else None


def _contact(state: Mapping[str, Any], contact: str | None) -> Mapping[str, Any] | None:
    found = [each for each in state.get("contacts", ()) if each.get("id") == contact]
    return found[0] if found else None


def _written(text: str, at: str, since: float) -> dict[str, Any]:
    return {"text": text, "at": at, "is_new": datetime.fromisoformat(at).timestamp() >= since}


def _who(contact: Mapping[str, Any]) -> str:
    names = " ".join(filter(None, (contact.get("firstName"), contact.get("lastName"))))
    return names or contact.get("name") or contact.get("email") or contact.get("phone") or ""


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the fields that have a value, before or after."""
    rows = [(label, _text(before.get(name)), _text(after.get(name))) for name, label in FIELDS.items()]
    return [{"field": label, "before": old, "after": new} for label, old, new in rows if old or new]


def _text(value: Any) -> str:
    """Write a member of a contact on one line."""
    match value:
        case None:
            return ""
        case list():
            return ", ".join(filter(None, map(_text, value)))
        case {"id": name, "value": inner}:
            return f"{name}: {_text(inner)}"
        case dict():
            return ", ".join(filter(None, map(_text, value.values())))
    return str(value)
