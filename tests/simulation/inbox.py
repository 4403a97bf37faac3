"""HighLevel's inbox in virtual time: contacts, threads, comments and notes, and what may befall each call to it."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from urllib3.exceptions import NewConnectionError, ProtocolError

from shared.connection_pool import HttpResponse, SendGuard
from tests.simulation.highlevel import MEDIAN_SECONDS, SIGMA, HighLevelModel
from tests.simulation.loop import START
from tests.simulation.processes import Process
from tests.unit.inbox import call_of

PAGE = 20
_WORDS = re.compile(r"words-(\d+)-")
CALLS = (
    *("conversation", "search conversation", "comment", "comments", "read conversation", "unread"),
    *("note", "notes", "search contact", "contact", "tags", "update"),
)
_PERSON = re.compile(r"(?:contact|person)-(\d+)")


@dataclass(frozen=True, slots=True)
class CallFault:
    """What befalls one call.

    `status`: refused with it. `refuse`: no connection. `lost`: carried out, then the connection is reset. `late`:
    carried out `seconds` after it came, and no answer. `timeout`: neither carried out nor answered. `slow`: answered
    after `seconds`. `frozen`: the process stands still before the first byte. `dies`, `dies after`: the process is
    killed before the first byte, or once HighLevel has the call. `created 422`: carried out, and refused. `empty`: a
    search that shows nothing yet.
    """

    kind: Literal[
        "none",
        "status",
        "refuse",
        "lost",
        "late",
        "timeout",
        "slow",
        "frozen",
        "dies",
        "dies after",
        "created 422",
        "empty",
    ]
    seconds: float = 0.0
    status: int = 503
    message: str = "Service Unavailable"


NONE = CallFault("none")


@dataclass(slots=True)
class Person:
    """Who writes, and what befalls the calls about them. Times are virtual seconds.

    `faults`: by call, of the next ones. `spans`: of each call of that name (all if it is empty) from begin to end.
    `lag`: until a list or a search shows what was written. `chatter`: comments that staff write after the first one.
    """

    location: str
    faults: dict[str, list[CallFault]] = field(default_factory=dict)
    spans: list[tuple[str, float, float, CallFault]] = field(default_factory=list)
    lag: float = 0.0
    chatter: int = 0
    allows_duplicates: bool = True
    first_at: float = 0.0  # when it begins

    def next_fault(self, call: str, now: float) -> CallFault:
        planned = self.faults.get(call)
        if planned:
            return planned.pop(0)
        for name, begin, end, fault in self.spans:
            if name in ("", call) and begin <= now < end:
                return fault
        return NONE


@dataclass(frozen=True, slots=True)
class Text:
    id: str
    body: str
    written_at: float
    seen_at: float


@dataclass(slots=True)
class InboxModel(HighLevelModel):
    """The one that all instances call. `people`: by number; contact ids and addresses contain it.

    `written`: how often each words are in a thread or a note. `too_late`: calls sent after their deadline.
    """

    people: dict[int, Person] = field(default_factory=dict)
    comments: dict[str, list[Text]] = field(default_factory=dict)  # by contact
    notes: dict[str, list[Text]] = field(default_factory=dict)
    ids_by_address: dict[str, list[tuple[str, float]]] = field(
        default_factory=dict
    )  # by address: id, shown from when on
    written: Counter[int] = field(default_factory=Counter)
    written_notes: Counter[int] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)  # by call
    too_late: int = 0

    def person(self, text: str) -> Person:
        return self.people[number_of(text)]

    def carry_out(self, call: str, path: str, members: dict[str, Any]) -> HttpResponse:
        """Do what the call asks for, unless the location's rate limit is used up."""
        about = _about(path, members)
        is_free, headers = self._charge(self.person(about).location)
        if not is_free:
            return _json(429, {"statusCode": 429, "message": "Too Many Requests"}, headers)
        handlers: dict[str, Callable[[str, str, dict[str, Any]], tuple[int, dict[str, Any]]]] = {
            "conversation": self._open_conversation,
            "search conversation": self._search_conversation,
            "read conversation": lambda contact, *_: (200, {"id": f"conversation-{contact}", "unreadCount": 0}),
            "unread": lambda contact, *_: (200, {"conversation": {"id": f"conversation-{contact}"}}),
            "comment": self._comment,
            "comments": self._list_comments,
            "note": self._note,
            "notes": lambda contact, *_: (200, {"notes": self._shown(self.notes.get(contact, []), contact)}),
            "search contact": self._search_contact,
            "contact": self._add_contact,
            "tags": lambda *_: (201, {"tags": []}),
            "update": lambda *_: (200, {"succeded": True}),
        }
        status, answer = handlers[call](about.removeprefix("conversation-"), path, members)
        return _json(status, answer, headers)

    def _open_conversation(self, contact: str, _path: str, members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        location = members["locationId"]
        if self.conversations[location, contact]:
            return 400, {"statusCode": 400, "message": "Conversation already exists"}
        self.conversations[location, contact] += 1
        conversation = {"id": f"conversation-{contact}", "contactId": contact, "locationId": location}
        return 201, {"success": True, "conversation": conversation}

    def _search_conversation(self, contact: str, _path: str, _members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        location = self.person(contact).location
        found = {"id": f"conversation-{contact}", "contactId": contact, "locationId": location}
        return 200, {"conversations": [found] if self.conversations[location, contact] else []}

    def _comment(self, contact: str, _path: str, members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self._add_text(self.comments, contact, members["message"])
        person = self.person(contact)
        chatter, person.chatter = person.chatter, 0
        for number in range(chatter):
            at = self.loop.now + 30.0 + number
            self.loop.at(at, lambda: self._add_text(self.comments, contact, "Call them back."))
        return 201, {"conversationId": f"conversation-{contact}", "messageId": "message-1"}

    def _note(self, contact: str, _path: str, members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        text = self._add_text(self.notes, contact, members["body"])
        return 201, {"note": {"id": text.id, "body": text.body}}

    def _add_text(self, texts: dict[str, list[Text]], contact: str, body: str) -> Text:
        now = self.loop.now
        known = texts.setdefault(contact, [])
        text = Text(f"{contact}-{len(known)}", body, now, now + self.person(contact).lag)
        known.append(text)
        for words in {int(found) for found in _WORDS.findall(body)}:
            (self.written_notes if texts is self.notes else self.written)[words] += 1
        return text

    def _list_comments(self, contact: str, path: str, _members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A page, the newest first."""
        shown = self._shown(self.comments.get(contact, []), contact)[::-1]
        last = parse_qs(urlsplit(path).query).get("lastMessageId", [""])[0]
        begin = next((number + 1 for number, each in enumerate(shown) if each["id"] == last), 0)
        page = shown[begin : begin + PAGE]
        has_next = begin + PAGE < len(shown)
        return 200, {
            "messages": {"messages": page, "nextPage": has_next, "lastMessageId": page[-1]["id"] if page else ""}
        }

    def _shown(self, texts: list[Text], contact: str) -> list[dict[str, Any]]:
        return [
            {
                "id": text.id,
                "messageType": "TYPE_INTERNAL_COMMENT",
                "contactId": contact,
                "body": text.body,
                "dateAdded": datetime.fromtimestamp(START + text.written_at, UTC).isoformat(),
            }
            for text in texts
            if text.seen_at <= self.loop.now
        ]

    def _search_contact(self, email: str, _path: str, _members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        shown = [contact for contact, seen_at in self.ids_by_address.get(email, []) if seen_at <= self.loop.now]
        return 200, {"contact": {"id": shown[0], "email": email} if shown else None}

    def _add_contact(self, email: str, _path: str, _members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        person, known = self.person(email), self.ids_by_address.setdefault(email, [])
        if known and not person.allows_duplicates:
            message = "This location does not allow duplicated contacts."
            return 400, {"statusCode": 400, "message": message, "meta": {"contactId": known[0][0]}}
        contact = f"contact-{number_of(email)}" + (f"-{len(known)}" if known else "")
        known.append((contact, self.loop.now + person.lag))
        return 201, {"contact": {"id": contact, "email": email, "locationId": person.location}}


@dataclass(frozen=True, slots=True)
class InboxNetwork:
    """What one instance's client sends comes here instead of over the network."""

    model: InboxModel
    process: Process
    rng: random.Random

    def exchange(
        self, method: str, path: str, _headers: Mapping[str, str], body: bytes | None, guard: SendGuard, within: float
    ) -> HttpResponse:
        call, members = call_of(method, path), json.loads(body or b"{}")
        return self.process.call_with_time_limit(lambda: self._send(call, path, members, guard, within), within)

    def _send(self, call: str, path: str, members: dict[str, Any], guard: SendGuard, within: float) -> HttpResponse:
        model, loop = self.model, self.model.loop
        guard.check_time()
        deadline = loop.time() + within
        fault = model.person(_about(path, members)).next_fault(call, loop.now)
        if fault.kind == "dies":
            self.process.die()
        loop.sleep(fault.seconds if fault.kind == "frozen" else 0.01)
        if fault.kind == "refuse":
            raise NewConnectionError(None, "refused")  # type: ignore[arg-type]
        guard.begin()
        model.sent[call] += 1
        model.too_late += loop.time() > deadline
        return self._answer(call, path, members, fault)

    def _answer(self, call: str, path: str, members: dict[str, Any], fault: CallFault) -> HttpResponse:
        """What happens once HighLevel has the call."""
        model, loop = self.model, self.model.loop
        if fault.kind == "status":
            loop.sleep(0.1)
            return _json(fault.status, {"statusCode": fault.status, "message": fault.message}, {})
        if fault.kind == "late":
            loop.at(loop.now + fault.seconds, lambda: model.carry_out(call, path, members))
        if fault.kind in ("late", "timeout"):
            loop.sleep(60.0)
            raise ProtocolError("Connection aborted.", ConnectionResetError())
        if fault.kind == "slow":
            loop.sleep(fault.seconds)
        else:
            loop.sleep(self.rng.lognormvariate(0.0, SIGMA) * MEDIAN_SECONDS)
        if fault.kind == "empty":
            return _json(200, {"conversations": [], "contact": None}, {})
        answer = model.carry_out(call, path, members)
        if fault.kind == "dies after":
            self.process.die()
        if fault.kind == "lost":
            raise ProtocolError("Connection aborted.", ConnectionResetError())
        if fault.kind == "created 422":
            return _json(422, {"statusCode": 422, "message": "Unprocessable"}, {})
        return answer


def number_of(text: str) -> int:
    """The person's number in a contact's id or an address."""
    found = _PERSON.search(text)
    assert found, text
    return int(found[1])


def _about(path: str, members: dict[str, Any]) -> str:
    """The contact, conversation or address that a call is about."""
    query = parse_qs(urlsplit(path).query)
    in_query = next((query[name][0] for name in ("contactId", "email") if name in query), "")
    return str(members.get("contactId") or members.get("email") or in_query or urlsplit(path).path.split("/")[2])


def _json(status: int, members: dict[str, Any], headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps(members).encode())
