"""The door of the EventBridge rule: asynchronous, so what raises here is tried again by Lambda, then dead-lettered."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from create_conversation.errors import SubmissionError
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import Queues
from create_conversation.result_events import BACKGROUND_SECONDS, ResultEvents
from create_conversation.senders.config import Sender, of_event
from create_conversation.senders.mapping import target_of
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from create_conversation.submission_log import SubmissionLog

ATTEMPT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class EventBridgeHandler:
    settings: Settings
    senders: Mapping[str, Sender]
    flow: ConversationOpener
    queue: Queues
    results: ResultEvents

    def handle(self, event: Any, context: Any) -> None:
        """Take an EventBridge event: done, or kept in one of the queues. Raises NotStored when it could not be kept."""
        told = event if isinstance(event, dict) else {}
        sender = of_event(self.senders, told.get("source"), told.get("detail-type"))
        line = SubmissionLog("event", _request_id(told, context), sender.name)
        submission = Submission.from_event(event, line.request_id, time.time(), sender.name)
        try:
            line.target = target_of(submission, self.senders, self.settings.location_id)
            outcome = self.flow.open(line.target, Deadline(line.started + 2 * ATTEMPT_SECONDS, ATTEMPT_SECONDS))
        except SubmissionError as error:
            outcome = Outcome.from_error(error)
        try:
            self._keep(submission, line, outcome)
        except SubmissionError as error:
            line.write(Outcome.from_error(error), self.settings.metrics_namespace)
            raise
        line.write(outcome, self.settings.metrics_namespace)
        self.results.publish([line.result_detail()], BACKGROUND_SECONDS)

    def _keep(self, submission: Submission, line: SubmissionLog, outcome: Outcome) -> None:
        if outcome.name == "deferred" and line.target:
            self.queue.enqueue(submission, line.target.location, outcome.retry_after)
        elif outcome.name in ("rejected", "invalid"):
            self.queue.dead_letter(submission.to_message(), **line.dead_letter(outcome))


def _request_id(event: dict[str, Any], context: Any) -> str:
    given = event.get("id")
    safe = isinstance(given, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,128}", given)
    return given if isinstance(given, str) and safe else str(context.aws_request_id)
