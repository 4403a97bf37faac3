"""What the internal comments of a conversation and the notes of a contact say, and since when."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from highlevel.ids import is_id

PAGE_SIZE = 20  # HighLevel's default; 100 texts of 5,000 characters would not fit in one response
_COMMENT = "TYPE_INTERNAL_COMMENT"  # with an S at the end in the filter, without in the answers


class UnknownFormatError(ValueError):
    """A list is not in a format that is known: it may lack what it should show."""


@dataclass(frozen=True, slots=True)
class Page:
    """The comments of one page that were written since the given time, and the message to go on from, if any."""

    texts: tuple[str, ...]
    next_from: str | None


def read_comments(payload: dict[str, Any] | None, since: float) -> Page:
    """Read a response of `GET /conversations/{id}/messages`. Raises UnknownFormatError.

    The official document has `messages` and `nextPage` side by side; in practice both are one level deeper, as
    `messages.messages` (highlevel-api-docs issue 54). It does not say in which order they come: reading ends before the
    last page only if the newest come first and the page goes back beyond `since`.
    """
    page = (payload or {}).get("messages")
    outer = payload or {}
    if isinstance(page, dict):
        outer, page = page, page.get("messages")
    messages = _objects(page)
    written_at = [_time(message.get("dateAdded")) for message in messages]
    comments = [pair for pair in zip(messages, written_at, strict=True) if _is_comment(pair[0])]
    texts = _texts(((message.get("body"), at) for message, at in comments), since)
    is_newest_first = bool(written_at) and written_at[0] > written_at[-1]
    is_past = is_newest_first and written_at[-1] < since
    return Page(texts, None if is_past else _next_from(outer, messages))


def _next_from(page: dict[str, Any], messages: list[dict[str, Any]]) -> str | None:
    has_next = page.get("nextPage", len(messages) >= PAGE_SIZE)
    if not isinstance(has_next, bool):
        raise UnknownFormatError
    if not has_next:
        return None
    last = page.get("lastMessageId") or (messages[-1].get("id") if messages else None)
    if not is_id(last):
        raise UnknownFormatError
    return last


def read_notes(payload: dict[str, Any] | None, since: float) -> tuple[str, ...]:
    """Read a response of `GET /contacts/{id}/notes`, which has no pages. Raises UnknownFormatError."""
    notes = _objects((payload or {}).get("notes"))
    return _texts(((note.get("body"), _time(note.get("dateAdded"))) for note in notes), since)


def _texts(found: Iterable[tuple[object, float]], since: float) -> tuple[str, ...]:
    """Return the texts since that time; a comment may have files only, hence no text."""
    texts = []
    for text, at in found:
        if text is not None and not isinstance(text, str):
            raise UnknownFormatError
        if text and at >= since:
            texts.append(text)
    return tuple(texts)


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UnknownFormatError
    return value


def _is_comment(message: dict[str, Any]) -> bool:
    """Return whether it is an internal comment: only they were asked for, so one without a type is one."""
    kind = message.get("messageType")
    return kind is None or (isinstance(kind, str) and kind.startswith(_COMMENT))


def _time(value: object) -> float:
    """Return a date, in ISO format or in milliseconds since 1970, as Unix time. Raises UnknownFormatError."""
    try:
        if isinstance(value, str) and not value.isdecimal():
            date = datetime.fromisoformat(value)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float | str) and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value) / 1000
    except (ValueError, OverflowError):
        pass
    raise UnknownFormatError
