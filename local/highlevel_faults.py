"""Faults of the local HighLevel: what happens to a call, and how to break its connection."""

import asyncio
import http.client
import re
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import Receive

# kind -> its default status; None: it has no status.
KINDS: dict[str, int | None] = {
    "status": 500,
    "html": 403,
    "empty": 201,
    "garbage": 201,
    "slow": None,
    "drip": None,
    "drip_headers": None,
    "hang": None,
    "reset": None,
    "close": None,
    "commit_then_drop": None,
    "commit_then_status": 422,
    "late_commit": 504,
}

HTML = """<!DOCTYPE html>
<html lang="en-US"><head><title>Attention Required! | Cloudflare</title></head>
<body><h1>Sorry, you have been blocked</h1><p>You are unable to access leadconnectorhq.com</p></body></html>
"""
BLOCKED = {"content-type": "text/html; charset=UTF-8", "server": "cloudflare", "cf-ray": "0000000000000000-IAD"}


def phrase(status: int) -> str:
    """Return the reason phrase of a status. No standard defines those of an edge server (520 to 527)."""
    return http.client.responses.get(status, "Unknown Error")


@dataclass
class Fault:
    """What happens to a call instead of its normal answer.

    `method`, `path`, `location` and `contact` select the calls (None: any), `probability` (0 to 1) a share of them,
    `times` a number of them: it counts down, None means until cleared. A `path` may be a route of HighLevel's document,
    as `/contacts/{contactId}/notes`. By `kind`:

    - The call is not handled: "status" (an error envelope with `message`), "html" (an edge server's page), "hang" (no
      answer until the caller disconnects), "reset" (RST), "close" (FIN).
    - The call is handled and its answer is damaged: "slow" (sent after `seconds`), "drip" (the head immediately, then
      a byte of the body every `seconds`), "drip_headers" (every byte like this), "commit_then_drop" (RST instead of the
      answer), "commit_then_status" (this status instead of a success; a refusal is not damaged).
    - "late_commit": the call is handled after `commit_seconds`, although the caller may have left, and answered after
      `seconds`: with its answer, or with `status` if it is not handled by then.
    - "empty" and "garbage" (broken JSON): with a 2xx `status` the call is handled; only a success is damaged, a refusal
      is not. With any other `status` the call is not handled.

    `body` replaces the body of "status", "html" and "garbage"; `headers` are added to an answer that the fault creates
    (a content-length beyond the body truncates it). Raises ValueError for a fault that is not possible.
    """

    kind: str
    status: int | None = None
    message: str | list[str] = ""
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    times: int | None = None
    path: str | None = None
    location: str | None = None
    contact: str | None = None
    probability: float = 1.0
    method: str | None = None
    commit_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, types in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, types) or isinstance(value, bool):
                raise ValueError(f"{name} cannot be {value!r}")
        self._check_status()
        self._check_texts()
        for name in ("seconds", "commit_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} cannot be negative or endless")
        if self.times is not None and self.times < 0:
            raise ValueError("times cannot be negative")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be from 0 to 1")

    def _check_status(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.status is None:
            self.status = KINDS[self.kind]
        elif KINDS[self.kind] is None:
            raise ValueError(f"{self.kind} has no status of its own")
        elif not 200 <= self.status <= 599 or self.status in (204, 304):
            raise ValueError("status must be of an answer with a body, 200 to 599")

    def _check_texts(self) -> None:
        if isinstance(self.message, list) and not all(isinstance(each, str) for each in self.message):
            raise ValueError("message must be a string or a list of strings")
        for name, text in self.headers.items():
            if not (re.fullmatch(r"[A-Za-z0-9_-]+", name) and isinstance(text, str) and re.fullmatch(r"[ -~]*", text)):
                raise ValueError(f"headers cannot have {name!r}: {text!r}")

    def meets(self, method: str, paths: Collection[str], location: str | None, contact: str | None) -> bool:
        """Whether the fault applies to a call with this method, path or route, location id and contact id."""
        wanted = ((self.method, method), (self.location, location), (self.contact, contact))
        is_path = self.path is None or self.path in paths
        return self.times != 0 and is_path and all(want is None or want == has for want, has in wanted)

    def as_json(self) -> dict[str, Any]:
        """Return the fault as the JSON object that `POST /_local/faults` accepts: `body` is text."""
        return vars(self) | {"body": None if self.body is None else self.body.decode(errors="replace")}


_TYPES: dict[str, Any] = {
    "kind": str,
    "status": int | None,
    "message": str | list,
    "body": bytes | None,
    "headers": dict,
    "seconds": int | float,
    "times": int | None,
    "path": str | None,
    "location": str | None,
    "contact": str | None,
    "probability": int | float,
    "method": str | None,
    "commit_seconds": int | float,
}


async def caller_left(receive: Receive, seconds: float | None = None) -> bool:
    """Wait up to `seconds` (None: forever) for the caller to disconnect. Returns whether it did."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def end(transport: asyncio.Transport, receive: Receive, *, reset: bool) -> None:
    """End the connection without another byte, with RST or with FIN."""
    if reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    # uvicorn logs an error if the application returns before the connection has ended.
    await caller_left(receive)


def head(answer: Response) -> bytes:
    """Return the status line and headers as bytes. The connection cannot be used again afterwards."""
    lines = [f"HTTP/1.1 {answer.status_code} {phrase(answer.status_code)}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def drip(data: bytes, transport: asyncio.Transport, receive: Receive, seconds: float) -> bool:
    """Send one byte every `seconds`, without h11, which cannot send half a line. Returns whether the caller stayed."""
    for byte in data:
        if await caller_left(receive, seconds):
            return False
        transport.write(bytes([byte]))
    return True
