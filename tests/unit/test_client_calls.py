"""The calls for contacts, messages and notes: what goes over the wire, and what the lists contain."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from highlevel.client import HighLevel
from highlevel.responses import ApiResult
from shared import connection_pool
from tests.factories import CONTACT, LOCATION
from tests.unit.peer import Connection, Peer
from tests.unit.world import TOKEN

THREAD = "conv-1"
type Call = Callable[[HighLevel], ApiResult]

CALLS: dict[str, tuple[Call, str, dict[str, Any] | None]] = {
    "search by both": (
        lambda hl: hl.search_contact(TOKEN, LOCATION, email="a+b@example.com", phone="+49 30", within=2),
        f"GET /contacts/search/duplicate?locationId={LOCATION}&email=a%2Bb%40example.com&number=%2B49+30",
        None,
    ),
    "search by e-mail": (
        lambda hl: hl.search_contact(TOKEN, LOCATION, email="ä&=@example.com", within=2),
        f"GET /contacts/search/duplicate?locationId={LOCATION}&email=%C3%A4%26%3D%40example.com",
        None,
    ),
    "new contact": (
        lambda hl: hl.create_contact(TOKEN, LOCATION, {"firstName": "DeAndre", "email": "a@example.com"}, within=2),
        "POST /contacts/",
        {"locationId": LOCATION, "firstName": "DeAndre", "email": "a@example.com"},
    ),
    "update": (
        lambda hl: hl.update_contact(
            TOKEN, CONTACT, {"customFields": [{"id": "f", "field_value": "v"}], "lastName": "O'Hara"}, within=2
        ),
        f"PUT /contacts/{CONTACT}",
        {"customFields": [{"id": "f", "field_value": "v"}], "lastName": "O'Hara"},
    ),
    "tags": (
        lambda hl: hl.add_tags(TOKEN, CONTACT, ("lead", "Größe"), within=2),
        f"POST /contacts/{CONTACT}/tags",
        {"tags": ["lead", "Größe"]},
    ),
    "comment": (
        lambda hl: hl.add_comment(TOKEN, CONTACT, "Hello\n😀", within=2),
        "POST /conversations/messages",
        {"type": "InternalComment", "contactId": CONTACT, "message": "Hello\n😀"},
    ),
    "comment with everything": (
        lambda hl: hl.add_comment(
            TOKEN, CONTACT, "Hi", conversation_id=THREAD, user_id="u-1", mentions=("u-1", "u-2"), within=2
        ),
        "POST /conversations/messages",
        {
            "type": "InternalComment",
            "contactId": CONTACT,
            "message": "Hi",
            "conversationId": THREAD,
            "userId": "u-1",
            "mentions": ["u-1", "u-2"],
        },
    ),
    "note": (
        lambda hl: hl.add_note(TOKEN, CONTACT, "Hello", within=2),
        f"POST /contacts/{CONTACT}/notes",
        {"body": "Hello"},
    ),
    "note of a user": (
        lambda hl: hl.add_note(TOKEN, CONTACT, "Hello", user_id="u-1", within=2),
        f"POST /contacts/{CONTACT}/notes",
        {"body": "Hello", "userId": "u-1"},
    ),
    "list of notes": (lambda hl: hl.list_notes(TOKEN, CONTACT, within=2), f"GET /contacts/{CONTACT}/notes", None),
    "list of comments": (
        lambda hl: hl.list_comments(TOKEN, THREAD, since=0, within=2),
        f"GET /conversations/{THREAD}/messages?type=TYPE_INTERNAL_COMMENTS&limit=20",
        None,
    ),
    "conversation": (
        lambda hl: hl.get_conversation(TOKEN, THREAD, within=2),
        f"GET /conversations/{THREAD}",
        None,
    ),
    "unread": (
        lambda hl: hl.mark_unread(TOKEN, LOCATION, THREAD, 4, within=2),
        f"PUT /conversations/{THREAD}",
        {"locationId": LOCATION, "unreadCount": 4},
    ),
}


def answer(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


class Answers(Peer):
    """Answers each request with the next body, the last one for ever; `requests` has their bytes."""

    def __init__(self, *bodies: object) -> None:
        self.requests: list[bytes] = []
        left = list(bodies)

        def behave(connection: Connection) -> None:
            while request := connection.request():
                self.requests.append(request)
                body = left.pop(0) if len(left) > 1 else left[0]
                connection.send(body if isinstance(body, bytes) and body.startswith(b"HTTP/") else answer(body))

        super().__init__(behave)

    @property
    def targets(self) -> list[str]:
        return [request.split(b" ")[1].decode() for request in self.requests]


@pytest.mark.parametrize(("call", "line", "body"), CALLS.values(), ids=CALLS)
def test_a_call_sends_what_the_official_document_asks_for(call: Call, line: str, body: dict[str, Any] | None) -> None:
    with Answers({}) as peer:
        call(HighLevel(peer.url))
        (request,) = peer.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(text.lower().split(": ", 1) for text in lines)
    assert first == f"{line} HTTP/1.1"
    assert (json.loads(sent) if sent else None) == body
    assert headers.get("content-type") == ("application/json" if body else None)
    assert headers["version"] == ("2021-04-15" if "/conversations/" in line else "2021-07-28")
    assert headers["authorization"] == f"bearer {TOKEN}".lower()


WITH_ID: dict[str, Callable[[HighLevel, str], ApiResult]] = {
    "read": lambda hl, id_: hl.get_contact(TOKEN, LOCATION, id_, within=2),
    "update": lambda hl, id_: hl.update_contact(TOKEN, id_, {}, within=2),
    "tags": lambda hl, id_: hl.add_tags(TOKEN, id_, ["a"], within=2),
    "note": lambda hl, id_: hl.add_note(TOKEN, id_, "Hi", within=2),
    "notes": lambda hl, id_: hl.list_notes(TOKEN, id_, within=2),
    "comments": lambda hl, id_: hl.list_comments(TOKEN, id_, since=0, within=2),
    "conversation": lambda hl, id_: hl.get_conversation(TOKEN, id_, within=2),
    "unread": lambda hl, id_: hl.mark_unread(TOKEN, LOCATION, id_, 1, within=2),
}


@pytest.mark.parametrize("call", WITH_ID.values(), ids=WITH_ID)
@pytest.mark.parametrize(
    "id_", ["", ".", "..", "../a", "a/b", "a?b", "a#b", "a b", "a%2Fb", "{}", "ä", "a\r\nb", "a" * 65]
)
def test_what_cannot_be_an_id_is_never_a_part_of_the_path(
    call: Callable[[HighLevel, str], ApiResult], id_: str
) -> None:
    with Answers({}) as peer:
        result = call(HighLevel(peer.url), id_)
        assert (result.outcome, result.reason, result.is_sent) == ("rejected", "ids_refused", False)
        assert peer.connections == 0


# Lists


def comment(number: int, **members: object) -> dict[str, Any]:
    """The comment written `number` seconds after 1970."""
    date = f"1970-01-01T00:{number // 60:02}:{number % 60:02}.000Z"
    return {
        "id": f"m{number}",
        "messageType": "TYPE_INTERNAL_COMMENT",
        "body": f"text {number}",
        "dateAdded": date,
    } | members


def page(*messages: dict[str, Any], more: bool = False) -> dict[str, Any]:
    last = messages[-1]["id"] if messages else None
    return {"lastMessageId": last, "nextPage": more, "messages": list(messages)}


def nested(*messages: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"messages": page(*messages, more=more), "traceId": "t"}


def comments(*bodies: object, since: float = 0.0, within: float = 2.0) -> tuple[ApiResult, list[str]]:
    with Answers(*bodies) as peer:
        result = HighLevel(peer.url).list_comments(TOKEN, THREAD, since=since, within=within)
    return result, peer.targets


FORMATS = pytest.mark.parametrize("form", [page, nested], ids=["flat", "nested"])


@FORMATS
@pytest.mark.parametrize("kind", ["TYPE_INTERNAL_COMMENT", "TYPE_INTERNAL_COMMENTS", None])
def test_the_comments_of_every_page_are_listed(form: Callable[..., Any], kind: str | None) -> None:
    pages = [form(comment(number, messageType=kind), more=number > 1) for number in (3, 2, 1)]
    result, targets = comments(*pages)
    assert (result.outcome, result.texts) == ("found", ("text 3", "text 2", "text 1"))
    query = f"/conversations/{THREAD}/messages?type=TYPE_INTERNAL_COMMENTS&limit=20"
    assert targets == [query, f"{query}&lastMessageId=m3", f"{query}&lastMessageId=m2"]


@FORMATS
def test_an_empty_thread_has_no_comments(form: Callable[..., Any]) -> None:
    result, _ = comments(form())
    assert (result.outcome, result.texts) == ("found", ())


def test_other_messages_and_comments_without_text_are_passed_over() -> None:
    others = [comment(5, messageType="TYPE_SMS"), comment(4, body=None), comment(3, body=""), comment(2)]
    result, _ = comments(page(*others))
    assert (result.outcome, result.texts) == ("found", ("text 2",))


def test_the_newest_first_are_read_back_to_the_given_time() -> None:
    result, targets = comments(
        page(comment(9), comment(7), more=True), page(comment(5), comment(3), more=True), since=4.5
    )
    assert (result.outcome, result.texts) == ("found", ("text 9", "text 7", "text 5"))
    assert len(targets) == 2


def test_the_oldest_first_are_read_to_the_end() -> None:
    result, targets = comments(page(comment(1), comment(2), more=True), page(comment(8), comment(9)), since=5)
    assert (result.outcome, result.texts) == ("found", ("text 8", "text 9"))
    assert len(targets) == 2


def test_one_old_comment_does_not_say_which_come_first() -> None:
    result, _ = comments(page(comment(1), more=True), page(comment(9)), since=5)
    assert result.texts == ("text 9",)


@pytest.mark.parametrize("number", [19, 20, 21])
def test_without_a_word_about_a_next_page_a_full_one_is_not_the_last(number: int) -> None:
    first = {"messages": [comment(100 - each) for each in range(number)]}
    result, targets = comments(first, page())
    assert (result.outcome, len(result.texts)) == ("found", number)
    assert len(targets) == (1 if number < 20 else 2)


@pytest.mark.parametrize(
    "date", [1_000, "1000", 1_000.0, "1970-01-01T00:00:01Z", "1970-01-01T01:00:01+01:00", "1970-01-01T00:00:01"]
)
def test_a_date_is_read_in_each_format(date: object) -> None:
    assert comments(page(comment(0, dateAdded=date)), since=0.9)[0].texts == ("text 0",)
    assert comments(page(comment(0, dateAdded=date)), since=1.1)[0].texts == ()


UNKNOWN: dict[str, object] = {
    "no JSON": b"<html>",
    "nothing": b"",
    "cut": b'{"messages": [',
    "array": [],
    "null": b"null",
    "no list": {},
    "null list": {"messages": None},
    "list of texts": {"messages": ["a"]},
    "object without list": {"messages": {}},
    "deeper": {"messages": {"messages": {"messages": []}}},
    "no date": page(comment(1, dateAdded=None)),
    "date without meaning": page(comment(1, dateAdded="yesterday")),
    "endless date": page(comment(1, dateAdded="9" * 400)),
    "not a number": b'{"nextPage":false,"messages":[{"messageType":null,"body":"a","dateAdded":NaN}]}',
    "true as date": page(comment(1, dateAdded=True)),
    "text as list": page(comment(1, body=["a"])),
    "next page as text": {"messages": [], "nextPage": "true"},
    "next page as null": {"messages": [], "nextPage": None},
    "next page of nothing": {"messages": [], "nextPage": True},
    "next page from no id": {"messages": [comment(1)], "nextPage": True, "lastMessageId": "a/b"},
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("at", ["first", "second"])
def test_a_list_of_unknown_format_is_deferred_never_empty(body: object, at: str) -> None:
    bodies = [body] if at == "first" else [page(comment(9), more=True), body]
    result, _ = comments(*bodies)
    assert (result.outcome, result.reason, result.texts) == ("deferred", "upstream_unexpected", ())


def test_a_page_that_leads_to_itself_is_deferred() -> None:
    result, targets = comments(page(comment(9), more=True))
    assert (result.outcome, result.reason) == ("deferred", "upstream_unexpected")
    assert len(targets) == 2


@pytest.mark.parametrize(
    ("second", "outcome", "reason"),
    [
        (answer({"message": "Too Many Requests"}, "429 x"), "deferred", "rate_limited"),
        (answer(b"", "503 x"), "deferred", "upstream_error"),
        (answer({"message": "Invalid JWT"}, "401 x"), "deferred", "token_refused"),
        (answer({"message": "The token is not authorized for this scope."}, "401 x"), "rejected", "scope_missing"),
        (answer({"message": "Conversation not found"}, "400 x"), "rejected", "ids_refused"),
        (answer(b"", "302 x"), "deferred", "upstream_unexpected"),
        (answer(b"", "204 x"), "deferred", "upstream_unexpected"),
        (answer(b" " * (connection_pool.MAX_BODY_BYTES + 1)), "deferred", "upstream_connection_lost"),
    ],
    ids=["429", "503", "401", "scope", "400", "redirect", "204", "too large"],
)
def test_a_list_that_fails_at_a_later_page_is_not_found(second: bytes, outcome: str, reason: str) -> None:
    result, _ = comments(page(comment(9), more=True), second)
    assert (result.outcome, result.reason, result.texts) == (outcome, reason, ())


def test_all_pages_share_one_deadline() -> None:
    number = 1000

    def behave(connection: Connection) -> None:
        nonlocal number
        while connection.request():
            number -= 1
            connection.send(answer(page(comment(number), more=True)))

    with Peer(behave) as peer:
        result = HighLevel(peer.url).list_comments(TOKEN, THREAD, since=0, within=0.2)
    assert (result.outcome, result.reason, result.texts) == ("deferred", "upstream_timeout", ())
    assert number < 998


def notes(body: object, since: float = 0.0) -> ApiResult:
    with Answers(body) as peer:
        return HighLevel(peer.url).list_notes(TOKEN, CONTACT, since=since, within=2)


def test_the_notes_since_the_given_time_are_listed() -> None:
    body = {"notes": [comment(number) for number in (1, 9, 5)]}
    assert (notes(body).outcome, notes(body).texts) == ("found", ("text 1", "text 9", "text 5"))
    assert notes(body, since=5).texts == ("text 9", "text 5")
    assert (notes({"notes": []}).outcome, notes({"notes": []}).texts) == ("found", ())


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", {}, {"notes": None}, {"notes": {}}, {"notes": [None]}, {"notes": [{"body": "a"}]}],
    ids=str,
)
def test_notes_of_unknown_format_are_deferred_never_empty(body: object) -> None:
    result = notes(body)
    assert (result.outcome, result.reason, result.texts) == ("deferred", "upstream_unexpected", ())


@pytest.mark.parametrize(
    ("data", "outcome", "reason"),
    [
        (answer({"message": "The token is not authorized for this scope."}, "403 x"), "rejected", "scope_missing"),
        (answer({"message": "Contact not found"}, "404 x"), "rejected", "ids_refused"),
        (answer(b"", "404 x"), "deferred", "upstream_unexpected"),
        (answer(b" " * (connection_pool.MAX_BODY_BYTES + 1)), "deferred", "upstream_connection_lost"),
    ],
    ids=["scope", "404", "edge", "too large"],
)
def test_notes_that_cannot_be_read_are_not_found(data: bytes, outcome: str, reason: str) -> None:
    assert (notes(data).outcome, notes(data).reason) == (outcome, reason)


def test_no_text_is_in_a_log() -> None:
    result, _ = comments(page(comment(9)))
    assert result.texts == ("text 9",)
    assert "text 9" not in repr(result)
