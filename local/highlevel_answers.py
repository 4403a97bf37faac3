"""What the routes of the local HighLevel have in common: a route, its answers, ids, dates and checks of parameters."""

import random
import re
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response

type Members = dict[str, Any]

ALPHANUMERICS = string.ascii_letters + string.digits
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
SCOPE_MISSING = "The token is not authorized for this scope."
FOREIGN_LOCATION = (401, "This location is not accessible from this token!")
NO_ACCESS = (403, "The token does not have access to this location.")


class Refuse(Protocol):
    """Creates HighLevel's error envelope, with `more` members."""

    def __call__(self, status: int, message: str | list[str], **more: Any) -> Response: ...


@dataclass(frozen=True)
class Asked:
    """A permitted call: the id in its path, the members of its body or query, and the location it is about."""

    identifier: str
    members: Members
    location: str | None


type Handler = Callable[[Asked], Response]


@dataclass(frozen=True)
class Route:
    """A route as in HighLevel's document.

    `path` may have one parameter in braces. `wrong` returns what is wrong with the members of the body or the query.
    `foreign`: the refusal of a token of another location.
    """

    method: str
    path: str
    scope: str
    wrong: Callable[[Members], list[str]]
    handle: Handler
    foreign: tuple[int, str] = NO_ACCESS

    def identifier(self, path: str) -> str | None:
        """Return the parameter in this path; None if the path is not of this route."""
        before, brace, rest = self.path.partition("{")
        if not brace:
            return "" if path == self.path else None
        after = rest.partition("}")[2]
        if not (path.startswith(before) and path.endswith(after)):
            return None
        identifier = path[len(before) : len(path) - len(after)]
        return identifier if ID.fullmatch(identifier) else None


def json_answer(status: int, content: Members) -> Response:
    """Return a JSON answer with a trace id."""
    return JSONResponse(content | {"traceId": str(uuid.uuid4())}, status)


def new_id() -> str:
    """Return a random id like HighLevel's."""
    return "".join(random.choices(ALPHANUMERICS, k=20))


def iso(at: datetime) -> str:
    """Return a time as HighLevel writes it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now_iso() -> str:
    """Return the present time as HighLevel writes it."""
    return iso(datetime.now(UTC))


def nothing_wrong(_members: Members) -> list[str]:
    """Accept any members."""
    return []


def unknown_members(members: Members, known: tuple[str, ...]) -> list[str]:
    """Refuse members that the route does not know."""
    return [f"property {name} should not exist" for name in members if name not in known]


def wrong_id(members: Members, name: str) -> list[str]:
    """Refuse a missing or malformed id."""
    value = members.get(name)
    wrong = [] if isinstance(value, str) else [f"{name} must be a string"]
    if value in (None, ""):
        wrong.append(f"{name} should not be empty")
    elif isinstance(value, str) and not ID.fullmatch(value):
        wrong.append(f"{name} must be a valid id")
    return wrong


def wrong_texts(members: Members, names: tuple[str, ...]) -> list[str]:
    """Refuse a member that is neither a string nor null."""
    return [f"{name} must be a string" for name in names if not isinstance(members.get(name), str | None)]


def wrong_list(members: Members, name: str) -> list[str]:
    """Refuse a member that is not a list of strings; it may be missing."""
    value = members.get(name, [])
    is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return [] if is_list else [f"each value in {name} must be a string"]
