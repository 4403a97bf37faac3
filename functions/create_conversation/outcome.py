"""How a submission ended."""

from dataclasses import dataclass
from typing import Any

from create_conversation.errors import SubmissionError
from highlevel.responses import ApiResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a submission ended, for the door to answer and for the log.

    `name`: opened, existing, ignored, deferred, rejected, invalid, unauthorized, not_stored. `body`: what a caller of
    `POST /conversations` gets, when the conversation's id is known. `retry_after` in seconds. `upstream`: HighLevel's
    answer, if it was asked, after `upstream_ms` milliseconds. `contact`: the contact's id, where it had to be looked
    up; `location`: the one that was refused.
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

    @property
    def conversation(self) -> str | None:
        """The conversation's id, where it is known."""
        return self.body["conversation"]["id"] if self.body else None

    @property
    def was_tried(self) -> bool:
        """Whether a call was made for this submission and its result counts as a try: any response but 429, or none.
        Our own circuit breaker, rate limit, deadline and pause are no try."""
        return self.upstream is not None and self.upstream.status != 429

    @classmethod
    def from_error(cls, error: SubmissionError) -> "Outcome":
        return cls(
            error.outcome,
            error.reason,
            error.detail,
            retry_after=error.retry_after,
            location=error.location,
            upstream=error.upstream,
        )
