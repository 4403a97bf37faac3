"""What a door takes in: who sent what, and when. The whole of it travels through the queues."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

MAX_BODY_BYTES = 256 * 1024
# What a message of SQS (1 MiB) holds in base64. An event can be larger, or grow as it is written anew (1e15).
MAX_STORED_BYTES = 720 * 1024


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission as it came in, not mapped yet: a redrive maps it anew, after a mended configuration.

    `trigger` is the door it came through, `sender` who proved to have sent it, `body` the raw bytes,
    `content_type` the declared one, `received_at` seconds since the epoch. `delivery_id`: what a header calls this
    delivery in each of its repeats, where the sender has such a header.
    """

    trigger: str
    sender: str
    request_id: str
    received_at: float
    content_type: str
    body: bytes = field(repr=False)
    delivery_id: str = ""

    def to_message(self) -> str:
        """The body of a queue message: ASCII JSON, at most 4/3 of MAX_BODY_BYTES and a little more. Of what is refused
        as too large, MAX_KEPT_BYTES are kept."""
        return json.dumps(
            {
                "submission": {
                    "trigger": self.trigger,
                    "sender": self.sender,
                    "request_id": self.request_id,
                    "received_at": self.received_at,
                    "content_type": self.content_type,
                    "delivery_id": self.delivery_id,
                    "body": base64.b64encode(self.body[:MAX_STORED_BYTES]).decode("ascii"),
                }
            }
        )

    @classmethod
    def from_message(cls, text: str) -> "Submission":
        """Read a queue message: a Submission; an EventBridge event (from the rule's dead-letter queue); or Lambda's
        record of a failed asynchronous invocation, whose `requestPayload` is that event. Raises ValueError."""
        try:
            message = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if isinstance(message, dict) and isinstance(message.get("requestPayload"), dict):
            message = message["requestPayload"]
        if not isinstance(message, dict):
            raise ValueError("not an object")
        if "detail-type" in message:
            return cls.from_event(message)
        kept = message.get("submission")
        if not isinstance(kept, dict):
            raise ValueError("neither a submission nor an event")
        texts = [kept.get(name) for name in ("trigger", "sender", "request_id", "content_type", "body")]
        received_at = kept.get("received_at")
        if not all(isinstance(text, str) for text in texts) or not isinstance(received_at, int | float):
            raise ValueError("a member is missing")
        trigger, sender, request_id, content_type, body = (str(text) for text in texts)
        if not (_is_plain(sender) and _is_plain(request_id)):
            raise ValueError("sender or request_id is none of ours")
        try:
            raw = base64.b64decode(body, validate=True)
        except binascii.Error:
            raise ValueError("the body is not base64") from None
        delivery_id = kept.get("delivery_id", "")
        if not isinstance(delivery_id, str):
            raise ValueError("delivery_id is no text")
        try:
            return cls(trigger, sender, request_id, float(received_at), content_type, raw, delivery_id)
        except OverflowError:
            raise ValueError("received_at is no time") from None

    @classmethod
    def from_event(
        cls, event: Any, request_id: str = "", received_at: float = 0.0, sender: str = "event"
    ) -> "Submission":
        """An EventBridge event, kept whole; `sender`: the entry that maps it."""
        if not request_id:
            given = event.get("id")
            request_id = given if isinstance(given, str) and _is_plain(given) else ""
        return cls("event", sender, request_id, received_at, "application/json", json_bytes(event))


def _is_plain(text: str) -> bool:
    """Fit for a line of the log and a queue attribute."""
    return text.isascii() and text.isprintable() and len(text) <= 128


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8, no larger than it came: in ASCII it could have six times the bytes, and a message has a limit. A
    lone surrogate, which has no bytes, is escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
