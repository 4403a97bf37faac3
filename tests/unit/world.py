"""The real parts put together over a local HighLevel; only AWS is a fake."""

import json
import random
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.idempotency import IdempotencyStore
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.queues import Queues
from create_conversation.rate_limit import RateLimits
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.config import TRUSTED, Sender, load
from create_conversation.senders.mapping import Target
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from create_conversation.token_provider import TokenProvider
from create_conversation.triggers.eventbridge import EventBridgeHandler
from create_conversation.triggers.http_api import HttpApiHandler
from create_conversation.triggers.retry_queue import RetryQueueHandler
from highlevel.client import HighLevel
from local.highlevel import LocalHighLevel
from tests.unit.fakes import FakeDynamoDb, FakeEventBridge, FakeSecretsManager, FakeSqs

ROOT = Path(__file__).parents[2]
TOKEN = "pit-11111111-2222-3333-4444-555555555555"
NEW_TOKEN = "pit-99999999-8888-7777-6666-555555555555"
API_SECRET = "api-secret-of-forty-characters-0123456789"
TOKEN_SECRET = "the-secret-of-the-sender-named-token"
LOCATION = "ve9EPM428h8vShlRW1KT"
CONTACT = "ocQHyuzHvysMo5N5VsXc"
RETRY_URL = "https://sqs.invalid/retry"
DEAD_LETTER_URL = "https://sqs.invalid/dead-letters"
# Most tests have a stack without LocationId, where a webhook sender needs `locations`.
SENDERS = {name: each if name in TRUSTED else replace(each, locations=("*",)) for name, each in load().items()}
CONTEXT = SimpleNamespace(aws_request_id="8d39a5ea-5a7b-4bd4-a0de-0a5d6f6d1c11")

SETTINGS = Settings(
    highlevel_base_url="http://127.0.0.1:1",
    highlevel_version="2021-04-15",
    highlevel_token_arn="HighLevelToken",
    sender_secrets_arn="SenderSecrets",
    records_table="Records",
    retry_queue_url=RETRY_URL,
    dead_letter_queue_url=DEAD_LETTER_URL,
    metrics_namespace="unit",
    location_id=None,
    give_up_after=72 * 3600.0,
    backoff_cap=900.0,
    record_ttl=86400.0,
)


def sample(name: str, directory: str = "events") -> Any:
    return json.loads((ROOT / directory / f"{name}.json").read_text())


def request(location: str | None = LOCATION, contact: str | None = CONTACT) -> dict[str, str]:
    named = {"locationId": location, "contactId": contact}
    return {name: value for name, value in named.items() if value is not None}


def gateway_event(body: str | None = None, *, age: float = 0.0, **headers: str | None) -> dict[str, Any]:
    """A good POST /conversations as API Gateway took it `age` seconds ago; a header that is None is left out."""
    event: dict[str, Any] = sample("http_conversation")
    event["requestContext"]["timeEpoch"] = int(1000 * (time.time() - age))
    event["headers"]["authorization"] = f"Bearer {API_SECRET}"
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    event["headers"] = {name: value for name, value in event["headers"].items() if value is not None}
    event["body"] = json.dumps(request()) if body is None else body
    return event


def webhook_event(
    body: object, sender: str = "token", *, secret: str | None = TOKEN_SECRET, **headers: str | None
) -> dict[str, Any]:
    """A delivery to POST /webhooks/{sender}; a body that is no text is sent as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    event = gateway_event(text, age=0.0, **{"authorization": None if secret is None else f"Bearer {secret}"} | headers)
    path = {"rawPath": f"/webhooks/{sender}", "pathParameters": {"sender": sender}}
    return event | {"routeKey": "POST /webhooks/{sender}", **path}


def submission(**changes: Any) -> Submission:
    body = json.dumps(request()).encode()
    return replace(Submission("http", "api", "request-1", time.time(), "application/json", body), **changes)


def sqs_record(message: str, number: int = 1, *, receives: int = 1, age: float = 10.0) -> dict[str, Any]:
    """A message as Lambda hands it over, `age` seconds after it was sent."""
    record: dict[str, Any] = sample("retry_batch")["Records"][0]
    record |= {"messageId": f"message-{number}", "receiptHandle": f"handle-{number}", "body": message}
    record["attributes"]["ApproximateReceiveCount"] = str(receives)
    record["attributes"]["SentTimestamp"] = str(int(1000 * (time.time() - age)))
    return record


@dataclass
class World:
    """`settings` and `senders` may be replaced before a door is taken."""

    highlevel: LocalHighLevel
    settings: Settings = SETTINGS
    senders: dict[str, Sender] = field(default_factory=load)
    secrets: FakeSecretsManager = field(
        default_factory=lambda: FakeSecretsManager(
            HighLevelToken=TOKEN, SenderSecrets=json.dumps({"api": [API_SECRET], "token": TOKEN_SECRET})
        )
    )
    dynamodb: FakeDynamoDb = field(default_factory=FakeDynamoDb)
    sqs: FakeSqs = field(default_factory=FakeSqs)
    eventbridge: FakeEventBridge = field(default_factory=FakeEventBridge)

    def __post_init__(self) -> None:
        self.token = CachedSecret(self.secrets, "HighLevelToken", 300.0)
        self.sender_secrets = CachedSecret(self.secrets, "SenderSecrets", 60.0)
        self.quota = RateLimits()
        self.queue = Queues(self.sqs, RETRY_URL, DEAD_LETTER_URL)
        self.results = ResultEvents(self.eventbridge, "bus", "unit")
        self.flow = self.environment(self.token)

    def pause(self) -> None:
        """What a deployment with Paused=true makes of the function."""
        self.settings = replace(self.settings, paused=True)
        self.flow = self.environment(self.token)

    def environment(
        self, token: CachedSecret | None = None, breaker: CircuitBreaker | None = None
    ) -> ConversationOpener:
        """A flow with nothing in its memory, as a new Lambda environment has it, over the same AWS and HighLevel."""
        highlevel, breaker = HighLevel(self.highlevel.url), breaker or CircuitBreaker()
        records = IdempotencyStore(self.dynamodb, "Records", 86400.0)
        tokens = TokenProvider(
            token or CachedSecret(self.secrets, "HighLevelToken", 300.0), highlevel, records, breaker
        )
        return ConversationOpener(highlevel, tokens, records, breaker, self.quota, paused=self.settings.paused)

    @property
    def http(self) -> HttpApiHandler:
        return HttpApiHandler(self.settings, self.senders, self.sender_secrets, self.flow, self.queue, self.results)

    @property
    def events(self) -> EventBridgeHandler:
        return EventBridgeHandler(self.settings, self.senders, self.flow, self.queue, self.results)

    @property
    def retries(self) -> RetryQueueHandler:
        return RetryQueueHandler(self.settings, self.senders, self.flow, self.queue, random.Random(1), self.results)

    def open(self, contact: str = CONTACT, *, location: str = LOCATION, **options: Any) -> Outcome:
        return self.open_for(Target(location, contact), **options)

    def open_for(
        self,
        target: Target,
        *,
        within: float = 3.0,
        attempt_seconds: float = 2.5,
        in_background: bool = False,
        need_id: bool = False,
    ) -> Outcome:
        deadline = Deadline(time.monotonic() + within, attempt_seconds, in_background)
        return self.flow.open(target, deadline, need_id=need_id)

    def post(self, event: dict[str, Any]) -> dict[str, Any]:
        return self.http.handle(event, CONTEXT)

    def retry(self, *records: dict[str, Any]) -> list[str]:
        """The ids of the messages that stay in the queue."""
        answer = self.retries.handle({"Records": list(records)}, CONTEXT)
        return sorted(failure["itemIdentifier"] for failure in answer["batchItemFailures"])

    def events_published(self) -> list[tuple[str, dict[str, Any]]]:
        """The detail-type and the detail of each result event."""
        entries = [entry for call in self.eventbridge.named("PutEvents") for entry in call["Entries"]]
        assert all((entry["Source"], entry["EventBusName"]) == ("highlevel-conversations", "bus") for entry in entries)
        return [(entry["DetailType"], json.loads(entry["Detail"])) for entry in entries]

    def kept(self) -> list[dict[str, Any]]:
        return self.sqs.sent(RETRY_URL)

    def dead_letters(self) -> list[dict[str, Any]]:
        return self.sqs.sent(DEAD_LETTER_URL)

    def reasons(self) -> list[str]:
        return [letter["MessageAttributes"]["reason"]["StringValue"] for letter in self.dead_letters()]

    def waits(self) -> dict[str, int]:
        """The last visibility of each message that was put off by itself."""
        calls = self.sqs.named("ChangeMessageVisibility")
        return {call["ReceiptHandle"]: call["VisibilityTimeout"] for call in calls}
