"""The trigger of the EventBridge rule: asynchronous, so Lambda retries what raises here, then dead-letters it."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from create_conversation.errors import SubmissionError, Trigger
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import Queues
from create_conversation.result_events import BACKGROUND_SECONDS, ResultEvents
from create_conversation.senders.config import Sender, of_event
from create_conversation.senders.mapping import target_of
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from create_conversation.submission_log import SubmissionLog
from shared.clock import Clock

ATTEMPT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class EventBridgeHandler:
    """Processes each event, or stores it in one of the queues."""

    settings: Settings
    senders: Mapping[str, Sender]
    opener: ConversationOpener
    queues: Queues
    results: ResultEvents
    clock: Clock = time

    def handle(self, event: Any, context: Any) -> None:
        """Process an EventBridge event. Raises NotStoredError when it could be neither done nor stored."""
        members = event if isinstance(event, dict) else {}
        sender = of_event(self.senders, members.get("source"), members.get("detail-type"))
        log = SubmissionLog(Trigger.EVENT, _request_id(members, context), sender.name)
        deadline = Deadline(self.clock.monotonic() + ATTEMPT_SECONDS, ATTEMPT_SECONDS)
        submission = Submission.from_event(event, log.request_id, self.clock.time(), sender.name)
        outcome = self._open(submission, log, deadline)
        try:
            self._store(submission, log, outcome)
        except SubmissionError as error:
            log.write(Outcome.from_error(error), self.settings.metrics_namespace)
            raise
        log.write(outcome, self.settings.metrics_namespace)
        self.results.publish([log.result_detail()], BACKGROUND_SECONDS)

    def _open(self, submission: Submission, log: SubmissionLog, deadline: Deadline) -> Outcome:
        try:
            log.target = target_of(
                submission,
                self.senders,
                self.settings.location_id,
                self.settings.writes_messages,
            )
            return self.opener.process(log.target, deadline)
        except SubmissionError as error:
            return Outcome.from_error(error)

    def _store(self, submission: Submission, log: SubmissionLog, outcome: Outcome) -> None:
        rest = replace(submission, is_reported=outcome.is_open)
        if (deferred := outcome.to_retry) and log.target:
            self.queues.enqueue(rest, log.target.location, deferred.retry_after)
        elif failed := outcome.to_dead_letter:
            self.queues.dead_letter(rest.to_message(), **log.dead_letter(failed))


def _request_id(event: dict[str, Any], context: Any) -> str:
    given = event.get("id")
    safe = isinstance(given, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,128}", given)
    return given if isinstance(given, str) and safe else str(context.aws_request_id)
