"""Trace one submission step by step, from its canonical log line, its answer and the calls to HighLevel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from create_conversation.errors import REASONS

type State = Literal["passed", "failed", "waiting", "skipped", "unreached"]

STEPS = ("verified", "mapped", "contact", "token", "highlevel", "outcome")
# The step at which each reason ends the trace. A test compares the keys with errors.REASONS.
ENDS_AT = {
    "invalid_encoding": "mapped",
    "invalid_json": "mapped",
    "body_too_large": "mapped",
    "too_many_submissions": "mapped",
    "unsupported_media_type": "mapped",
    "invalid_form": "mapped",
    "unreadable": "mapped",
    "invalid_body": "mapped",
    "mapping_failed": "mapped",
    "no_location": "mapped",
    "no_contact": "mapped",
    "other_event": "mapped",
    "ping": "verified",
    "unauthorized": "verified",
    "sender_has_no_secret": "verified",
    "credentials_wrong": "verified",
    "credentials_stale": "verified",
    "credentials_malformed": "verified",
    "credentials_missing": "verified",
    "ids_refused": "highlevel",
    "contact_refused": "contact",
    "unknown_sender": "mapped",
    "location_not_allowed": "mapped",
    "location_refused": "highlevel",
    "no_token": "token",
    "token_malformed": "token",
    "token_kind_refused": "highlevel",
    "scope_missing": "highlevel",
    "version_refused": "highlevel",
    "base_url_refused": "highlevel",
    "upstream_refused": "highlevel",
    "expired": "highlevel",
    "upstream_unreachable": "highlevel",
    "upstream_connection_lost": "highlevel",
    "upstream_timeout": "highlevel",
    "upstream_error": "highlevel",
    "upstream_unexpected": "highlevel",
    "rate_limited": "highlevel",
    "quota_exhausted": "highlevel",
    "breaker_open": "highlevel",
    "location_inactive": "highlevel",
    "token_refused": "highlevel",
    "token_expired": "token",
    "token_unavailable": "token",
    "deadline": "highlevel",
    "paused": "token",
    "internal_error": "outcome",
    "sender_secrets_unavailable": "verified",
    "failed": "outcome",
    "not_stored": "outcome",
}
UPSERT = "/contacts/upsert"


@dataclass(frozen=True, slots=True)
class Step:
    """One of `STEPS`: its state, and a text (empty if it was not reached)."""

    name: str
    state: State = "unreached"
    text: str = ""


def trace(
    line: Mapping[str, Any] | None, answer: Mapping[str, Any] | None = None, calls: Sequence[Mapping[str, Any]] = ()
) -> list[Step]:
    """Return all six steps in order. Never raises.

    `line`: the newest canonical log line, None before the first. `answer`: the trigger's answer with its `status`, None
    if unknown. `calls`: the calls that the local HighLevel received for this line, with `path`, `status` (None: not
    answered) and `fault`; empty if unknown.
    """
    if line is None:
        return [*map(Step, STEPS[:-1]), _without_a_line(answer)]
    reason = line.get("reason")
    end = STEPS.index(ENDS_AT.get(reason, "outcome")) if reason else len(STEPS)
    steps = (
        _verified(line, end),
        _mapped(line, end),
        _contact(line, end, calls),
        _token(line, end),
        _highlevel(line, end, calls),
    )
    return [*steps, _outcome(line, answer)]


def _without_a_line(answer: Mapping[str, Any] | None) -> Step:
    if answer is None:
        return Step("outcome")
    return Step("outcome", "waiting", f"answered {answer['status']}; its log line is not there yet")


def _verified(line: Mapping[str, Any], end: int) -> Step:
    sender = line.get("sender") or "sender"
    if end == 0:
        return Step("verified", "failed", _title(line))
    if line["trigger"] == "retry":
        return Step("verified", "passed", "authenticated when it was received")
    if line["trigger"] == "event":
        return Step("verified", "passed", "an event on the event bus: AWS permissions decide who may put one there")
    if end == STEPS.index("outcome") and not line.get("location_id"):
        return Step("verified")
    return Step("verified", "passed", f"authenticated as {sender}")


def _mapped(line: Mapping[str, Any], end: int) -> Step:
    if end == 1:
        return Step("mapped", "skipped" if line["outcome"] == "ignored" else "failed", _title(line))
    if end < 1 or not line.get("location_id"):
        return Step("mapped")
    return Step("mapped", "passed", f"location {line['location_id']}")


def _contact(line: Mapping[str, Any], end: int, calls: Sequence[Mapping[str, Any]]) -> Step:
    if line.get("reason") == "contact_refused":
        return Step("contact", "failed", _title(line))
    if end < 2 or not (line.get("contact_id") or _is_done(line)):
        waits = line["outcome"] == "deferred" and end in (3, 4)
        return Step("contact", "waiting", "not looked up yet") if waits else Step("contact")
    found = any(call["path"] == UPSERT for call in calls)
    how = ", looked up by e-mail or phone" if found else ""
    return Step("contact", "passed", f"{line.get('contact_id') or 'known'}{how}")


def _token(line: Mapping[str, Any], end: int) -> Step:
    if end == STEPS.index("token"):
        state: State = "waiting" if line["outcome"] == "deferred" else "failed"
        return Step("token", state, _title(line))
    if _was_called(line) or line.get("reason") in ("quota_exhausted", "breaker_open"):
        return Step("token", "passed", "a token for this location is available")
    if line["outcome"] == "existing":
        return Step("token", "skipped", "not needed")
    return Step("token")


def _highlevel(line: Mapping[str, Any], end: int, calls: Sequence[Mapping[str, Any]]) -> Step:
    status = line.get("upstream_status")
    if end == STEPS.index("highlevel"):
        said = f" (answered {status})" if status else ""
        asked = f" to POST {calls[-1]['path']}" if said and calls else ""
        return Step("highlevel", "failed", f"{_title(line)}{said.replace(')', f'{asked})')}")
    if line["outcome"] == "existing" and not _was_called(line):
        return Step("highlevel", "skipped", "not called: the idempotency record contains the conversation")
    if not _was_called(line) or not _is_done(line):
        return Step("highlevel")
    took = f"answered {status} in {line.get('upstream_ms')} ms"
    if line["outcome"] == "existing":
        return Step("highlevel", "passed", f"{took}: the conversation already exists")
    return Step("highlevel", "passed", took)


def _outcome(line: Mapping[str, Any], answer: Mapping[str, Any] | None) -> Step:
    name, reason = line["outcome"], line.get("reason")
    text = f"{name}, reason {reason}" if reason and reason != name else name
    said = f"; answered {answer['status']}" if answer and line["trigger"] != "retry" else ""
    match name:
        case "opened" | "existing":
            by = f" by the retry queue, attempt {line['attempts']}" if line["trigger"] == "retry" else ""
            return Step("outcome", "passed", f"{text}{by}{said}")
        case "deferred":
            return Step("outcome", "waiting", f"{text}: stored in the retry queue, retried automatically{said}")
        case "ignored":
            return Step("outcome", "skipped", f"{text}: nothing to do{said}")
    if _is_dead_letter(line, answer):
        return Step("outcome", "failed", f"{text}: stored in the dead-letter queue{said}")
    return Step("outcome", "failed", f"{text}: not stored; the sender gets the error{said}")


def _is_done(line: Mapping[str, Any]) -> bool:
    return line["outcome"] in ("opened", "existing")


def _was_called(line: Mapping[str, Any]) -> bool:
    return line.get("upstream_ms") is not None


def _is_dead_letter(line: Mapping[str, Any], answer: Mapping[str, Any] | None) -> bool:
    """Whether the submission is dead-lettered: the sender of a webhook gets an error only if it cannot be read."""
    if line["outcome"] not in ("rejected", "invalid") or line["trigger"] == "http":
        return False
    if line["trigger"] != "webhook":
        return True
    if answer is not None:
        return bool(answer["status"] == 200)
    reason = REASONS.get(line.get("reason", ""))
    return reason is None or reason.status not in (400, 413, 415)


def _title(line: Mapping[str, Any]) -> str:
    reason = str(line.get("reason"))
    return REASONS[reason].title if reason in REASONS else reason
