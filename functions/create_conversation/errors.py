"""What can go wrong with a submission: one tree, and one table of reasons.

SubmissionError
├── Invalid        the body is not what was promised                            the caller mends it
├── Ignored        another kind of event than the sender's `when` asks for      nothing to mend
├── Unauthorized   no sender that we know                                       the caller mends it
├── Rejected       HighLevel, or the stack's configuration, says no             a person mends it
├── Deferred       trouble that time can mend (`retry_after`: seconds)          we try again
└── NotStored      neither done nor kept (`retry_after`: seconds)               the sender sends it again

Two audiences: `REASONS` and `detail` are what a caller may read; the operator has the same `reason` word in the log,
with the ids and HighLevel's status and trace id beside it. No text here ever holds a value of a secret or a body.
"""

from dataclasses import dataclass

from highlevel.responses import ApiResult


@dataclass(frozen=True, slots=True)
class Reason:
    """How a caller of `POST /conversations` is told one reason: HTTP status, the problem's title, what would help."""

    status: int
    title: str
    advice: str = ""


REASONS = {
    # invalid
    "invalid_encoding": Reason(400, "The body cannot be decoded"),
    "invalid_json": Reason(400, "The body is not JSON"),
    "body_too_large": Reason(413, "The body is too large"),
    "too_many_submissions": Reason(413, "The array has too many elements"),
    "unsupported_media_type": Reason(415, "The body's media type is not supported"),
    "invalid_form": Reason(400, "The body is not a form"),
    "unreadable": Reason(400, "The kept message cannot be read"),
    "invalid_body": Reason(422, "The body is not the request that was promised"),
    "mapping_failed": Reason(422, "The sender's mapping cannot be evaluated"),
    "no_location": Reason(422, "No location is named"),
    "no_contact": Reason(422, "No contact is named"),
    # ignored
    "other_event": Reason(200, "Not an event that opens a conversation"),
    "ping": Reason(200, "The sender checks its URL"),
    # unauthorized
    "unauthorized": Reason(401, "The sender is not known"),
    # rejected
    "ids_refused": Reason(
        422,
        "HighLevel refuses the location or contact id",
        "Check both ids: HighLevel knows no such contact in this location.",
    ),
    "contact_refused": Reason(422, "HighLevel refuses the e-mail address or phone number"),
    "unknown_sender": Reason(502, "The sender has no entry any more"),
    "location_not_allowed": Reason(
        403, "This sender may not name this location", "This stack serves one location only, and it is another."
    ),
    "location_refused": Reason(
        403, "HighLevel's token has no access to this location", "HighLevelToken needs a token of this location."
    ),
    "no_token": Reason(502, "No HighLevel token is set for this location", "Store one with make token."),
    "token_malformed": Reason(502, "The HighLevel token is malformed", "Store it anew with make token."),
    "token_kind_refused": Reason(
        502,
        "The HighLevel token is of the wrong kind",
        "HighLevelToken holds an agency's token; it needs one of the sub-account, or make connect for the agency.",
    ),
    "scope_missing": Reason(502, "The HighLevel token lacks a scope", "The token needs the scope conversations.write."),
    "version_refused": Reason(502, "HighLevel refuses the API version", "Check the parameter HighLevelApiVersion."),
    "base_url_refused": Reason(502, "HighLevel's address is not usable", "Check the parameter HighLevelBaseUrl."),
    "upstream_refused": Reason(502, "HighLevel refuses the call", "HighLevel's status and trace id are in the log."),
    "expired": Reason(502, "Given up: tried until the age limit"),
    # deferred
    "upstream_unreachable": Reason(202, "HighLevel cannot be reached"),
    "upstream_connection_lost": Reason(202, "The connection to HighLevel was lost"),
    "upstream_timeout": Reason(202, "HighLevel did not answer in time"),
    "upstream_error": Reason(202, "HighLevel answered with an error"),
    "upstream_unexpected": Reason(202, "The answer was not HighLevel's"),
    "rate_limited": Reason(202, "HighLevel's rate limit is reached"),
    "quota_exhausted": Reason(202, "HighLevel's rate limit for this location is used up"),
    "breaker_open": Reason(202, "HighLevel has failed several times in a row"),
    "location_inactive": Reason(202, "The HighLevel location is not active"),
    "token_refused": Reason(202, "HighLevel does not accept the token"),
    "token_expired": Reason(202, "The HighLevel access token has expired, and none newer is there"),
    "token_unavailable": Reason(202, "The HighLevel token cannot be had now"),
    "deadline": Reason(202, "There was no time left to ask HighLevel"),
    "paused": Reason(202, "Sending to HighLevel is paused"),
    "internal_error": Reason(202, "An internal error occurred"),
    # not stored
    "sender_secrets_unavailable": Reason(503, "The senders' secrets cannot be read now"),
    "failed": Reason(503, "An internal error occurred"),
    "not_stored": Reason(503, "The submission could not be stored"),
}


class SubmissionError(Exception):
    """Base class. `reason` is a key of `REASONS`; `detail` may be shown to the caller; `outcome` is the log's word.
    `location`: the id of the one that was named, where that is what is wrong; `upstream`: what HighLevel said."""

    outcome: str

    def __init__(
        self,
        reason: str,
        detail: str = "",
        retry_after: float | None = None,
        location: str | None = None,
        upstream: ApiResult | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.location = location
        self.upstream = upstream


class InvalidError(SubmissionError):
    outcome = "invalid"


class IgnoredError(SubmissionError):
    outcome = "ignored"


class UnauthorizedError(SubmissionError):
    outcome = "unauthorized"

    def __init__(self, reason: str = "unauthorized") -> None:
        """`reason` is for the log: the caller gets the same answer for each."""
        super().__init__(reason, "Send a secret of this sender.")


class RejectedError(SubmissionError):
    outcome = "rejected"


class DeferredError(SubmissionError):
    outcome = "deferred"


class NotStoredError(SubmissionError):
    outcome = "not_stored"
