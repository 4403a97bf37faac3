"""Who may ask a server of this machine: the programs that run here, and no web page that a browser of it shows.

A page can send requests to 127.0.0.1, and read the answers if its own name is made to point here (DNS rebinding). It
can do nothing about three headers: Host, Origin and Sec-Fetch-Site. Every local server looks at them first. This module
needs the standard library only, as the emulator's environment has nothing else of ours.
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
    """What the Host header of a server on this port of 127.0.0.1 may say."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def is_allowed(target: str, headers: Headers, hosts: Collection[str], *, any_host: bool = False) -> bool:
    """Whether a request comes from a program, or from a page that this very server has sent.

    `target`: the request target as sent. `hosts`: the server's `own_hosts`, in lower case. `any_host`: for a route that
    a tunnel leads to, under a name of its own; a page is refused there all the same.
    """
    sent = [(name.lower(), value) for name, value in headers]
    named = [value for name, value in sent if name == "host"]
    origins = [value for name, value in sent if name == "origin"]
    sites = [value for name, value in sent if name == "sec-fetch-site"]
    # An absolute target (`GET http://name/`) would stand above the Host header.
    if not target.startswith("/") or len(named) != 1:
        return False
    is_own = named[0].lower() in hosts
    if not (is_own or any_host):
        return False
    if origins and not (is_own and origins == [f"http://{named[0]}"]):
        return False
    # `same-site` is another port of this machine; `none` is an address that the user typed.
    return all(site in ("same-origin", "none") for site in sites)


def headers_of(scope: MutableMapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of an ASGI scope as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def is_scope_allowed(scope: MutableMapping[str, Any], hosts: Collection[str], *, any_host: bool = False) -> bool:
    """`is_allowed` for an ASGI scope. A WebSocket never is: no local server has one."""
    target = scope["raw_path"].decode("latin-1")
    return scope["type"] == "http" and is_allowed(target, headers_of(scope), hosts, any_host=any_host)


def refusal(hosts: Collection[str]) -> bytes:
    """The body of the answer 403 to what is not allowed."""
    names = " or ".join(sorted(hosts))
    return json.dumps(
        {
            "error": "This server answers programs on this machine and no other web page: Host must be "
            f"{names}, Origin absent or the server's own, Sec-Fetch-Site not cross-site or same-site."
        }
    ).encode()


async def refuse(scope: MutableMapping[str, Any], send: Send, body: bytes) -> None:
    """Answer 403 with this JSON; close a WebSocket before it is open, which the client sees as 403 too."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guarded(app: App, hosts: Collection[str]) -> App:
    """An ASGI application for HTTP that gets only what is allowed."""

    async def guard(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if is_scope_allowed(scope, hosts):
            await app(scope, receive, send)
        else:
            await refuse(scope, send, refusal(hosts))

    return guard
