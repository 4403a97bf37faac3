"""The rules of the local HighLevel: what the routes of API v2 answer, without a network.

The rules come from HighLevel's documentation and from measurements on the live API; the messages are verbatim.
"""

import json
import random
import re
import string
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.responses import JSONResponse, Response

from local.highlevel_faults import BLOCKED, HTML, phrase
from local.highlevel_oauth import OAuthServer

DAY = 86_400
VERSIONS = {"2021-04-15", "2021-07-28", "2023-02-21", "v3"}
BLOCKED_AGENTS = ("python-urllib/", "python-urllib3/", "python-requests/")
ALPHANUMERICS = string.ascii_letters + string.digits
AGENCY = (
    "This authClass type is not allowed to access this scope. "
    "Please reach out to your point of contact to use this API."
)
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
TEXTS = ("email", "phone", "firstName", "lastName", "name", "source")


@dataclass
class Limits:
    """Rate limits of a location (highlevel-api): `max` calls per `interval_ms`, and `daily` calls in 24 hours."""

    max: int = 100
    interval_ms: int = 10_000
    daily: int = 200_000


@dataclass
class Call:
    """A received request. `at`: Unix time in seconds. `location`, `contact`: the ids in the request."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)  # names in lower case
    body: bytes
    connection: tuple[str, int]  # the caller's host and port
    token: str | None = field(default=None, repr=False)
    location: str | None = None
    contact: str | None = None
    status: int | None = None  # None: not answered (yet)
    fault: str | None = None  # the kind of the fault that was applied


@dataclass
class _Quota:
    since: float
    day: float
    used: int = 0
    used_today: int = 0


@dataclass
class _Route:
    scope: str
    wrong: Callable[[dict[str, Any]], list[str]]  # what is wrong with its parameters
    handle: Callable[[dict[str, Any]], Response]
    foreign: tuple[int, str] = (401, "This location is not accessible from this token!")


@dataclass(kw_only=True, eq=False)
class Rules:
    """The state of a HighLevel, and its answers. Every setting may change at any time.

    `tokens`: token -> its location; "*" or None for any. `limits`: per location.
    `search_lag`: seconds until a search finds a new conversation (highlevel-api: it lags by an unpublished time).
    `envelope`: of refusals: {"statusCode", "error"} ("nest"), {"status", "name"} ("http_exception"), or alternately.
    `retry_after`: value of the header of a 429 (highlevel-api: undocumented, so None: no header).
    `dates`: ISO strings or epoch milliseconds (highlevel-api has both).
    `scopes`: token -> its scopes; a missing token has all. `agency_tokens`: tokens of a company, refused on these
    routes. `inactive_locations`: suspended ones.
    `oauth`: the OAuth server, whose access tokens are accepted too.
    State: `conversations` by (location, contact), `contacts` by id.
    """

    tokens: dict[str, str | None] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    search_lag: float = 0.0
    envelope: Literal["nest", "http_exception", "alternate"] = "nest"
    retry_after: int | None = None
    dates: Literal["iso", "epoch"] = "iso"

    def __post_init__(self) -> None:
        self.scopes: dict[str, set[str]] = {}
        self.agency_tokens: set[str] = set()
        self.inactive_locations: set[str] = set()
        self.conversations: dict[tuple[str, str], dict[str, Any]] = {}
        self.contacts: dict[str, dict[str, Any]] = {}
        self.oauth = OAuthServer(self.refusal, inactive=self.inactive_locations)
        self._private_until: dict[str, float] = {}
        self._opened_at: dict[tuple[str, str], float] = {}
        self._quotas: dict[str, _Quota] = {}
        self._refusals = 0
        self._routes = {
            ("POST", "/conversations/"): _Route("conversations.write", _wrong_create, self._create),
            ("GET", "/conversations/search"): _Route(
                "conversations.readonly",
                _wrong_search,
                self._search,
                (403, "The token does not have access to this location."),
            ),
            ("POST", "/contacts/upsert"): _Route("contacts.write", _wrong_upsert, self._upsert),
        }

    def reset(self) -> None:
        """Delete conversations, contacts, used quotas and restrictions; keep tokens and settings."""
        for held in (self.conversations, self.contacts, self._opened_at, self._quotas):
            held.clear()
        for restriction in (self.scopes, self.agency_tokens, self.inactive_locations, self._private_until):
            restriction.clear()
        self.oauth.reset()
        self._refusals = 0

    def rotate_private_token(self, token: str, keep_seconds: float = 7 * DAY) -> str:
        """Rotate a private integration token ("rotate and expire later"). Returns the new token."""
        new = f"pit-{uuid.uuid4()}"
        self.tokens[new] = self.tokens[token]
        self._private_until[token] = time.time() + keep_seconds
        return new

    def answer(self, call: Call) -> Response:
        """Handle the call: store what it creates, and count it against the quota."""
        if (call.method, call.path) == ("GET", "/oauth/chooselocation"):  # a person's browser
            return self.oauth.choose_location(call.query)
        agent = call.headers.get("user-agent", "").lower()
        if not agent or agent.startswith(BLOCKED_AGENTS):
            return Response(HTML, 403, BLOCKED)
        if "application/json" not in call.headers.get("accept", ""):
            return Response(status_code=404)
        media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if (call.method, call.path) == ("POST", "/oauth/token"):
            return self.oauth.token(media, call.body)
        issues = (call.method, call.path) == ("POST", "/oauth/locationToken")
        route = self._routes.get((call.method, call.path)) or self._contact_route(call)
        if route is None and not issues:
            cannot = f"Cannot {call.method} {call.path}"
            return _json(404, {"statusCode": 404, "message": cannot, "error": "Not Found"})
        version = call.headers.get("version", "")
        if version not in VERSIONS:
            return self._version_refusal(version)
        token = call.token or ""
        if route is None:
            return self.oauth.location_token(version, token, media, call.body, AGENCY)
        access = self.oauth.access(token)
        is_private = token in self.tokens and time.time() < self._private_until.get(token, float("inf"))
        if not (is_private or access or token in self.agency_tokens):
            private = token.startswith("pit-")
            return self.refusal(401, "Invalid Private Integration token" if private else "Invalid JWT")
        own = (access.location if access else self.tokens.get(token)) or "*"
        # A token of one location uses that location's quota, whichever location the call names.
        free, quota = self._charge(call.location or own if own == "*" else own)
        answer = self._permit(call, token, own, route)
        if isinstance(answer, dict):
            answer = route.handle(answer) if free else self._too_many()
        answer.headers.update(quota)
        return answer

    def _version_refusal(self, version: str) -> Response:
        if not version:
            return self.refusal(401, "version header was not found.")
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", version):
            return self.refusal(401, "version header is invalid")
        return self.refusal(400, f"Invalid API version segment '{version}' at position 0")

    def refusal(self, status: int, message: str | list[str]) -> Response:
        """Return a refusal in the configured envelope."""
        self._refusals += 1
        if self.envelope == "nest" or (self.envelope == "alternate" and self._refusals % 2):
            return _json(status, {"statusCode": status, "message": message, "error": phrase(status)})
        return _json(status, {"status": status, "message": message, "name": "HttpException"})

    def _contact_route(self, call: Call) -> _Route | None:
        match = re.fullmatch(r"/contacts/([A-Za-z0-9_-]{1,64})", call.path) if call.method == "GET" else None
        if match is None:
            return None
        return _Route("contacts.readonly", lambda _members: [], lambda _members: self._get_contact(match[1], call))

    def _get_contact(self, contact: str, call: Call) -> Response:
        known = self.contacts.get(contact)
        if known is None:  # highlevel-api: the message is not published
            return self.refusal(400, "Contact not found")
        own = self.tokens.get(call.token or "") or "*"
        if own not in ("*", known["locationId"]):
            return self.refusal(403, "The token does not have access to this location.")
        return _json(200, {"contact": known})

    def _permit(self, call: Call, token: str, own: str, route: _Route) -> dict[str, Any] | Response:
        """Return the parameters of a permitted call, else its refusal."""
        access = self.oauth.access(token)
        if token in self.agency_tokens or (access and access.location is None):
            return self.refusal(401, AGENCY)
        if route.scope not in self.scopes.get(token, {route.scope}):
            return self.refusal(401, "The token is not authorized for this scope.")
        if call.location and own not in ("*", call.location):
            return self.refusal(*route.foreign)
        if call.location in self.inactive_locations:
            return self.refusal(400, "Location is not active")
        given: Any = call.query
        if call.method == "POST":
            media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
            try:
                # Like HighLevel's framework: a body of another type is ignored, and every member is missing.
                given = json.loads(call.body) if media == "application/json" and call.body else {}
            except (ValueError, RecursionError) as error:
                return self.refusal(400, str(error))
        members = given if isinstance(given, dict) else {}
        wrong = route.wrong(members)
        return self.refusal(422, wrong) if wrong else members

    def _charge(self, location: str) -> tuple[bool, dict[str, str]]:
        """Count the call. Returns whether the quota allows it, and the rate-limit headers."""
        now = time.monotonic()
        limits, quota = self.limits, self._quotas.setdefault(location, _Quota(now, now))
        if now - quota.since >= limits.interval_ms / 1000:
            quota.since, quota.used = now, 0
        if now - quota.day >= DAY:
            quota.day, quota.used_today = now, 0
        free = quota.used < limits.max and quota.used_today < limits.daily
        quota.used += free
        quota.used_today += free
        return free, {
            "X-RateLimit-Max": str(limits.max),
            "X-RateLimit-Remaining": str(max(0, limits.max - quota.used)),
            "X-RateLimit-Interval-Milliseconds": str(limits.interval_ms),
            "X-RateLimit-Limit-Daily": str(limits.daily),
            "X-RateLimit-Daily-Remaining": str(max(0, limits.daily - quota.used_today)),
        }

    def _too_many(self) -> Response:
        answer = _json(429, {"statusCode": 429, "message": "Too Many Requests"})
        if self.retry_after is not None:
            answer.headers["Retry-After"] = str(self.retry_after)
        return answer

    def _create(self, members: dict[str, Any]) -> Response:
        key = location, contact = members["locationId"], members["contactId"]
        if key in self.conversations:
            return self.refusal(400, f"Conversation with the contact id:{contact} already exists!")
        now = datetime.now(UTC)
        iso = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        date = iso if self.dates == "iso" else int(now.timestamp() * 1000)
        conversation = {
            "id": _new_id(),
            "dateUpdated": date,
            "dateAdded": date,
            "deleted": False,
            "contactId": contact,
            "locationId": location,
            "lastMessageDate": date,
            "assignedTo": None,
        }
        self.conversations[key] = conversation
        self._opened_at[key] = time.monotonic()
        return _json(201, {"success": True, "conversation": conversation})

    def _search(self, members: dict[str, Any]) -> Response:
        location, contact = members["locationId"], members.get("contactId")
        # A contact has at most one: do not search thousands.
        keys = [(location, contact)] if contact else [key for key in list(self.conversations) if key[0] == location]
        seen = time.monotonic() - self.search_lag
        found = [self.conversations[k] for k in keys if k in self.conversations and self._opened_at.get(k, 0) <= seen]
        return _json(200, {"conversations": found[:20], "total": len(found)})

    def _upsert(self, members: dict[str, Any]) -> Response:
        given = {name: value for name, value in members.items() if value not in (None, "")}

        def having(name: str) -> dict[str, Any] | None:
            wanted = _comparable(given.get(name))
            same = (c for c in self.contacts.values() if c["locationId"] == given["locationId"])
            return next((c for c in same if wanted and _comparable(c.get(name)) == wanted), None)

        by_email, by_phone = having("email"), having("phone")
        # highlevel-api: if e-mail and phone belong to two contacts, one of them is silently ignored.
        if by_email and by_phone and by_email is not by_phone:
            del given["phone"]
        known = by_email or by_phone
        contact = known or {"id": _new_id()}
        contact.update(given)
        self.contacts[contact["id"]] = contact
        return _json(200, {"new": known is None, "contact": contact})


def _wrong_create(members: dict[str, Any]) -> list[str]:
    unknown = _unknown(members, "locationId", "contactId")
    return unknown + _wrong_id(members, "locationId") + _wrong_id(members, "contactId")


def _wrong_search(members: dict[str, Any]) -> list[str]:
    # HighLevel accepts many more parameters; they are ignored here.
    return _wrong_id(members, "locationId") + (_wrong_id(members, "contactId") if "contactId" in members else [])


def _wrong_upsert(members: dict[str, Any]) -> list[str]:
    wrong = _unknown(members, "locationId", *TEXTS, "tags") + _wrong_id(members, "locationId")
    wrong += [f"{name} must be a string" for name in TEXTS if not isinstance(members.get(name), str | None)]
    tags = members.get("tags", [])
    if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        wrong.append("each value in tags must be a string")
    email = members.get("email")
    if isinstance(email, str) and email and not EMAIL.fullmatch(email):
        wrong.append("email must be an email")
    if not (email or members.get("phone")):
        wrong += ["email should not be empty", "phone should not be empty"]
    return wrong


def _unknown(members: dict[str, Any], *known: str) -> list[str]:
    return [f"property {name} should not exist" for name in members if name not in known]


def _wrong_id(members: dict[str, Any], name: str) -> list[str]:
    value = members.get(name)
    wrong = [] if isinstance(value, str) else [f"{name} must be a string"]
    if value in (None, ""):
        wrong.append(f"{name} should not be empty")
    elif isinstance(value, str) and not ID.fullmatch(value):
        wrong.append(f"{name} must be a valid id")
    return wrong


def _json(status: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content | {"traceId": str(uuid.uuid4())}, status)


def _new_id() -> str:
    return "".join(random.choices(ALPHANUMERICS, k=20))


def _comparable(value: str | None) -> str:
    """Normalise an e-mail address or phone number for a comparison."""
    return re.sub(r"[\s().-]", "", value) if value and "@" not in value else (value or "").lower()
