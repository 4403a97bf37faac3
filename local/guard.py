"""Protect the local servers from web pages: only programs on this machine, and a server's own page, may call them.

A web page can send requests to 127.0.0.1, and read the answers if its own name resolves to 127.0.0.1 (DNS rebinding).
It cannot change three headers: Host, Origin and Sec-Fetch-Site. Every local server checks them first. This module
imports only the standard library, because the emulator's environment has none of this project's packages.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any

type Headers = Iterable[tuple[str, str]]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def own_hosts(port: int) -> frozenset[str]:
    """Return the allowed values of the Host header for a server on this port of 127.0.0.1."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def is_allowed(target: str, headers: Headers, hosts: Collection[str], *, any_host: bool = False) -> bool:
    """Whether a request comes from a program, or from a page of this server.

    `target`: the request target as sent. `hosts`: the server's `own_hosts`, in lower case. `any_host`: for a route that
    a tunnel with another Host may use; web pages are refused there too.
    """
    sent = [(name.lower(), value) for name, value in headers]
    named = [value for name, value in sent if name == "host"]
    origins = [value for name, value in sent if name == "origin"]
    sites = [value for name, value in sent if name == "sec-fetch-site"]
    # An absolute target (`GET http://name/`) would override the Host header.
    if not target.startswith("/") or len(named) != 1:
        return False
    is_own = named[0].lower() in hosts
    if not (is_own or any_host):
        return False
    if origins and not (is_own and origins == [f"http://{named[0]}"]):
        return False
    # `same-site` is another port of this machine; `none` is an address that the user has typed.
    return all(site in ("same-origin", "none") for site in sites)


def headers_of(scope: MutableMapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headers of an ASGI scope as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def is_scope_allowed(scope: MutableMapping[str, Any], hosts: Collection[str], *, any_host: bool = False) -> bool:
    """Apply `is_allowed` to an ASGI scope. A WebSocket is never allowed: no local server has one."""
    target = scope["raw_path"].decode("latin-1")
    return scope["type"] == "http" and is_allowed(target, headers_of(scope), hosts, any_host=any_host)


def refusal(hosts: Collection[str]) -> bytes:
    """Return the body of the answer 403."""
    names = " or ".join(sorted(hosts))
    return json.dumps(
        {
            "error": "This server answers programs on this machine and no other web page: Host must be "
            f"{names}, Origin absent or the server's own, Sec-Fetch-Site not cross-site or same-site."
        }
    ).encode()


async def refuse(scope: MutableMapping[str, Any], send: Send, body: bytes) -> None:
    """Answer 403 with this JSON. A WebSocket is closed before it opens, which the client sees as 403 too."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guarded(app: App, hosts: Collection[str]) -> App:
    """Wrap an ASGI application, which then gets only allowed requests."""

    async def guard(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if is_scope_allowed(scope, hosts):
            await app(scope, receive, send)
        else:
            await refuse(scope, send, refusal(hosts))

    return guard
