"""What can go wrong with a submission: one tree of exceptions, one table of reason codes.

SubmissionError
├── InvalidError        the body does not match what its sender should send      fixed by the sender
├── IgnoredError        an event that the sender's `when` does not select         nothing to fix
├── UnauthorizedError   the request does not come from a known sender             fixed by the sender
├── RejectedError       HighLevel or the stack's configuration refuses it         fixed by the operator
├── DeferredError       a transient failure (`retry_after`: seconds)              the stack tries again
└── NotStoredError      neither processed nor stored (`retry_after`: seconds)     the sender sends it again

`REASONS` is the one table of the reason codes: docs/api.md shows it, and a test compares the two. A caller reads a
reason's title, advice and detail; the log has the same reason code, and beside it the ids, HighLevel's status and its
trace id. No text here holds a value of a secret or of a body.
"""

import os
from dataclasses import dataclass
from enum import StrEnum

# How a command in an advice begins. The function knows its stack; the commands of cli/ complete it themselves.
HLC = f"./hlc --stack {os.environ['METRICS_NAMESPACE']}" if "METRICS_NAMESPACE" in os.environ else "./hlc"


class OutcomeName(StrEnum):
    """How a submission, or one call for it, ended. docs/api.md says what each trigger makes of it."""

    OPENED = "opened"
    EXISTING = "existing"
    IGNORED = "ignored"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    INVALID = "invalid"
    UNAUTHORIZED = "unauthorized"
    NOT_STORED = "not_stored"
    # Only between two calls of one submission:
    FOUND = "found"  # the contact's id is known, the conversation is not open yet
    MISSING = "missing"  # HighLevel has no such contact
    WRITTEN = "written"  # a comment, a note, tags, fields or the unread badge


class MessageStatus(StrEnum):
    """What became of a submission's words. docs/api.md says what each means."""

    WRITTEN = "written"
    DEFERRED = "deferred"
    NOTE = "note"
    REFUSED = "refused"
    OFF = "off"


class Trigger(StrEnum):
    """Where a submission came in."""

    HTTP = "http"
    WEBHOOK = "webhook"
    EVENT = "event"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Reason:
    """What one reason code means: its outcome, the HTTP status, a title, and what to do."""

    outcome: OutcomeName
    status: int
    title: str
    advice: str = ""


_INVALID, _IGNORED, _UNAUTHORIZED = OutcomeName.INVALID, OutcomeName.IGNORED, OutcomeName.UNAUTHORIZED
_REJECTED, _DEFERRED, _NOT_STORED = OutcomeName.REJECTED, OutcomeName.DEFERRED, OutcomeName.NOT_STORED

# An unauthorized caller reads `unauthorized`, whatever the log says.
REASONS = {
    "invalid_encoding": Reason(
        _INVALID, 400, "The body cannot be decoded", "Declare the charset that the body is written in."
    ),
    "invalid_json": Reason(_INVALID, 400, "The body is not JSON", "Send JSON; the detail names line and column."),
    "invalid_form": Reason(_INVALID, 400, "The body is not a form", "Send a complete form of at most 1,000 fields."),
    "unreadable": Reason(
        _INVALID,
        400,
        "The queue message cannot be read",
        f"It was not written by this stack: look at it with {HLC} dead-letters list.",
    ),
    "invalid_idempotency_key": Reason(
        _INVALID,
        400,
        "The header Idempotency-Key cannot be used",
        "Idempotency-Key must have 1 to 128 visible ASCII characters, without blanks.",
    ),
    "body_too_large": Reason(_INVALID, 413, "The body is too large", "Send at most 256 KiB."),
    "too_many_submissions": Reason(
        _INVALID, 413, "The array has too many elements", "Send the array in parts of at most 2,000 elements."
    ),
    "unsupported_media_type": Reason(
        _INVALID, 415, "The body's media type is not supported", "Send application/json, or from a webhook a form."
    ),
    "invalid_body": Reason(
        _INVALID, 422, "The body does not match the documented request", "Compare the body with the documented request."
    ),
    "mapping_failed": Reason(
        _INVALID,
        422,
        "The sender's mapping cannot be evaluated",
        "Fix the sender's `when` in senders.toml, deploy, and redrive.",
    ),
    "no_location": Reason(
        _INVALID,
        422,
        "No location is named",
        "Name a location, set LocationId, or give the sender one of its `locations`.",
    ),
    "no_contact": Reason(
        _INVALID,
        422,
        "No contact is named",
        f"Compare the fields in the detail with the sender's entry; {HLC} send <name> --dry-run shows its mapping.",
    ),
    "other_event": Reason(
        _IGNORED, 200, "Not an event that opens a conversation", "Nothing; the sender's `when` says which events count."
    ),
    "own_write": Reason(
        _IGNORED, 200, "An event that this stack's own writes cause", "Nothing; answering it would never end."
    ),
    "ping": Reason(_IGNORED, 200, "The sender checks its URL"),
    "unauthorized": Reason(_UNAUTHORIZED, 401, "The sender is not known"),
    "sender_has_no_secret": Reason(
        _UNAUTHORIZED, 401, "The sender has no secret in SenderSecrets", f"Make one with {HLC} sender add <name>."
    ),
    "credentials_missing": Reason(
        _UNAUTHORIZED,
        401,
        "The request has no secret or signature",
        "Look up in docs/senders.md where this sender puts it.",
    ),
    "credentials_malformed": Reason(
        _UNAUTHORIZED,
        401,
        "The header with the secret or signature is malformed",
        "Compare the header with the sender's entry.",
    ),
    "credentials_stale": Reason(
        _UNAUTHORIZED,
        401,
        "The signed time is too far off, or missing",
        "A delivery was replayed, or the sender's clock is wrong.",
    ),
    "credentials_wrong": Reason(
        _UNAUTHORIZED,
        401,
        "The secret or signature does not match",
        f"Store the sender's secret again with {HLC} sender import <name>.",
    ),
    "ids_refused": Reason(
        _REJECTED,
        422,
        "HighLevel refuses the location or contact id",
        "Check both ids: HighLevel knows no such contact in this location.",
    ),
    "contact_refused": Reason(
        _REJECTED,
        422,
        "HighLevel refuses the e-mail address or phone number",
        "Fix the address or number that HighLevel's message names, then redrive.",
    ),
    "message_refused": Reason(
        _REJECTED,
        502,
        "HighLevel refuses the message, tags or fields",
        "HighLevel's status and trace id are in the log.",
    ),
    "message_failed": Reason(
        _REJECTED,
        502,
        "The conversation is open, but its message, tags or fields could not be written",
        "Fix the cause in the detail, then redrive: what is written already is not written again.",
    ),
    "unknown_sender": Reason(
        _REJECTED, 502, "The sender's entry was removed", "Add it to senders.toml again, deploy, and redrive."
    ),
    "location_not_allowed": Reason(
        _REJECTED,
        403,
        "This sender may not name this location",
        "Neither the sender's `locations` in senders.toml nor LocationId names it: add it there, deploy, and redrive.",
    ),
    "location_refused": Reason(
        _REJECTED,
        403,
        "HighLevel's token has no access to this location",
        "HighLevelToken needs a token of this location.",
    ),
    "no_token": Reason(
        _REJECTED, 502, "No HighLevel token is set for this location", f"Store one with {HLC} token set."
    ),
    "token_malformed": Reason(
        _REJECTED, 502, "The HighLevel token is malformed", f"Store it again with {HLC} token set."
    ),
    "token_kind_refused": Reason(
        _REJECTED,
        502,
        "The HighLevel token is of the wrong kind",
        f"HighLevelToken holds an agency's token; it needs one of the sub-account, or {HLC} connect for the agency.",
    ),
    "scope_missing": Reason(
        _REJECTED, 502, "The HighLevel token lacks a scope", "docs/tokens.md lists the scopes that the token needs."
    ),
    "version_refused": Reason(
        _REJECTED, 502, "HighLevel refuses the API version", "Check the parameter HighLevelApiVersion."
    ),
    "base_url_refused": Reason(
        _REJECTED, 502, "HighLevel's address is not usable", "Check the parameter HighLevelBaseUrl."
    ),
    "upstream_refused": Reason(
        _REJECTED, 502, "HighLevel refuses the call", "HighLevel's status and trace id are in the log."
    ),
    "expired": Reason(
        _REJECTED,
        502,
        "Given up: tried until the age limit",
        "The detail has the last failure: fix its cause, then redrive.",
    ),
    "upstream_unreachable": Reason(_DEFERRED, 202, "HighLevel cannot be reached"),
    "upstream_connection_lost": Reason(_DEFERRED, 202, "The connection to HighLevel was lost"),
    "upstream_timeout": Reason(_DEFERRED, 202, "HighLevel did not answer in time"),
    "upstream_error": Reason(_DEFERRED, 202, "HighLevel answered with an error"),
    "upstream_unexpected": Reason(_DEFERRED, 202, "The answer was not HighLevel's"),
    "rate_limited": Reason(_DEFERRED, 202, "HighLevel's rate limit is reached"),
    "quota_exhausted": Reason(_DEFERRED, 202, "HighLevel's rate limit for this location is used up"),
    "breaker_open": Reason(_DEFERRED, 202, "HighLevel has failed several times in a row"),
    "location_inactive": Reason(
        _DEFERRED,
        202,
        "The HighLevel location is not active",
        "Activate the location in HighLevel; until then it is tried again.",
    ),
    "token_refused": Reason(
        _DEFERRED,
        202,
        "HighLevel does not accept the token",
        f"Store a valid token with {HLC} token set; until then it is tried again.",
    ),
    "token_expired": Reason(
        _DEFERRED,
        202,
        "The HighLevel access token has expired, and there is no newer one",
        f"{HLC} doctor says why the rotation has not renewed it.",
    ),
    "token_unavailable": Reason(_DEFERRED, 202, "The HighLevel token cannot be read now"),
    "already_claimed": Reason(_DEFERRED, 202, "Another attempt has begun to write the message or the contact"),
    "claim_unavailable": Reason(_DEFERRED, 202, "The claim on the message or the contact cannot be written now"),
    "not_readable": Reason(_DEFERRED, 202, "HighLevel does not show yet whether the message was written"),
    "deadline": Reason(_DEFERRED, 202, "There was no time left to call HighLevel"),
    "paused": Reason(_DEFERRED, 202, "Sending to HighLevel is paused", f"It is sent after {HLC} resume."),
    "internal_error": Reason(
        _DEFERRED, 202, "An internal error occurred", "It is tried again; the log has the stack frames."
    ),
    "sender_secrets_unavailable": Reason(_NOT_STORED, 503, "The senders' secrets cannot be read now"),
    "failed": Reason(_NOT_STORED, 503, "An internal error occurred"),
    "not_stored": Reason(_NOT_STORED, 503, "The submission could not be stored"),
}

ReasonCode = StrEnum("ReasonCode", {name.upper(): name for name in REASONS})  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a submission was mapped as it was: names only, which may be logged and shown to its sender.

    `looked_at`: the paths of the sender's entry. `fields`: the fields that were there. `dropped`: what was not used,
    each with its reason (`Phone: not_a_phone`).
    """

    looked_at: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __add__(self, other: "Explanation") -> "Explanation":
        """Join two, each name once."""
        return Explanation(
            _joined(self.looked_at, other.looked_at),
            _joined(self.fields, other.fields),
            _joined(self.dropped, other.dropped),
        )

    def __str__(self) -> str:
        """Write it as sentences for the sender."""
        parts = (("Looked at", self.looked_at), ("Fields", self.fields), ("Not used", self.dropped))
        return " ".join(f"{title}: {'; '.join(names)}." for title, names in parts if names)


NOTHING_TO_EXPLAIN = Explanation()


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return (*dict.fromkeys((*first, *second)),)


class SubmissionError(Exception):
    """Base class of what can go wrong with a submission.

    `reason` is a key of `REASONS`, `detail` may be shown to the caller, `location` is the refused location's id.
    `upstream` is the API client's result of the call that failed, `explanation` what the mapping looked at.
    """

    outcome: OutcomeName
    explanation = NOTHING_TO_EXPLAIN

    def __init__(
        self,
        reason: str,
        detail: str = "",
        retry_after: float | None = None,
        location: str | None = None,
        upstream: object | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.location = location
        self.upstream = upstream


class InvalidError(SubmissionError):
    outcome = OutcomeName.INVALID


class IgnoredError(SubmissionError):
    outcome = OutcomeName.IGNORED


class UnauthorizedError(SubmissionError):
    outcome = OutcomeName.UNAUTHORIZED

    def __init__(self, reason: str = "unauthorized") -> None:
        """`reason` is for the log: the caller gets the same answer for each."""
        super().__init__(reason, "Send a secret of this sender.")


class RejectedError(SubmissionError):
    outcome = OutcomeName.REJECTED


class DeferredError(SubmissionError):
    outcome = OutcomeName.DEFERRED


class NotStoredError(SubmissionError):
    outcome = OutcomeName.NOT_STORED
