"""The conversations of the local HighLevel: create, search, read, and set the unread count.

Unknown and assumed: a comment changes neither the unread count nor the dates; the text of an unknown id's refusal.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from local.highlevel_answers import (
    FOREIGN_LOCATION,
    Asked,
    Members,
    Refuse,
    Route,
    iso,
    json_answer,
    new_id,
    nothing_wrong,
    unknown_members,
    wrong_id,
)
from local.highlevel_settings import Settings

type Key = tuple[str, str]  # location, contact

NOT_FOUND = "Conversation not found"
PHONE = 1  # the type of a conversation


@dataclass
class Comment:
    """An internal comment as the list of messages shows it. `at`: when it was written, of the monotonic clock."""

    at: float
    message: dict[str, Any]


@dataclass
class Thread:
    """What a conversation has beside the members of its creation."""

    unread_count: int | float = 0
    starred: bool = False
    comments: list[Comment] = field(default_factory=list)


class Conversations:
    """The conversations in `by_key`, one for each location and contact. `find_contact`: a contact's record, or {}."""

    def __init__(self, settings: Settings, refuse: Refuse, find_contact: Callable[[str], dict[str, Any]]) -> None:
        self._settings = settings
        self._refuse = refuse
        self._find_contact = find_contact
        self.by_key: dict[Key, dict[str, Any]] = {}
        self._threads: dict[str, Thread] = {}
        self._keys: dict[str, Key] = {}
        self._opened_at: dict[Key, float] = {}
        one = "/conversations/{conversationId}"
        self.routes = [
            Route("POST", "/conversations/", "conversations.write", _wrong_create, self._create, FOREIGN_LOCATION),
            Route("GET", "/conversations/search", "conversations.readonly", _wrong_search, self._search),
            Route("GET", one, "conversations.readonly", nothing_wrong, self._get),
            Route("PUT", one, "conversations.write", _wrong_update, self._update),
        ]

    def clear(self) -> None:
        """Delete the conversations and their threads."""
        for stored in (self.by_key, self._threads, self._keys, self._opened_at):
            stored.clear()

    def open(self, key: Key) -> dict[str, Any]:
        """Create the conversation of this location and contact."""
        location, contact = key
        now = datetime.now(UTC)
        date = iso(now) if self._settings.dates == "iso" else int(now.timestamp() * 1000)
        conversation: dict[str, Any] = {
            "id": new_id(),
            "dateUpdated": date,
            "dateAdded": date,
            "deleted": False,
            "contactId": contact,
            "locationId": location,
            "lastMessageDate": date,
        }
        self.by_key[key] = conversation
        self._threads[conversation["id"]] = Thread()
        self._keys[conversation["id"]] = key
        self._opened_at[key] = time.monotonic()
        return conversation

    def find(self, conversation_id: str) -> dict[str, Any] | None:
        """Return the conversation with this id, also if a test has written it into `by_key`."""
        if key := self._keys.get(conversation_id):
            return self.by_key.get(key)
        return next((each for each in list(self.by_key.values()) if each["id"] == conversation_id), None)

    def thread(self, conversation_id: str) -> Thread:
        """Return the thread of this conversation."""
        return self._threads.setdefault(conversation_id, Thread())

    def location_of(self, contact: str) -> str | None:
        """Return the location of this contact's newest conversation."""
        return next((location for location, each in reversed(list(self.by_key)) if each == contact), None)

    # Routes

    def _create(self, asked: Asked) -> Response:
        key = asked.members["locationId"], asked.members["contactId"]
        if key in self.by_key:
            return self._refuse(400, f"Conversation with the contact id:{key[1]} already exists!")
        return json_answer(201, {"success": True, "conversation": self.open(key)})

    def _search(self, asked: Asked) -> Response:
        location, contact = asked.members["locationId"], asked.members.get("contactId")
        # A contact has at most one: do not search thousands.
        keys = [(location, contact)] if contact else [key for key in list(self.by_key) if key[0] == location]
        seen = time.monotonic() - self._settings.search_lag
        found = [self.by_key[k] for k in keys if k in self.by_key and self._opened_at.get(k, 0) <= seen]
        return json_answer(200, {"conversations": [self._found(each) for each in found[:20]], "total": len(found)})

    def _found(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """Return a conversation as the search shows it. Without a message it has no last one."""
        thread, contact = self.thread(conversation["id"]), self._find_contact(conversation["contactId"])
        name = " ".join(filter(None, (contact.get("firstName"), contact.get("lastName"))))
        last = [comment.message for comment in thread.comments[-1:]]
        return (
            conversation
            | {"type": "TYPE_PHONE", "unreadCount": thread.unread_count, "fullName": name, "contactName": name}
            | {"email": contact.get("email", ""), "phone": contact.get("phone", "")}
            | {"lastMessageBody": last[0]["body"] if last else ""}
            | ({"lastMessageType": last[0]["messageType"]} if last else {})
        )

    def _get(self, asked: Asked) -> Response:
        conversation = self.find(asked.identifier)
        if conversation is None:
            return self._refuse(400, NOT_FOUND)
        return json_answer(200, self._with_state(conversation) | {"inbox": True, "type": PHONE})

    def _update(self, asked: Asked) -> Response:
        conversation = self.find(asked.identifier)
        if conversation is None or conversation["locationId"] != asked.members["locationId"]:
            return self._refuse(400, NOT_FOUND)
        thread = self.thread(conversation["id"])
        thread.unread_count = asked.members.get("unreadCount", thread.unread_count)
        thread.starred = asked.members.get("starred", thread.starred)
        return json_answer(200, {"success": True, "conversation": self._with_state(conversation)})

    def _with_state(self, conversation: dict[str, Any]) -> dict[str, Any]:
        names = ("id", "contactId", "locationId", "deleted")
        thread = self.thread(conversation["id"])
        return {name: conversation[name] for name in names} | {
            "unreadCount": thread.unread_count,
            "starred": thread.starred,
        }


def _wrong_create(members: Members) -> list[str]:
    unknown = unknown_members(members, ("locationId", "contactId"))
    return unknown + wrong_id(members, "locationId") + wrong_id(members, "contactId")


def _wrong_search(members: Members) -> list[str]:
    # HighLevel accepts many more parameters; they are ignored here.
    return wrong_id(members, "locationId") + (wrong_id(members, "contactId") if "contactId" in members else [])


def _wrong_update(members: Members) -> list[str]:
    wrong = unknown_members(members, ("locationId", "unreadCount", "starred", "feedback"))
    wrong += wrong_id(members, "locationId")
    count = members.get("unreadCount", 0)
    if isinstance(count, bool) or not isinstance(count, int | float) or count < 0:
        wrong.append("unreadCount must be a number conforming to the specified constraints")
    if not isinstance(members.get("starred", False), bool):
        wrong.append("starred must be a boolean value")
    return wrong
