"""What a response of HighLevel, or the lack of one, means for a submission."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

from highlevel.ids import is_id
from shared.connection_pool import HttpResponse
from shared.json_text import json_object

MAX_RETRY_AFTER_SECONDS = 3600.0


_SHOWN = re.compile(r"[\w .\[\]-]{1,64}")
MAX_SHOWN_DIGITS = 7

ApiOutcome = Literal["opened", "existing", "found", "deferred", "rejected"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """HighLevel's rate-limit headers for one location; None where a header is missing."""

    max: int | None
    remaining: int | None
    interval_ms: int | None
    daily_remaining: int | None


@dataclass(frozen=True, slots=True)
class ApiResult:
    """The typed result of one call.

    `reason` is a reason code for logs and problem types (empty for opened and existing). `body` is HighLevel's body of
    an `opened` result if it contains the requested conversation, else None: opened, its id unknown. `token_suspect`: a
    newer token may help. `retry_after` is in seconds. `contact` is the id of a `found` contact.
    """

    outcome: ApiOutcome
    reason: str = ""
    status: int | None = None
    body: dict[str, Any] | None = None
    retry_after: float | None = None
    rate_limit: RateLimit | None = None
    trace_id: str | None = None
    token_suspect: bool = False
    contact: str | None = None
    email: str | None = field(default=None, repr=False)  # of a contact that was asked for by its id
    phone: str | None = field(default=None, repr=False)
    message: str = ""  # why HighLevel refuses the call, as far as it holds no value


def classify_response(result: HttpResponse | Exception, location: str, contact: str) -> ApiResult:
    """Classify the result of `POST /conversations/` for that location and contact. Raises nothing.

    The outcome follows from the status or the exception's class; from the text only where HighLevel gives different
    causes the same status (its 400 for "already exists", its many 401s). A response that is not recognisably from
    HighLevel's API (an edge page, a truncated body) says nothing about the submission: it is deferred, up to the age
    limit.
    """
    if isinstance(result, Exception):
        return ApiResult("rejected" if isinstance(result, LocationValueError) else "deferred", _network_reason(result))
    payload = json_object(result.body)
    has_conversation = payload is not None and _is_conversation(payload.get("conversation"), location, contact)
    # 201 is a commitment, even with an empty, broken or foreign body (seen on a sibling route): never create again.
    is_opened = result.status == 201 or (result.status == 200 and has_conversation)
    outcome, reason = _OPENED if is_opened else _outcome_and_reason(result.status, _message(payload))
    return ApiResult(
        outcome,
        reason,
        body=payload if outcome == "opened" and has_conversation else None,
        retry_after=_retry_after(result.headers) if outcome == "deferred" else None,
        token_suspect=reason == "token_refused",
        status=result.status,
        rate_limit=_rate_limit(result.headers),
        trace_id=_trace_id(payload),
    )


def _outcome_and_reason(status: int, message: str | None) -> tuple[ApiOutcome, str]:
    """Classify a response that opens nothing; `message` in lower case, None if it is not in HighLevel's format."""
    # Transient failures, whatever the body says. A 5xx may last (a wrong token has given 500): the age limit ends it.
    if status == 429:
        return "deferred", "rate_limited"
    if status in (408, 425) or status >= 500:
        return "deferred", "upstream_error"
    # An edge, proxy or captive page, an empty 404, a redirect: not a response of HighLevel's API.
    if message is None or status < 400:
        return "deferred", "upstream_unexpected"
    if status in (400, 409) and "already exists" in message:
        return "existing", ""
    if "location is not active" in message:
        return "deferred", "location_inactive"
    # "version header was not found.", "version header is invalid", "Invalid API version segment 'x' at position 0"
    if "version header" in message or "api version" in message:
        return "rejected", "version_refused"
    return _refusal(status, message)


def _refusal(status: int, message: str) -> tuple[ApiOutcome, str]:
    """Classify a 4xx: about the token (401, 402, 403), the account or a conflict (transient), or about the ids."""
    if status in (401, 402, 403):
        for text, reason in _TOKEN_REFUSALS.items():
            if text in message:
                return "rejected", reason
    if status == 401:  # Invalid JWT, Invalid token, Invalid Private Integration token, or a text not seen yet
        return "deferred", "token_refused"
    if status in _NOT_ABOUT_THE_SUBMISSION:
        return "deferred", "upstream_error"
    # Unknown ids are 400, 404 or 422 with a message; "Cannot POST /x" is the router's: the base URL is wrong.
    if status in (400, 404, 422) and not message.startswith("cannot "):
        return "rejected", "ids_refused"
    return "rejected", "upstream_refused"


_OPENED: tuple[ApiOutcome, str] = ("opened", "")
# Payment, a firewall, a conflict, a lock: without one of HighLevel's known texts they say nothing about the submission.
_NOT_ABOUT_THE_SUBMISSION = (402, 403, 409, 423)
_TOKEN_REFUSALS = {
    "not authorized for this scope": "scope_missing",
    "authclass": "token_kind_refused",
    "this location": "location_refused",
}


def classify_upsert(result: HttpResponse | Exception, location: str) -> ApiResult:
    """Classify the result of `POST /contacts/upsert`: found, with the contact's id, or as `classify_response` does."""
    if isinstance(result, HttpResponse) and result.status in (200, 201):
        payload = json_object(result.body) or {}
        contact = payload.get("contact")
        contact = contact if isinstance(contact, dict) else {}
        contact_id = contact.get("id")
        facts: dict[str, Any] = {
            "status": result.status,
            "rate_limit": _rate_limit(result.headers),
            "trace_id": _trace_id(payload),
        }
        if contact.get("locationId", location) == location and is_id(contact_id):
            return ApiResult("found", contact=contact_id, **facts)
        return ApiResult("deferred", "upstream_unexpected", **facts)
    api_result = classify_response(result, location, "")
    if api_result.outcome == "existing" and isinstance(result, HttpResponse) and result.status == 409:
        wait = _retry_after(result.headers)
        return replace(api_result, outcome="deferred", reason="upstream_error", retry_after=wait)
    if api_result.outcome == "existing":  # a text of the other route: here it would be a refusal
        api_result = replace(api_result, outcome="rejected", reason="ids_refused")
    if api_result.reason != "ids_refused" or isinstance(result, Exception):
        return api_result
    return replace(api_result, reason="contact_refused", message=_shown_message(result))


def classify_contact(result: HttpResponse | Exception, location: str, contact: str) -> ApiResult:
    """Classify the result of `GET /contacts/{id}`: found, if it is a contact of that location; else as above."""
    if isinstance(result, Exception) or result.status != 200:
        api_result = classify_response(result, location, contact)
        # A 403 in HighLevel's format is about this contact: the e-mail address or phone number beside the id may do.
        is_unreadable = api_result.status == 403 and api_result.reason == "upstream_error"
        return replace(api_result, outcome="rejected", reason="ids_refused") if is_unreadable else api_result
    payload = json_object(result.body) or {}
    members = payload.get("contact")
    facts: dict[str, Any] = {
        "status": result.status,
        "rate_limit": _rate_limit(result.headers),
        "trace_id": _trace_id(payload),
    }
    if not isinstance(members, dict) or members.get("id") != contact:
        return ApiResult("deferred", "upstream_unexpected", **facts)
    if members.get("locationId", location) != location:
        return ApiResult("rejected", "ids_refused", **facts)
    email, phone = (value if isinstance(value := members.get(name), str) else None for name in ("email", "phone"))
    return ApiResult("found", contact=contact, email=email, phone=phone, **facts)


def _shown_message(result: HttpResponse) -> str:
    """Return the parts of HighLevel's message that may be shown: without an address or a number."""
    message = _message(json_object(result.body)) or ""
    parts = [part.strip() for part in message.split(";")]
    return "; ".join(
        part for part in parts if _SHOWN.fullmatch(part) and sum(map(str.isdecimal, part)) < MAX_SHOWN_DIGITS
    )


def found_conversation(result: HttpResponse | Exception, location: str, contact: str) -> dict[str, Any] | None:
    """Return the conversation of that location and contact in a response of `GET /conversations/search`, or None.

    The search lags behind the create, and HighLevel may refuse it without its own scope: None for any error.
    """
    if isinstance(result, Exception) or result.status != 200:
        return None
    conversations = (json_object(result.body) or {}).get("conversations")
    for found in conversations if isinstance(conversations, list) else []:
        if _is_conversation(found, location, contact):
            return {"id": found["id"], "contactId": contact, "locationId": location}
    return None


def _network_reason(error: Exception) -> str:
    if isinstance(error, LocationValueError):
        return "base_url_refused"  # no address that urllib3 can call: an operator must change it
    if isinstance(error, ConnectTimeoutError | SSLError):  # NewConnectionError, NameResolutionError among them
        return "upstream_unreachable"
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return "upstream_timeout"
    return "upstream_connection_lost" if isinstance(error, HTTPError) else "internal_error"


def _message(payload: dict[str, Any] | None) -> str | None:
    """Return HighLevel's message (a string or an array of strings) in lower case; None if the payload has none."""
    message = (payload or {}).get("message", (payload or {}).get("error"))
    if isinstance(message, list):
        message = "; ".join(part for part in message if isinstance(part, str))
    return message.lower() if isinstance(message, str) else None


def _is_conversation(value: object, location: str, contact: str) -> bool:
    """Return whether value is a conversation of exactly that contact: no caller ever gets another contact's."""
    return (
        isinstance(value, dict)
        and is_id(value.get("id"))
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
