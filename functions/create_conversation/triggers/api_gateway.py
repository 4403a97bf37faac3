"""API Gateway's HTTP API, payload format 2.0: the request in, the response out. Any part of it may be missing."""

import base64
import binascii
import json
import re
from typing import Any

from create_conversation.errors import REASONS
from create_conversation.outcome import Outcome
from create_conversation.queues import MIN_DELAY_SECONDS
from create_conversation.senders.verification import Request
from shared.clock import Clock

ANSWER_SECONDS = 4.0  # after API Gateway took the request; senders wait 5
STORE_SECONDS = 1.0  # of these, reserved to store what HighLevel could not take in time
CONVERSATIONS_SENDER = "api"  # the sender of POST /conversations


def read_request(event: dict[str, Any], context: Any, clock: Clock) -> Request:
    """Read API Gateway's event as a request, the body in its raw bytes."""
    is_webhook = is_webhook_event(event)
    query = event.get("rawQueryString")
    return Request(
        {str(name).lower(): str(value) for name, value in _object(event.get("headers")).items()},
        query if isinstance(query, str) else "",
        _body(event),
        is_text=event.get("isBase64Encoded") is not True,
        id=request_id(event, context),
        sender=_path_parameter(event, "sender") if is_webhook else CONVERSATIONS_SENDER,
        seconds_left=seconds_left(event, clock),
        only_json=not is_webhook,
    )


def is_webhook_event(event: dict[str, Any]) -> bool:
    """Return whether the route is that of the webhooks."""
    return event.get("routeKey") == "POST /webhooks/{sender}"


def request_id(event: dict[str, Any], context: Any) -> str:
    """Read API Gateway's id of the request; Lambda's where it is missing or unfit for a header."""
    given = _object(event.get("requestContext")).get("requestId")
    safe = isinstance(given, str) and re.fullmatch(r"[A-Za-z0-9_=+/-]{1,128}", given)
    return given if isinstance(given, str) and safe else str(context.aws_request_id)


def seconds_left(event: dict[str, Any], clock: Clock) -> float:
    """Return the seconds until the response must leave; a cold start has used some of them.

    A time in the future, or longer ago than API Gateway waits (10 s), is another clock's or a sample's: not used.
    """
    taken_ms, now_ms = _object(event.get("requestContext")).get("timeEpoch"), 1000 * clock.time()
    if not isinstance(taken_ms, int | float) or not now_ms - 10_000 <= taken_ms <= now_ms:
        return ANSWER_SECONDS
    return max(ANSWER_SECONDS - (now_ms - taken_ms) / 1000, STORE_SECONDS)


def reply(status: int, request_id: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Build a response with a JSON body; header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "statusCode": status,
        "headers": {
            "x-request-id": request_id,
            "content-type": "application/json",
            "cache-control": "no-store",
            **named,
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def problem(outcome: Outcome, request_id: str, status: int | None = None) -> dict[str, Any]:
    """Build a response that says what is wrong (RFC 9457); `status` where it is not the reason's own."""
    reason = REASONS[outcome.reason]
    status = status or reason.status
    headers = {"content_type": "application/problem+json"}
    if status == 401:
        headers["www_authenticate"] = "Bearer"
    if status in (429, 503):
        headers["retry_after"] = whole_seconds(outcome.retry_after)
    body = {
        "type": f"urn:highlevel-conversations:{outcome.reason}",
        "title": reason.title,
        "status": status,
        "detail": outcome.detail or reason.advice or f"{reason.title}.",
        "instance": request_id,
    }
    return reply(status, request_id, body, **headers)


def whole_seconds(retry_after: float | None) -> str:
    """Write seconds as the value of a Retry-After header."""
    return str(max(MIN_DELAY_SECONDS, round(retry_after or 0)))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _path_parameter(event: dict[str, Any], name: str) -> str:
    """Read a part of the path, as the route names it; empty if it is missing."""
    value = _object(event.get("pathParameters")).get(name)
    return value if isinstance(value, str) else ""


def _body(event: dict[str, Any]) -> bytes:
    body = event.get("body")
    if not isinstance(body, str):
        return b""
    if event.get("isBase64Encoded") is not True:
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return b""  # API Gateway never sends it: refused like an empty body, once the sender is known
