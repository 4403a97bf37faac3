"""A HighLevel on this machine, which refuses what the real one refuses, and every web page (`local.guard`).

In a test: `with LocalHighLevel(tokens={"pit-…": "*"}) as highlevel: … highlevel.url …`.
Alone: `HIGHLEVEL_TOKEN=… python -m local.highlevel --port 8000`; `GET /_local` shows its state (`highlevel_commands`).
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.guard import guarded, own_hosts
from local.highlevel_commands import command
from local.highlevel_faults import BLOCKED, HTML, Fault, caller_left, drip, end, head, phrase
from local.highlevel_oauth import FORM
from local.highlevel_rules import Call, Limits, Rules

__all__ = ["Call", "Fault", "Limits", "LocalHighLevel"]

JSON = {"content-type": "application/json; charset=utf-8"}
GARBAGE = b'{"success":true,"conversation":{"id'


@dataclass(kw_only=True, eq=False)
class LocalHighLevel(Rules):
    """Serves `Rules` on 127.0.0.1 from a thread of this process; a context manager.

    `port`: 0 for a free one. `latency`: seconds before every answer; a call is handled when it arrives. `seed`: for
    faults with a probability. To read: `url`, `calls` in order of arrival, `connections` (number of connections since
    the start or a reset). `faults`: the first one that applies to a call is used.
    """

    latency: float = 0.0
    port: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.connections = 0
        self._random = random.Random(self.seed)
        self._resets = 0
        self._commits: set[asyncio.Task[Response]] = set()

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self.port))
        port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        config = uvicorn.Config(
            guarded(self._app, own_hosts(port)),
            http=_protocol(self),
            interface="asgi3",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="highlevel", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def reset(self) -> None:
        """Delete calls, conversations, contacts, faults, used quotas and restrictions; keep tokens and settings."""
        super().reset()
        self.calls.clear()
        self.faults.clear()
        self.connections = 0
        self._random = random.Random(self.seed)
        self._resets += 1

    def fail(self, kind: str, **settings: Any) -> Fault:
        """Add a `Fault` after the existing ones, and return it."""
        fault = Fault(kind, **settings)
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Remove every fault. A call that hangs continues to hang."""
        self.faults.clear()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["path"]
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        if path == "/_local" or path.startswith("/_local/"):
            await command(self, request.method, path, body)(scope, receive, send)
            return
        call = _call(request, body)
        self.identify(call)
        self.calls.append(call)
        await self._respond(call, scope, receive, send)

    async def _respond(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, with its fault if it has one."""
        fault = self._fault(call)
        kind = call.fault = fault.kind if fault else None
        seconds = fault.seconds if fault else 0.0
        transport: asyncio.Transport = scope["state"]["transport"]
        if kind == "hang":
            await caller_left(receive)
            return
        if kind in ("reset", "close"):
            await end(transport, receive, reset=kind == "reset")
            return
        answer = await self._handled(fault, call, receive)
        if answer is None:
            return
        if kind == "commit_then_drop":
            await end(transport, receive, reset=True)
            return
        if kind == "drip_headers" and not await drip(head(answer), transport, receive, seconds):
            return
        # Set before the answer is sent: its receiver may read `calls` immediately.
        call.status = answer.status_code
        if kind not in ("drip", "drip_headers"):
            await answer(scope, receive, send)
            return
        if kind == "drip":
            transport.write(head(answer))
        if await drip(bytes(answer.body), transport, receive, seconds):
            await end(transport, receive, reset=False)

    async def _handled(self, fault: Fault | None, call: Call, receive: Receive) -> Response | None:
        """Return the answer when it is due; None if the caller has left before."""
        if fault and fault.kind == "late_commit":
            return await self._committed_late(fault, call, receive)
        answer = self._faulty(fault, call) if fault else self.answer(call)
        delay = self.latency + (fault.seconds if fault and fault.kind == "slow" else 0)
        return None if delay and await caller_left(receive, delay) else answer

    async def _committed_late(self, fault: Fault, call: Call, receive: Receive) -> Response | None:
        """Handle the call after `commit_seconds` in any case. Returns its answer, None if the caller has left."""
        commit = asyncio.create_task(self._commit(call, fault.commit_seconds))
        self._commits.add(commit)  # the event loop itself has only a weak reference
        commit.add_done_callback(self._commits.discard)
        if await caller_left(receive, fault.seconds):
            return None
        if fault.commit_seconds <= fault.seconds:
            return await commit
        return self._refusal(fault)

    async def _commit(self, call: Call, seconds: float) -> Response:
        resets = self._resets
        await asyncio.sleep(seconds)
        # A reset has deleted the state to which the call belongs.
        return self.answer(call) if resets == self._resets else self.refusal(503, phrase(503))

    def _fault(self, call: Call) -> Fault | None:
        for fault in list(self.faults):
            if fault.meets(call.method, (call.path, call.route), call.location, call.contact) and (
                fault.probability == 1 or self._random.random() < fault.probability
            ):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def _faulty(self, fault: Fault, call: Call) -> Response:
        status = fault.status
        if status is None:
            return self.answer(call)
        commits = fault.kind == "commit_then_status" or (fault.kind in ("empty", "garbage") and status < 300)
        right = self.answer(call) if commits else None
        if right and right.status_code >= 300:
            return right
        damaged = self._refusal(fault)
        if right:  # the call was handled and counted: the answer has the rate-limit headers
            limits = {name: value for name, value in right.headers.items() if name.startswith("x-ratelimit")}
            damaged.headers.update(limits | fault.headers)
        return damaged

    def _refusal(self, fault: Fault) -> Response:
        """Return the answer that the fault itself creates."""
        status, headers = fault.status or 500, fault.headers
        match fault.kind:
            case "empty":
                return Response(None, status, headers)
            case "html":
                return Response(HTML if fault.body is None else fault.body, status, BLOCKED | headers)
            case "garbage":
                return Response(GARBAGE if fault.body is None else fault.body, status, JSON | headers)
        if fault.body is not None:
            return Response(fault.body, status, JSON | headers)
        refusal = self.refusal(status, fault.message or phrase(status))
        refusal.headers.update(headers)
        return refusal


def _protocol(local: LocalHighLevel) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            local.connections += 1
            # asyncio sets it only for sockets created with a protocol number. Without it answers take 40 ms longer,
            # because head and body are two writes.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Each request's scope contains this state; faults need the connection itself.
            self.app_state = {**self.app_state, "transport": transport}

    return Protocol


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A call that hangs would else delay the shutdown.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def _call(request: Request, body: bytes) -> Call:
    headers = dict(request.headers)
    query = dict(request.query_params)
    call = Call(time.time(), request.method, request.scope["path"], query, headers, body, request.scope["client"])
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        call.token = token.strip()
    named: Any = query
    if headers.get("content-type", "").startswith(FORM):
        named = dict(parse_qsl(body.decode(errors="replace")))
    elif body:
        with contextlib.suppress(ValueError, RecursionError):
            named = json.loads(body)
    if isinstance(named, dict):
        location, contact = named.get("locationId"), named.get("contactId")
        call.location = location if isinstance(location, str) else None
        call.contact = contact if isinstance(contact, str) else None
    return call


def main() -> None:
    """Serve until interrupted. The token comes from the environment: all users of a machine can read arguments."""
    parser = argparse.ArgumentParser(prog="python -m local.highlevel", description="a HighLevel on this machine")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--location", default="*", help="the location of the token in HIGHLEVEL_TOKEN (default: any)")
    options = parser.parse_args()
    token = os.environ.get("HIGHLEVEL_TOKEN")
    if not token:
        parser.error("set HIGHLEVEL_TOKEN to the token that it shall accept")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    highlevel = LocalHighLevel(tokens={token: options.location}, port=options.port)
    with contextlib.suppress(KeyboardInterrupt), highlevel:
        print(highlevel.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
