"""The local HighLevel's threads: comments, the list of messages, the unread count."""

import re
import time
from typing import Any

import pytest

from local.highlevel import LocalHighLevel
from tests.contract.local_calls import MESSAGES, MINE, OAUTH, SEARCH, THREAD, ask, bodies, comment, create, new_contact

COMMENTS = "type=TYPE_INTERNAL_COMMENTS"


def thread_of(local: LocalHighLevel, contact: str = "c1") -> str:
    """The path of the messages of a new conversation."""
    return THREAD.format(conversationId=create(local, contact=contact).json["conversation"]["id"])


# Comments


def test_a_comment_is_in_the_thread(local: LocalHighLevel) -> None:
    path = thread_of(local)
    answer = comment(local, message="Name: Ann\n{{x}}", userId="u1", mentions=["u2"])
    assert answer.status == 200
    assert answer.json.items() >= {"conversationId": path.split("/")[2], "status": "delivered"}.items()
    [message] = ask(local, "GET", f"{path}?{COMMENTS}").json["messages"]["messages"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["dateAdded"])
    assert (
        message.items()
        >= {
            "id": answer.json["messageId"],
            "messageType": "TYPE_INTERNAL_COMMENT",
            "body": "Name: Ann\n{{x}}",
            "userId": "u1",
            "contactId": "c1",
            "locationId": "mine",
            "direction": "outbound",
        }.items()
    )


def test_a_comment_creates_the_thread_of_a_contact_that_has_none(local: LocalHighLevel) -> None:
    contact = new_contact(local, email="a@b.co")
    conversation = comment(local, contact).json["conversationId"]
    assert local.conversations["mine", contact]["id"] == conversation
    assert comment(local, contact).json["conversationId"] == conversation
    assert create(local, contact=contact).status == 400, "one conversation per contact"


def test_the_same_comment_twice_is_two_comments(local: LocalHighLevel) -> None:
    path = thread_of(local)
    assert comment(local).json["messageId"] != comment(local).json["messageId"]
    assert bodies(ask(local, "GET", path)) == ["hello", "hello"]


def test_a_comment_changes_no_unread_count(local: LocalHighLevel) -> None:
    conversation = create(local).json["conversation"]
    comment(local)
    assert ask(local, "GET", f"/conversations/{conversation['id']}").json["unreadCount"] == 0
    assert local.conversations["mine", "c1"] == conversation


def test_a_comment_names_its_conversation_or_none(local: LocalHighLevel) -> None:
    mine, other = (create(local, contact=each).json["conversation"]["id"] for each in ("c1", "c2"))
    assert comment(local, conversationId=mine).status == 200
    assert comment(local, conversationId=other).json["message"] == "Conversation not found"


def test_a_comment_for_an_unknown_contact_is_refused(local: LocalHighLevel) -> None:
    answer = comment(local, "unknown")
    assert (answer.status, answer.json["message"]) == (400, "Contact not found")


@pytest.mark.parametrize(
    ("reason", "status", "text"),
    [
        ("type", 400, "Message type InternalComment is not allowed"),
        ("channel", 401, "Auth channel OAUTH is not supported"),
        ("scope", 401, "The token is not authorized for this scope."),
    ],
)
def test_comments_can_be_refused(
    local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch, reason: str, status: int, text: str
) -> None:
    monkeypatch.setattr(local, "refuse_comments", {"mine": reason})
    create(local)
    create(local, "other", "c2")
    answer = comment(local)
    assert (answer.status, answer.json["message"]) == (status, text)
    assert comment(local, "c2").status == 200, "another location"
    monkeypatch.setattr(local, "refuse_comments", {"*": reason})
    assert comment(local, "c2").status == status
    assert ask(local, path="/contacts/c1/notes", body={"body": "x"}).status == 201, "a note is the fall-back"


@pytest.mark.parametrize("sent", ["SMS", "Email", "Live_Chat", "Custom"])
def test_nothing_is_sent_to_a_contact(local: LocalHighLevel, sent: str) -> None:
    path = thread_of(local)
    answer = comment(local, type=sent)
    assert (answer.status, answer.json["message"]) == (400, f"No provider is connected for messages of type {sent}")
    assert bodies(ask(local, "GET", path)) == []


WRONG_MESSAGES: dict[str, tuple[dict[str, Any], int, Any]] = {
    "no-type": (
        {"contactId": "c1", "message": "x"},
        422,
        ["type must be a valid enum value", "type should not be empty"],
    ),
    "unknown-type": (
        {"type": "TYPE_INTERNAL_COMMENT", "contactId": "c1", "message": "x"},
        422,
        ["type must be a valid enum value"],
    ),
    "no-contact": (
        {"type": "InternalComment", "message": "x"},
        422,
        ["contactId must be a string", "contactId should not be empty"],
    ),
    "no-text": (
        {"type": "InternalComment", "contactId": "c1"},
        400,
        "There is no message or attachments for this message. Skip sending.",
    ),
    "mentions": (
        {"type": "InternalComment", "contactId": "c1", "message": "x", "mentions": "u1"},
        422,
        ["each value in mentions must be a string"],
    ),
    "extra": (
        {"type": "InternalComment", "contactId": "c1", "message": "x", "note": 1},
        422,
        ["property note should not exist"],
    ),
}


@pytest.mark.parametrize(("body", "status", "message"), WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_a_wrong_message_is_refused(local: LocalHighLevel, body: dict[str, Any], status: int, message: Any) -> None:
    path = thread_of(local)
    answer = ask(local, path=MESSAGES, body=body)
    assert (answer.status, answer.json["message"]) == (status, message)
    assert bodies(ask(local, "GET", path)) == []


# The list of messages


def test_pages_of_twenty_the_newest_first(local: LocalHighLevel) -> None:
    path = thread_of(local)
    for number in range(45):
        comment(local, message=str(number))
    query, pages = f"?{COMMENTS}&limit=100", []
    while True:
        page = ask(local, "GET", path + query).json["messages"]
        pages.append([int(message["body"]) for message in page["messages"]])
        if not page["nextPage"]:
            break
        assert page["lastMessageId"] == page["messages"][-1]["id"]
        query = f"?{COMMENTS}&lastMessageId={page['lastMessageId']}"
        comment(local, message="99")  # a comment meanwhile moves no page
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [number for page in pages for number in page] == [*range(44, -1, -1)]
    assert len(bodies(ask(local, "GET", f"{path}?limit=3"))) == 3


@pytest.mark.parametrize(
    ("query", "count"), [("", 1), (COMMENTS, 1), ("type=TYPE_SMS,TYPE_INTERNAL_COMMENTS", 1), ("type=TYPE_SMS", 0)]
)
def test_the_type_selects_messages(local: LocalHighLevel, query: str, count: int) -> None:
    path = thread_of(local)
    comment(local)
    assert len(bodies(ask(local, "GET", f"{path}?{query}"))) == count


@pytest.mark.parametrize(
    ("query", "status"),
    [("type=TYPE_INTERNAL_COMMENT", 422), ("limit=x", 422), ("limit=0", 422), ("lastMessageId=unknown", 400)],
)
def test_a_wrong_query_is_refused(local: LocalHighLevel, query: str, status: int) -> None:
    assert ask(local, "GET", f"{thread_of(local)}?{query}").status == status


def test_an_empty_thread_has_an_empty_page(local: LocalHighLevel) -> None:
    page = ask(local, "GET", thread_of(local)).json["messages"]
    assert page == {"lastMessageId": "", "nextPage": False, "messages": []}


def test_a_page_can_have_the_documented_format(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "thread_format", "flat")
    path = thread_of(local)
    comment(local)
    page = ask(local, "GET", path).json
    assert ([message["body"] for message in page["messages"]], page["nextPage"]) == (["hello"], False)


def test_the_list_can_lag(local: LocalHighLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "thread_lag", 0.3)
    path = thread_of(local)
    comment(local)
    assert bodies(ask(local, "GET", path)) == []
    time.sleep(0.35)
    assert bodies(ask(local, "GET", path)) == ["hello"]


@pytest.mark.parametrize("status", [503, 429])
def test_a_thread_can_be_unreadable_while_comments_are_written(local: LocalHighLevel, status: int) -> None:
    path = thread_of(local)
    local.fail("status", status=status, method="GET", path=THREAD, location="mine", contact="c1")
    assert ask(local, "GET", path).status == status
    assert comment(local).status == 200
    assert ask(local, "GET", thread_of(local, "c2")).status == 200


# The unread count


def test_the_unread_count_is_set_not_added(local: LocalHighLevel) -> None:
    path = f"/conversations/{create(local).json['conversation']['id']}"
    for count in (3, 1):
        answer = ask(local, "PUT", path, MINE | {"unreadCount": count})
        assert (answer.status, answer.json["success"]) == (200, True)
        assert answer.json["conversation"]["unreadCount"] == count
    ask(local, "PUT", path, MINE | {"starred": True})
    got = ask(local, "GET", path).json
    assert (got["unreadCount"], got["starred"], got["contactId"], got["inbox"]) == (1, True, "c1", True)
    [found] = ask(local, "GET", f"{SEARCH}?locationId=mine&contactId=c1").json["conversations"]
    assert found["unreadCount"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"unreadCount": 1}, 422),
        (MINE | {"unreadCount": "1"}, 422),
        (MINE | {"unreadCount": -1}, 422),
        (MINE | {"starred": 1}, 422),
        (MINE | {"x": 1}, 422),
        ({"locationId": "other", "unreadCount": 1}, 400),
    ],
)
def test_a_wrong_update_changes_nothing(local: LocalHighLevel, body: dict[str, Any], status: int) -> None:
    path = f"/conversations/{create(local).json['conversation']['id']}"
    assert ask(local, "PUT", path, body).status == status
    assert ask(local, "GET", path).json["unreadCount"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/conversations/unknown"), ("PUT", "/conversations/unknown"), ("GET", "/conversations/unknown/messages")],
)
def test_an_unknown_conversation_is_refused(local: LocalHighLevel, method: str, path: str) -> None:
    answer = ask(local, method, path, MINE if method == "PUT" else None)
    assert (answer.status, answer.json["message"]) == (400, "Conversation not found")


def test_the_search_shows_the_contact_and_the_last_comment(local: LocalHighLevel) -> None:
    contact = new_contact(local, email="a@b.co", phone="+1999", firstName="Ann", lastName="Doe")
    comment(local, contact, "first")
    comment(local, contact, "last")
    [found] = ask(local, "GET", f"{SEARCH}?locationId=mine&contactId={contact}").json["conversations"]
    assert (
        found.items()
        >= {
            "fullName": "Ann Doe",
            "email": "a@b.co",
            "phone": "+1999",
            "lastMessageBody": "last",
            "lastMessageType": "TYPE_INTERNAL_COMMENT",
        }.items()
    )


def test_a_conversation_that_a_test_writes_has_a_thread(local: LocalHighLevel) -> None:
    local.conversations["mine", "c1"] = {"id": "v1", "contactId": "c1", "locationId": "mine", "deleted": False}
    assert comment(local).json["conversationId"] == "v1"
    assert bodies(ask(local, "GET", "/conversations/v1/messages")) == ["hello"]
    assert ask(local, "PUT", "/conversations/v1", MINE | {"unreadCount": 1}).status == 200
    assert local.thread("v1").unread_count == 1


# Other locations


def test_a_token_of_one_location_reads_and_writes_no_other(local: LocalHighLevel) -> None:
    other = new_contact(local, "other", email="a@b.co")
    thread = comment(local, other).json["conversationId"]
    mine: dict[str, Any] = {"authorization": f"Bearer {OAUTH}"}
    for method, path, body in (
        ("GET", f"/conversations/{thread}", None),
        ("PUT", f"/conversations/{thread}", {"locationId": "other", "unreadCount": 1}),
        ("GET", f"/conversations/{thread}/messages", None),
        ("POST", MESSAGES, {"type": "InternalComment", "contactId": other, "message": "x"}),
        ("GET", f"/contacts/{other}", None),
        ("PUT", f"/contacts/{other}", {"firstName": "x"}),
        ("POST", f"/contacts/{other}/tags", {"tags": ["x"]}),
        ("POST", f"/contacts/{other}/notes", {"body": "x"}),
        ("GET", "/contacts/search/duplicate?locationId=other&email=a@b.co", None),
    ):
        assert ask(local, method, path, body, **mine).status in (401, 403), (method, path)
    assert len(local.thread(thread).comments) == 1
    assert local.contact_now(other) == local.contacts[other] | {"notes": []}
