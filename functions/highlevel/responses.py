"""What an answer of HighLevel, or the lack of one, means for a submission."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    LocationValueError,
    ReadTimeoutError,
    SSLError,
)

from shared.connection_pool import HttpResponse

MAX_RETRY_AFTER_SECONDS = 3600.0

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What HighLevel's five rate-limit headers announce for one location; None where a header is missing."""

    max: int | None
    remaining: int | None
    interval_ms: int | None
    daily_remaining: int | None


@dataclass(frozen=True, slots=True)
class ApiResult:
    """The typed result of one call.

    `reason` is a word for logs and problem types (empty for opened and existing). `body` is HighLevel's body of an
    `opened` api_result when it names the conversation that was asked for, else None: opened, its id not known.
    `token_suspect`: a newer token may help. `retry_after` is in seconds. `contact` is the id of a `found` contact.
    """

    outcome: Literal["opened", "existing", "found", "deferred", "rejected"]
    reason: str = ""
    status: int | None = None
    body: dict[str, Any] | None = None
    retry_after: float | None = None
    rate_limit: RateLimit | None = None
    trace_id: str | None = None
    token_suspect: bool = False
    contact: str | None = None


def classify_response(result: HttpResponse | Exception, location: str, contact: str) -> ApiResult:
    """Judge the result of `POST /conversations/` for that location and contact. Raises nothing.

    The outcome is decided by status and exception class; by text only where HighLevel gives different causes the same
    status (its 400 for "already exists", its many 401s). What is not recognisably HighLevel's own answer (an edge
    page, a truncated body) proves nothing about the submission and is deferred: time, or the age limit, decides.
    """
    if isinstance(result, Exception):
        return ApiResult("rejected" if isinstance(result, LocationValueError) else "deferred", _network_reason(result))

    status, payload = result.status, _json_object(result.body)
    message = _message(payload)
    facts: dict[str, Any] = {
        "status": status,
        "rate_limit": _rate_limit(result.headers),
        "trace_id": _trace_id(payload),
    }

    def deferred(reason: str, *, token_suspect: bool = False) -> ApiResult:
        wait = _retry_after(result.headers)
        return ApiResult("deferred", reason, retry_after=wait, token_suspect=token_suspect, **facts)

    def rejected(reason: str) -> ApiResult:
        return ApiResult("rejected", reason, **facts)

    # 201 is a commitment, even with an empty, broken or foreign body (seen on a sibling route): never create again.
    if status == 201:
        return ApiResult("opened", body=payload if _names(payload, location, contact) else None, **facts)
    if status == 200 and _names(payload, location, contact):
        return ApiResult("opened", body=payload, **facts)

    # What time mends, whatever the body says. A 5xx may be for ever (a wrong token has given 500): age ends it.
    if status == 429:
        return deferred("rate_limited")
    if status in (408, 425) or status >= 500:
        return deferred("upstream_error")

    # An edge, proxy or captive page, an empty 404, a redirect: not HighLevel's word.
    if message is None or status < 400:
        return deferred("upstream_unexpected")

    if status == 400 and "already exists" in message:
        return ApiResult("existing", **facts)
    if "location is not active" in message:
        return deferred("location_inactive")
    # "version header was not found.", "version header is invalid", "Invalid API version segment 'x' at position 0"
    if "version header" in message or "api version" in message:
        return rejected("version_refused")
    if status in (401, 403):
        if "not authorized for this scope" in message:
            return rejected("scope_missing")
        if "authclass" in message:
            return rejected("token_kind_refused")
        if "this location" in message:
            return rejected("location_refused")
        if status == 401:  # Invalid JWT, Invalid token, Invalid Private Integration token, or a wording not seen yet
            return deferred("token_refused", token_suspect=True)
        return rejected("upstream_refused")
    # Unknown ids are 400, 404 or 422 with a message; "Cannot POST /x" is the router's, so our address is wrong.
    if status in (400, 404, 422) and not message.startswith("cannot "):
        return rejected("ids_refused")
    return rejected("upstream_refused")


def classify_upsert(result: HttpResponse | Exception, location: str) -> ApiResult:
    """Judge the result of `POST /contacts/upsert`: found, with the contact's id, or deferred or rejected as above."""
    if isinstance(result, HttpResponse) and result.status in (200, 201):
        payload = _json_object(result.body) or {}
        contact = payload.get("contact")
        contact = contact if isinstance(contact, dict) else {}
        contact_id = contact.get("id")
        facts: dict[str, Any] = {
            "status": result.status,
            "rate_limit": _rate_limit(result.headers),
            "trace_id": _trace_id(payload),
        }
        is_ours = contact.get("locationId", location) == location
        if is_ours and isinstance(contact_id, str) and _ID.fullmatch(contact_id):
            return ApiResult("found", contact=contact_id, **facts)
        return ApiResult("deferred", "upstream_unexpected", **facts)
    judged = classify_response(result, location, "")
    if judged.outcome == "existing":  # a wording of the other route's: here it would be a refusal
        return replace(judged, outcome="rejected", reason="contact_refused")
    return replace(judged, reason="contact_refused") if judged.reason == "ids_refused" else judged


def found_conversation(result: HttpResponse | Exception, location: str, contact: str) -> dict[str, Any] | None:
    """The conversation of that location and contact in an answer of `GET /conversations/search`, or None.

    The search lags behind the create and may be refused for want of its own scope: None then, whatever the trouble.
    """
    if isinstance(result, Exception) or result.status != 200:
        return None
    conversations = (_json_object(result.body) or {}).get("conversations")
    for found in conversations if isinstance(conversations, list) else []:
        if _is_conversation(found, location, contact):
            return {"id": found["id"], "contactId": contact, "locationId": location}
    return None


def _network_reason(error: Exception) -> str:
    if isinstance(error, LocationValueError):
        return "base_url_refused"  # no address that urllib3 can call: only a person mends it
    if isinstance(error, ConnectTimeoutError | SSLError):  # NewConnectionError, NameResolutionError among them
        return "upstream_unreachable"
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return "upstream_timeout"
    return "upstream_connection_lost" if isinstance(error, HTTPError) else "internal_error"


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _message(payload: dict[str, Any] | None) -> str | None:
    """HighLevel's message in lower case (a string or an array of strings); None when this is not its envelope."""
    message = (payload or {}).get("message", (payload or {}).get("error"))
    if isinstance(message, list):
        message = "; ".join(part for part in message if isinstance(part, str))
    return message.lower() if isinstance(message, str) else None


def _names(payload: dict[str, Any] | None, location: str, contact: str) -> bool:
    return payload is not None and _is_conversation(payload.get("conversation"), location, contact)


def _is_conversation(value: object, location: str, contact: str) -> bool:
    """Whether value is a conversation of just that contact: nobody is ever handed somebody else's."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and _ID.fullmatch(value["id"]) is not None
        and value.get("contactId") == contact
        and value.get("locationId") == location
    )


def _trace_id(payload: dict[str, Any] | None) -> str | None:
    trace_id = (payload or {}).get("traceId")
    return trace_id if isinstance(trace_id, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", trace_id) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = urllib3.HTTPHeaderDict(headers).get("retry-after")
    if value is None:
        return None
    try:
        return min(urllib3.Retry(0).parse_retry_after(value), MAX_RETRY_AFTER_SECONDS)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    folded = {name.lower(): value for name, value in headers.items()}
    if "x-ratelimit-remaining" not in folded and "x-ratelimit-daily-remaining" not in folded:
        return None

    def number(name: str) -> int | None:
        text = folded.get(f"x-ratelimit-{name}", "")
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None

    return RateLimit(number("max"), number("remaining"), number("interval-milliseconds"), number("daily-remaining"))
