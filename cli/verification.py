"""What `./hlc verify` looks at, one step after the other, on a stack that is deployed."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.dead_letter_reader import DeadLetter, DeadLetterReader
from cli.known_senders import entries_of, read_secrets, url_of
from cli.log_reader import LogReader
from cli.pausing import allow_retrying, allow_sending, is_retrying_off, pause
from cli.send import Answer, post
from cli.sender import store_secrets
from cli.stack import Stack
from create_conversation.pause import MAX_AGE_SECONDS
from create_conversation.senders.config import load
from create_conversation.senders.verification import secrets_for
from create_conversation.submission import Submission

WEBHOOK_BYTES = 254 * 1024
DELAY_SECONDS = 60.0  # before SQS shows what was stored during a pause
POLL_SECONDS = 1.0
_JSON = "application/json"


class NotSeenError(Exception):
    """A step could not see what it looks for, for a reason that is not a failure."""


class WrongError(Exception):
    """A step saw something else than it should."""


@dataclass
class Verification:
    """One run. `patience`: for how many seconds a step waits for what comes later; `metrics_patience`: for metrics."""

    stack: Stack
    location: str
    contact: str
    patience: float
    metrics_patience: float
    began: float = field(default_factory=time.time)
    marker: str = field(default_factory=lambda: f"verify-{uuid.uuid4().hex[:12]}")
    message_status: str | None = None
    request_ids: list[str] = field(default_factory=list)
    waiting_id: str = ""  # of the request that was answered 202

    @property
    def steps(self) -> tuple[tuple[str, Callable[[], str]], ...]:
        """The steps by what they show; each returns details, or raises NotSeenError or WrongError."""
        return (
            ("a request with a wrong secret gets 401", self._refused),
            ("a conversation is opened (201)", self._opened),
            ("the same request again finds it (200)", self._existing),
            ("the message is written", self._message),
            ("an event on the bus opens a conversation", self._event),
            ("an event without a contact becomes a dead letter", self._dead_letter),
            ("sending can be paused", self._paused),
            ("a request meanwhile gets 202", self._accepted),
            ("a webhook of 254 KiB meanwhile is stored whole", self._stored),
            ("sending is resumed", self._resumed),
            ("each request has its log line", self._log_lines),
            ("the submissions are counted in a metric", self._metrics),
        )

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _refused(self) -> str:
        answer = self._post_conversation("a-wrong-secret-of-this-length", self.contact)
        return _expect(answer, 401)

    def _opened(self) -> str:
        answer = self._post_conversation(self._secret("api"), self.contact)
        self.request_ids.append(answer.request_id)
        self.message_status = _members(answer).get("messageStatus")
        if answer.status == 200:
            raise NotSeenError("HighLevel had this conversation already (200); choose a contact without one to see 201")
        return _expect(answer, 201)

    def _existing(self) -> str:
        answer = self._post_conversation(self._secret("api"), self.contact)
        self.request_ids.append(answer.request_id)
        return _expect(answer, 200)

    def _message(self) -> str:
        if "Message" not in self.stack.parameters:
            raise NotSeenError("this version writes no messages")
        if self.message_status not in ("written", "note"):
            raise WrongError(f"messageStatus is {self.message_status or 'missing'}")
        return f"messageStatus {self.message_status}; look at the contact in HighLevel: it says {self.marker}"

    def _post_conversation(self, secret: str, contact: str) -> Answer:
        body = {"locationId": self.location, "contactId": contact, "message": f"./hlc verify: {self.marker}"}
        headers = {"authorization": f"Bearer {secret}", "content-type": _JSON}
        return post(self.stack.output("ConversationsUrl"), headers, json.dumps(body).encode())

    def _secret(self, sender: str) -> str:
        found = secrets_for(read_secrets(self.stack)[0], sender)
        if not found:
            raise WrongError(f"the sender {sender} has no secret")
        return found[0]

    # --- events -------------------------------------------------------------------------------------------------------

    def _event(self) -> str:
        self._put_event({"locationId": self.location, "contactId": self.contact})
        line = self._wait_for_line(trigger="event", contact_id=self.contact)
        if line["outcome"] not in ("opened", "existing"):
            raise WrongError(f"the outcome is {line['outcome']}, {line.get('reason')}")
        return f"outcome {line['outcome']}"

    def _dead_letter(self) -> str:
        self._put_event({"locationId": self.location, "note": self.marker})
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            if letter := self._take_dead_letter():
                return f"reason {letter.reason}; it was deleted again"
            time.sleep(POLL_SECONDS)
        raise WrongError("there is no such dead letter")

    def _put_event(self, detail: dict[str, str]) -> None:
        entry = {
            "Source": "hlc.verify",
            "DetailType": self.stack.parameters["EventDetailType"],
            "Detail": json.dumps(detail),
            "EventBusName": self.stack.output("EventBus"),
        }
        answer = self.stack.client("events").put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise WrongError(f"EventBridge refuses the event: {answer['Entries'][0].get('ErrorCode')}")

    def _take_dead_letter(self) -> DeadLetter | None:
        """Delete the dead letter of this run, and return it; other ones stay."""
        found: list[DeadLetter] = []
        queue = self.stack.output("DeadLetterQueueUrl")

        def handle(letters: list[DeadLetter]) -> list[str]:
            ours = [each for each in letters if each.submission and self.marker.encode() in each.submission.body]
            for letter in ours:
                self.stack.sqs.delete_message(QueueUrl=queue, ReceiptHandle=letter.receipt_handle)
            found.extend(ours)
            return [letter.id for letter in ours]

        with DeadLetterReader(self.stack.sqs, queue) as reader:
            reader.run(handle)
        return found[0] if found else None

    # --- a pause ------------------------------------------------------------------------------------------------------

    def _paused(self) -> str:
        pause(self.stack, "sending", time.time())
        until = time.monotonic() + 2 * self.patience
        while not is_retrying_off(self.stack):
            if time.monotonic() > until:
                raise WrongError("the event source mapping of the retry queue is still on")
            time.sleep(POLL_SECONDS)
        time.sleep(MAX_AGE_SECONDS + 1)  # each instance reads the pause
        return "the retry queue is not read"

    def _accepted(self) -> str:
        answer = self._post_conversation(self._secret("api"), self.marker)
        self.waiting_id = answer.request_id
        return _expect(answer, 202)

    def _stored(self) -> str:
        sender = load()["token"]
        secret = self._token_secret()
        body = {"email": f"{self.marker}@example.invalid", "text": ""}
        body["text"] = "x" * (WEBHOOK_BYTES - len(json.dumps(body)))
        sent = json.dumps(body).encode()
        headers = {"authorization": f"Bearer {secret}", "content-type": _JSON}
        until = time.monotonic() + self.patience
        answer = post(url_of(self.stack, sender), headers, sent)
        while answer.status == 401 and time.monotonic() < until:  # the secret is new
            time.sleep(POLL_SECONDS)
            answer = post(url_of(self.stack, sender), headers, sent)
        details = _expect(answer, 200)
        if _members(answer).get("outcome") != "deferred":
            raise WrongError(f"the answer is {answer.text[:200]}")
        stored = self._take_waiting(answer.request_id)
        self._take_waiting(self.waiting_id)
        if json.loads(stored.body) != body:
            raise WrongError(f"{len(stored.body)} bytes are stored, and they differ")
        return f"{details}; its {len(sent)} bytes were read from the retry queue, and deleted there"

    def _token_secret(self) -> str:
        """Return the secret of the sender `token`, which is created if there is none."""
        text, version = read_secrets(self.stack)
        found = secrets_for(text, "token")
        if not found:
            found = (uuid.uuid4().hex,)
            store_secrets(self.stack, {**entries_of(text), "token": [found[0]]}, version)
        return found[0]

    def _take_waiting(self, request_id: str) -> Submission:
        """Delete the submission with this request id from the retry queue, and return it; other ones stay."""
        queue = self.stack.output("RetryQueueUrl")
        until = time.monotonic() + DELAY_SECONDS + self.patience
        while time.monotonic() < until:
            received = self.stack.sqs.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=5, WaitTimeSeconds=2
            )
            for message in received.get("Messages", []):
                submission = Submission.from_message(message["Body"])
                if submission.request_id == request_id:
                    self.stack.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                    return submission
        raise WrongError("it is not in the retry queue")

    def _resumed(self) -> str:
        self.resume()
        return "the retry queue is read again"

    def resume(self) -> None:
        """End the pause."""
        allow_sending(self.stack, time.time())
        allow_retrying(self.stack)

    # --- what was written about it ------------------------------------------------------------------------------------

    def _log_lines(self) -> str:
        for request_id in self.request_ids:
            self._wait_for_line(request_id=request_id)
        return f"{len(self.request_ids)} lines in {self.stack.output('LogGroupName')}"

    def _wait_for_line(self, **members: str) -> dict[str, Any]:
        wanted = {"message": "submission", **members}
        reader = LogReader(self.stack.logs, self.stack.output("LogGroupName"), self.began - 60, wanted)
        until = time.monotonic() + self.patience
        while True:
            for line in _objects(reader):
                if line.items() >= wanted.items():
                    return line
            if time.monotonic() > until:
                raise WrongError(
                    f"there is no log line with {', '.join(f'{name} {of}' for name, of in members.items())}"
                )
            time.sleep(POLL_SECONDS)

    def _metrics(self) -> str:
        metrics = self.stack.client("cloudwatch")
        until = time.monotonic() + self.metrics_patience
        while True:
            found = sum(self._count(metrics, outcome) for outcome in ("opened", "existing"))
            if found:
                return f"{found:.0f} submissions"
            if time.monotonic() > until:
                raise NotSeenError("CloudWatch shows none yet; it can take minutes")
            time.sleep(10 * POLL_SECONDS)

    def _count(self, metrics: Any, outcome: str) -> float:
        now = datetime.now(UTC)
        answer = metrics.get_metric_statistics(
            Namespace=self.stack.name,
            MetricName="Submissions",
            Dimensions=[{"Name": "outcome", "Value": outcome}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )
        return float(sum(point["Sum"] for point in answer["Datapoints"]))


def _expect(answer: Answer, status: int) -> str:
    if answer.status != status:
        raise WrongError(f"the answer is {answer.status}: {answer.text[:200]}")
    return f"request id {answer.request_id or '-'}"


def _members(answer: Answer) -> dict[str, Any]:
    try:
        members = json.loads(answer.text)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _objects(reader: LogReader) -> Iterator[dict[str, Any]]:
    for event in reader.new():
        try:
            line = json.loads(event["message"])
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line
