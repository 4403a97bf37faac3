"""Lambda in virtual time: instances of the function, wired as `app.py` does, that take batches of the retry queue."""

import random
from dataclasses import dataclass, replace

from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.contact_step import ContactStep
from create_conversation.highlevel_calls import HighLevelCalls
from create_conversation.idempotency import IdempotencyStore
from create_conversation.location_tokens import LocationTokens
from create_conversation.message_claims import ClaimStore
from create_conversation.message_step import MessageStep
from create_conversation.open_conversation import ConversationOpener
from create_conversation.pause import MAX_AGE_SECONDS, Pause
from create_conversation.queues import Queues
from create_conversation.rate_limit import RateLimits
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.config import load
from create_conversation.settings import Settings
from create_conversation.token_provider import TokenProvider
from create_conversation.triggers.retry_queue import RetryQueueHandler
from tests.factories import DEAD_LETTER_URL, RETRY_URL
from tests.simulation.aws import CrashingDynamoDb, SimulatedDynamoDb, SimulatedSecretsManager, SimulatedSqs
from tests.simulation.highlevel import HighLevelModel, SimulatedHighLevel
from tests.simulation.loop import Group, Loop

TIMEOUT_SECONDS = 30.0
COLD_START_SECONDS = 0.6
# As in a stack without LocationId whose webhook senders may name each location.
_SENDERS = {name: replace(sender, locations=("*",)) for name, sender in load().items()}


@dataclass(frozen=True, slots=True)
class Account:
    """What the instances share. `killed`: the share of batches in which the process dies."""

    loop: Loop
    settings: Settings
    highlevel: HighLevelModel
    sqs: SimulatedSqs
    dynamodb: SimulatedDynamoDb
    secrets: SimulatedSecretsManager
    rng: random.Random
    killed: float = 0.0
    pauses: tuple[tuple[float, float], ...] = ()  # of sending, by `./hlc pause`
    is_mapping_off: bool = True  # during a pause
    consumers: int = 2
    crashes: float = 0.0  # the share of claims and of writing calls before which, and after which, the process dies

    def pause_and_resume(self) -> None:
        """Set the item and remove it, as the commands do."""
        for begin, end in self.pauses:
            self.loop.sleep(begin - self.loop.now)
            self.dynamodb.items["pause"] = {"sending_paused": {"BOOL": True}}
            self.loop.sleep(end - self.loop.now)
            del self.dynamodb.items["pause"]

    def queue(self) -> Queues:
        return Queues(self.sqs, RETRY_URL, DEAD_LETTER_URL, self.loop)

    def instance(self, group: Group) -> RetryQueueHandler:
        """With nothing in its memory, as a new one."""
        loop, settings = self.loop, self.settings

        def crash(_where: str) -> None:
            if self.crashes and self.rng.random() < self.crashes:
                group.crash()

        dynamodb = CrashingDynamoDb(self.dynamodb, crash)
        highlevel, breaker = SimulatedHighLevel(self.highlevel, crash), CircuitBreaker(loop)
        records = IdempotencyStore(dynamodb, settings.records_table, settings.record_ttl, loop)
        secret = CachedSecret(self.secrets, settings.highlevel_token_arn, 300.0, loop)
        tokens = TokenProvider(secret, LocationTokens(secret, highlevel, records, breaker, loop), loop)
        calls = HighLevelCalls(highlevel, tokens, breaker, RateLimits(loop, self.consumers), Pause(records, loop), loop)
        claims = ClaimStore(dynamodb, settings.records_table, loop, lambda: f"{self.rng.getrandbits(64):x}")
        messages = MessageStep(calls, claims, settings.message, loop)
        flow = ConversationOpener(
            calls, records, ContactStep(calls, claims, loop), messages, settings.mark_unread, loop
        )
        rng = random.Random(self.rng.random())
        results = ResultEvents(self.secrets, None, settings.metrics_namespace, loop)
        return RetryQueueHandler(settings, _SENDERS, flow, self.queue(), rng, results, loop, group.side_by_side)

    def consume(self) -> None:
        """One of the event source mapping's consumers, for ever: an instance at a time."""
        group = Group(self.loop)
        handler: RetryQueueHandler | None = None
        while True:
            for begin, end in self.pauses:  # `./hlc resume` turns the event source mapping on last
                if self.is_mapping_off and begin <= self.loop.now < end + MAX_AGE_SECONDS:
                    self.loop.sleep(end + MAX_AGE_SECONDS - self.loop.now)
            records = self.sqs.receive()
            if handler is None:
                self.loop.sleep(COLD_START_SECONDS)
                handler = self.instance(group)
            failed: set[str] | None = None

            def handle(handler: RetryQueueHandler = handler, records: object = records) -> None:
                nonlocal failed
                answer = handler.handle({"Records": records}, None)
                failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}

            started = self.loop.now
            has_ended = group.run(handle, self._life())
            self.sqs.function_seconds += self.loop.now - started
            if has_ended and failed is not None:
                self.sqs.delete([record["messageId"] for record in records if record["messageId"] not in failed])
            else:
                handler = None

    def _life(self) -> float:
        """Seconds until the process ends, of old age or by a crash."""
        if self.killed and self.rng.random() < self.killed:
            return self.rng.uniform(0.0, 3.0)
        return TIMEOUT_SECONDS
