"""The messages of the local HighLevel: internal comments only; nothing is sent to a contact.

Known and played (highlevel-inbox, issue 54 of highlevel-api-docs): the type is `InternalComment` in a request,
`TYPE_INTERNAL_COMMENTS` as a filter and `TYPE_INTERNAL_COMMENT` in a list; 20 messages a page. There is no idempotency
key: the same request twice is two comments.
Unknown and assumed: the newest message comes first; the number of the type; the status 200 (documented; 201 elsewhere);
every other type is refused with 400, because no provider is connected; the texts of these refusals.
"""

import time

from starlette.responses import Response

from local.highlevel_answers import (
    FOREIGN_LOCATION,
    SCOPE_MISSING,
    Asked,
    Members,
    Refuse,
    Route,
    json_answer,
    new_id,
    now_iso,
    unknown_members,
    wrong_id,
    wrong_list,
    wrong_texts,
)
from local.highlevel_conversations import NOT_FOUND, Comment, Conversations
from local.highlevel_settings import CommentRefusal, Settings

COMMENT = "InternalComment"
SENT_TYPES = (COMMENT, "SMS", "RCS", "Email", "WhatsApp", "IG", "FB", "Custom", "Live_Chat", "TIKTOK")
LISTED_TYPE, TYPE_NUMBER = "TYPE_INTERNAL_COMMENT", 30
FILTER = "TYPE_INTERNAL_COMMENTS"
# Of the document's parameter `type`.
FILTERS = (
    *(
        "TYPE_CALL",
        "TYPE_SMS",
        "TYPE_RCS",
        "TYPE_EMAIL",
        "TYPE_FACEBOOK",
        "TYPE_GMB",
        "TYPE_INSTAGRAM",
        "TYPE_WHATSAPP",
    ),
    *("TYPE_ACTIVITY_APPOINTMENT", "TYPE_ACTIVITY_CONTACT", "TYPE_ACTIVITY_INVOICE", "TYPE_ACTIVITY_PAYMENT"),
    *("TYPE_ACTIVITY_OPPORTUNITY", "TYPE_LIVE_CHAT", FILTER, "TYPE_ACTIVITY_EMPLOYEE_ACTION_LOG", "TYPE_TIKTOK"),
    *("TYPE_ACTIVITY_WHATSAPP", "TYPE_FORM_SUBMISSION"),
)
PAGE = 20
REFUSALS: dict[CommentRefusal, tuple[int, str]] = {
    "type": (400, "Message type InternalComment is not allowed"),
    "channel": (401, "Auth channel OAUTH is not supported"),
    "scope": (401, SCOPE_MISSING),
}


class Messages:
    """The comments in the threads of these conversations."""

    def __init__(self, settings: Settings, refuse: Refuse, conversations: Conversations) -> None:
        self._settings = settings
        self._refuse = refuse
        self._conversations = conversations
        listed = "/conversations/{conversationId}/messages"
        self.routes = [
            Route(
                "POST",
                "/conversations/messages",
                "conversations/message.write",
                _wrong_message,
                self._add,
                FOREIGN_LOCATION,
            ),
            Route("GET", listed, "conversations/message.readonly", _wrong_list, self._list),
        ]

    def _add(self, asked: Asked) -> Response:
        """Write a comment into the contact's thread, which is created if there is none."""
        members, location = asked.members, asked.location
        if refusal := self._refusal(members, location):
            return self._refuse(*refusal)
        assert location is not None
        key = location, members["contactId"]
        known = self._conversations.by_key.get(key)
        if "conversationId" in members and (known is None or known["id"] != members["conversationId"]):
            return self._refuse(400, NOT_FOUND)
        conversation = known or self._conversations.open(key)
        message = {
            "id": new_id(),
            "type": TYPE_NUMBER,
            "messageType": LISTED_TYPE,
            "locationId": location,
            "contactId": key[1],
            "conversationId": conversation["id"],
            "dateAdded": now_iso(),
            "body": members.get("message") or "",
            "direction": "outbound",
            "status": "delivered",
            "contentType": "text/plain",
            "source": "api",
        } | {name: members[name] for name in ("userId", "mentions", "attachments") if members.get(name)}
        self._conversations.thread(conversation["id"]).comments.append(Comment(time.monotonic(), message))
        answer = {"conversationId": conversation["id"], "messageId": message["id"], "status": "delivered"}
        return json_answer(200, answer)

    def _refusal(self, members: Members, location: str | None) -> tuple[int, str] | None:
        if members["type"] != COMMENT:
            return 400, f"No provider is connected for messages of type {members['type']}"
        refused = self._settings.refuse_comments
        if reason := refused.get(location or "*", refused.get("*")):
            return REFUSALS[reason]
        if location is None:
            return 400, "Contact not found"
        if not (members.get("message") or members.get("attachments")):
            return 400, "There is no message or attachments for this message. Skip sending."
        return None

    def _list(self, asked: Asked) -> Response:
        if self._conversations.find(asked.identifier) is None:
            return self._refuse(400, NOT_FOUND)
        types = [each for each in asked.members.get("type", "").split(",") if each]
        seen = time.monotonic() - self._settings.thread_lag
        comments = self._conversations.thread(asked.identifier).comments if not types or FILTER in types else []
        found = [comment.message for comment in reversed(comments) if comment.at <= seen]
        if last := asked.members.get("lastMessageId"):
            ids = [message["id"] for message in found]
            if last not in ids:
                return self._refuse(400, "Message not found")
            found = found[ids.index(last) + 1 :]
        page = found[: min(int(float(asked.members.get("limit", PAGE))), PAGE)]
        content = {
            "lastMessageId": page[-1]["id"] if page else "",
            "nextPage": len(found) > len(page),
            "messages": page,
        }
        return json_answer(200, {"messages": content} if self._settings.thread_format == "nested" else content)


def _wrong_message(members: Members) -> list[str]:
    known = ("type", "contactId", "message", "conversationId", "userId", "mentions", "attachments", "subType", "status")
    wrong = unknown_members(members, known) + wrong_id(members, "contactId")
    if members.get("type") not in SENT_TYPES:
        wrong.append("type must be a valid enum value")
    if members.get("type") in (None, ""):
        wrong.append("type should not be empty")
    if "conversationId" in members:
        wrong += wrong_id(members, "conversationId")
    return (
        wrong
        + wrong_texts(members, ("message", "userId"))
        + [text for name in ("mentions", "attachments") for text in wrong_list(members, name)]
    )


def _wrong_list(members: Members) -> list[str]:
    wrong = []
    if not set(filter(None, members.get("type", "").split(","))) <= set(FILTERS):
        wrong.append("each value in type must be a valid enum value")
    try:
        is_count = 1 <= float(members.get("limit", PAGE)) <= 100
    except ValueError:
        is_count = False
    return wrong if is_count else [*wrong, "limit must be a number conforming to the specified constraints"]
