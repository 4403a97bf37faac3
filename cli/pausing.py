"""What `./hlc pause` stops and `./hlc resume` starts again: sending to HighLevel, retrying, accepting requests.

A pause of sending is an item of the idempotency table, which every instance of the function reads. For it, and for a
pause of retrying, the event source mapping of the retry queue is turned off. A pause of accepting is a rate limit of 0
for each route of the API. The template sets none of the three, so a deployment ends no pause.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.stack import Stack
from create_conversation.pause import KEY

if TYPE_CHECKING:
    from types_boto3_apigatewayv2.type_defs import RouteSettingsTypeDef

WHAT = ("sending", "retrying", "accepting")
RETENTION_SECONDS = 14 * 86_400
# What a message waits at most for its next receive, once it is older than GiveUpAfterHours.
LAST_WAIT_SECONDS = 3600
ROUTES = ("POST /conversations", "POST /webhooks/{sender}")
STAGE = "$default"
_STOPPED: "RouteSettingsTypeDef" = {"ThrottlingRateLimit": 0, "ThrottlingBurstLimit": 0}


@dataclass(frozen=True, slots=True)
class Paused:
    """What is paused. `oldest_sent_at`: no submission that waits was sent to the retry queue earlier (Unix time)."""

    sending: bool
    retrying: bool
    accepting: bool
    oldest_sent_at: float | None

    @property
    def names(self) -> list[str]:
        """What is paused, of WHAT."""
        return [name for name in WHAT if getattr(self, name)]

    @property
    def deletion(self) -> str:
        """When SQS deletes the oldest submission that waits, for the operator."""
        if self.oldest_sent_at is None:
            return "14 days after it was sent to the queue"
        return f"on {self._deleted_at(self.oldest_sent_at):%Y-%m-%d %H:%M} UTC or later"

    @property
    def deleted_at(self) -> str | None:
        """The same as an ISO time; None if it is not known."""
        return None if self.oldest_sent_at is None else self._deleted_at(self.oldest_sent_at).isoformat()

    @staticmethod
    def _deleted_at(sent_at: float) -> datetime:
        return datetime.fromtimestamp(sent_at + RETENTION_SECONDS, UTC)


def paused(stack: Stack) -> Paused:
    """Return what is paused now."""
    item = stack.dynamodb.get_item(TableName=_table(stack), Key=KEY, ConsistentRead=True).get("Item", {})
    oldest = item.get("oldest_sent_at", {}).get("N")
    return Paused(
        sending=item.get("sending_paused", {}).get("BOOL") is True,
        retrying=is_retrying_paused(stack),
        accepting=bool(_stopped_routes(stack)),
        oldest_sent_at=None if oldest is None else float(oldest),
    )


def is_retrying_paused(stack: Stack) -> bool:
    """Return whether the retry queue is not read, as in a pause of sending or retrying."""
    return any(mapping["State"] in ("Disabled", "Disabling") for mapping in _mappings(stack))


def is_retrying_off(stack: Stack) -> bool:
    """Return whether AWS has turned the event source mapping off, which takes a moment."""
    return all(mapping["State"] == "Disabled" for mapping in _mappings(stack))


def pause(stack: Stack, what: str, now: float) -> None:
    """Stop one of WHAT. `now`: Unix time."""
    if what == "accepting":
        settings = dict.fromkeys(ROUTES, _STOPPED)
        stack.apis.update_stage(ApiId=stack.resource("HttpApi"), StageName=STAGE, RouteSettings=settings)
        return
    # After another pause the oldest submission may be older than any that has only been retried.
    values: dict[str, Any] = {":oldest": {"N": str(int(_oldest_sent_at(stack, now)))}}
    update = "SET oldest_sent_at = if_not_exists(oldest_sent_at, :oldest)"
    if what == "sending":
        values[":true"] = {"BOOL": True}
        update += ", sending_paused = :true"
    stack.dynamodb.update_item(
        TableName=_table(stack),
        Key=KEY,
        UpdateExpression=f"{update} REMOVE expires_at",
        ExpressionAttributeValues=values,
    )
    _enable(stack, enabled=False)


def allow_sending(stack: Stack, now: float) -> None:
    """End a pause of sending: each instance sends again once it has read the item.

    The item stays until all that waits now has been retried for GiveUpAfterHours: if another pause begins before, its
    oldest submission is one of this pause.
    """
    stack.dynamodb.update_item(
        TableName=_table(stack),
        Key=KEY,
        UpdateExpression="SET expires_at = :expires_at REMOVE sending_paused",
        ExpressionAttributeValues={":expires_at": {"N": str(int(now + _retry_seconds(stack)))}},
    )


def allow_retrying(stack: Stack) -> None:
    """Turn the event source mapping of the retry queue on."""
    _enable(stack, enabled=True)


def allow_accepting(stack: Stack) -> None:
    """Remove the rate limits of the routes: that of the stage applies again."""
    for route in _stopped_routes(stack):
        stack.apis.delete_route_settings(ApiId=stack.resource("HttpApi"), StageName=STAGE, RouteKey=route)


def waiting(stack: Stack) -> int:
    """Return how many messages the retry queue has, including hidden and delayed ones."""
    return _waiting(_queue_attributes(stack))


def _enable(stack: Stack, *, enabled: bool) -> None:
    for mapping in _mappings(stack):
        stack.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def _mappings(stack: Stack) -> list[dict[str, Any]]:
    queue = _queue_attributes(stack)["QueueArn"]
    found = stack.functions.list_event_source_mappings(EventSourceArn=queue)["EventSourceMappings"]
    return [dict(mapping) for mapping in found]


def _stopped_routes(stack: Stack) -> list[str]:
    settings = stack.apis.get_stage(ApiId=stack.resource("HttpApi"), StageName=STAGE).get("RouteSettings", {})
    return [route for route in ROUTES if settings.get(route, {}).get("ThrottlingRateLimit") == 0]


def _oldest_sent_at(stack: Stack, now: float) -> float:
    """Return a time before which no waiting submission was sent: SQS does not show the oldest one without a receive."""
    attributes = _queue_attributes(stack)
    if not _waiting(attributes):
        return now
    return max(now - _retry_seconds(stack), float(attributes["CreatedTimestamp"]))


def _retry_seconds(stack: Stack) -> float:
    return 3600 * float(stack.parameters["GiveUpAfterHours"]) + LAST_WAIT_SECONDS


def _queue_attributes(stack: Stack) -> dict[str, str]:
    answer = stack.sqs.get_queue_attributes(QueueUrl=stack.output("RetryQueueUrl"), AttributeNames=["All"])
    return {str(name): value for name, value in answer["Attributes"].items()}


def _waiting(attributes: dict[str, str]) -> int:
    return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOf"))


def _table(stack: Stack) -> str:
    return stack.resource("IdempotencyTable")
