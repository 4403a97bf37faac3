"""What one submission is: who sent it, when, and its body. All of it travels through the queues."""

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from create_conversation.errors import Trigger
from create_conversation.senders.body import MAX_BODY_BYTES, MAX_READ_BYTES, MAX_STORED_BYTES, Body, json_bytes

__all__ = ["MAX_BODY_BYTES", "MAX_STORED_BYTES", "Submission", "json_bytes"]


# SQS takes 1 MiB with the attributes; those of a dead letter have less than 8 KiB.
MAX_MESSAGE_BYTES = (1 << 20) - 8 * 1024


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission as it came, before its mapping: a redrive maps it again, with the configuration of that time.

    `trigger` is what it came through, `sender` the authenticated sender's name, `body` the bytes without its secret,
    `content_type` their type, `received_at` seconds since the epoch. `delivery_id` is the same in each repeat of this
    delivery, where the sender has a header for it. `parsed` is the body as it was read, where it was read already.
    `is_reported`: its conversation is open, and its outcome was logged and counted: only its message is missing.
    """

    trigger: str
    sender: str
    request_id: str
    received_at: float
    content_type: str
    body: bytes = field(repr=False)
    delivery_id: str = ""
    parsed: Body | None = field(default=None, repr=False, compare=False)
    is_reported: bool = False

    def to_message(self) -> str:
        """Write the body of a queue message: ASCII JSON. Of a body that is too large, the first MAX_STORED_BYTES.

        An event that is too large for base64 is stored whole all the same, because its sender has no other copy.
        """
        if self.trigger == Trigger.EVENT and len(self.body) > MAX_STORED_BYTES:
            whole = self._whole_event()
            if len(whole.encode()) <= MAX_MESSAGE_BYTES:
                return whole
        return self._stored(body=base64.b64encode(self.body[:MAX_STORED_BYTES]).decode("ascii"))

    def _whole_event(self) -> str:
        """Write the event as it is; or compressed, if it has outgrown a message, as numbers such as 1e15 make it.

        EventBridge's events have 1 MiB at most. Of these, compression makes only random characters larger.
        """
        event = _without_noncharacters(self.body.decode("utf-8", "backslashreplace"))
        if len(event.encode()) <= MAX_MESSAGE_BYTES:
            return event
        return self._stored(compressed_body=base64.b85encode(zlib.compress(self.body)).decode("ascii"))

    def _stored(self, **body: str) -> str:
        members = {
            "trigger": self.trigger,
            "sender": self.sender,
            "request_id": self.request_id,
            "received_at": self.received_at,
            "content_type": self.content_type,
            "delivery_id": self.delivery_id,
        }
        reported = {"is_reported": True} if self.is_reported else {}
        return json.dumps({"submission": members | reported | body})

    @classmethod
    def from_message(cls, text: str) -> "Submission":
        """Read a queue message. Raises ValueError.

        It is a Submission; or an EventBridge event, from the rule's dead-letter queue; or Lambda's record of a failed
        asynchronous invocation, whose `requestPayload` is that event.
        """
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
        stored = message.get("submission")
        if not isinstance(stored, dict):
            raise ValueError("neither a submission nor an event")
        return cls._from_stored(stored)

    @classmethod
    def _from_stored(cls, stored: dict[str, Any]) -> "Submission":
        texts = [stored.get(name) for name in ("trigger", "sender", "request_id", "content_type")]
        received_at = stored.get("received_at")
        if not all(isinstance(text, str) for text in texts) or not isinstance(received_at, int | float):
            raise ValueError("a member is missing")
        trigger, sender, request_id, content_type = (str(text) for text in texts)
        if not (_is_plain(sender) and _is_plain(request_id)):
            raise ValueError("sender or request_id was not written by this stack")
        raw = _body_of(stored)
        delivery_id = stored.get("delivery_id", "")
        if not isinstance(delivery_id, str):
            raise ValueError("delivery_id is not a text")
        try:
            is_reported = stored.get("is_reported") is True
            return cls(
                trigger, sender, request_id, float(received_at), content_type, raw, delivery_id, is_reported=is_reported
            )
        except OverflowError:
            raise ValueError("received_at is not a time") from None

    @classmethod
    def from_event(
        cls, event: Any, request_id: str = "", received_at: float = 0.0, sender: str = "event"
    ) -> "Submission":
        """Take an EventBridge event whole; `sender`: the entry that maps it."""
        if not request_id:
            given = event.get("id")
            request_id = given if isinstance(given, str) and _is_plain(given) else ""
        body = Body.of_json(event)
        return cls(Trigger.EVENT, sender, request_id, received_at, body.content_type, body.raw, parsed=body)


def _body_of(stored: dict[str, Any]) -> bytes:
    """Return the body's bytes. Raises ValueError."""
    plain, compressed = stored.get("body"), stored.get("compressed_body")
    if isinstance(compressed, str):
        return _decompressed(base64.b85decode(compressed))
    if not isinstance(plain, str):
        raise ValueError("a member is missing")
    try:
        return base64.b64decode(plain, validate=True)
    except binascii.Error:
        raise ValueError("the body is not base64") from None


def _decompressed(compressed: bytes) -> bytes:
    """Return what was compressed. Raises ValueError, also if it is more than an event of 1 MiB can become."""
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(compressed, MAX_READ_BYTES)
    except zlib.error:
        raise ValueError("the body is not compressed") from None
    if not stream.eof:
        raise ValueError("the body is not whole, or too large")
    return body


def _without_noncharacters(text: str) -> str:
    """Escape, in JSON, the two characters that SQS refuses."""
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _is_plain(text: str) -> bool:
    """Return whether the text fits a line of the log and a queue attribute."""
    return text.isascii() and text.isprintable() and len(text) <= 128
