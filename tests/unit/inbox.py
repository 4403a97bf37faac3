"""HighLevel's inbox in virtual time, and instances of the function over it: for the message step and the contact step.

The client is the real one down to the exchange over the network.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from urllib3.exceptions import ProtocolError

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.contact_step import ContactStep
from create_conversation.highlevel_calls import Deadline, HighLevelCalls
from create_conversation.idempotency import IdempotencyStore
from create_conversation.location_tokens import LocationTokens
from create_conversation.message_claims import ClaimStore
from create_conversation.message_step import MessageStep
from create_conversation.open_conversation import ConversationOpener
from create_conversation.outcome import Outcome
from create_conversation.pause import Pause
from create_conversation.rate_limit import RateLimits
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.config import Sender
from create_conversation.senders.mapping import ContactFields, Message, Person, Target
from create_conversation.token_provider import TokenProvider
from highlevel.client import HighLevel
from shared.connection_pool import DeadlineError, HttpResponse, SendGuard
from tests.factories import CONTACT, LOCATION
from tests.unit.fakes import Clock, FakeDynamoDb, FakeSecretsManager

TOKEN = "pit-11111111-2222-3333-4444-555555555555"
SCOPE = "The token is not authorized for this scope."


class KilledError(BaseException):
    """The process ends here."""


@dataclass
class Text:
    """A comment or a note. `seen_at`: from when on HighLevel shows it."""

    body: str
    written_at: float
    seen_at: float


@dataclass
class Inbox:
    """What HighLevel holds, for all instances. `faults`: by call (see `call_of`), what happens to the next ones.

    A fault: a status, or one with a message; "lost" and "late" (carried out, now or later; no answer), "written 422"
    (carried out, and refused), "timeout" (not carried out, no answer), "unsent", "killed" and "killed after" (the
    process dies before or after HighLevel takes the call), or a function that runs before the call.
    """

    clock: Clock
    faults: dict[str, list[Any]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # by call, for ever
    conversations: dict[str, str] = field(default_factory=dict)  # by contact
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: list[Text] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    lag: float = 0.0  # until a search or a list shows what was written
    late: float = 0.0  # after this a "lost" call is carried out
    allows_duplicates: bool = True
    _numbers: Any = field(default_factory=itertools.count)

    def exchange(
        self, method: str, path: str, _headers: Mapping[str, str], body: bytes | None, guard: SendGuard, _within: float
    ) -> HttpResponse:
        """Take a request instead of the network: what the client's own exchange returns and raises."""
        name, members = call_of(method, path), json.loads(body or b"{}")
        self.calls.append(name)
        planned = self.faults.get(name)
        fault = planned.pop(0) if planned else None
        if callable(fault):
            fault = fault()
        self.clock.now += 0.1
        if fault == "unsent":
            raise DeadlineError("the deadline passed")
        if fault == "killed":
            raise KilledError
        guard.begin()
        if isinstance(fault, int):
            return self._refused(fault, "no")
        if isinstance(fault, tuple):
            return self._refused(*fault)
        if name in self.refusals:
            return self._refused(*self.refusals[name])
        if fault == "late":
            at, self.clock.now = self.clock.now, self.clock.now + self.late
            self._answer(name, path, members)
            self.clock.now = at
        if fault in ("late", "timeout"):
            raise DeadlineError("the deadline passed")
        return self._damaged(fault, self._answer(name, path, members))

    def _damaged(self, fault: Any, answer: HttpResponse) -> HttpResponse:
        """Return what the caller gets of the answer to a call that was carried out."""
        if fault == "killed after":
            raise KilledError
        if fault == "lost":
            raise ProtocolError("Connection aborted.", ConnectionResetError())
        return self._refused(422, "Unprocessable") if fault == "written 422" else answer

    def _refused(self, status: int, message: str) -> HttpResponse:
        return self._json(status, {"statusCode": status, "message": message})

    def _answer(self, name: str, path: str, members: dict[str, Any]) -> HttpResponse:
        """Carry the call out."""
        handlers: dict[str, Callable[[str, dict[str, Any]], HttpResponse]] = {
            "conversation": self._create_conversation,
            "search conversation": self._search_conversation,
            "read conversation": lambda path, _: self._json(
                200, {"id": _id(path), "unreadCount": self.unread.get(_id(path), 0)}
            ),
            "unread": self._mark_unread,
            "comment": self._comment,
            "note": self._note,
            "comments": self._list_comments,
            "notes": lambda *_: self._json(200, {"notes": [self._shown(each) for each in self._seen(self.notes)]}),
            "search contact": self._search_contact,
            "contact": self._create_contact,
            "tags": self._add_tags,
            "update": self._update_contact,
        }
        return handlers[name](path, members)

    def _json(self, status: int, members: dict[str, Any]) -> HttpResponse:
        return HttpResponse(status, {}, json.dumps(members).encode())

    def _create_conversation(self, _path: str, members: dict[str, Any]) -> HttpResponse:
        contact = members["contactId"]
        if contact in self.conversations:
            return self._json(400, {"statusCode": 400, "message": "Conversation already exists!"})
        self.conversations[contact] = f"conversation{next(self._numbers)}"
        conversation = {"id": self.conversations[contact], "contactId": contact, "locationId": LOCATION}
        return self._json(201, {"success": True, "conversation": conversation})

    def _search_conversation(self, path: str, _members: dict[str, Any]) -> HttpResponse:
        [contact] = parse_qs(urlsplit(path).query)["contactId"]
        found = self.conversations.get(contact)
        shown = [{"id": found, "contactId": contact, "locationId": LOCATION}] if found else []
        return self._json(200, {"conversations": shown})

    def _mark_unread(self, path: str, members: dict[str, Any]) -> HttpResponse:
        self.unread[_id(path)] = members["unreadCount"]
        return self._json(200, {"success": True, "conversation": {"id": _id(path)}})

    def _comment(self, _path: str, members: dict[str, Any]) -> HttpResponse:
        self.comments.append(self._text(members["message"]))
        conversation = self.conversations.get(members["contactId"])
        return self._json(201, {"conversationId": conversation, "messageId": f"message{len(self.comments)}"})

    def _note(self, _path: str, members: dict[str, Any]) -> HttpResponse:
        self.notes.append(self._text(members["body"]))
        return self._json(201, {"note": {"id": f"note{len(self.notes)}", "body": members["body"]}})

    def _text(self, body: str) -> Text:
        return Text(body, self.clock.time(), self.clock.time() + self.lag)

    def _list_comments(self, _path: str, _members: dict[str, Any]) -> HttpResponse:
        page = [self._shown(each) for each in self._seen(self.comments)]
        return self._json(200, {"messages": {"messages": page, "nextPage": False}})

    def _seen(self, texts: list[Text]) -> list[Text]:
        return [text for text in texts if text.seen_at <= self.clock.time()]

    def _shown(self, text: Text) -> dict[str, Any]:
        written_at = datetime.fromtimestamp(text.written_at, UTC).isoformat()
        return {"id": "m", "messageType": "TYPE_INTERNAL_COMMENT", "body": text.body, "dateAdded": written_at}

    def _search_contact(self, path: str, _members: dict[str, Any]) -> HttpResponse:
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        found = self._contact_of(query.get("email"), query.get("number"), shown=True)
        return self._json(200, {"contact": found})

    def _contact_of(self, email: str | None, phone: str | None, *, shown: bool = False) -> dict[str, Any] | None:
        for contact in self.contacts.values():
            is_same = (email and contact.get("email") == email) or (phone and contact.get("phone") == phone)
            if is_same and (not shown or contact["seen_at"] <= self.clock.time()):
                return contact
        return None

    def _create_contact(self, _path: str, members: dict[str, Any]) -> HttpResponse:
        found = self._contact_of(members.get("email"), members.get("phone"))
        if found and not self.allows_duplicates:
            message = "This location does not allow duplicated contacts."
            return self._json(400, {"statusCode": 400, "message": message, "meta": {"contactId": found["id"]}})
        contact = f"contact{next(self._numbers)}"
        self.contacts[contact] = {"id": contact, **members, "seen_at": self.clock.time() + self.lag}
        return self._json(201, {"contact": self.contacts[contact]})

    def _add_tags(self, _path: str, members: dict[str, Any]) -> HttpResponse:
        self.tags += [tag for tag in members["tags"] if tag not in self.tags]
        return self._json(201, {"tags": self.tags})

    def _update_contact(self, path: str, members: dict[str, Any]) -> HttpResponse:
        self.contacts.setdefault(_id(path), {"id": _id(path), "seen_at": 0.0}).update(members)
        return self._json(200, {"succeded": True, "contact": self.contacts[_id(path)]})


def call_of(method: str, path: str) -> str:
    """Return the name of a call."""
    parts = [part for part in urlsplit(path).path.split("/") if part]
    if parts[0] == "conversations":
        if parts[-1] == "messages":
            return "comment" if method == "POST" else "comments"
        if len(parts) == 1:
            return "conversation"
        return "search conversation" if parts[1] == "search" else {"GET": "read conversation", "PUT": "unread"}[method]
    if parts[-1] == "notes":
        return "note" if method == "POST" else "notes"
    if parts[1:] == ["search", "duplicate"]:
        return "search contact"
    return "tags" if parts[-1] == "tags" else {"POST": "contact", "PUT": "update", "GET": "read contact"}[method]


def _id(path: str) -> str:
    return urlsplit(path).path.split("/")[2]


class Words(Message):
    """A message whose text is given."""

    def render(self, reference: str = "") -> str:
        text = str(self.payload["text"])
        return f"{text}\n{reference}" if text and reference else text


def make_message(
    text: str = "Question: answer", delivery: str = "typeform#d1", received_at: float = 0.0, *, is_by_body: bool = False
) -> Message:
    return Words(Sender("typeform", "token"), {"text": text}, delivery, received_at, is_by_body)


@dataclass
class Stack:
    """A stack's table, and instances of its function over one inbox."""

    inbox: Inbox
    clock: Clock
    place: str = "comment"
    mark_unread: bool = True
    dynamodb: FakeDynamoDb = field(default_factory=FakeDynamoDb)

    def instance(self) -> ConversationOpener:
        """With nothing in its memory."""
        clock, breaker = self.clock, CircuitBreaker(self.clock)
        records = IdempotencyStore(self.dynamodb, "Records", 86_400.0, clock)
        secret = CachedSecret(FakeSecretsManager(token=TOKEN), "token", 300.0, clock)
        client = HighLevel("http://127.0.0.1:1", clock=clock, exchange=self.inbox.exchange)
        tokens = TokenProvider(secret, LocationTokens(secret, client, records, breaker, clock), clock)
        calls = HighLevelCalls(client, tokens, breaker, RateLimits(clock), Pause(records, clock), clock)
        claims = ClaimStore(self.dynamodb, "Records", clock)
        messages = MessageStep(calls, claims, self.place, clock)
        return ConversationOpener(calls, records, ContactStep(calls, claims, clock), messages, self.mark_unread, clock)

    def process(
        self,
        message: Message | None = None,
        *,
        instance: ConversationOpener | None = None,
        within: float = 10.0,
        target: Target | None = None,
        fields: ContactFields | None = None,
    ) -> Outcome:
        """Process a submission of the contact by an instance, a new one by default."""
        chosen = target or Target(LOCATION, CONTACT)
        target = Target(
            chosen.location,
            chosen.contact,
            chosen.person,
            chosen.delivery,
            message=message or make_message(received_at=self.clock.time()),
            fields=fields or ContactFields(),
        )
        deadline = Deadline(self.clock.monotonic() + within, within, in_background=True)
        return (instance or self.instance()).process(target, deadline)

    def die(self, message: Message | None = None, **options: Any) -> None:
        """Process it in an instance that is killed."""
        try:
            self.process(message, **options)
        except KilledError:
            return
        raise AssertionError("it was not killed")


def make_person(email: str | None = "jane@example.com", phone: str | None = None, delivery: str = "t#d1") -> Target:
    return Target(LOCATION, None, Person(email, phone, "Jane", "McDonald"), delivery)
