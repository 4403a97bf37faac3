"""What HighLevel has already answered, in DynamoDB. It remembers; it never decides: on any trouble, go on without."""

import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from create_conversation import canonical

# After a failure DynamoDB is left alone for so long: a table that hangs must not eat the deadline of every submission.
SKIP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """HighLevel has a conversation for this contact; its id, where an answer has told it."""

    conversation_id: str | None


class Records:
    """`contact#<location>#<contact>` → conversation, for `ttl` seconds. No method raises for trouble with DynamoDB."""

    def __init__(self, client: Any, table: str, ttl: float) -> None:
        self._client = client
        self._table = table
        self._ttl = ttl
        self._skip_until = 0.0

    def find(self, location: str, contact: str, *, consistent: bool = False) -> Record | None:
        """The record of that contact, or None. The time to live is checked here: DynamoDB deletes late."""
        answer = self._call(
            "get_item",
            Key=_key(location, contact),
            ConsistentRead=consistent,
            ProjectionExpression="conversation_id, expires_at",
        )
        item = (answer or {}).get("Item") or {}
        if float(item.get("expires_at", {}).get("N", 0)) <= time.time():
            return None
        return Record(item.get("conversation_id", {}).get("S"))

    def remember(self, location: str, contact: str, conversation_id: str | None) -> None:
        """Write down that HighLevel has this conversation. Without an id, one already on record stays."""
        values = {":expires_at": {"N": str(int(time.time() + self._ttl))}}
        update = "SET expires_at = :expires_at"
        if conversation_id is not None:
            values[":id"] = {"S": conversation_id}
            update += ", conversation_id = :id"
        self._call(
            "update_item", Key=_key(location, contact), UpdateExpression=update, ExpressionAttributeValues=values
        )

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        if time.monotonic() < self._skip_until:
            return None
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(TableName=self._table, **arguments)
        except (ClientError, BotoCoreError) as error:
            canonical.trouble("records", error)
            self._skip_until = time.monotonic() + SKIP_SECONDS
            return None
        return answer


def _key(location: str, contact: str) -> dict[str, Any]:
    return {"pk": {"S": f"contact#{location}#{contact}"}}
