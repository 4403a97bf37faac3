"""The rules of the local HighLevel: which call is permitted, and what it costs of the quota; without a network.

The rules come from HighLevel's documentation and from measurements on the live API; the messages are verbatim. What a
permitted call does is in `highlevel_contacts`, `highlevel_conversations` and `highlevel_messages`.
"""

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from local.highlevel_answers import SCOPE_MISSING, Asked, Members, Route, json_answer
from local.highlevel_contacts import Contacts
from local.highlevel_conversations import Conversations, Key, Thread
from local.highlevel_faults import BLOCKED, HTML, phrase
from local.highlevel_messages import Messages
from local.highlevel_oauth import OAuthServer
from local.highlevel_settings import Limits, Settings

__all__ = ["Call", "Limits", "Rules"]

DAY = 86_400
VERSIONS = {"2021-04-15", "2021-07-28", "2023-02-21", "v3"}
BLOCKED_AGENTS = ("python-urllib/", "python-urllib3/", "python-requests/")
AGENCY = (
    "This authClass type is not allowed to access this scope. "
    "Please reach out to your point of contact to use this API."
)


@dataclass
class Call:
    """A received request. `at`: Unix time in seconds. `location`, `contact`: the ids in the request, or of its path."""

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
    route: str = ""  # its path with the parameter's name, as in HighLevel's document
    status: int | None = None  # None: not answered (yet)
    fault: str | None = None  # the kind of the fault that was applied

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass
class _Quota:
    since: float
    day: float
    used: int = 0
    used_today: int = 0


@dataclass(kw_only=True, eq=False)
class Rules(Settings):
    """The state of a HighLevel, and its answers. Every setting may change at any time (see `Settings`).

    `tokens`: token -> its location; "*" or None for any.
    `scopes`: token -> its scopes; a missing token has all. `agency_tokens`: tokens of a company, refused on these
    routes. `inactive_locations`: suspended ones.
    `oauth`: the OAuth server, whose access tokens are accepted too. `routes`: all but those of OAuth.
    State: `conversations` by (location, contact), `contacts` by id. A contact id without a record is valid: a
    conversation can be created for it, and then comments, notes and tags.
    """

    tokens: dict[str, str | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.scopes: dict[str, set[str]] = {}
        self.agency_tokens: set[str] = set()
        self.inactive_locations: set[str] = set()
        self.oauth = OAuthServer(self.refusal, inactive=self.inactive_locations)
        self._private_until: dict[str, float] = {}
        self._quotas: dict[str, _Quota] = {}
        self._refusals = 0
        self._conversations = Conversations(self, self.refusal, lambda contact: self.contacts.get(contact, {}))
        self._contacts = Contacts(
            self, self.refusal, lambda contact: self._conversations.location_of(contact) is not None
        )
        messages = Messages(self, self.refusal, self._conversations)
        self.conversations: dict[Key, dict[str, Any]] = self._conversations.by_key
        self.contacts: dict[str, dict[str, Any]] = self._contacts.book
        self.routes: list[Route] = [*self._contacts.routes, *self._conversations.routes, *messages.routes]
        self._settings_at_start = self.settings()

    def reset(self) -> None:
        """Delete conversations, contacts, used quotas and restrictions; keep tokens and settings."""
        self._conversations.clear()
        self._contacts.clear()
        self._quotas.clear()
        for restriction in (self.scopes, self.agency_tokens, self.inactive_locations, self._private_until):
            restriction.clear()
        self.oauth.reset()
        self._refusals = 0

    def reset_settings(self) -> None:
        """Change every setting back to its value at the start."""
        self.set(self._settings_at_start)

    def thread(self, conversation_id: str) -> Thread:
        """Return the comments, the unread count and the star of this conversation."""
        return self._conversations.thread(conversation_id)

    def contact_now(self, contact: str) -> dict[str, Any] | None:
        """Return the contact with its notes; None if only its id is known."""
        return self._contacts.described(contact)

    def contact_before(self, contact: str) -> dict[str, Any] | None:
        """Return the contact with its notes before its first change; None if it did not exist then."""
        return self._contacts.before(contact)

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
        # highlevel-api: without the header an empty 404. `*/*` is what HighLevel's own SDK sends.
        if not re.search(r"application/json|\*/\*", call.headers.get("accept", "")):
            return Response(status_code=404)
        if (call.method, call.path) == ("POST", "/oauth/token"):
            return self.oauth.token(call.media, call.body)
        issues = (call.method, call.path) == ("POST", "/oauth/locationToken")
        route, identifier = self._route(call)
        if route is None and not issues:
            cannot = f"Cannot {call.method} {call.path}"
            return json_answer(404, {"statusCode": 404, "message": cannot, "error": "Not Found"})
        version = call.headers.get("version", "")
        if version not in VERSIONS:
            return self._version_refusal(version)
        token = call.token or ""
        if route is None:
            return self.oauth.location_token(version, token, call.media, call.body, AGENCY)
        if not self._is_token(token):
            private = token.startswith("pit-")
            return self.refusal(401, "Invalid Private Integration token" if private else "Invalid JWT")
        own = self._location_of(token)
        # A token of one location uses that location's quota, whichever location the call names.
        free, quota = self._charge(call.location or own if own == "*" else own)
        answer = self._permit(call, token, own, route)
        if isinstance(answer, dict):
            answer = route.handle(Asked(identifier, answer, call.location)) if free else self._too_many()
        answer.headers.update(quota)
        return answer

    def identify(self, call: Call) -> None:
        """Add the route, and the location and the contact that the path or the contact's id stands for."""
        route, identifier = self._route(call)
        call.route = route.path if route else ""
        if call.route.startswith("/conversations/{"):
            conversation = self._conversations.find(identifier) or {}
            call.contact = conversation.get("contactId")
            call.location = call.location or conversation.get("locationId")
        elif call.route.startswith("/contacts/{"):
            call.contact = identifier
        if call.location is None and call.contact is not None:
            call.location = self._home(call.contact, self._location_of(call.token or ""))

    def _home(self, contact: str, own: str) -> str | None:
        """Return the location of a contact, which may exist only as a conversation, for a token of location `own`."""
        if contact in self.contacts:
            return str(self.contacts[contact]["locationId"])
        return own if (own, contact) in self.conversations else self._conversations.location_of(contact)

    def _route(self, call: Call) -> tuple[Route | None, str]:
        """Find the call's route, and the id in its path; a route without an id comes first."""
        found = [
            (route, identifier)
            for route in self.routes
            if route.method == call.method and (identifier := route.identifier(call.path)) is not None
        ]
        return min(found, key=lambda each: each[1] != "", default=(None, ""))

    def _is_token(self, token: str) -> bool:
        is_private = token in self.tokens and time.time() < self._private_until.get(token, float("inf"))
        return bool(is_private or self.oauth.access(token) or token in self.agency_tokens)

    def _location_of(self, token: str) -> str:
        """Return the location of a token, "*" for any."""
        access = self.oauth.access(token)
        return (access.location if access else self.tokens.get(token)) or "*"

    def _version_refusal(self, version: str) -> Response:
        if not version:
            return self.refusal(401, "version header was not found.")
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", version):
            return self.refusal(401, "version header is invalid")
        return self.refusal(400, f"Invalid API version segment '{version}' at position 0")

    def refusal(self, status: int, message: str | list[str], **more: Any) -> Response:
        """Return a refusal in the configured envelope, with `more` members."""
        self._refusals += 1
        if self.envelope == "nest" or (self.envelope == "alternate" and self._refusals % 2):
            return json_answer(status, {"statusCode": status, "message": message, "error": phrase(status)} | more)
        return json_answer(status, {"status": status, "message": message, "name": "HttpException"} | more)

    def _permit(self, call: Call, token: str, own: str, route: Route) -> Members | Response:
        """Return the parameters of a permitted call, else its refusal."""
        access = self.oauth.access(token)
        if token in self.agency_tokens or (access and access.location is None):
            return self.refusal(401, AGENCY)
        if route.scope in self.missing_scopes or route.scope not in self.scopes.get(token, {route.scope}):
            return self.refusal(401, SCOPE_MISSING)
        if call.location and own not in ("*", call.location):
            return self.refusal(*route.foreign)
        if call.location in self.inactive_locations:
            return self.refusal(400, "Location is not active")
        given: Any = call.query
        if call.method != "GET":
            try:
                # Like HighLevel's framework: a body of another type is ignored, and every member is missing.
                given = json.loads(call.body) if call.media == "application/json" and call.body else {}
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
        answer = json_answer(429, {"statusCode": 429, "message": "Too Many Requests"})
        if self.retry_after is not None:
            answer.headers["Retry-After"] = str(self.retry_after)
        return answer
