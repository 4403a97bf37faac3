"""Fake AWS services: they check arguments against AWS's model, record calls and hold their state in memory."""

import itertools
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from operator import eq, ge, gt, le, lt
from typing import Any

import botocore.session
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from create_conversation.aws_client import AwsError, AwsService


def refusal(code: str, operation: str = "Operation") -> AwsError:
    """AWS refuses the call."""
    return AwsError(code, operation, 400)


def no_answer(operation: str = "Operation") -> AwsError:
    """AWS cannot be reached."""
    return AwsError("NewConnectionError", operation)


class FakeAws(AwsService):
    """The service named `service`. `error`: raised by each call. `hang`: seconds each call takes, then it fails as a
    read timeout does."""

    service = ""

    def __init__(self) -> None:  # no connections
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.hang = 0.0
        self._released = threading.Event()

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        self.check(operation, parameters)
        return self.answer(operation, parameters)

    def check(self, operation: str, parameters: dict[str, Any]) -> None:
        model = _model(self.service).operation_model(operation).input_shape
        assert model is not None
        report = ParamValidator().validate(parameters, model)
        assert not report.has_errors(), report.generate_report()

    def answer(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, parameters))
        if self.hang:
            self._released.wait(self.hang)
            raise AwsError("ReadTimeoutError", operation)
        if self.error is not None:
            raise self.error
        return self.handle(operation, parameters)

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def release(self) -> None:
        """End the calls that hang, because the test is over."""
        self._released.set()

    def named(self, operation: str) -> list[dict[str, Any]]:
        """The arguments of each call of one operation."""
        return [parameters for name, parameters in self.calls if name == operation]


class FakeClient(FakeAws):
    """The same as a client of botocore: the operations are methods, and a refusal is a ClientError."""

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**parameters: Any) -> dict[str, Any]:
            self.check("".join(word.capitalize() for word in operation.split("_")), parameters)
            return self.answer(operation, parameters)

        return call


class FakeSecretsManager(FakeAws):
    """`texts`: by ARN; None for a secret that was never given a value."""

    service = "secretsmanager"

    def __init__(self, **texts: str | None) -> None:
        super().__init__()
        self.texts = texts

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        text = self.texts[parameters["SecretId"]]
        if text is None:
            raise refusal("ResourceNotFoundException", "GetSecretValue")
        return {"SecretString": text}


class FakeDynamoDb(FakeAws):
    """One table; `items` by their key `pk`. `now`: the Unix time from which `put` counts."""

    service = "dynamodb"

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._now = now
        self.items: dict[str, dict[str, Any]] = {}
        self._one_at_a_time = threading.Lock()

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._one_at_a_time:
            return self._handle(operation, parameters)

    def _handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation == "BatchGetItem":
            return {"Responses": {table: self._items(asked) for table, asked in parameters["RequestItems"].items()}}
        pk = parameters["Key"]["pk"]["S"]
        if operation == "GetItem":
            return {"Item": dict(self.items[pk])} if pk in self.items else {}
        assert operation == "UpdateItem"
        values = parameters.get("ExpressionAttributeValues", {})
        condition = parameters.get("ConditionExpression")
        if condition and not any(
            all(_holds(term, self.items.get(pk, {}), values) for term in terms.split(" AND "))
            for terms in condition.split(" OR ")
        ):
            raise refusal("ConditionalCheckFailedException", "UpdateItem")
        item = self.items.setdefault(pk, {"pk": {"S": pk}})
        sets, _, removes = parameters["UpdateExpression"].partition(" REMOVE ")
        for name, value in re.findall(r"(\w+) = (:\w+)", sets):
            item[name] = values[value]
        for name, value in re.findall(r"(\w+) = if_not_exists\(\w+, (:\w+)\)", sets):
            item.setdefault(name, values[value])
        for name in re.findall(r"\w+", removes):
            item.pop(name, None)
        return {"Attributes": dict(item)} if parameters.get("ReturnValues") == "ALL_NEW" else {}

    def _items(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        found = (self.items.get(key["pk"]["S"]) for key in asked["Keys"])
        return [{"pk": key["pk"], **item} for key, item in zip(asked["Keys"], found, strict=True) if item is not None]

    def put(self, location: str, contact: str, conversation: str | None, expires_in: float = 60.0) -> None:
        pk = f"contact#{location}#{contact}"
        self.items[pk] = {"pk": {"S": pk}, "expires_at": {"N": str(int(self._now() + expires_in))}}
        if conversation is not None:
            self.items[pk]["conversation_id"] = {"S": conversation}


class FakeSqs(FakeAws):
    service = "sqs"

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return {}

    def sent(self, url: str) -> list[dict[str, Any]]:
        """The messages sent to a queue, singly or in batches."""
        batches = (batch["Entries"] for batch in self.named("SendMessageBatch") if batch["QueueUrl"] == url)
        single = [message for message in self.named("SendMessage") if message["QueueUrl"] == url]
        return [*single, *itertools.chain.from_iterable(batches)]


class SlowSqs(FakeSqs):
    """Each call takes that many seconds, and succeeds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self._seconds)
        return {}


class FakeEventBridge(FakeAws):
    """`refused`: the error code that each entry is answered with."""

    service = "events"

    def __init__(self) -> None:
        super().__init__()
        self.refused = ""

    def handle(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = {"ErrorCode": self.refused} if self.refused else {"EventId": "event-1"}
        return {"Entries": [answer for _ in parameters["Entries"]]}


class Clock:
    """A clock that advances only when a test sets it or the code under test sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


def together[Item, Result](call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call with each item in a thread of its own; all begin at the same moment."""
    start = threading.Barrier(len(items))

    def run(item: Item) -> Result:
        start.wait(10)
        return call(item)

    with ThreadPoolExecutor(len(items)) as threads:
        return list(threads.map(run, items))


def _holds(term: str, item: dict[str, Any], values: dict[str, Any]) -> bool:
    """One term of a condition: `attribute_exists(name)`, its opposite, or a comparison of numbers."""
    if exists := re.fullmatch(r"\s*attribute_(not_)?exists\s*\((\w+)\)\s*", term):
        return (exists[2] in item) != bool(exists[1])
    name, operator, value = term.split()
    compare = {"<": gt, "<=": ge, ">": lt, ">=": le, "=": eq}[operator]
    return name in item and bool(compare(float(values[value]["N"]), float(item[name]["N"])))


@cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)
