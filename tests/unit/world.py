"""The real parts put together over a local HighLevel; only AWS is a fake."""

import json
import random
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.contact_step import ContactStep
from create_conversation.highlevel_calls import HighLevelCalls
from create_conversation.idempotency import IdempotencyStore
from create_conversation.location_tokens import LocationTokens
from create_conversation.message_claims import ClaimStore
from create_conversation.message_step import MessageStep
from create_conversation.open_conversation import ConversationOpener, Deadline
from create_conversation.outcome import Outcome
from create_conversation.pause import Pause
from create_conversation.queues import Queues
from create_conversation.rate_limit import RateLimits
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.config import TRUSTED, Sender
from create_conversation.senders.mapping import Target
from create_conversation.settings import Settings
from create_conversation.token_provider import TokenProvider
from create_conversation.triggers.eventbridge import EventBridgeHandler
from create_conversation.triggers.http_api import HttpApiHandler
from create_conversation.triggers.retry_queue import RetryQueueHandler
from highlevel.client import HighLevel
from local.highlevel import LocalHighLevel
from tests.factories import (
    API_SECRET,
    CONTACT,
    DEAD_LETTER_URL,
    LOCATION,
    REQUEST_ID,
    RETRY_URL,
    SETTINGS,
    TOKEN_SECRET,
)
from tests.samples import SENDERS as PRESETS
from tests.unit.fakes import FakeDynamoDb, FakeEventBridge, FakeSecretsManager, FakeSqs

TOKEN = "pit-11111111-2222-3333-4444-555555555555"
NEW_TOKEN = "pit-99999999-8888-7777-6666-555555555555"
# Most tests have a stack without LocationId, where a webhook sender needs `locations`.
SENDERS = {name: each if name in TRUSTED else replace(each, locations=("*",)) for name, each in PRESETS.items()}
CONTEXT = SimpleNamespace(aws_request_id="8d39a5ea-5a7b-4bd4-a0de-0a5d6f6d1c11")


@dataclass
class World:
    """The handlers over a local HighLevel and fake AWS services, in one Lambda environment. `settings` and `senders`
    may be replaced before a handler is used."""

    highlevel: LocalHighLevel
    settings: Settings = SETTINGS
    senders: dict[str, Sender] = field(default_factory=PRESETS.copy)
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
        """Store what `./hlc pause` stores."""
        self.dynamodb.items["pause"] = {"sending_paused": {"BOOL": True}}
        self.flow = self.environment(self.token)

    def environment(
        self, token: CachedSecret | None = None, breaker: CircuitBreaker | None = None
    ) -> ConversationOpener:
        """The use case with empty caches, as in a new Lambda environment, over the same AWS and HighLevel."""
        highlevel, breaker = HighLevel(self.highlevel.url), breaker or CircuitBreaker()
        records = IdempotencyStore(self.dynamodb, "Records", 86400.0)
        token = token or CachedSecret(self.secrets, "HighLevelToken", 300.0)
        tokens = TokenProvider(token, LocationTokens(token, highlevel, records, breaker))
        calls = HighLevelCalls(highlevel, tokens, breaker, self.quota, Pause(records))
        claims = ClaimStore(self.dynamodb, "Records")
        messages = MessageStep(calls, claims, self.settings.message)
        return ConversationOpener(calls, records, ContactStep(calls, claims), messages, self.settings.mark_unread)

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
        return self.flow.finish(target, self.flow.open(target, deadline), deadline, need_id=need_id)

    def post(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.handle(event, CONTEXT)
        request_id = REQUEST_ID if REQUEST_ID in str(event) else CONTEXT.aws_request_id
        assert answer["headers"]["x-request-id"] == request_id
        return answer

    def retry(self, *records: dict[str, Any]) -> list[str]:
        """Handle the records; return the ids of the messages that stay in the queue."""
        answer = self.retries.handle({"Records": list(records)}, CONTEXT)
        return sorted(failure["itemIdentifier"] for failure in answer["batchItemFailures"])

    def events_published(self) -> list[tuple[str, dict[str, Any]]]:
        """The detail-type and the detail of each result event."""
        entries = [entry for call in self.eventbridge.named("PutEvents") for entry in call["Entries"]]
        assert all((entry["Source"], entry["EventBusName"]) == ("highlevel-conversations", "bus") for entry in entries)
        return [(entry["DetailType"], json.loads(entry["Detail"])) for entry in entries]

    def queued(self) -> list[dict[str, Any]]:
        return self.sqs.sent(RETRY_URL)

    def dead_letters(self) -> list[dict[str, Any]]:
        return self.sqs.sent(DEAD_LETTER_URL)

    def reasons(self) -> list[str]:
        return [letter["MessageAttributes"]["reason"]["StringValue"] for letter in self.dead_letters()]

    def waits(self) -> dict[str, int]:
        """The last visibility timeout of each message that was changed alone."""
        calls = self.sqs.named("ChangeMessageVisibility")
        return {call["ReceiptHandle"]: call["VisibilityTimeout"] for call in calls}


def attributes(letter: dict[str, Any]) -> dict[str, str]:
    """A dead letter's attributes without the first time, which differs, and the detail, which is text."""
    given = letter["MessageAttributes"].items()
    return {name: value["StringValue"] for name, value in given if name not in ("first_time", "detail")}
