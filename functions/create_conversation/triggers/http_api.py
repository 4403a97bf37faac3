"""The HTTP triggers: `POST /conversations`, whose caller gets the conversation, and `POST /webhooks/{sender}`.

The steps, from top to bottom: API Gateway's event → request → authenticated → submissions → target (location and
contact) → outcome → stored where it is not done → response. The types: `Request`, `Authenticated` (with the parsed
`Body`), `Submission`, `Target`, `Outcome`, and API Gateway's response.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from create_conversation.errors import (
    REASONS,
    DeferredError,
    Explanation,
    InvalidError,
    MessageStatus,
    NotStoredError,
    OutcomeName,
    SubmissionError,
    Trigger,
    UnauthorizedError,
)
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import MIN_DELAY_SECONDS, Queues
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret, SecretMissingError, SecretUnavailableError
from create_conversation.senders.body import MAX_STORED_BYTES, Body
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.mapping import Target, location_of, target_of
from create_conversation.senders.redaction import Authenticated, without_secrets
from create_conversation.senders.verification import Request, credential_places, is_ping, refusal, secrets_for
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from create_conversation.submission_log import SubmissionLog
from create_conversation.triggers.api_gateway import (
    STORE_SECONDS,
    is_webhook_event,
    problem,
    read_request,
    reply,
    whole_seconds,
)
from shared.clock import Clock
from shared.observability import internal_error
from shared.time_limit import TimeLimit, call_with_time_limit

HIGHLEVEL_SECONDS = 2.5
RESULTS_SECONDS = 0.25  # a response waits this long at most for the result events
# Of one webhook. Its 256 KiB hold 80,000 elements, each a message to store while the sender waits; with the CPU of
# 512 MB these take 3 of the 4 seconds.
MAX_SUBMISSIONS = 2000
# Of the outcomes of several submissions in one webhook, the response names the most severe.
SEVERITY = (
    OutcomeName.REJECTED,
    OutcomeName.INVALID,
    OutcomeName.DEFERRED,
    OutcomeName.OPENED,
    OutcomeName.EXISTING,
    OutcomeName.IGNORED,
)
MESSAGE_SEVERITY = (
    MessageStatus.REFUSED,
    MessageStatus.DEFERRED,
    MessageStatus.NOTE,
    MessageStatus.WRITTEN,
    MessageStatus.OFF,
)
_SEND_AGAIN = "Send it again."


@dataclass(frozen=True, slots=True)
class HttpApiHandler:
    """Responds to each request, within 5 seconds in any case, and raises nothing."""

    settings: Settings
    senders: Mapping[str, Sender]
    sender_secrets: CachedSecret
    opener: ConversationOpener
    queues: Queues
    results: ResultEvents
    clock: Clock = time
    call_with_time_limit: TimeLimit = call_with_time_limit

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Take an API Gateway event; return API Gateway's response (status, headers, body)."""
        request = read_request(event, context, self.clock)
        answer_by = self.clock.monotonic() + request.seconds_left
        respond = self._respond_to_webhook if is_webhook_event(event) else self._respond_to_caller
        return respond(request, answer_by)

    # --- POST /conversations ------------------------------------------------------------------------------------------

    def _respond_to_caller(self, request: Request, answer_by: float) -> dict[str, Any]:
        log = SubmissionLog(Trigger.HTTP, request.id, request.sender)
        try:
            outcome = self._open_for_caller(request, log, answer_by)
        except SubmissionError as error:
            outcome = Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 API Gateway's own response would not say to send it again
            outcome = Outcome.from_error(_failed(error))
        log.write(outcome, self.settings.metrics_namespace)
        self._publish([log], answer_by)
        return _caller_response(_shown(outcome), request.id)

    def _open_for_caller(self, request: Request, log: SubmissionLog, answer_by: float) -> Outcome:
        authenticated = self._authenticate(request, answer_by)
        submission = _submission(Trigger.HTTP, authenticated, request.id, self.clock.time())
        submission = replace(submission, delivery_id=_idempotency_key(request))
        log.target = self._target_of(submission)
        outcome = self._open(log.target, answer_by, need_id=True)
        if outcome.is_open or outcome.name == OutcomeName.DEFERRED:  # a refusal is the caller's to fix
            self._store_unfinished(submission, log, outcome, answer_by)
        return outcome

    # --- POST /webhooks/{sender} --------------------------------------------------------------------------------------

    def _respond_to_webhook(self, request: Request, answer_by: float) -> dict[str, Any]:
        log = SubmissionLog(Trigger.WEBHOOK, request.id)
        logs = [log]  # and one for each submission
        try:
            response = self._process_webhook(request, logs, answer_by)
        except SubmissionError as error:
            response = self._refuse_webhook(error, log)
        except Exception as error:  # noqa: BLE001 as above; HighLevel's webhooks take a 500 for final
            response = self._refuse_webhook(_failed(error), log)
        self._publish(logs, answer_by)
        return response

    def _process_webhook(self, request: Request, logs: list[SubmissionLog], answer_by: float) -> dict[str, Any]:
        """Process each submission. Raises UnauthorizedError, NotStoredError, or InvalidError for an unreadable body."""
        [log] = logs
        sender = self.senders.get(request.sender)
        log.sender = sender.name if sender else None  # not authenticated yet: the log names whose secret is wrong
        if sender and is_ping(sender, request):
            log.write(Outcome(OutcomeName.IGNORED, "ping"), self.settings.metrics_namespace)
            return _webhook_response([Outcome(OutcomeName.IGNORED, "ping")], request.id)
        authenticated = self._authenticate(request, answer_by)
        try:
            submissions = _submissions(authenticated, request.id, self.clock.time())
        except InvalidError as error:
            return self._dead_letter_unreadable(authenticated, error, log, answer_by)
        outcomes: list[Outcome] = []
        for number, submission in enumerate(submissions):
            if number and self.clock.monotonic() > answer_by - 2 * STORE_SECONDS:
                self._enqueue_rest(submissions[number:], log, answer_by)
                outcomes.append(Outcome(OutcomeName.DEFERRED, "deadline"))
                break
            logs.append(replace(log))
            outcome = self._process(submission, logs[-1], answer_by)
            logs[-1].write(outcome, self.settings.metrics_namespace)
            outcomes.append(outcome)
        return _webhook_response(outcomes, request.id)

    def _process(self, submission: Submission, log: SubmissionLog, answer_by: float) -> Outcome:
        """Open the conversation of one submission, or store the submission. Raises NotStoredError."""
        try:
            log.target = self._target_of(submission)
            outcome = self._open(log.target, answer_by)
        except SubmissionError as error:
            outcome = Outcome.from_error(error)
        self._store_unfinished(submission, log, outcome, answer_by)
        if outcome.name in (OutcomeName.REJECTED, OutcomeName.INVALID):
            return replace(outcome, explanation=log.explanation(outcome))
        return outcome

    def _dead_letter_unreadable(
        self, authenticated: Authenticated, error: InvalidError, log: SubmissionLog, answer_by: float
    ) -> dict[str, Any]:
        """Store what cannot be read for the operator.

        Raises the error where the sender sends it again, or where no queue message can hold it; NotStoredError.
        """
        if authenticated.sender.retries or len(authenticated.raw) > MAX_STORED_BYTES:
            raise error
        stored = Submission(
            Trigger.WEBHOOK,
            authenticated.sender.name,
            log.request_id,
            self.clock.time(),
            authenticated.content_type,
            authenticated.raw,
            authenticated.delivery_id,
        )
        outcome = Outcome.from_error(error)
        message, attributes = stored.to_message(), log.dead_letter(outcome)
        self._store(lambda: self.queues.dead_letter(message, **attributes), answer_by)
        log.write(outcome, self.settings.metrics_namespace)
        return _webhook_response([outcome], log.request_id)

    def _enqueue_rest(self, submissions: list[Submission], log: SubmissionLog, answer_by: float) -> None:
        """Store the elements of a large array that do not fit the time; the retry queue dead-letters unusable ones.

        Raises NotStoredError.
        """
        rest = [(submission, self._location_of(submission)) for submission in submissions]
        self._store(lambda: self.queues.enqueue_batch(rest, answer_by), answer_by)
        replace(log).write(Outcome.from_error(DeferredError("deadline")), self.settings.metrics_namespace)

    def _location_of(self, submission: Submission) -> str:
        try:
            return location_of(submission, self.senders, self.settings.location_id)
        except SubmissionError as error:
            return error.location or "unknown"

    def _refuse_webhook(self, error: SubmissionError, log: SubmissionLog) -> dict[str, Any]:
        """Respond with 429 to what is neither done nor stored: a sender that takes a 5xx for final repeats after it."""
        outcome = Outcome.from_error(error)
        log.write(outcome, self.settings.metrics_namespace)
        return problem(_shown(outcome), log.request_id, 429 if isinstance(error, NotStoredError) else None)

    # --- the steps of both --------------------------------------------------------------------------------------------

    def _authenticate(self, request: Request, answer_by: float) -> Authenticated:
        """Verify that the request comes from the sender that it names, and take the sender's secret out of it.

        Raises UnauthorizedError, the same for an unknown sender, none or a wrong secret, a malformed header and a
        sender without locations: only its reason differs, which is for the log. NotStoredError when the secrets cannot
        be read now.
        """
        sender = self.senders.get(request.sender)
        if sender is None:
            raise UnauthorizedError
        try:
            secrets = self._matching_secrets(sender, request, answer_by)
        except SecretMissingError:
            raise UnauthorizedError("sender_has_no_secret") from None
        except (SecretUnavailableError, TimeoutError):
            raise NotStoredError("sender_secrets_unavailable", _SEND_AGAIN, MIN_DELAY_SECONDS) from None
        if lacks_locations(sender, self.settings.location_id):
            raise UnauthorizedError("location_not_allowed")
        return without_secrets(sender, request, secrets)

    def _matching_secrets(self, sender: Sender, request: Request, answer_by: float) -> tuple[str, ...]:
        """Return the secrets of the sender, if one of them authenticates the request. Raises UnauthorizedError.

        Only what may call Secrets Manager runs with a time limit, in another thread.
        """
        text = self.sender_secrets.cached
        if text is None:
            text = self.call_with_time_limit(self.sender_secrets.get, answer_by - self.clock.monotonic())
        secrets = secrets_for(text, sender.name)
        reason = refusal(sender, request, secrets, self.clock.time())
        if not reason:
            return secrets
        # The sender may know a newer one: its secret was rotated a moment ago.
        newer = self.call_with_time_limit(
            lambda: self.sender_secrets.newer_than(text), answer_by - self.clock.monotonic()
        )
        secrets_now = secrets_for(newer, sender.name) if newer is not None else ()
        if newer is not None and not refusal(sender, request, secrets_now, self.clock.time()):
            return secrets_now + secrets
        has_key = secrets or secrets_now or sender.public_keys
        error = UnauthorizedError(reason if has_key else "sender_has_no_secret")
        error.explanation = Explanation(looked_at=credential_places(sender))
        raise error

    def _target_of(self, submission: Submission) -> Target:
        settings = self.settings
        return target_of(submission, self.senders, settings.location_id, settings.writes_messages)

    def _open(self, target: Target, answer_by: float, *, need_id: bool = False) -> Outcome:
        """Open the conversation, then write the message: what that one takes too long for does not change the other."""
        if known := self.opener.known_outcome(target):  # without another thread, as it makes no call
            return known
        until = answer_by - STORE_SECONDS
        deadline = Deadline(until, HIGHLEVEL_SECONDS)
        no_time = Outcome.from_error(DeferredError("deadline"))
        outcome = self._in_time(lambda: self.opener.open(target, deadline), until) or no_time
        if not outcome.is_open:
            return self.opener.not_finished(target, outcome)
        finished = self._in_time(lambda: self.opener.finish(target, outcome, deadline, need_id=need_id), until)
        return finished or self.opener.not_finished(target, outcome, no_time)

    def _in_time(self, step: Callable[[], Outcome], until: float) -> Outcome | None:
        """Return the step's outcome, or None if there is no time for it."""
        left = until - self.clock.monotonic()
        if left <= 0:
            return None
        try:
            return self.call_with_time_limit(step, left)
        except TimeoutError:
            return None

    def _store_unfinished(self, submission: Submission, log: SubmissionLog, outcome: Outcome, answer_by: float) -> None:
        """Store what is left to do in one of the queues. Raises NotStoredError."""
        deferred, failed = outcome.to_retry, outcome.to_dead_letter
        if not (deferred or failed):
            return
        rest = replace(submission, is_reported=outcome.is_open)
        if deferred and (target := log.target):
            self._store(lambda: self.queues.enqueue(rest, target.location, deferred.retry_after), answer_by)
        elif failed:
            message, attributes = rest.to_message(), log.dead_letter(failed)
            self._store(lambda: self.queues.dead_letter(message, **attributes), answer_by)

    def _store(self, store: Callable[[], None], answer_by: float) -> None:
        # Most of its second even when the rest is used up: the sender waits 5 seconds, not 4.
        try:
            self.call_with_time_limit(store, max(answer_by - self.clock.monotonic(), 0.8 * STORE_SECONDS))
        except TimeoutError:
            raise NotStoredError("not_stored", _SEND_AGAIN, MIN_DELAY_SECONDS) from None

    def _publish(self, logs: list[SubmissionLog], answer_by: float) -> None:
        self.results.publish(
            (log.result_detail() for log in logs), min(RESULTS_SECONDS, answer_by - self.clock.monotonic())
        )


def _idempotency_key(request: Request) -> str:
    """Return the caller's id of the delivery, empty if there is none. Raises InvalidError."""
    key = request.headers.get("idempotency-key")
    if key is not None and not re.fullmatch(r"[!-~]{1,128}", key):
        raise InvalidError("invalid_idempotency_key")
    return key or ""


def _submission(trigger: Trigger, authenticated: Authenticated, request_id: str, received_at: float) -> Submission:
    """Make one submission of the delivery. Raises InvalidError for a body that cannot be read."""
    body = authenticated.parsed
    if isinstance(body, InvalidError):
        raise body
    return Submission(
        trigger,
        authenticated.sender.name,
        request_id,
        received_at,
        body.content_type,
        body.raw,
        authenticated.delivery_id,
        body,
    )


def _submissions(authenticated: Authenticated, request_id: str, received_at: float) -> list[Submission]:
    """Make a submission of each element of an array, else the one.

    Raises InvalidError for a body that cannot be read, or has too many: then nothing of it is done.
    """
    whole = _submission(Trigger.WEBHOOK, authenticated, request_id, received_at)
    payload = whole.parsed.payload if whole.parsed else None
    if not isinstance(payload, list):
        return [whole]
    if len(payload) > MAX_SUBMISSIONS:
        raise InvalidError("too_many_submissions", f"An array may have {MAX_SUBMISSIONS} elements: send it in parts.")
    bodies = [Body.of_json(element) for element in payload]
    return [
        replace(whole, body=body.raw, content_type=body.content_type, delivery_id="", parsed=body) for body in bodies
    ]


def _shown(outcome: Outcome) -> Outcome:
    """Return what the caller may see of it: why a request is not authenticated is for the log only."""
    is_unauthorized = outcome.name == OutcomeName.UNAUTHORIZED
    return Outcome.from_error(UnauthorizedError()) if is_unauthorized else outcome


def _failed(error: Exception) -> NotStoredError:
    internal_error(error)
    return NotStoredError("failed", _SEND_AGAIN, MIN_DELAY_SECONDS)


def _webhook_response(outcomes: list[Outcome], request_id: str) -> dict[str, Any]:
    """Name the most severe outcome, and why it is not done, or what it was done without."""
    shown = min(
        outcomes,
        key=lambda outcome: SEVERITY.index(OutcomeName(outcome.name)),
        default=Outcome(OutcomeName.IGNORED),
    )
    body: dict[str, Any] = {"outcome": shown.name, "requestId": request_id}
    if statuses := [status for status in MESSAGE_SEVERITY if status in {each.message for each in outcomes}]:
        body["messageStatus"] = statuses[0]
    if shown.reason and shown.name not in (OutcomeName.OPENED, OutcomeName.EXISTING):
        reason = REASONS[shown.reason]
        detail = shown.detail or reason.advice or f"{reason.title}."
        body |= {"reason": shown.reason, "detail": f"{detail} {shown.explanation}".strip()}
    elif shown.explanation.dropped:
        body["dropped"] = [*shown.explanation.dropped]
    return reply(200, request_id, body)


def _caller_response(outcome: Outcome, request_id: str) -> dict[str, Any]:
    if outcome.name not in (OutcomeName.OPENED, OutcomeName.EXISTING, OutcomeName.DEFERRED):
        return problem(outcome, request_id)
    if outcome.name != OutcomeName.DEFERRED and outcome.body is not None:
        body = outcome.body | {"messageStatus": outcome.message}
        return reply(201 if outcome.name == OutcomeName.OPENED else 200, request_id, body)
    # The conversation's id is not known yet. An existing one is not queued: HighLevel has it, its search lags.
    status = OutcomeName.DEFERRED if outcome.name == OutcomeName.DEFERRED else OutcomeName.EXISTING
    body = {"status": status, "requestId": request_id, "messageStatus": outcome.message}
    return reply(202, request_id, body, retry_after=whole_seconds(outcome.retry_after))
