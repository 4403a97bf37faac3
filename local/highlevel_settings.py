"""The settings of the local HighLevel: what HighLevel's documents leave open, and what an administrator can choose.

Every setting may change at any time: as an attribute of `LocalHighLevel`, or with `POST /_local/settings`.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from local.highlevel_oauth import SCOPES

type CommentRefusal = Literal["type", "channel", "scope"]


@dataclass
class Limits:
    """Rate limits of a location (highlevel-api), over all calls: `max` per `interval_ms`, and `daily` in 24 hours."""

    max: int = 100
    interval_ms: int = 10_000
    daily: int = 200_000


@dataclass(kw_only=True, eq=False)
class Settings:
    """The settings and their defaults.

    `limits`: per location.
    `search_lag`: seconds until a search finds a new conversation (highlevel-api: it lags by an unpublished time).
    `contact_lag`, `thread_lag`: the same for the search of a contact, and for comments and notes in a list. Whether
    those lag is unknown.
    `allow_duplicates`: the location's setting "Allow Duplicate Contact".
    `missing_scopes`: what every token lacks; `Rules.scopes` has the scopes of single tokens.
    `refused_details`: e-mail address or phone number -> the message (422) with which creating, updating or upserting a
    contact is refused; "" for HighLevel's usual one.
    `refuse_comments`: location, or "*" for any -> why it refuses internal comments: the "type" (400), the "channel"
    (401; highlevel-inbox: seen with OAuth, here for any token) or the "scope" (401).
    `thread_format`: where a page has its messages: `messages.messages` ("nested", seen) or `messages` ("flat",
    documented).
    `envelope`: of refusals: {"statusCode", "error"} ("nest"), {"status", "name"} ("http_exception"), or alternately.
    `retry_after`: value of the header of a 429 (highlevel-api: undocumented, so None: no header).
    `dates`: of a conversation, ISO strings or epoch milliseconds (highlevel-api has both).
    """

    limits: Limits = field(default_factory=Limits)
    search_lag: float = 0.0
    contact_lag: float = 0.0
    thread_lag: float = 0.0
    allow_duplicates: bool = False
    missing_scopes: list[str] = field(default_factory=list)
    refused_details: dict[str, str] = field(default_factory=dict)
    refuse_comments: dict[str, CommentRefusal] = field(default_factory=dict)
    thread_format: Literal["nested", "flat"] = "nested"
    envelope: Literal["nest", "http_exception", "alternate"] = "nest"
    retry_after: int | None = None
    dates: Literal["iso", "epoch"] = "iso"

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON, as `set` takes them."""
        return {each.name: _as_json(getattr(self, each.name)) for each in fields(Settings)}

    def set(self, given: dict[str, Any]) -> None:
        """Change these settings. Raises ValueError for one that is not possible; then none is changed."""
        if unknown := given.keys() - {each.name for each in fields(Settings)}:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
        changed = {name: _checked(name, value) for name, value in given.items()}
        for name, value in changed.items():
            setattr(self, name, value)


def _as_json(value: Any) -> Any:
    return asdict(value) if isinstance(value, Limits) else copy.deepcopy(value)


def _checked(name: str, value: Any) -> Any:
    if not _CHECKS[name](value):
        raise ValueError(f"{name} cannot be {value!r}")
    return Limits(**value) if name == "limits" else copy.deepcopy(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


def _are_limits(value: Any) -> bool:
    names = {each.name for each in fields(Limits)}
    return isinstance(value, dict) and value.keys() <= names and all(map(_is_count, value.values()))


def _are_refusals(value: Any) -> bool:
    return isinstance(value, dict) and all(each in get_args(CommentRefusal.__value__) for each in value.values())


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "limits": _are_limits,
    "search_lag": _is_number,
    "contact_lag": _is_number,
    "thread_lag": _is_number,
    "allow_duplicates": lambda value: isinstance(value, bool),
    "missing_scopes": lambda value: isinstance(value, list) and all(each in SCOPES.split() for each in value),
    "refused_details": lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
    "refuse_comments": _are_refusals,
    "thread_format": lambda value: value in ("nested", "flat"),
    "envelope": lambda value: value in ("nest", "http_exception", "alternate"),
    "retry_after": lambda value: value is None or _is_count(value),
    "dates": lambda value: value in ("iso", "epoch"),
}
