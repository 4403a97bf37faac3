"""The HTTP doors: `POST /conversations`, whose caller gets the conversation, and `POST /webhooks/{sender}`, whose
sender only wants to know that it need not send again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from create_conversation.errors import DeferredError, InvalidError, NotStoredError, SubmissionError, UnauthorizedError
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import MIN_DELAY_SECONDS, Queues
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret, SecretMissingError, SecretUnavailableError
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.mapping import Target, in_utf8, payload_of, target_of, without_secrets
from create_conversation.senders.redaction import redacted_request
from create_conversation.senders.verification import Request, delivery_id, is_authentic, is_ping, secrets_for
from create_conversation.settings import Settings
from create_conversation.submission import Submission, json_bytes
from create_conversation.submission_log import SubmissionLog
from create_conversation.triggers import api_gateway
from create_conversation.triggers.api_gateway import STORE_SECONDS, problem, reply, whole_seconds
from shared.observability import internal_error
from shared.time_limit import call_with_time_limit

HIGHLEVEL_SECONDS = 2.5
RESULTS_SECONDS = 0.25  # so long at most an answer waits for the result events
API = "api"
# Of one webhook. Its 256 KiB hold 80,000 elements, each a message to store while the sender waits; with the CPU of
# 512 MB these take 3 of the 4 seconds.
MAX_SUBMISSIONS = 2000
# Of the outcomes of several submissions in one webhook, the answer tells the gravest.
SEVERITY = ("rejected", "invalid", "deferred", "opened", "existing", "ignored")


@dataclass(frozen=True, slots=True)
class HttpApiHandler:
    """Answers each request, within 5 seconds in any case, and raises nothing."""

    settings: Settings
    senders: Mapping[str, Sender]
    sender_secrets: CachedSecret
    flow: ConversationOpener
    queue: Queues
    results: ResultEvents

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Take an API Gateway event; give API Gateway's answer (status, headers, body)."""
        request_id = api_gateway.request_id(event, context)
        if event.get("routeKey") == "POST /webhooks/{sender}":
            return self._webhook(event, SubmissionLog("webhook", request_id))
        return self._conversation(event, SubmissionLog("http", request_id, API))

    # --- POST /conversations ------------------------------------------------------------------------------------------

    def _conversation(self, event: dict[str, Any], line: SubmissionLog) -> dict[str, Any]:
        answer_by = line.started + api_gateway.seconds_left(event)
        try:
            outcome = self._open_for_caller(event, line, answer_by)
        except SubmissionError as error:
            outcome = Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 what raises here, API Gateway would answer without saying to repeat
            internal_error(error)
            outcome = Outcome.from_error(NotStoredError("failed", "Send it again.", MIN_DELAY_SECONDS))
        line.write(outcome, self.settings.metrics_namespace)
        self._publish([line], answer_by)
        return _answer_caller(outcome, line.request_id)

    def _open_for_caller(self, event: dict[str, Any], line: SubmissionLog, answer_by: float) -> Outcome:
        request, sender = self._authenticated(event, API, answer_by)
        submission = _submission("http", sender, request, line.request_id)
        line.target = target_of(submission, self.senders, self.settings.location_id)
        outcome = self._open(line.target, answer_by, need_id=True)
        if outcome.name == "deferred":
            self._keep(submission, line.target, outcome, answer_by)
        return outcome

    # --- POST /webhooks/{sender} --------------------------------------------------------------------------------------

    def _webhook(self, event: dict[str, Any], line: SubmissionLog) -> dict[str, Any]:
        answer_by = line.started + api_gateway.seconds_left(event)
        lines = [line]
        try:
            answer = self._take_webhook(event, lines, answer_by)
        except SubmissionError as error:
            answer = self._refuse_webhook(error, line)
        except Exception as error:  # noqa: BLE001 as above; for HighLevel's webhooks its 500 would be final
            internal_error(error)
            answer = self._refuse_webhook(NotStoredError("failed", "Send it again.", MIN_DELAY_SECONDS), line)
        self._publish(lines, answer_by)
        return answer

    def _take_webhook(self, event: dict[str, Any], lines: list[SubmissionLog], answer_by: float) -> dict[str, Any]:
        """Adds a line for each submission. Raises Unauthorized, NotStored, or Invalid for a body that cannot be
        read."""
        [line] = lines
        name = api_gateway.path_parameter(event, "sender")
        line.sender = name if name in self.senders else None  # whoever it is: the log tells whose secret is wrong
        if name in self.senders and is_ping(self.senders[name], api_gateway.request(event)):
            line.write(Outcome("ignored", "ping"), self.settings.metrics_namespace)
            return reply(200, line.request_id, {"outcome": "ignored", "requestId": line.request_id})
        request, sender = self._authenticated(event, name, answer_by)
        outcomes: list[str] = []
        submissions = _submissions(_submission("webhook", sender, request, line.request_id))
        for number, submission in enumerate(submissions):
            if number and time.monotonic() > answer_by - 2 * STORE_SECONDS:
                self._keep_rest(submissions[number:], line, answer_by)
                outcomes.append("deferred")
                break
            each = replace(line)
            lines.append(each)
            outcome = self._settle(submission, each, answer_by)
            each.write(outcome, self.settings.metrics_namespace)
            outcomes.append(outcome.name)
        told = min(outcomes, key=SEVERITY.index, default="ignored")
        return reply(200, line.request_id, {"outcome": told, "requestId": line.request_id})

    def _keep_rest(self, submissions: list[Submission], line: SubmissionLog, answer_by: float) -> None:
        """Of a large array, what does not fit the time: into the queue, mapped or not; its consumer parks what is of no
        use. Raises NotStored."""
        rest = [(submission, self._location_of(submission)) for submission in submissions]
        self._store(lambda: self.queue.enqueue_batch(rest, answer_by), answer_by)
        replace(line).write(Outcome.from_error(DeferredError("deadline")), self.settings.metrics_namespace)

    def _location_of(self, submission: Submission) -> str:
        try:
            return target_of(submission, self.senders, self.settings.location_id).location
        except SubmissionError as error:
            return error.location or "unknown"

    def _refuse_webhook(self, error: SubmissionError, line: SubmissionLog) -> dict[str, Any]:
        """Not done and not kept. A sender that takes a 5xx for final repeats after a 429."""
        line.write(Outcome.from_error(error), self.settings.metrics_namespace)
        answered = UnauthorizedError() if isinstance(error, UnauthorizedError) else error
        return problem(
            Outcome.from_error(answered), line.request_id, 429 if isinstance(error, NotStoredError) else None
        )

    def _settle(self, submission: Submission, line: SubmissionLog, answer_by: float) -> Outcome:
        """See one submission of a webhook done or kept. Raises NotStored."""
        try:
            line.target = target_of(submission, self.senders, self.settings.location_id)
            outcome = self._open(line.target, answer_by)
        except SubmissionError as error:
            outcome = Outcome.from_error(error)
        if outcome.name == "deferred" and line.target:
            self._keep(submission, line.target, outcome, answer_by)
        elif outcome.name in ("rejected", "invalid"):
            self._store(lambda: self.queue.dead_letter(submission.to_message(), **line.dead_letter(outcome)), answer_by)
        return outcome

    # --- both ---------------------------------------------------------------------------------------------------------

    def _authenticated(self, event: dict[str, Any], name: str, answer_by: float) -> tuple[Request, Sender]:
        """The request, without the secret that authenticated it, and the sender whom it comes from. Raises
        Unauthorized, to the outside the same for an unknown sender, none or a wrong secret, a malformed header and a
        sender without locations; NotStored when the secrets cannot be read now."""
        request = api_gateway.request(event)
        sender = self.senders.get(name)
        if sender is None:
            raise UnauthorizedError
        try:
            secrets = call_with_time_limit(lambda: self._proving(sender, request), answer_by - time.monotonic())
        except SecretMissingError:
            raise UnauthorizedError from None
        except (SecretUnavailableError, TimeoutError):
            raise NotStoredError("sender_secrets_unavailable", "Send it again.", MIN_DELAY_SECONDS) from None
        if secrets is None:
            raise UnauthorizedError
        if lacks_locations(sender, self.settings.location_id):
            raise UnauthorizedError("location_not_allowed")
        return redacted_request(sender, request, secrets), sender

    def _proving(self, sender: Sender, request: Request) -> tuple[str, ...] | None:
        """The secrets of the sender, if one of them authenticates the request."""
        text = self.sender_secrets.get()
        secrets = secrets_for(text, sender.name)
        if is_authentic(sender, request, secrets, time.time()):
            return secrets
        # The sender may be ahead of us: its secret was rotated a moment ago.
        newer = self.sender_secrets.newer_than(text)
        secrets_now = secrets_for(newer, sender.name) if newer is not None else ()
        is_new = newer is not None and is_authentic(sender, request, secrets_now, time.time())
        return secrets_now + secrets if is_new else None

    def _open(self, target: Target, answer_by: float, *, need_id: bool = False) -> Outcome:
        until = answer_by - STORE_SECONDS
        if time.monotonic() >= until:
            return Outcome.from_error(DeferredError("deadline"))
        deadline = Deadline(until, HIGHLEVEL_SECONDS)
        try:
            return call_with_time_limit(
                lambda: self.flow.open(target, deadline, need_id=need_id), until - time.monotonic()
            )
        except TimeoutError:
            return Outcome.from_error(DeferredError("deadline"))

    def _publish(self, lines: list[SubmissionLog], answer_by: float) -> None:
        details = [line.result_detail() for line in lines]
        self.results.publish(details, min(RESULTS_SECONDS, answer_by - time.monotonic()))

    def _keep(self, submission: Submission, target: Target, outcome: Outcome, answer_by: float) -> None:
        self._store(lambda: self.queue.enqueue(submission, target.location, outcome.retry_after), answer_by)

    def _store(self, store: Callable[[], None], answer_by: float) -> None:
        # Most of its second even when the rest is used up: the sender waits 5 seconds, not 4.
        try:
            call_with_time_limit(store, max(answer_by - time.monotonic(), 0.8 * STORE_SECONDS))
        except TimeoutError:
            raise NotStoredError("not_stored", "Send it again.", MIN_DELAY_SECONDS) from None


def _submission(trigger: str, sender: Sender, request: Request, request_id: str) -> Submission:
    content_type = request.headers.get("content-type", "")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidError("unsupported_media_type", "Send the body without Content-Encoding.")
    if request.is_text:
        content_type = in_utf8(content_type)
    body = without_secrets(sender, request.body, content_type)
    delivery = delivery_id(sender, request) or ""
    return Submission(trigger, sender.name, request_id, time.time(), content_type, body, delivery)


def _submissions(submission: Submission) -> list[Submission]:
    """One for each element of an array, else the one. Raises Invalid for a body that cannot be read, or has too many:
    then nothing of it is done."""
    payload = payload_of(submission)
    if not isinstance(payload, list):
        return [submission]
    if len(payload) > MAX_SUBMISSIONS:
        raise InvalidError("too_many_submissions", f"An array may have {MAX_SUBMISSIONS} elements: send it in parts.")
    return [
        replace(submission, body=json_bytes(each), content_type="application/json", delivery_id="") for each in payload
    ]


def _answer_caller(outcome: Outcome, request_id: str) -> dict[str, Any]:
    if outcome.name not in ("opened", "existing", "deferred"):
        return problem(outcome, request_id)
    if outcome.name != "deferred" and outcome.body is not None:
        return reply(201 if outcome.name == "opened" else 200, request_id, outcome.body)
    # Nothing to show yet. An `existing` one is not queued: HighLevel has it, its search lags.
    status = "deferred" if outcome.name == "deferred" else "existing"
    body = {"status": status, "requestId": request_id}
    return reply(202, request_id, body, retry_after=whole_seconds(outcome.retry_after))
