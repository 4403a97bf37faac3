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
    "invalid_idempotency_key": "mapped",
    "own_write": "mapped",
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
    "message_refused": "highlevel",
    "message_failed": "highlevel",
    "already_claimed": "highlevel",
    "claim_unavailable": "highlevel",
    "not_readable": "highlevel",
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
LOOK_UPS = ("/contacts/upsert", "/contacts/search/duplicate")
CREATION = "/contacts/"
MESSAGES = {
    "written": "the message is in the conversation, as an internal comment",
    "note": "the message is a note of the contact",
    "deferred": "the message is stored in the retry queue",
    "refused": "HighLevel refuses the message",
    "off": "no message: it is switched off",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One of `STEPS`: its state, a text (empty if it was not reached), and notes that explain it."""

    name: str
    state: State = "unreached"
    text: str = ""
    notes: tuple[str, ...] = ()


def trace(
    line: Mapping[str, Any] | None, answer: Mapping[str, Any] | None = None, calls: Sequence[Mapping[str, Any]] = ()
) -> list[Step]:
    """Return all six steps in order. Never raises.

    `line`: the newest canonical log line, None before the first. `answer`: the trigger's answer with its `status`, None
    if unknown. `calls`: the calls that the local HighLevel received for this line, with `method`, `path`, `status`
    (None: not answered) and `fault`; empty if unknown.
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


def queue_of(line: Mapping[str, Any] | None, answer: Mapping[str, Any] | None = None) -> Literal["retry", "dead", ""]:
    """Return the queue in which this submission, or only its message, is after its newest log line; "" for none."""
    if line is None:
        return ""
    message = line.get("message_status")
    if line["outcome"] == "deferred" or (_is_done(line) and message == "deferred"):
        return "retry"
    is_dead = _is_dead_letter(line, answer) or (_is_done(line) and message == "refused" and line["trigger"] != "http")
    return "dead" if is_dead else ""


def _without_a_line(answer: Mapping[str, Any] | None) -> Step:
    if answer is None:
        return Step("outcome")
    return Step("outcome", "waiting", f"answered {answer['status']}; its log line is not there yet")


def _verified(line: Mapping[str, Any], end: int) -> Step:
    sender = line.get("sender") or "sender"
    if end == 0:
        return Step("verified", "failed", _title(line), _notes(line))
    if line["trigger"] == "retry":
        return Step("verified", "passed", "authenticated when it was received")
    if line["trigger"] == "event":
        return Step("verified", "passed", "an event on the event bus: AWS permissions decide who may put one there")
    if end == STEPS.index("outcome") and not line.get("location_id"):
        return Step("verified")
    return Step("verified", "passed", f"authenticated as {sender}")


def _mapped(line: Mapping[str, Any], end: int) -> Step:
    if end == 1:
        return Step("mapped", "skipped" if line["outcome"] == "ignored" else "failed", _title(line), _notes(line))
    if end < 1 or not line.get("location_id"):
        return Step("mapped")
    return Step("mapped", "passed", f"location {line['location_id']}", _listed("not used", line.get("dropped")))


def _contact(line: Mapping[str, Any], end: int, calls: Sequence[Mapping[str, Any]]) -> Step:
    if line.get("reason") == "contact_refused":
        return Step("contact", "failed", _title(line), _notes(line))
    if end < 2 or not (line.get("contact_id") or _is_done(line)):
        waits = line["outcome"] == "deferred" and end in (3, 4)
        return Step("contact", "waiting", "not looked up yet") if waits else Step("contact")
    paths = {call["path"] for call in calls}
    how = ", looked up by e-mail or phone" if paths.intersection(LOOK_UPS) else ""
    how = ", created: no contact has this e-mail address or phone number" if CREATION in paths else how
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
        asked = f" to {calls[-1].get('method', 'POST')} {calls[-1]['path']}" if said and calls else ""
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
    notes = _message(line)
    said = f"; answered {answer['status']}" if answer and line["trigger"] != "retry" else ""
    match name:
        case "opened" | "existing":
            by = f" by the retry queue, attempt {line['attempts']}" if line["trigger"] == "retry" else ""
            return Step("outcome", "passed", f"{text}{by}{said}", notes)
        case "deferred":
            return Step("outcome", "waiting", f"{text}: stored in the retry queue, retried automatically{said}", notes)
        case "ignored":
            return Step("outcome", "skipped", f"{text}: nothing to do{said}")
    if _is_dead_letter(line, answer):
        return Step("outcome", "failed", f"{text}: stored in the dead-letter queue{said}")
    return Step("outcome", "failed", f"{text}: not stored; the sender gets the error{said}")


def _message(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what became of the submission's words."""
    status, reason = line.get("message_status"), line.get("message_reason")
    if not status:
        return ()
    why = f": {REASONS[reason].title}" if reason in REASONS else ""
    return (f"{MESSAGES.get(status, f'message: {status}')}{why}",)


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


def _notes(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Explain a failed step: the log line's detail, the paths that were tried, the names of the fields that came."""
    tried = list(line.get("looked_at") or ())
    if line.get("reason") == "no_contact" and line.get("sender") != "api":  # whose callers name an id
        tried.append("the type and label of each field")
    return (
        *filter(None, (line.get("detail"),)),
        *_listed("looked at", tried),
        *_listed("fields that came", line.get("fields")),
        *_listed("not used", line.get("dropped")),
    )


def _listed(title: str, names: Sequence[str] | None) -> tuple[str, ...]:
    return (f"{title}: {'; '.join(names)}",) if names else ()


def _title(line: Mapping[str, Any]) -> str:
    reason = str(line.get("reason"))
    return REASONS[reason].title if reason in REASONS else reason
