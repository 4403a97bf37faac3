"""What HighLevel has already answered, in DynamoDB. It remembers; it never decides: on any trouble, go on without."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from create_conversation import submission_log
from create_conversation.aws_client import AwsError, AwsService
from create_conversation.clock import Clock

# After a failure DynamoDB is left alone for so long: a table that hangs must not eat the deadline of every submission.
SKIP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """HighLevel has a conversation for this contact; the ids, where an answer has told them."""

    conversation_id: str | None
    contact: str | None = None


class IdempotencyStore:
    """What is remembered for `ttl` seconds, by key; see `contact_key` and `delivery_key`. No method raises for trouble
    with DynamoDB."""

    def __init__(self, dynamodb: AwsService, table: str, ttl: float, clock: Clock = time) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._ttl = ttl
        self._clock = clock
        self._skip_until = 0.0

    def get(self, key: str, *, consistent: bool = False) -> IdempotencyRecord | None:
        """The record of that key, or None. The time to live is checked here: DynamoDB deletes late."""
        answer = self.call(
            "GetItem",
            Key={"pk": {"S": key}},
            ConsistentRead=consistent,
            ProjectionExpression="conversation_id, contact_id, expires_at",
        )
        item = (answer or {}).get("Item") or {}
        if float(item.get("expires_at", {}).get("N", 0)) <= self._clock.time():
            return None
        return IdempotencyRecord(item.get("conversation_id", {}).get("S"), item.get("contact_id", {}).get("S"))

    def save(self, key: str, conversation_id: str | None, contact: str | None = None) -> None:
        """Write down that HighLevel has this conversation. Without an id, one already on record stays, unless its time
        is over."""
        now = int(self._clock.time())
        values = {":expires_at": {"N": str(now + int(self._ttl))}}
        update, condition = "SET expires_at = :expires_at", {}
        if conversation_id is not None:
            values[":id"] = {"S": conversation_id}
            update += ", conversation_id = :id"
        if contact is not None:
            values[":contact"] = {"S": contact}
            update += ", contact_id = :contact"
        if conversation_id is None:
            values[":now"] = {"N": str(now)}
            update += " REMOVE conversation_id"
            condition = {"ConditionExpression": "attribute_not_exists(conversation_id) OR expires_at <= :now"}
        self.call(
            "UpdateItem",
            Key={"pk": {"S": key}},
            UpdateExpression=update,
            ExpressionAttributeValues=values,
            **condition,
        )

    def call(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """One operation on the table: its answer, empty where the condition does not hold, None for trouble."""
        if self._clock.monotonic() < self._skip_until:
            return None
        try:
            return self._dynamodb.call(operation, TableName=self._table, **arguments)
        except AwsError as error:
            if error.code == "ConditionalCheckFailedException":
                return {}  # what is on record says more
            submission_log.aws_request_failed("DynamoDB", error)
            self._skip_until = self._clock.monotonic() + SKIP_SECONDS
            return None


def contact_key(location: str, contact: str) -> str:
    """A contact's conversation: a repeat costs one read and no call."""
    return f"contact#{location}#{contact}"


def delivery_key(delivery: str, *about: str) -> str:
    """A delivery that had to look its contact up: repeated or replayed, it does not overwrite the contact. Whom it is
    `about` (e-mail, phone) is part of it: an id that several people share must not swallow all but the first."""
    return f"delivery#{delivery}#{hashlib.sha256('\n'.join(about).encode()).hexdigest()[:16]}"
