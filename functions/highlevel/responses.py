"""What a response of HighLevel, or the lack of one, means for a submission."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, InvalidHeader, LocationValueError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from highlevel.ids import InvalidIdError, is_id
from shared.connection_pool import HttpResponse, NotSentError
from shared.json_text import json_object

MAX_RETRY_AFTER_SECONDS = 3600.0


_NUMBER = re.compile(r"[0-9]{1,9}")
_SHOWN = re.compile(r"[\w .\[\]-]{1,64}")
MAX_SHOWN_DIGITS = 7

ApiOutcome = Literal["opened", "existing", "found", "missing", "written", "deferred", "rejected"]


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
    newer token may help. `retry_after` is in seconds. `contact` is the id of a `found` contact; `is_new`: this call
    created it. `is_sent`: a byte of the request may have left; if it is False, HighLevel cannot have carried it out.
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
    is_sent: bool = True
    is_new: bool = False
    conversation: str | None = None  # the id of the one that was found, or that a comment was written into
    texts: tuple[str, ...] = field(default=(), repr=False)  # of the comments or notes that were asked for
    unread_count: int | None = None  # of the conversation that was found


def classify_response(result: HttpResponse | Exception, location: str, contact: str) -> ApiResult:
    """Classify the result of `POST /conversations/` for that location and contact. Raises nothing.

    The outcome follows from the status or the exception's class; from the text only where HighLevel gives different
    causes the same status (its 400 for "already exists", its many 401s). A response that is not recognisably from
    HighLevel's API (an edge page, a truncated body) says nothing about the submission: it is deferred, up to the age
    limit.
    """
    if isinstance(result, Exception):
        return classify_failure(result)
    payload = json_object(result.body)
    has_conversation = payload is not None and _is_conversation(payload.get("conversation"), location, contact)
    # 201 is a commitment, even with an empty, broken or foreign body (seen on a sibling route): never create again.
    if result.status == 201 or (result.status == 200 and has_conversation):
        return ApiResult("opened", body=payload if has_conversation else None, **response_facts(result, payload))
    if result.status in (400, 409) and "already exists" in (_message(payload) or ""):
        return ApiResult("existing", **response_facts(result, payload))
    return classify_failure(result)


def classify_failure(result: HttpResponse | Exception, refused: str = "ids_refused") -> ApiResult:
    """Classify the failure of any call. `refused`: the reason when HighLevel refuses what the call itself says."""
    if isinstance(result, Exception):
        is_sent = not isinstance(result, NotSentError | InvalidIdError)
        outcome, reason = _network_failure(result.error if isinstance(result, NotSentError) else result)
        return ApiResult(outcome, reason, is_sent=is_sent)
    payload = json_object(result.body)
    outcome, reason = _outcome_and_reason(result.status, _message(payload), refused)
    return ApiResult(
        outcome,
        reason,
        retry_after=_retry_after(result.headers) if outcome == "deferred" else None,
        token_suspect=reason == "token_refused",
        message=_shown_message(payload) if reason in ("contact_refused", "message_refused") else "",
        **response_facts(result, payload),
    )


def response_facts(result: HttpResponse, payload: dict[str, Any] | None) -> dict[str, Any]:
    """Return the members of an ApiResult that every response has, whatever it means."""
    return {"status": result.status, "rate_limit": _rate_limit(result.headers), "trace_id": _trace_id(payload)}


def _outcome_and_reason(status: int, message: str | None, refused: str) -> tuple[ApiOutcome, str]:
    """Classify a response without success; `message` in lower case, None if it is not in HighLevel's format."""
    # Transient failures, whatever the body says. A 5xx may last (a wrong token has given 500): the age limit ends it.
    if status == 429:
        return "deferred", "rate_limited"
    if status in (408, 425) or status >= 500:
        return "deferred", "upstream_error"
    # An edge, proxy or captive page, an empty 404, a redirect: not a response of HighLevel's API.
    if message is None or status < 400:
        return "deferred", "upstream_unexpected"
    if "location is not active" in message:
        return "deferred", "location_inactive"
    # "version header was not found.", "version header is invalid", "Invalid API version segment 'x' at position 0"
    if "version header" in message or "api version" in message:
        return "rejected", "version_refused"
    return _refusal(status, message, refused)


def _refusal(status: int, message: str, refused: str) -> tuple[ApiOutcome, str]:
    """Classify a 4xx: about the token (401, 402, 403), the account or a conflict (transient), or what the call says."""
    if status in (401, 402, 403):
        for text, reason in _TOKEN_REFUSALS.items():
            if text in message:
                return "rejected", reason
    if status == 401:  # Invalid JWT, Invalid token, Invalid Private Integration token, or a text not seen yet
        return "deferred", "token_refused"
    if status in _NOT_ABOUT_THE_SUBMISSION:
        return "deferred", "upstream_error"
    # Unknown ids and values are 400, 404 or 422 with a message; "Cannot POST /x" is the router's: wrong base URL.
    if status in (400, 404, 422) and not message.startswith("cannot "):
        return "rejected", refused
    return "rejected", "upstream_refused"


# Payment, a firewall, a conflict, a lock: without one of HighLevel's known texts they say nothing about the submission.
_NOT_ABOUT_THE_SUBMISSION = (402, 403, 409, 423)
_TOKEN_REFUSALS = {
    "not authorized for this scope": "scope_missing",
    "auth channel": "scope_missing",  # "Auth channel OAUTH is not supported": of comments, highlevel-api-docs issue 142
    "authclass": "token_kind_refused",
    "this location": "location_refused",
}


def classify_write(result: HttpResponse | Exception, refused: str) -> ApiResult:
    """Classify the result of a call that writes into what exists: written, or as `classify_failure` does.

    As for a new conversation, 201 is a commitment whatever its body. Any other 2xx counts if its body is HighLevel's:
    an edge page must not pass for a message. What stays unknown is looked for before it is written again.
    """
    if isinstance(result, Exception) or result.status >= 300:
        return classify_failure(result, refused)
    payload = json_object(result.body)
    facts = response_facts(result, payload)
    if payload is None and result.status != 201:
        return ApiResult("deferred", "upstream_unexpected", **facts)
    conversation = (payload or {}).get("conversationId")
    return ApiResult("written", conversation=conversation if is_id(conversation) else None, **facts)


def classify_new_contact(result: HttpResponse | Exception, location: str) -> ApiResult:
    """Classify the result of `POST /contacts/`: found, new or not, or as `classify_failure` does.

    Where the location does not allow duplicates, HighLevel refuses a second contact with a 400 whose message says so
    and whose `meta.contactId` names the first (not in the official document). A 201 without a usable id has created a
    contact all the same: it is deferred, and searched for. So may a 422 have (highlevel-api-docs issue 64).
    """
    if isinstance(result, HttpResponse) and result.status in (200, 201):
        return _found_contact(result, location, is_new=True)
    if isinstance(result, HttpResponse) and result.status in (400, 409, 422):
        payload = json_object(result.body) or {}
        meta = payload.get("meta")
        existing = meta.get("contactId") if isinstance(meta, dict) else None
        if is_id(existing) and "duplicate" in (_message(payload) or ""):
            return ApiResult("found", contact=existing, **response_facts(result, payload))
    return classify_failure(result, "contact_refused")


def classify_contact_search(result: HttpResponse | Exception, location: str) -> ApiResult:
    """Classify the result of `GET /contacts/search/duplicate`: found, missing, or as `classify_failure` does.

    The official document has no schema for the answer. Without a contact it may be `{"contact": null}`, `{}`, a 404, or
    the empty body (or `null`) by which HighLevel's framework answers nothing: that one only with HighLevel's rate-limit
    headers, which no edge sends.
    """
    if isinstance(result, Exception):
        return classify_failure(result)
    payload = json_object(result.body)
    facts = response_facts(result, payload)
    if result.status == 200:
        is_nothing = result.body.strip() in (b"", b"null") and facts["rate_limit"] is not None
        is_empty = payload is not None and payload.get("contact") is None and _message(payload) is None
        return ApiResult("missing", **facts) if is_nothing or is_empty else _found_contact(result, location)
    failure = classify_failure(result, "contact_refused")
    is_missing = result.status == 404 and failure.reason == "contact_refused"
    return ApiResult("missing", **facts) if is_missing else failure


def classify_contact(result: HttpResponse | Exception, location: str, contact: str) -> ApiResult:
    """Classify the result of `GET /contacts/{id}`: found, if it is a contact of that location; else as above."""
    if isinstance(result, Exception) or result.status != 200:
        failure = classify_failure(result)
        # A 403 in HighLevel's format, and a 4xx of unknown meaning, are about this contact, which may not be read: the
        # e-mail address or phone number beside the id may do.
        is_unreadable = failure.reason == "upstream_refused" or (
            failure.status == 403 and failure.reason == "upstream_error"
        )
        return replace(failure, outcome="rejected", reason="ids_refused") if is_unreadable else failure
    return _found_contact(result, location, contact)


def _found_contact(
    result: HttpResponse, location: str, expected: str | None = None, *, is_new: bool = False
) -> ApiResult:
    """Return the contact of that location in a success response; deferred if there is none, or not the expected one.

    The expected one is refused if it is another location's.
    """
    payload = json_object(result.body) or {}
    facts = response_facts(result, payload)
    members = payload.get("contact")
    if not isinstance(members, dict) or not is_id(contact := members.get("id")) or contact != (expected or contact):
        return ApiResult("deferred", "upstream_unexpected", **facts)
    if members.get("locationId", location) != location:
        if expected:
            return ApiResult("rejected", "ids_refused", **facts)
        return ApiResult("deferred", "upstream_unexpected", **facts)
    email, phone = (value if isinstance(value := members.get(name), str) else None for name in ("email", "phone"))
    return ApiResult("found", contact=contact, email=email, phone=phone, is_new=is_new, **facts)


def classify_conversation(result: HttpResponse | Exception, conversation: str) -> ApiResult:
    """Classify the result of `GET /conversations/{id}`: found, with its unread count, or as `classify_failure` does."""
    if isinstance(result, Exception) or result.status != 200:
        return classify_failure(result)
    payload = json_object(result.body) or {}
    facts = response_facts(result, payload)
    members = payload.get("conversation", payload)
    if not isinstance(members, dict) or members.get("id") != conversation:
        return ApiResult("deferred", "upstream_unexpected", **facts)
    return ApiResult("found", conversation=conversation, unread_count=_unread_count(members), **facts)


def _unread_count(members: dict[str, Any]) -> int | None:
    count = members.get("unreadCount")
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _shown_message(payload: dict[str, Any] | None) -> str:
    """Return the parts of HighLevel's message that may be shown: without an address or a number."""
    message = _message(payload) or ""
    parts = [part.strip() for part in message.split(";")]
    return "; ".join(
        part for part in parts if _SHOWN.fullmatch(part) and sum(map(str.isdecimal, part)) < MAX_SHOWN_DIGITS
    )


def found_conversation(result: HttpResponse | Exception, location: str, contact: str) -> dict[str, Any] | None:
    """Return the conversation of that location and contact in a response of `GET /conversations/search`, or None.

    The search lags behind the create, and HighLevel may refuse it without its own scope: None for any error.
    """
    found = classify_conversation_search(result, location, contact)
    return {"id": found.conversation, "contactId": contact, "locationId": location} if found.conversation else None


def classify_conversation_search(result: HttpResponse | Exception, location: str, contact: str) -> ApiResult:
    """Classify the result of `GET /conversations/search`: found, with its unread count, or missing (it lags)."""
    if isinstance(result, Exception) or result.status != 200:
        return classify_failure(result)
    payload = json_object(result.body)
    facts = response_facts(result, payload)
    conversations = (payload or {}).get("conversations")
    if not isinstance(conversations, list):
        return ApiResult("deferred", "upstream_unexpected", **facts)
    for found in conversations:
        if _is_conversation(found, location, contact):
            return ApiResult("found", conversation=found["id"], unread_count=_unread_count(found), **facts)
    return ApiResult("missing", **facts)


def _network_failure(error: Exception) -> tuple[ApiOutcome, str]:
    if isinstance(error, LocationValueError):
        return "rejected", "base_url_refused"  # no address that urllib3 can call: an operator must change it
    if isinstance(error, InvalidIdError):
        return "rejected", "ids_refused"
    if isinstance(error, ConnectTimeoutError | SSLError):  # NewConnectionError, NameResolutionError among them
        return "deferred", "upstream_unreachable"
    if isinstance(error, HTTPTimeoutError | TimeoutError):
        return "deferred", "upstream_timeout"
    return "deferred", "upstream_connection_lost" if isinstance(error, HTTPError) else "internal_error"


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
    value = _in_any_case(headers).get("retry-after")
    if value is None:
        return None
    try:
        return min(urllib3.Retry(0).parse_retry_after(value), MAX_RETRY_AFTER_SECONDS)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    named = _in_any_case(headers)
    if "x-ratelimit-remaining" not in named and "x-ratelimit-daily-remaining" not in named:
        return None

    def number(name: str) -> int | None:
        text = named.get(f"x-ratelimit-{name}", "")
        return int(text) if _NUMBER.fullmatch(text) else None

    return RateLimit(number("max"), number("remaining"), number("interval-milliseconds"), number("daily-remaining"))


def _in_any_case(headers: Mapping[str, str]) -> urllib3.HTTPHeaderDict:
    """Return the headers by their names in any case: urllib3's, which are so already, are not copied."""
    return headers if isinstance(headers, urllib3.HTTPHeaderDict) else urllib3.HTTPHeaderDict(headers)
