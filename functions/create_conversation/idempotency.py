"""Idempotency records in DynamoDB: what HighLevel has already answered.

They save calls and never decide: where DynamoDB fails, a submission goes on without them.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from create_conversation.aws_client import AwsError, AwsService
from create_conversation.message_claims import CONDITION_FAILED, ClaimItem, claim_item
from shared.clock import Clock
from shared.cooldown import Cooldown
from shared.observability import aws_request_failed

# After a failure DynamoDB is left alone this long: a table that hangs must not use up the time of every submission.
SKIP_SECONDS = 5.0
# A repeat that comes so soon to the same instance costs no read.
CACHE_SECONDS = 300.0
MAX_CACHED = 1000


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """HighLevel has a conversation for this contact; the ids, where an answer contained them.

    `message`: what became of a delivery's words, where nothing is left to do for it. `received_at`: of its submission,
    in Unix seconds.
    """

    conversation_id: str | None
    contact: str | None = None
    message: str | None = None
    received_at: float = 0.0


class IdempotencyStore:
    """Saves records for `ttl` seconds, by key (`contact_key`, `delivery_key`). No method raises if DynamoDB fails.

    A record with a conversation's id is not read again for CACHE_SECONDS (`RecordCache`).
    """

    def __init__(self, dynamodb: AwsService, table: str, ttl: float, clock: Clock = time) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._ttl = ttl
        self._clock = clock
        self._cooldown = Cooldown(SKIP_SECONDS, clock)
        self._cache = RecordCache()

    def get(self, key: str, *, consistent: bool = False) -> IdempotencyRecord | None:
        """Return the record of that key, or None. An expired one counts as none: DynamoDB deletes late."""
        now = self._clock.time()
        if cached := self._cache.get(key, now):
            return cached
        response = self.call(
            "GetItem",
            Key={"pk": {"S": key}},
            ConsistentRead=consistent,
            ProjectionExpression="conversation_id, contact_id, message_status, received_at, expires_at",
        )
        return self._record(key, (response or {}).get("Item") or {}, now)

    def get_with_claim(self, key: str, claim_key: str) -> tuple[IdempotencyRecord | None, ClaimItem]:
        """Return, in one call, the record of a key and the claims of another."""
        now = self._clock.time()
        keys = [{"pk": {"S": each}} for each in (key, claim_key)]
        response = self._call("BatchGetItem", RequestItems={self._table: {"Keys": keys}})
        found = {item["pk"]["S"]: item for item in (response or {}).get("Responses", {}).get(self._table, ())}
        return self._record(key, found.get(key, {}), now), claim_item(claim_key, found.get(claim_key, {}), now)

    def in_memory(self, key: str) -> IdempotencyRecord | None:
        """Return the record of that key if this instance has it in memory."""
        return self._cache.get(key, self._clock.time())

    def hold(self, key: str, record: IdempotencyRecord) -> None:
        """Have a record in memory only."""
        now = self._clock.time()
        self._cache.put(key, record, now, now + self._ttl)

    def _record(self, key: str, item: dict[str, Any], now: float) -> IdempotencyRecord | None:
        """Return what DynamoDB's item says, and hold it in memory."""
        expires_at = float(item.get("expires_at", {}).get("N", 0))
        if expires_at <= now:
            return None
        conversation_id, contact, message = (
            item.get(name, {}).get("S") for name in ("conversation_id", "contact_id", "message_status")
        )
        received_at = float(item.get("received_at", {}).get("N", 0))
        record = IdempotencyRecord(conversation_id, contact, message, received_at)
        self._cache.put(key, record, now, expires_at)
        return record

    def save(
        self,
        key: str,
        conversation_id: str | None,
        contact: str | None = None,
        message: str | None = None,
        received_at: float | None = None,
    ) -> None:
        """Save that HighLevel has this conversation. Without an id, a saved id stays until its record expires."""
        now = int(self._clock.time())
        values = {":expires_at": {"N": str(now + int(self._ttl))}}
        update, condition = "SET expires_at = :expires_at", {}
        if conversation_id is not None:
            values[":id"] = {"S": conversation_id}
            update += ", conversation_id = :id"
        if contact is not None:
            values[":contact"] = {"S": contact}
            update += ", contact_id = :contact"
        if message is not None:
            values[":message"] = {"S": message}
            values[":received_at"] = {"N": f"{received_at or 0:.3f}"}
            update += ", message_status = :message, received_at = :received_at"
        if conversation_id is None:
            values[":now"] = {"N": str(now)}
            update += " REMOVE conversation_id"
            condition = {"ConditionExpression": "attribute_not_exists(conversation_id) OR expires_at <= :now"}
        record = IdempotencyRecord(conversation_id, contact, message, received_at or 0.0)
        self._cache.put(key, record, now, now + self._ttl)
        self.call(
            "UpdateItem",
            Key={"pk": {"S": key}},
            UpdateExpression=update,
            ExpressionAttributeValues=values,
            **condition,
        )

    def call(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """Call an operation on the table; return its response, empty if its condition is false, None if it failed.

        `arguments`: those of DynamoDB's API without TableName.
        """
        return self._call(operation, TableName=self._table, **arguments)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        if self._cooldown.is_active:
            return None
        try:
            return self._dynamodb.call(operation, **arguments)
        except AwsError as error:
            if error.code == CONDITION_FAILED:
                return {}
            aws_request_failed("DynamoDB", error.operation, error.code)
            self._cooldown.start()
            return None


class RecordCache:
    """Records in memory, for CACHE_SECONDS; none without a conversation's id, which another instance may add.

    By Unix time: while Lambda freezes an environment, its monotonic clock may stand still. All threads may share it.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[IdempotencyRecord, float, float]] = {}

    def get(self, key: str, now: float) -> IdempotencyRecord | None:
        """Return the record of a key, or None."""
        record, since, until = self._found.get(key, (None, 0.0, 0.0))
        return record if since <= now < until else None

    def put(self, key: str, record: IdempotencyRecord, now: float, expires_at: float) -> None:
        """Hold a record until it expires; the memory is emptied when it is full."""
        if record.conversation_id is None:
            return
        if len(self._found) >= MAX_CACHED:
            self._found.clear()
        self._found[key] = record, now, min(now + CACHE_SECONDS, expires_at)


def contact_key(location: str, contact: str) -> str:
    """Return the key of a contact's conversation: a repeated submission costs one read and no call."""
    return f"contact#{location}#{contact}"


def delivery_key(delivery: str, *about: str) -> str:
    """Return the key of a delivery whose contact had to be looked up: repeated, it does not overwrite the contact.

    `about`: the person's e-mail address and phone number. They are part of the key: a delivery id that several people
    share must not swallow all of them but the first.
    """
    return f"delivery#{delivery}#{hashlib.sha256('\n'.join(about).encode()).hexdigest()[:16]}"
