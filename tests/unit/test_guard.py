"""Which requests the local servers answer: those of programs of this machine, and of their own pages."""

import asyncio
from typing import Any

import pytest

from local.guard import guarded, is_allowed, own_hosts

HOSTS = own_hosts(4566)
HOST = ("Host", "127.0.0.1:4566")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([HOST], id="a program"),
        pytest.param([("Host", "localhost:4566")], id="by name"),
        pytest.param([("hOsT", "LocalHost:4566")], id="upper case"),
        pytest.param([HOST, ("Origin", "http://127.0.0.1:4566")], id="own origin"),
        pytest.param([("Host", "localhost:4566"), ("Origin", "http://localhost:4566")], id="own origin, by name"),
        pytest.param([HOST, ("Sec-Fetch-Site", "same-origin")], id="own page"),
        pytest.param([HOST, ("Sec-Fetch-Site", "none")], id="typed address"),
        pytest.param([HOST, ("X-Forwarded-Host", "evil.example")], id="X-Forwarded-Host is not looked at"),
        pytest.param([HOST, ("Referer", "http://evil.example/")], id="Referer is not looked at"),
    ],
)
def test_allowed_requests(headers: list[tuple[str, str]]) -> None:
    assert is_allowed("/", headers, HOSTS)


FOREIGN_ORIGINS = [
    pytest.param("http://evil.example", id="foreign"),
    pytest.param("null", id="null"),
    pytest.param("", id="empty"),
    pytest.param("http://127.0.0.1:8000", id="another port"),
    pytest.param("http://127.0.0.1", id="no port"),
    pytest.param("https://127.0.0.1:4566", id="another scheme"),
    pytest.param("http://localhost:4566", id="own, but of the other name"),
    pytest.param("http://127.0.0.1:4566.evil.example", id="own as a prefix"),
    pytest.param("http://evil.example/http://127.0.0.1:4566", id="own as a suffix"),
    pytest.param("HTTP://127.0.0.1:4566", id="upper case"),
    pytest.param("http://127.0.0.1:4566 http://evil.example", id="a list"),
    pytest.param("chrome-extension://abcdefghijklmnop", id="an extension"),
    pytest.param("file://", id="a file"),
]


@pytest.mark.parametrize("any_host", [False, True], ids=["own host", "any host"])
@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_other_origins_are_refused(origin: str, any_host: bool) -> None:
    assert not is_allowed("/", [HOST, ("Origin", origin)], HOSTS, any_host=any_host)


@pytest.mark.parametrize("any_host", [False, True], ids=["own host", "any host"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Sec-Fetch-Site", "cross-site")], id="cross-site"),
        pytest.param([("Sec-Fetch-Site", "same-site")], id="same-site: another port of this machine"),
        pytest.param([("Sec-Fetch-Site", "Cross-Site")], id="upper case"),
        pytest.param([("Sec-Fetch-Site", "")], id="empty"),
        pytest.param([("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")], id="twice"),
        pytest.param([("Origin", "http://127.0.0.1:4566"), ("Sec-Fetch-Site", "cross-site")], id="own origin as well"),
        pytest.param([("Origin", "http://127.0.0.1:4566"), ("Origin", "http://evil.example")], id="two origins"),
    ],
)
def test_other_sites_are_refused(headers: list[tuple[str, str]], any_host: bool) -> None:
    assert not is_allowed("/", [HOST, *headers], HOSTS, any_host=any_host)


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(["evil.example:4566"], id="DNS rebinding, own port"),
        pytest.param(["evil.example"], id="DNS rebinding"),
        pytest.param(["127.0.0.1.nip.io:4566"], id="a name that resolves to loopback"),
        pytest.param(["127.0.0.1"], id="port missing"),
        pytest.param(["localhost"], id="port missing, by name"),
        pytest.param(["127.0.0.1:80"], id="another port"),
        pytest.param(["127.0.0.1:04566"], id="leading zero"),
        pytest.param(["127.0.0.1:"], id="empty port"),
        pytest.param(["localhost.:4566"], id="trailing dot"),
        pytest.param(["foo.localhost:4566"], id="below localhost"),
        pytest.param(["[::1]:4566"], id="IPv6"),
        pytest.param(["[::ffff:127.0.0.1]:4566"], id="IPv4 in IPv6"),
        pytest.param(["127.1:4566"], id="short IPv4"),
        pytest.param(["2130706433:4566"], id="IPv4 as a number"),
        pytest.param(["127.0.0.2:4566"], id="another loopback address"),
        pytest.param(["0.0.0.0:4566"], id="0.0.0.0"),
        pytest.param(["user@127.0.0.1:4566"], id="user"),
        pytest.param([" 127.0.0.1:4566"], id="blank"),
        pytest.param(["127.0.0.1:4566, evil.example"], id="joined"),
        pytest.param(["127.0.0.1:4566", "evil.example"], id="twice"),
        pytest.param(["127.0.0.1:4566", "127.0.0.1:4566"], id="twice the same"),
        pytest.param([""], id="empty"),
        pytest.param([], id="missing"),
    ],
)
def test_other_hosts_are_refused(named: list[str]) -> None:
    headers = [*(("Host", name) for name in named), ("X-Forwarded-Host", "127.0.0.1:4566")]
    assert not is_allowed("/", headers, HOSTS)


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:4566/", "http://evil.example/", "*", "", "evil.example:443"],
    ids=["absolute", "absolute, foreign", "asterisk", "empty", "authority"],
)
def test_target_must_be_a_path(target: str) -> None:
    assert not is_allowed(target, [HOST], HOSTS)
    assert not is_allowed(target, [HOST], HOSTS, any_host=True)


def test_tunnel_may_use_any_host() -> None:
    assert is_allowed("/", [("Host", "abc.tunnel.example")], HOSTS, any_host=True)


@pytest.mark.parametrize("origin", ["http://evil.example:4566", "http://127.0.0.1:4566"], ids=["its own", "ours"])
def test_page_of_a_rebound_name_is_refused_on_a_route_for_any_host(origin: str) -> None:
    headers = [("Host", "evil.example:4566"), ("Origin", origin)]
    assert not is_allowed("/", headers, HOSTS, any_host=True)


@pytest.mark.parametrize(
    ("kind", "headers", "sent"),
    [
        ("http", [(b"host", b"127.0.0.1:4566")], ["passed"]),
        ("http", [(b"host", b"evil.example")], ["http.response.start 403", "http.response.body"]),
        ("websocket", [(b"host", b"127.0.0.1:4566")], ["websocket.close"]),
    ],
    ids=["passed on", "refused", "a WebSocket of any client"],
)
def test_guarded_application_gets_only_allowed_requests(
    kind: str, headers: list[tuple[bytes, bytes]], sent: list[str]
) -> None:
    seen: list[str] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "passed"})

    async def send(message: Any) -> None:
        seen.append(f"{message['type']} {message.get('status', '')}".strip())
        assert not [name for name, _ in message.get("headers", []) if name.startswith(b"access-control")]

    async def receive() -> Any:
        raise AssertionError("nothing is read of what is refused")

    async def ask() -> None:
        await guarded(app, HOSTS)({"type": kind, "raw_path": b"/", "headers": headers}, receive, send)

    asyncio.run(ask())
    assert seen == sent
