"""The door `POST /conversations`: API Gateway's HTTP API, payload format 2.0."""

import base64
import binascii
import json
import re
import time
from dataclasses import dataclass
from typing import Any

from create_conversation.canonical import Line
from create_conversation.errors import (
    REASONS,
    Deferred,
    Invalid,
    NotStored,
    SubmissionError,
    Unauthorized,
)
from create_conversation.flow import Flow
from create_conversation.outcome import Outcome
from create_conversation.queue import MIN_DELAY_SECONDS, Queue
from create_conversation.secrets import Secret, SecretMissing, SecretUnavailable
from create_conversation.senders import Target, bearer_is_known, secrets_of, target_of
from create_conversation.settings import Settings
from create_conversation.submission import MAX_BODY_BYTES, Submission
from highlevel.client import bounded

ANSWER_SECONDS = 4.0  # after API Gateway took the request; senders wait 5
STORE_SECONDS = 1.0  # of these, reserved to store what HighLevel could not take in time
HIGHLEVEL_SECONDS = 2.5
SENDER = "api"


@dataclass(frozen=True, slots=True)
class HttpDoor:
    """Answers each request, within 5 seconds in any case, and raises nothing."""

    settings: Settings
    sender_secrets: Secret
    flow: Flow
    queue: Queue

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Take an API Gateway event; give API Gateway's answer (status, headers, body)."""
        gateway = _object(event.get("requestContext"))
        line = Line("http", _request_id(gateway, context), SENDER)
        answer_by = line.started + _seconds_left(gateway)
        try:
            outcome = self._accept(event, line, answer_by)
        except SubmissionError as error:
            outcome = Outcome.of(error)
        line.write(outcome, self.settings.metrics_namespace)
        return _answer(outcome, line.request_id)

    def _accept(self, event: dict[str, Any], line: Line, answer_by: float) -> Outcome:
        headers = {str(name).lower(): str(value) for name, value in _object(event.get("headers")).items()}
        self._authorize(headers.get("authorization"))
        content_type = headers.get("content-type", "")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Invalid("unsupported_media_type", "Send the body without Content-Encoding.")
        submission = Submission("http", SENDER, line.request_id, time.time(), content_type, _body(event))
        line.target = target_of(submission, self.settings.location_id)

        outcome = self._open(line.target, answer_by - STORE_SECONDS)
        if outcome.name == "deferred":
            self._keep(submission, line.target, outcome.retry_after, answer_by)
        return outcome

    def _authorize(self, authorization: str | None) -> None:
        try:
            text = self.sender_secrets.get()
            if bearer_is_known(authorization, secrets_of(text, SENDER)):
                return
            # The caller may be ahead of us: its secret was rotated a moment ago.
            newer = authorization and self.sender_secrets.newer_than(text)
        except SecretMissing:
            raise Unauthorized from None
        except SecretUnavailable:
            raise NotStored("sender_secrets_unavailable", "Send it again.", MIN_DELAY_SECONDS) from None
        if not newer or not bearer_is_known(authorization, secrets_of(newer, SENDER)):
            raise Unauthorized

    def _open(self, target: Target, until: float) -> Outcome:
        try:
            return bounded(
                lambda: self.flow.open(target, until=until, attempt_seconds=HIGHLEVEL_SECONDS, need_id=True),
                until - time.monotonic(),
            )
        except TimeoutError:
            return Outcome.of(Deferred("deadline"))

    def _keep(self, submission: Submission, target: Target, retry_after: float | None, answer_by: float) -> None:
        # A second of its own even when the rest is used up: the caller waits 5 seconds, not 4.
        left = max(answer_by - time.monotonic(), STORE_SECONDS)
        try:
            bounded(lambda: self.queue.keep(submission, target.location, retry_after), left)
        except TimeoutError:
            raise NotStored("not_stored", "Send it again.", MIN_DELAY_SECONDS) from None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _request_id(gateway: dict[str, Any], context: Any) -> str:
    given = gateway.get("requestId")
    safe = isinstance(given, str) and re.fullmatch(r"[A-Za-z0-9_=+/-]{1,128}", given)
    return given if isinstance(given, str) and safe else str(context.aws_request_id)


def _seconds_left(gateway: dict[str, Any]) -> float:
    """Seconds until the answer must leave. A cold start has used some; a clock that differs by more is not believed."""
    taken_ms = gateway.get("timeEpoch")
    if not isinstance(taken_ms, int | float):
        return ANSWER_SECONDS
    return min(max(taken_ms / 1000 + ANSWER_SECONDS - time.time(), STORE_SECONDS), ANSWER_SECONDS)


def _body(event: dict[str, Any]) -> bytes:
    body = event.get("body")
    if not isinstance(body, str):
        return b""
    if len(body) > 2 * MAX_BODY_BYTES:  # more than base64 adds: do not decode megabytes to say no
        raise Invalid("body_too_large", f"A body may have {MAX_BODY_BYTES} bytes.")
    if event.get("isBase64Encoded") is not True:
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("invalid_encoding", "The gateway's base64 cannot be decoded.") from None


def _answer(outcome: Outcome, request_id: str) -> dict[str, Any]:
    headers = {"x-request-id": request_id, "content-type": "application/json", "cache-control": "no-store"}
    if outcome.name in ("opened", "existing") and outcome.body is not None:
        return _reply(201 if outcome.name == "opened" else 200, headers, outcome.body)
    if outcome.name in ("opened", "existing", "deferred"):
        headers["retry-after"] = _whole_seconds(outcome.retry_after)
        status = "deferred" if outcome.name == "deferred" else "existing"
        return _reply(202, headers, {"status": status, "requestId": request_id})

    reason = REASONS[outcome.reason]
    headers["content-type"] = "application/problem+json"
    if reason.status == 401:
        headers["www-authenticate"] = "Bearer"
    if reason.status == 503:
        headers["retry-after"] = _whole_seconds(outcome.retry_after)
    problem = {
        "type": f"urn:highlevel-conversations:{outcome.reason}",
        "title": reason.title,
        "status": reason.status,
        "detail": outcome.detail or reason.advice or f"{reason.title}.",
        "instance": request_id,
    }
    return _reply(reason.status, headers, problem)


def _whole_seconds(retry_after: float | None) -> str:
    return str(max(MIN_DELAY_SECONDS, round(retry_after or 0)))


def _reply(status: int, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": status, "headers": headers, "body": json.dumps(body), "isBase64Encoded": False}
