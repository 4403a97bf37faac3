"""How the local HighLevel fails: what to do to a call, and how to do it to its connection."""

import asyncio
import http.client
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import Receive

# kind -> the status it answers with unless told otherwise; None: it has no status of its own.
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
}

HTML = """<!DOCTYPE html>
<html lang="en-US"><head><title>Attention Required! | Cloudflare</title></head>
<body><h1>Sorry, you have been blocked</h1><p>You are unable to access leadconnectorhq.com</p></body></html>
"""
BLOCKED = {"content-type": "text/html; charset=UTF-8", "server": "cloudflare", "cf-ray": "0000000000000000-IAD"}


def phrase(status: int) -> str:
    """The status in words; an edge has some (520 to 527) that no standard knows."""
    return http.client.responses.get(status, "Unknown Error")


@dataclass
class Fault:
    """What happens to a call instead of, or around, its right answer.

    `path`, `location` and `contact` choose the calls it meets (None: any), `probability` (0 to 1) how many of them,
    `times` how many in all: it counts down, None means until cleared. By `kind`:

    - not handled: "status" (an error envelope with `message`), "html" (an edge's page), "hang" (no answer until the
      caller leaves), "reset" (RST), "close" (FIN)
    - handled, its answer then spoilt: "slow" (after `seconds`), "drip" (head at once, then a byte of the body every
      `seconds`), "drip_headers" (every byte so), "commit_then_drop" (RST instead of the answer)
    - "empty" and "garbage" (broken JSON): with a 2xx `status` the call is handled and only its success spoilt, a
      refusal is answered as it is; with any other `status` it is not handled

    `body` replaces the body of "status", "html" and "garbage"; `headers` are added where the answer is the fault's own
    (a content-length beyond the body cuts it short).
    Raises ValueError, with what is wrong, for a fault that cannot be done.
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

    def __post_init__(self) -> None:
        for name, types in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, types) or isinstance(value, bool):
                raise ValueError(f"{name} cannot be {value!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.status is None:
            self.status = KINDS[self.kind]
        elif KINDS[self.kind] is None:
            raise ValueError(f"{self.kind} has no status of its own")
        elif not 200 <= self.status <= 599 or self.status in (204, 304):
            raise ValueError("status must be of an answer with a body, 200 to 599")
        if isinstance(self.message, list) and not all(isinstance(each, str) for each in self.message):
            raise ValueError("message must be a string or a list of strings")
        for name, text in self.headers.items():
            if not (re.fullmatch(r"[A-Za-z0-9_-]+", name) and isinstance(text, str) and re.fullmatch(r"[ -~]*", text)):
                raise ValueError(f"headers cannot have {name!r}: {text!r}")
        if not 0 <= self.seconds < float("inf"):
            raise ValueError("seconds cannot be negative or endless")
        if self.times is not None and self.times < 0:
            raise ValueError("times cannot be negative")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be from 0 to 1")

    def meets(self, path: str, location: str | None, contact: str | None) -> bool:
        """Whether a call with this path, location id and contact id is one of its own."""
        wanted = ((self.path, path), (self.location, location), (self.contact, contact))
        return self.times != 0 and all(want is None or want == has for want, has in wanted)

    def as_json(self) -> dict[str, Any]:
        """The fault as a JSON object, and what `POST /_local/faults` takes: `body` is text."""
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
}


async def caller_left(receive: Receive, seconds: float | None = None) -> bool:
    """Wait up to `seconds` (None: for ever) for the connection to end; whether it did. The request must be read."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def end(transport: asyncio.Transport, receive: Receive, *, reset: bool) -> None:
    """End the connection without another byte, by RST or by FIN."""
    if reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    # uvicorn logs an error when the application returns before the connection is seen to be gone.
    await caller_left(receive)


def head(answer: Response) -> bytes:
    """Its status line and headers as they go over the connection, which cannot be used again afterwards."""
    lines = [f"HTTP/1.1 {answer.status_code} {phrase(answer.status_code)}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def drip(data: bytes, transport: asyncio.Transport, receive: Receive, seconds: float) -> bool:
    """Send one byte every `seconds`, past h11, which knows no half status line; whether the caller stayed."""
    for byte in data:
        if await caller_left(receive, seconds):
            return False
        transport.write(bytes([byte]))
    return True
