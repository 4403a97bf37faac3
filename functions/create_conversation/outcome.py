"""How a submission ended."""

from dataclasses import dataclass, replace
from typing import Any

from create_conversation.errors import NOTHING_TO_EXPLAIN, Explanation, MessageStatus, OutcomeName, SubmissionError
from highlevel.responses import ApiResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a submission ended, for the trigger's response and for the log.

    `name`: one of `OutcomeName`. `reason`: a key of `errors.REASONS`. `body`: HighLevel's body for a caller of
    `POST /conversations`, when the conversation's id is known. `retry_after` in seconds. `upstream`: HighLevel's
    answer to the last call, which took `upstream_ms` milliseconds. `contact`: the contact's id, where it was looked
    up. `location`: the refused one. `explanation`: the reasons of the mapping, and what was left out.

    `message`: what became of the words; None before the message step. `unfinished`: of an opened or existing one, why
    its message, tags or fields are not written: an outcome that is deferred or rejected.
    """

    name: str
    reason: str = ""
    detail: str = ""
    body: dict[str, Any] | None = None
    retry_after: float | None = None
    upstream: ApiResult | None = None
    upstream_ms: int | None = None
    contact: str | None = None
    location: str | None = None
    explanation: Explanation = NOTHING_TO_EXPLAIN
    message: MessageStatus | None = None
    unfinished: "Outcome | None" = None

    def __post_init__(self) -> None:
        """Refuse a name that is not in the table."""
        object.__setattr__(self, "name", OutcomeName(self.name))

    @property
    def conversation(self) -> str | None:
        """Return the conversation's id, where it is known."""
        return self.body["conversation"]["id"] if self.body else None

    @property
    def is_open(self) -> bool:
        """Return whether HighLevel has the conversation."""
        return self.name in (OutcomeName.OPENED, OutcomeName.EXISTING)

    @property
    def to_retry(self) -> "Outcome | None":
        """Return the deferral for which the submission must be tried again: its own, or that of its message."""
        return next((each for each in (self, self.unfinished) if each and each.name == OutcomeName.DEFERRED), None)

    @property
    def to_dead_letter(self) -> "Outcome | None":
        """Return what an operator must fix: the submission itself, or its message that HighLevel refuses."""
        if self.name in (OutcomeName.REJECTED, OutcomeName.INVALID):
            return self
        if self.unfinished is None or self.unfinished.name != OutcomeName.REJECTED:
            return None
        return self.unfinished.as_message_failure(self.contact)

    def as_message_failure(self, contact: str | None) -> "Outcome":
        """Return the rejection of a submission whose conversation is open, but whose message cannot be written."""
        detail = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return replace(self, name=OutcomeName.REJECTED, reason="message_failed", detail=detail, contact=contact)

    @property
    def was_tried(self) -> bool:
        """Return whether a call for this submission counts as a try: it got any response but 429, or no response.

        The circuit breaker, the rate limit, the deadline and the pause make no call.
        """
        return self.upstream is not None and self.upstream.status != 429

    @classmethod
    def from_error(cls, error: SubmissionError) -> "Outcome":
        """Return the outcome that an exception stands for."""
        return cls(
            error.outcome,
            error.reason,
            error.detail,
            retry_after=error.retry_after,
            location=error.location,
            explanation=error.explanation,
            upstream=error.upstream if isinstance(error.upstream, ApiResult) else None,
        )
