"""HighLevel in virtual time: its documented rate limits, an answer's time, and a schedule of faults."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from highlevel.client import HighLevel
from shared.connection_pool import HttpResponse
from tests.simulation.loop import Loop

DAY = 86_400.0
MEDIAN_SECONDS, SIGMA = 0.15, 0.35  # of an answer's time, log-normal


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls calls from `begin` to `end`, of all locations or some. `period`: by turns so many seconds of fault
    and of health."""

    kind: Literal["status", "hang", "reset", "refuse", "slow"]
    begin: float
    end: float
    status: int = 503
    retry_after: str | None = None
    locations: frozenset[str] | None = None
    period: float | None = None
    message: str = "Service Unavailable"
    seconds: float = 0.0  # of a slow answer, which is right

    def befalls(self, location: str, now: float) -> bool:
        if not self.begin <= now < self.end or (self.locations is not None and location not in self.locations):
            return False
        return self.period is None or (now - self.begin) // self.period % 2 == 0


@dataclass(frozen=True, slots=True)
class Limits:
    max: int = 100
    seconds: float = 10.0
    daily: int = 200_000


@dataclass(slots=True)
class _Window:
    since: float
    day_since: float
    used: int = 0
    used_today: int = 0


@dataclass(slots=True)
class HighLevelModel:
    """The one that all instances call. `tried`: when each contact was last called for, any response but 429."""

    loop: Loop
    rng: random.Random
    faults: list[Fault]
    limits: Limits = field(default_factory=Limits)
    median: float = MEDIAN_SECONDS
    conversations: Counter[tuple[str, str]] = field(default_factory=Counter)
    opened_at: dict[str, float] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=dict)
    least_left: int | None = None  # unused calls of a window, in the fullest one
    statuses: Counter[int] = field(default_factory=Counter)  # 0: none
    _windows: dict[str, _Window] = field(default_factory=dict)

    def answer(self, path: str, location: str, contact: str) -> HttpResponse:
        """Judge a call that has arrived: the look-up of a contact, or the create of its conversation."""
        is_free, headers = self._charge(location)
        if not is_free:
            return _answer(429, "Too Many Requests", headers)
        if path == "/contacts/upsert":
            return HttpResponse(200, headers, json.dumps({"contact": {"id": contact, "locationId": location}}).encode())
        if self.conversations[location, contact]:
            return _answer(400, f"Conversation with the contact id:{contact} already exists!", headers)
        self.conversations[location, contact] += 1
        self.opened_at[contact] = self.loop.now
        conversation = {"id": f"conversation-{contact}", "contactId": contact, "locationId": location}
        return HttpResponse(201, headers, json.dumps({"success": True, "conversation": conversation}).encode())

    def _charge(self, location: str) -> tuple[bool, dict[str, str]]:
        now = self.loop.now
        window = self._windows.setdefault(location, _Window(now, now))
        if now - window.since >= self.limits.seconds:
            window.since, window.used = now, 0
        if now - window.day_since >= DAY:
            window.day_since, window.used_today = now, 0
        is_free = window.used < self.limits.max and window.used_today < self.limits.daily
        window.used += is_free
        window.used_today += is_free
        left = self.limits.max - window.used
        self.least_left = left if self.least_left is None else min(left, self.least_left)
        return is_free, {
            "X-RateLimit-Max": str(self.limits.max),
            "X-RateLimit-Remaining": str(self.limits.max - window.used),
            "X-RateLimit-Interval-Milliseconds": str(round(1000 * self.limits.seconds)),
            "X-RateLimit-Limit-Daily": str(self.limits.daily),
            "X-RateLimit-Daily-Remaining": str(self.limits.daily - window.used_today),
        }


class SimulatedHighLevel(HighLevel):
    """One instance's client: the real one down to the call over the network."""

    def __init__(self, model: HighLevelModel) -> None:
        super().__init__("http://127.0.0.1:1")
        self._model = model

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
        members = json.loads(body or b"{}")
        location = members["locationId"]
        contact = members.get("contactId") or members["email"].partition("@")[0]
        result = self._exchange(path, location, contact, within)
        status = 0 if isinstance(result, Exception) else result.status
        self._model.statuses[status] += 1
        if status != 429:
            self._model.tried[contact] = self._model.loop.now
        return result

    def _exchange(self, path: str, location: str, contact: str, within: float) -> HttpResponse | Exception:
        model, pool = self._model, self._connections.pool
        loop = model.loop
        fault = next((fault for fault in model.faults if fault.befalls(location, loop.now)), None)
        seconds = model.rng.lognormvariate(0.0, SIGMA) * model.median
        if fault and fault.kind == "slow":
            seconds, fault = fault.seconds, None
        if fault and fault.kind == "refuse":
            loop.sleep(seconds / 10)
            return NewConnectionError(pool, "refused")  # type: ignore[arg-type]
        timeout = ReadTimeoutError(pool, path, "the deadline passed")
        if (fault and fault.kind == "hang") or seconds > within:
            loop.sleep(within)
            if fault is None:
                model.answer(path, location, contact)  # carried out, only the answer comes too late
            return timeout
        loop.sleep(seconds)
        if fault is None:
            return model.answer(path, location, contact)
        if fault.kind == "reset":
            return ProtocolError("Connection aborted.", ConnectionResetError())
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        return _answer(fault.status, fault.message, headers)


def _answer(status: int, message: str, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps({"statusCode": status, "message": message}).encode())
