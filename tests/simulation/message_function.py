"""The function in Lambda, all triggers, over the simulated inbox: any of its calls may fail or end the process."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from create_conversation.aws_client import AwsError, AwsService
from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.contact_step import ContactStep
from create_conversation.highlevel_calls import HighLevelCalls
from create_conversation.idempotency import IdempotencyStore
from create_conversation.location_tokens import LocationTokens
from create_conversation.message_claims import ClaimStore
from create_conversation.message_step import MessageStep
from create_conversation.open_conversation import ConversationOpener
from create_conversation.pause import Pause
from create_conversation.queues import Queues
from create_conversation.rate_limit import RateLimits
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.config import TRUSTED, load
from create_conversation.token_provider import TokenProvider
from create_conversation.triggers.eventbridge import EventBridgeHandler
from create_conversation.triggers.http_api import HttpApiHandler
from create_conversation.triggers.retry_queue import RetryQueueHandler
from highlevel.client import HighLevel
from tests.factories import DEAD_LETTER_URL, RETRY_URL, SETTINGS
from tests.simulation.aws import SimulatedDynamoDb, SimulatedSqs, Throttle
from tests.simulation.inbox import InboxModel, InboxNetwork, number_of
from tests.simulation.instances import COLD_START_SECONDS, TIMEOUT_SECONDS
from tests.simulation.loop import Loop
from tests.simulation.message_rows import TableFault
from tests.simulation.processes import Process

VISIBILITY_SECONDS = 450.0
TOKEN = "pit-11111111-2222-3333-4444-555555555555"
SECRETS = {
    "api": "the-secret-of-the-callers",
    "token": "the-secret-of-the-form-builder",
    "standard-webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "unsigned-id": "the-secret-of-the-sender-whose-id-is-not-signed",
}
_LOADED = {name: each if name in TRUSTED else replace(each, locations=("*",)) for name, each in load().items()}
SENDERS = _LOADED | {
    "unsigned-id": replace(_LOADED["standard-webhooks"], name="unsigned-id", signed="{ts}.{body}", key_format="plain")
}


class Sqs(SimulatedSqs):
    """Refuses some deliveries, as often as their row says. `redriven`: dead letters that were sent again."""

    def __init__(self, loop: Loop, rng: random.Random, throttles: list[Throttle]) -> None:
        super().__init__(loop, rng, VISIBILITY_SECONDS, throttles)
        self.refusals: Counter[str] = Counter()  # by location
        self.redriven = 0

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        about = arguments.get("MessageGroupId", "") if operation == "SendMessage" else ""
        if self.refusals[about] > 0:
            self.refusals[about] -= 1
            raise AwsError("ServiceUnavailable", operation, 503)
        return super().call(operation, **arguments)

    def redrive(self) -> None:
        """Send all dead letters to the retry queue again, as `./hlc redrive` does."""
        letters, self.dead_letters = self.dead_letters, []
        for _, body, attributes in letters:
            self._send(body, attributes["location"], 0.0)
        self.redriven += len(letters)


class Table(SimulatedDynamoDb):
    """Fails for single people: `down` until then, `claims` by the number of the message's claim write."""

    def __init__(self, loop: Loop, rng: random.Random, throttles: list[Throttle]) -> None:
        super().__init__(loop, rng, throttles)
        self._loop = loop
        self.down: dict[int, float] = {}
        self.claims: dict[int, list[TableFault]] = {}

    def of(self, process: Process) -> "_TableOfProcess":
        return _TableOfProcess(self, self._loop, process)


class _TableOfProcess(AwsService):
    """The table as one instance calls it: a fault may end its process."""

    def __init__(self, table: Table, loop: Loop, process: Process) -> None:
        self._table = table
        self._loop = loop
        self._process = process

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        table, key = self._table, _key_of(arguments)
        person = number_of(key) if "contact-" in key else -1
        if self._loop.now < table.down.get(person, 0.0):
            raise AwsError("ServiceUnavailable", operation, 503)
        planned = table.claims.get(person) if operation == "UpdateItem" and key.startswith("message#") else None
        kind = planned.pop(0).kind if planned else "none"
        if kind == "dies":
            self._process.die()
        if kind == "refused":
            raise AwsError("ThrottlingException", operation, 400)
        if kind == "timeout":
            self._loop.sleep(1.0)
            raise AwsError("ReadTimeoutError", operation)
        answer = table.call(operation, **arguments)
        if kind == "dies after":
            self._process.die()
        if kind == "timeout after":
            self._loop.sleep(1.0)
            raise AwsError("ReadTimeoutError", operation)
        return answer


def _key_of(arguments: dict[str, Any]) -> str:
    if "Key" in arguments:
        return str(arguments["Key"]["pk"]["S"])
    [asked] = arguments["RequestItems"].values()
    return str(asked["Keys"][-1]["pk"]["S"])


class Secrets(AwsService):
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self._loop.sleep(0.01)
        is_token = arguments["SecretId"] == SETTINGS.highlevel_token_arn
        return {"SecretString": TOKEN if is_token else json.dumps(SECRETS)}


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of the function, wired as `app.py` does."""

    process: Process
    http: HttpApiHandler
    events: EventBridgeHandler
    retries: RetryQueueHandler


@dataclass(frozen=True, slots=True)
class Function:
    """The function in Lambda: requests and events take an instance that is free, or a new one."""

    loop: Loop
    highlevel: InboxModel
    sqs: Sqs
    table: Table
    rng: random.Random
    message: str = "comment"
    free: list[Instance] = field(default_factory=list)

    def new_instance(self) -> Instance:
        loop, settings = self.loop, replace(SETTINGS, message=self.message)
        process = Process(loop)
        dynamodb, secrets = self.table.of(process), Secrets(loop)
        network = InboxNetwork(self.highlevel, process, random.Random(self.rng.random()))
        highlevel = HighLevel("http://127.0.0.1:1", clock=loop, exchange=network.exchange)
        breaker = CircuitBreaker(loop)
        records = IdempotencyStore(dynamodb, settings.records_table, settings.record_ttl, loop)
        token = CachedSecret(secrets, settings.highlevel_token_arn, 300.0, loop)
        sender_secrets = CachedSecret(secrets, settings.sender_secrets_arn, 60.0, loop)
        tokens = TokenProvider(token, LocationTokens(token, highlevel, records, breaker, loop), loop)
        calls = HighLevelCalls(highlevel, tokens, breaker, RateLimits(loop), Pause(records, loop), loop)
        claims = ClaimStore(dynamodb, settings.records_table, loop, lambda: f"{self.rng.getrandbits(64):016x}")
        messages = MessageStep(calls, claims, settings.message, loop)
        opener = ConversationOpener(
            calls, records, ContactStep(calls, claims, loop), messages, settings.mark_unread, loop
        )
        queues = Queues(self.sqs, RETRY_URL, DEAD_LETTER_URL, loop)
        results = ResultEvents(secrets, None, settings.metrics_namespace, loop)
        jitter = random.Random(self.rng.random())
        return Instance(
            process,
            HttpApiHandler(
                settings,
                SENDERS,
                sender_secrets,
                opener,
                queues,
                results,
                loop,
                process.call_with_time_limit,
            ),
            EventBridgeHandler(settings, SENDERS, opener, queues, results, loop),
            RetryQueueHandler(settings, SENDERS, opener, queues, jitter, results, loop, process.side_by_side),
        )

    def invoke[Answer](self, handle: Callable[[Instance], Answer]) -> Answer | None:
        """Return the answer; None if the process died."""
        if self.free:
            instance = self.free.pop()
        else:
            instance = self.new_instance()
            self.loop.sleep(COLD_START_SECONDS)
        answers: list[Answer] = []
        if instance.process.run(lambda: answers.append(handle(instance)), TIMEOUT_SECONDS):
            self.free.append(instance)
        return answers[0] if answers else None

    def consume(self) -> None:
        """One of the event source mapping's consumers, for ever."""
        while True:
            records = self.sqs.receive()
            event = {"Records": records}
            answer = self.invoke(lambda instance, event=event: instance.retries.handle(event, None))  # type: ignore[misc]
            if answer is not None:
                failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
                self.sqs.delete([record["messageId"] for record in records if record["messageId"] not in failed])
