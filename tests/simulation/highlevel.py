"""HighLevel in virtual time: its documented rate limits, an answer's time, and a schedule of faults."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from highlevel.client import HighLevel
from shared.connection_pool import DeadlineError, HttpResponse, NotSentError
from tests.simulation.loop import Loop

type _Answer = tuple[int, dict[str, Any]]

DAY = 86_400.0
MEDIAN_SECONDS, SIGMA = 0.15, 0.35  # of an answer's time, log-normal


MESSAGES = ("/conversations/messages", "/contacts/notes", "/conversations/thread")


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls calls from `begin` to `end`, of all locations or some, to all routes or some.

    `period`: by turns so many seconds of fault and of health. A `late` call gets no answer, and is carried out a moment
    after its caller has given up.
    """

    kind: Literal["status", "hang", "late", "reset", "refuse", "slow"]
    begin: float
    end: float
    status: int = 503
    retry_after: str | None = None
    locations: frozenset[str] | None = None
    period: float | None = None
    message: str = "Service Unavailable"
    seconds: float = 0.0  # of a slow answer, which is right
    routes: tuple[str, ...] | None = None
    share: float = 1.0  # of the calls

    def befalls(self, call: "Asked", now: float) -> bool:
        if not self.begin <= now < self.end or (self.locations is not None and call.location not in self.locations):
            return False
        if self.routes is not None and call.route not in self.routes:
            return False
        return self.period is None or (now - self.begin) // self.period % 2 == 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: its route (method and ids left out), and whom it is about. `text`: of a comment or note."""

    route: str
    method: str
    location: str
    contact: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    max: int = 100
    seconds: float = 10.0
    daily: int = 200_000


@dataclass(slots=True)
class _Window:
    since: float
    used: int = 0


@dataclass(slots=True)
class _Day:
    since: float
    used: int = 0


@dataclass(slots=True)
class HighLevelModel:
    """The one that all instances call. `tried`: when each contact was last called for, any response but 429."""

    loop: Loop
    rng: random.Random
    faults: list[Fault]
    limits: Limits = field(default_factory=Limits)
    median: float = MEDIAN_SECONDS
    lag: float = 0.0  # until a list shows what was written
    conversations: Counter[tuple[str, str]] = field(default_factory=Counter)
    opened_at: dict[str, float] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=dict)
    locations: dict[str, str] = field(default_factory=dict)  # of each contact
    contacts: Counter[str] = field(default_factory=Counter)  # how often each was created
    texts: dict[str, list[tuple[float, str, str]]] = field(default_factory=dict)  # of each contact: when, where, what
    least_left: int | None = None  # unused calls of a window, in the fullest one
    statuses: Counter[int] = field(default_factory=Counter)  # 0: none
    windows: dict[str, list[_Window]] = field(default_factory=dict)  # of each location, with at least one call each
    _days: dict[str, _Day] = field(default_factory=dict)

    def answer(self, call: Asked) -> HttpResponse:
        """Judge a call, and carry it out."""
        return self.take(call)()

    def take(self, call: Asked) -> Callable[[], HttpResponse]:
        """Count a call that has arrived. Returns what carries it out."""
        is_free, headers = self._charge(call.location)

        def carry_out() -> HttpResponse:
            if not is_free:
                return _answer(429, "Too Many Requests", headers)
            status, body = getattr(self, _ACTIONS[call.method, call.route])(call)
            return HttpResponse(status, headers, json.dumps(body).encode())

        return carry_out

    def asked(self, method: str, path: str, body: bytes | None) -> Asked:
        """Read a call."""
        path, _, query = path.partition("?")
        members = json.loads(body) if body else dict(parse_qsl(query))
        parts = path.strip("/").split("/")
        contact = members.get("contactId") or members.get("email", "").partition("@")[0]
        if parts[0] == "contacts" and parts[-1] == "notes":
            path, contact = "/contacts/notes", parts[1]
        elif method != "POST" and parts[0] == "conversations" and parts[1] != "search":
            path = "/conversations/thread" if parts[-1] == "messages" else "/conversations/id"
            contact = parts[1].removeprefix("conversation-")
        location = members.get("locationId") or self.locations[contact]
        return Asked(path, method, location, contact, members.get("message") or members.get("body") or "")

    def _create_conversation(self, call: Asked) -> _Answer:
        location, contact = call.location, call.contact
        if self.conversations[location, contact]:
            return _refused(400, f"Conversation with the contact id:{contact} already exists!")
        self.conversations[location, contact] += 1
        self.locations[contact] = location
        self.opened_at[contact] = self.loop.now
        return 201, {"success": True, "conversation": self._conversation(call)}

    def _find_conversation(self, call: Asked) -> _Answer:
        return 200, {"conversations": [self._conversation(call)] if call.contact in self.opened_at else []}

    def _get_conversation(self, call: Asked) -> _Answer:
        return 200, self._conversation(call)

    def _conversation(self, call: Asked) -> dict[str, Any]:
        names = {"id": f"conversation-{call.contact}", "contactId": call.contact, "locationId": call.location}
        return names | {"unreadCount": 0}

    def _find_contact(self, call: Asked) -> _Answer:
        known = {"id": call.contact, "locationId": call.location} if call.contact in self.locations else None
        return 200, {"contact": known}

    def _create_contact(self, call: Asked) -> _Answer:
        self.locations[call.contact] = call.location
        self.contacts[call.contact] += 1
        return 201, {"contact": {"id": call.contact, "locationId": call.location}}

    def _write(self, call: Asked) -> _Answer:
        self.texts.setdefault(call.contact, []).append((self.loop.time(), call.route, call.text))
        return 201, {"conversationId": f"conversation-{call.contact}", "messageId": f"m{len(self.texts)}"}

    def _list_texts(self, call: Asked) -> _Answer:
        route = "/contacts/notes" if call.route == "/contacts/notes" else "/conversations/messages"
        now = self.loop.time()
        shown = [
            {"id": f"m{number}", "body": text, "dateAdded": round(1000 * at), "messageType": "TYPE_INTERNAL_COMMENT"}
            for number, (at, written, text) in enumerate(self.texts.get(call.contact, []))
            if written == route and at <= now - self.lag
        ]
        return 200, {"notes": shown} if call.route == "/contacts/notes" else {"messages": shown, "nextPage": False}

    def _done(self, _call: Asked) -> _Answer:
        return 200, {"success": True}

    def _charge(self, location: str) -> tuple[bool, dict[str, str]]:
        now = self.loop.now
        windows, day = self.windows.setdefault(location, []), self._days.setdefault(location, _Day(now))
        if not windows or now - windows[-1].since >= self.limits.seconds:
            windows.append(_Window(now))
        if now - day.since >= DAY:
            day.since, day.used = now, 0
        window = windows[-1]
        is_free = window.used < self.limits.max and day.used < self.limits.daily
        window.used += is_free
        day.used += is_free
        left = self.limits.max - window.used
        self.least_left = left if self.least_left is None else min(left, self.least_left)
        return is_free, {
            "X-RateLimit-Max": str(self.limits.max),
            "X-RateLimit-Remaining": str(self.limits.max - window.used),
            "X-RateLimit-Interval-Milliseconds": str(round(1000 * self.limits.seconds)),
            "X-RateLimit-Limit-Daily": str(self.limits.daily),
            "X-RateLimit-Daily-Remaining": str(self.limits.daily - day.used),
        }


class SimulatedHighLevel(HighLevel):
    """One instance's client: the real one down to the call over the network."""

    def __init__(self, model: HighLevelModel, crash: Callable[[str], None] = lambda _: None) -> None:
        super().__init__("http://127.0.0.1:1", clock=model.loop)
        self._model = model
        self._crash = crash

    def call(  # noqa: PLR0913 - as the client's
        self,
        method: str,
        path: str,
        token: str | None,
        body: bytes | None,
        within: float,
        media: str = "application/json",
        send_once_by: float | None = None,
    ) -> HttpResponse | Exception:
        call = self._model.asked(method, path, body)
        if method == "POST":
            self._crash(call.route)
        result = self._exchange(call, within, send_once_by)
        if method == "POST":
            self._crash(call.route)
        status = 0 if isinstance(result, Exception) else result.status
        self._model.statuses[status] += 1
        if status != 429:
            self._model.tried[call.contact] = self._model.loop.now
        return result

    def _exchange(self, call: Asked, within: float, send_once_by: float | None) -> HttpResponse | Exception:
        model, pool = self._model, self._connections.pool
        loop = model.loop
        if send_once_by is not None and loop.time() > send_once_by:
            return _not_sent(DeadlineError("too late to be sent"))
        fault = self._fault(call)
        seconds = model.rng.lognormvariate(0.0, SIGMA) * model.median
        if fault and fault.kind == "slow":
            seconds, fault = fault.seconds, None
        if fault and fault.kind == "refuse":
            loop.sleep(seconds / 10)
            return _not_sent(NewConnectionError(pool, "refused"))  # type: ignore[arg-type]
        if (fault and fault.kind in ("hang", "late")) or seconds > within:
            loop.sleep(within)
            if fault is None:
                model.answer(call)  # carried out, only the answer comes too late
            elif fault.kind == "late":
                loop.at(loop.now + model.rng.uniform(0.0, 20.0), lambda: model.answer(call))
            return ReadTimeoutError(pool, call.route, "the deadline passed")
        if fault is None:  # one half of the time to HighLevel, the other half in it and back
            loop.sleep(seconds / 2)
            carry_out = model.take(call)
            loop.sleep(seconds / 2)
            return carry_out()
        loop.sleep(seconds)
        if fault.kind == "reset":
            return ProtocolError("Connection aborted.", ConnectionResetError())
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        return _answer(fault.status, fault.message, headers)

    def _fault(self, call: Asked) -> Fault | None:
        model = self._model
        befalling = (fault for fault in model.faults if fault.befalls(call, model.loop.now))
        return next((fault for fault in befalling if fault.share == 1.0 or model.rng.random() < fault.share), None)


_ACTIONS = {
    ("POST", "/conversations/"): "_create_conversation",
    ("GET", "/conversations/search"): "_find_conversation",
    ("GET", "/conversations/id"): "_get_conversation",
    ("PUT", "/conversations/id"): "_done",
    ("GET", "/contacts/search/duplicate"): "_find_contact",
    ("POST", "/contacts/"): "_create_contact",
    ("POST", "/conversations/messages"): "_write",
    ("GET", "/conversations/thread"): "_list_texts",
    ("POST", "/contacts/notes"): "_write",
    ("GET", "/contacts/notes"): "_list_texts",
}


def _not_sent(error: Exception) -> NotSentError:
    return NotSentError(error)


def _refused(status: int, message: str) -> _Answer:
    return status, {"statusCode": status, "message": message}


def _answer(status: int, message: str, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps({"statusCode": status, "message": message}).encode())
