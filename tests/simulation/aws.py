"""SQS, DynamoDB and Secrets Manager in virtual time, as far as retries depend on them."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent

from create_conversation.aws_client import AwsError, AwsService
from tests.factories import DEAD_LETTER_URL
from tests.simulation.loop import START, Loop
from tests.unit.fakes import FakeDynamoDb

MAX_RECEIVES = 1000
RETENTION_SECONDS = 14 * 86_400.0
MAX_IN_FLIGHT = 120_000
BATCH = 10
POLL_SECONDS = 0.02  # from a message's being visible until Lambda hands it over
DUPLICATES = 1e-4  # of receives: the message stays visible; of deletes: it is not deleted


@dataclass(frozen=True, slots=True)
class Throttle:
    """A service refuses that share of its calls for a while."""

    begin: float
    end: float
    share: float


@dataclass(slots=True)
class _Faults:
    loop: Loop
    rng: random.Random
    code: str
    throttles: list[Throttle]

    def answer(self, operation: str) -> None:
        """Take the time of an answer. Raises AwsError."""
        self.loop.sleep(self.rng.uniform(0.004, 0.012))
        for throttle in self.throttles:
            if throttle.begin <= self.loop.now < throttle.end and self.rng.random() < throttle.share:
                raise AwsError(self.code, operation, 400)


@dataclass(slots=True, eq=False)
class Message:
    number: int
    body: str
    group: str
    sent_at: float
    handle: str = ""  # its id too
    sent_at_text: str = ""  # as SQS shows it
    receives: int = 0
    version: int = 0  # of its visibility: an entry with an older one is void
    is_ready: bool = False
    is_gone: bool = False


@dataclass(slots=True)
class _Group:
    ready: deque[Message] = field(default_factory=deque)
    in_flight: int = 0


class SimulatedSqs(AwsService):
    """Both queues. `dead_letters`: with attributes and time; `moved`: what SQS itself moved after MAX_RECEIVES.

    The retry queue is a fair one, unless `is_fair` is false.
    """

    def __init__(
        self,
        loop: Loop,
        rng: random.Random,
        visibility: float,
        throttles: list[Throttle],
        *,
        is_fair: bool = True,
        duplicates: float = DUPLICATES,
    ) -> None:
        self._duplicates = duplicates
        self._loop = loop
        self._is_fair = is_fair
        self._rng = rng
        self._visibility = visibility
        self._faults = _Faults(loop, rng, "RequestThrottled", throttles)
        self._groups: dict[str, _Group] = {}
        self._delayed: list[tuple[float, int, int, Message]] = []  # a heap: visible when, number, version
        self._leased: deque[tuple[float, int, Message]] = deque()  # the same for the queue's visibility, in its order
        self._pollers: deque[list[Callable[[], object]]] = deque()
        self._alarm: list[Callable[[], object]] = []
        self._alarm_at = float("inf")
        self._ready = 0
        self._in_flight = 0
        self._sent = 0
        self.messages: dict[int, Message] = {}
        self.dead_letters: list[tuple[float, str, dict[str, str]]] = []
        self.moved: list[Message] = []
        self.expired: list[Message] = []  # by retention
        self.receives: list[int] = []  # of each message that has left the queue
        self.received = 0
        self.batches = 0
        self.requests = 0  # of the function and of Lambda, without the polls of an empty queue
        self.function_seconds = 0.0

    # The API

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self.requests += 1
        self._faults.answer(operation)
        if operation == "SendMessage" and arguments["QueueUrl"] == DEAD_LETTER_URL:
            attributes = {name: value["StringValue"] for name, value in arguments["MessageAttributes"].items()}
            self.dead_letters.append((self._loop.now, arguments["MessageBody"], attributes))
        elif operation == "SendMessage":
            self._send(arguments["MessageBody"], arguments["MessageGroupId"], arguments["DelaySeconds"])
        elif operation == "ChangeMessageVisibility":
            self._change([arguments])
        elif operation == "ChangeMessageVisibilityBatch":
            self._change(arguments["Entries"])
        else:
            raise NotImplementedError(operation)
        return {}

    def _send(self, body: str, group: str, delay: float) -> None:
        self._sent += 1
        now = self._loop.now
        group = group if self._is_fair else ""
        message = Message(self._sent, body, group, now, str(self._sent), str(int(1000 * (START + now))))
        self.messages[message.number] = message
        self._groups.setdefault(group, _Group())
        self._hide(message, now + delay)
        self._set_alarm()

    def _change(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            message = self.messages.get(int(entry["ReceiptHandle"]))
            if message is not None and not message.is_ready:
                self._hide(message, self._loop.now + entry["VisibilityTimeout"])
        self._set_alarm()

    # What Lambda does

    def receive(self) -> list[dict[str, Any]]:
        """A batch as Lambda hands it over; waits until there is one."""
        while not (batch := self._take()):
            event = [getcurrent().switch]
            self._pollers.append(event)
            self._set_alarm()
            self._loop.wait(event)
        if self._ready:
            self._wake()
        self.batches += 1
        self.requests += 1
        return [self._record(message) for message in batch]

    def delete(self, message_ids: list[str]) -> None:
        self.requests += bool(message_ids)
        for message_id in message_ids:
            message = self.messages.get(int(message_id))
            if message is not None and self._rng.random() >= self._duplicates:
                self._remove(message)

    def _record(self, message: Message) -> dict[str, Any]:
        return {
            "messageId": message.handle,
            "receiptHandle": message.handle,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.receives),
                "SentTimestamp": message.sent_at_text,
            },
        }

    def _take(self) -> list[Message]:
        self._make_ready()
        batch: list[Message] = []
        while self._ready and len(batch) < BATCH and self._in_flight < MAX_IN_FLIGHT:
            group = self._next_group()
            message = group.ready.popleft()
            self._ready -= 1
            if message.is_gone:
                continue
            if message.receives == MAX_RECEIVES:
                self.moved.append(message)
                self._remove(message)
                continue
            message.is_ready = False
            message.receives += 1
            self.received += 1
            batch.append(message)
            group.in_flight += 1
            self._in_flight += 1
            self._lease(message)
        self._set_alarm()
        return batch

    def _next_group(self) -> _Group:
        """Return the one with the fewest messages in flight: the queue is fair."""
        fewest = MAX_IN_FLIGHT
        for group in self._groups.values():
            if group.ready and group.in_flight < fewest:
                found, fewest = group, group.in_flight
        return found

    def _lease(self, message: Message) -> None:
        now = self._loop.now
        if self._rng.random() < self._duplicates:
            self._hide(message, now)
            return
        message.version += 1
        self._leased.append((now + self._visibility, message.version, message))

    def _make_ready(self) -> None:
        now = self._loop.now
        while self._visible_at() <= now:
            message = self._pop()
            if now - message.sent_at > RETENTION_SECONDS:
                self.expired.append(message)
                self._remove(message)
                continue
            self._come_back(message)
            message.is_ready = True
            self._groups[message.group].ready.append(message)
            self._ready += 1

    def _visible_at(self) -> float:
        """Return when the next message becomes visible. Entries of messages that were hidden again, or are gone, go."""
        delayed, leased = self._delayed, self._leased
        while delayed and delayed[0][2] != delayed[0][3].version:
            heapq.heappop(delayed)
        while leased and leased[0][1] != leased[0][2].version:
            leased.popleft()
        at = delayed[0][0] if delayed else float("inf")
        return min(at, leased[0][0]) if leased else at

    def _pop(self) -> Message:
        """Return the next message that becomes visible, after `_visible_at`."""
        if not self._delayed or (self._leased and self._leased[0][0] < self._delayed[0][0]):
            return self._leased.popleft()[-1]
        return heapq.heappop(self._delayed)[-1]

    def _come_back(self, message: Message) -> None:
        if message.receives and not message.is_ready:
            self._groups[message.group].in_flight -= 1
            self._in_flight -= 1

    def _hide(self, message: Message, until: float) -> None:
        message.version += 1
        heapq.heappush(self._delayed, (until, message.number, message.version, message))

    def _remove(self, message: Message) -> None:
        if message.is_gone:
            return
        self._come_back(message)
        message.is_gone = True
        message.version += 1
        del self.messages[message.number]
        self.receives.append(message.receives)

    def _set_alarm(self) -> None:
        """One event at the next visibility, while an instance polls."""
        at = max(self._loop.now, self._visible_at()) if self._pollers else float("inf")
        if at < self._alarm_at:
            self._alarm.clear()
            self._alarm, self._alarm_at = self._loop.at(at, self._pass_on), at

    def _pass_on(self) -> None:
        self._alarm_at = float("inf")
        self._make_ready()
        if self._ready:
            self._wake()
        self._set_alarm()

    def _wake(self) -> None:
        if self._pollers:
            event = self._pollers.popleft()
            self._loop.at(self._loop.now + POLL_SECONDS, lambda: [switch() for switch in event])


class SimulatedDynamoDb(FakeDynamoDb):
    def __init__(self, loop: Loop, rng: random.Random, throttles: list[Throttle]) -> None:
        super().__init__()
        self._faults = _Faults(loop, rng, "ThrottlingException", throttles)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        self._faults.answer(operation)
        return self._handle(operation, parameters)


class CrashingDynamoDb(AwsService):
    """One instance's client: its process may die before and after a call that writes a claim."""

    def __init__(self, dynamodb: SimulatedDynamoDb, crash: Callable[[str], None]) -> None:
        self._dynamodb = dynamodb
        self._crash = crash

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        is_claim = operation == "UpdateItem" and "claims" in parameters["UpdateExpression"]
        if is_claim:
            self._crash("claim")
        answer = self._dynamodb.call(operation, **parameters)
        if is_claim:
            self._crash("claim")
        return answer


class SimulatedSecretsManager(AwsService):
    def __init__(self, loop: Loop, rng: random.Random, token: str) -> None:
        self._faults = _Faults(loop, rng, "ThrottlingException", [])
        self.token = token

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self._faults.answer(operation)
        return {"SecretString": self.token}
