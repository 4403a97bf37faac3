"""Secrets Manager, DynamoDB and SQS for a fuzzed function: SQS refuses what the real SQS refuses."""

import json
import re
import threading
from collections.abc import Mapping
from typing import Any

from local.lambda_runtime import Answer
from tests.chaos.fuzz_values import NOT_STORED

JSON = {"Content-Type": "application/x-amz-json-1.0"}
# The limit of a message in the retry queue: a body of 256 KiB in base64, and the members around it.
MAX_MESSAGE_BYTES = 256 * 1024 * 4 // 3 + 4096
SQS_BYTES = 1 << 20
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_SQS_TEXT = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
_GROUP = re.compile(r"""[A-Za-z0-9!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}""")
_ATTRIBUTE = re.compile(r"(?!(?i:AWS\.|Amazon\.))[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class FakeAws:
    """Secrets Manager, DynamoDB and SQS as far as the function calls them; SQS refuses what the real one refuses."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self.records: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._messages: list[tuple[str, str]] = []
        self._dead_letters: set[str] = set()
        self._refusals: list[tuple[str, str]] = []

    def take_messages(self) -> tuple[list[tuple[str, str]], set[str]]:
        """Bodies and attributes sent since the last call, and the bodies that went to the dead-letter queue."""
        with self._lock:
            messages, self._messages = self._messages, []
            dead_letters, self._dead_letters = self._dead_letters, set()
            return messages, dead_letters

    def take_refusals(self) -> list[tuple[str, str]]:
        """Since the last call: which promise was broken, and how."""
        with self._lock:
            refusals, self._refusals = self._refusals, []
            return refusals

    def answer(self, _method: str, _path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        operation = headers["x-amz-target"].partition(".")[2]
        arguments = json.loads(body)
        with self._lock:
            try:
                content = getattr(self, f"_{operation}")(arguments)
            except _RefusedError as refused:
                return 400, JSON, json.dumps({"__type": str(refused)}).encode()
        return 200, JSON, json.dumps(content).encode()

    def _GetSecretValue(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"ARN": arguments["SecretId"], "SecretString": self._secrets[arguments["SecretId"]]}

    def _GetItem(self, arguments: dict[str, Any]) -> dict[str, Any]:
        item = self.records.get(self._key(arguments))
        return {"Item": item} if item else {}

    def _BatchGetItem(self, arguments: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, list[Any]] = {}
        for table, asked in arguments["RequestItems"].items():
            keys = [self._key({"Key": key}) for key in asked["Keys"]]
            found[table] = [self.records[key] | {"pk": {"S": key}} for key in keys if key in self.records]
        return {"Responses": found, "UnprocessedKeys": {}}

    def _UpdateItem(self, arguments: dict[str, Any]) -> dict[str, Any]:
        key, values = self._key(arguments), arguments["ExpressionAttributeValues"]
        item = self.records.get(key, {})
        if not _is_met(arguments.get("ConditionExpression", ""), item, values):
            raise _RefusedError("com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException")
        changes, _, removed = arguments["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
        named = dict(change.split(" = ") for change in changes.split(", "))
        item = item | {name: values[place] for name, place in named.items()}
        self.records[key] = {name: value for name, value in item.items() if name != removed}
        return {}

    def _key(self, arguments: dict[str, Any]) -> str:
        key = str(arguments["Key"]["pk"]["S"])
        if not key or len(key.encode("utf-8", "surrogatepass")) > 2048 or not key.isprintable():
            self._refuse("queue", f"the key of a record: {key!r}")
        return key

    def _SendMessage(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._check(arguments, arguments["QueueUrl"])
        if arguments.get("MessageGroupId") == NOT_STORED:
            raise _RefusedError("com.amazonaws.sqs#AccessDenied")
        return {"MessageId": "message-1"}

    def _SendMessageBatch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        entries = arguments["Entries"]
        self._check_entries(entries)
        for entry in entries:
            self._check(entry, arguments["QueueUrl"])
        if sum(len(entry["MessageBody"].encode()) for entry in entries) > SQS_BYTES:
            self._refuse("oversized", "a batch over 1 MiB")
        return {"Successful": [{"Id": entry["Id"], "MessageId": "message-1"} for entry in entries], "Failed": []}

    def _ChangeMessageVisibility(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._check_visibility(arguments)
        return {}

    def _ChangeMessageVisibilityBatch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._check_entries(arguments["Entries"])
        for entry in arguments["Entries"]:
            self._check_visibility(entry)
        return {"Successful": [], "Failed": []}

    def _check_visibility(self, entry: dict[str, Any]) -> None:
        if not 0 <= entry["VisibilityTimeout"] <= 43_200:
            self._refuse("queue", f"VisibilityTimeout {entry['VisibilityTimeout']}")
        if not entry.get("ReceiptHandle"):
            raise _RefusedError("com.amazonaws.sqs#ReceiptHandleIsInvalid")

    def _check_entries(self, entries: list[dict[str, Any]]) -> None:
        ids = [entry["Id"] for entry in entries]
        if not 1 <= len(ids) <= 10 or len({*ids}) < len(ids):
            self._refuse("queue", f"{len(ids)} entries in a call")

    def _check(self, message: dict[str, Any], queue: str) -> None:
        body, attributes = message.get("MessageBody", ""), message.get("MessageAttributes", {})
        is_dead_letter = queue.endswith("dead-letters")
        self._messages.append((body, json.dumps([attributes, message.get("MessageGroupId")], ensure_ascii=False)))
        values = [attribute.get("StringValue", "") for attribute in attributes.values()]
        size = len(body.encode("utf-8", "surrogatepass"))
        if size > (SQS_BYTES if is_dead_letter else MAX_MESSAGE_BYTES):
            self._refuse("oversized", f"{size} bytes to {queue.rpartition('/')[2]}")
        if not body or not _SQS_TEXT.fullmatch(body):
            self._refuse("queue", f"a body that is empty or has characters that SQS refuses: {body[:200]!r}")
        if len(attributes) > 10 or not all(_ATTRIBUTE.fullmatch(name) for name in attributes):
            self._refuse("queue", f"attributes {list(attributes)}")
        if not all(text and _SQS_TEXT.fullmatch(text) and len(text) < 1000 for text in values):
            self._refuse("queue", f"an attribute: {[text[:100] for text in values]!r}")
        if not is_dead_letter and not _GROUP.fullmatch(message.get("MessageGroupId", "")):
            self._refuse("queue", f"MessageGroupId {message.get('MessageGroupId')!r}")
        if not 0 <= message.get("DelaySeconds", 0) <= 900:
            self._refuse("queue", f"DelaySeconds {message['DelaySeconds']}")
        if is_dead_letter:
            self._dead_letters.add(body)

    def _refuse(self, promise: str, what: str) -> None:
        self._refusals.append((promise, what))
        raise _RefusedError("com.amazonaws.sqs#InvalidMessageContents")


def _is_met(condition: str, item: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether the item meets the condition: one of the two forms that the function uses."""
    if not condition:
        return True
    if missing := re.fullmatch(r"attribute_not_exists\((\w+)\) OR expires_at <= :now", condition):
        return missing[1] not in item or int(item["expires_at"]["N"]) <= int(values[":now"]["N"])
    name, place = condition.split(" = ")
    return bool(item.get(name) == values[place])


class _RefusedError(Exception):
    pass
