"""The client through real sockets: what goes over the wire, and how soon a api_result comes whatever the peer does."""

import gc
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3.connectionpool

from highlevel import __version__
from highlevel.client import HighLevel
from highlevel.responses import ApiResult
from local.highlevel import LocalHighLevel
from shared import connection_pool
from tests.factories import CONTACT, LOCATION
from tests.stopwatch import in_time
from tests.unit.fakes import Clock
from tests.unit.peer import Connection, Peer
from tests.unit.world import TOKEN

WITHIN = 0.25
CONVERSATION = {"id": "conv-1", "contactId": CONTACT, "locationId": LOCATION}
BODY = json.dumps({"success": True, "conversation": CONVERSATION}).encode()


def answer(status: str = "201 Created", body: bytes = BODY, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    return b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def serve(data: bytes) -> Callable[[Connection], None]:
    """Answer every request of a connection with the same bytes."""

    def behave(connection: Connection) -> None:
        while connection.request():
            connection.send(data)

    return behave


def create(highlevel: HighLevel, within: float = 2.0, contact: str = CONTACT) -> ApiResult:
    return highlevel.create_conversation(TOKEN, LOCATION, contact, within=within)


# What goes over the wire


def exchanged(call: Callable[[HighLevel], object]) -> tuple[str, dict[str, str], bytes]:
    """The request line, the headers (names in lower case) and the body that a call sends."""
    requests: list[bytes] = []

    def behave(connection: Connection) -> None:
        requests.append(connection.request())
        connection.send(answer())

    with Peer(behave) as peer:
        call(HighLevel(peer.url, "2021-07-28"))
    head, _, body = requests[0].partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = [text.split(": ", 1) for text in lines]
    assert len({name.lower() for name, _ in headers}) == len(headers)
    return line, {name.lower(): value for name, value in headers}, body


def test_a_create_sends_exactly_what_highlevel_asks_for() -> None:
    line, headers, body = exchanged(create)
    assert line == "POST /conversations/ HTTP/1.1"
    assert body == json.dumps({"locationId": LOCATION, "contactId": CONTACT}).encode()
    del headers["host"]
    assert headers == {
        "authorization": f"Bearer {TOKEN}",
        "version": "2021-07-28",
        "accept": "application/json",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": f"highlevel-conversations/{__version__}",
        "accept-encoding": "identity",
    }


def test_a_search_sends_no_body_and_no_slash() -> None:
    line, headers, body = exchanged(lambda hl: hl.find_conversation(TOKEN, LOCATION, CONTACT, within=2))
    assert line == f"GET /conversations/search?locationId={LOCATION}&contactId={CONTACT} HTTP/1.1"
    assert body == b""
    assert not {"content-type", "content-length"} & headers.keys()
    assert headers["authorization"] == f"Bearer {TOKEN}"


def test_ids_in_a_query_are_escaped() -> None:
    line, _, _ = exchanged(lambda hl: hl.find_conversation(TOKEN, "a&b=c", "d e/ü", within=2))
    assert line == "GET /conversations/search?locationId=a%26b%3Dc&contactId=d+e%2F%C3%BC HTTP/1.1"


def test_the_local_highlevel_takes_it(highlevel: LocalHighLevel) -> None:
    calls = HighLevel(highlevel.url)
    opened = create(calls)
    assert opened.outcome == "opened"
    assert opened.body is not None
    assert opened.rate_limit is not None
    assert create(calls).outcome == "existing"
    found = calls.find_conversation(TOKEN, LOCATION, CONTACT, within=2)
    assert found == {"id": opened.body["conversation"]["id"], "contactId": CONTACT, "locationId": LOCATION}


# Answers


@pytest.mark.parametrize(
    "data",
    [
        answer(),
        chunked(BODY[:1], BODY[1:7], BODY[7:]),
        b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n" + BODY,
        b"HTTP/1.0 201 Created\r\n\r\n" + BODY,
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
        answer("201 Created", gzip.compress(BODY), "Content-Encoding: gzip"),
        answer("201 Created", gzip.compress(b" " * 300_000 + BODY), "Content-Encoding: gzip"),
    ],
    ids=["length", "chunked", "until close", "http 1.0", "after continue", "gzip", "gzip, larger than one read"],
)
def test_an_answer_is_read_however_it_is_framed(data: bytes) -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(data)

    with Peer(behave) as peer:
        assert create(HighLevel(peer.url)).body == json.loads(BODY)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n" + BODY,
        chunked(BODY)[:-9],
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        answer("201 Created", BODY, "Content-Encoding: gzip"),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc Created\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"",
        b"HTTP/1.1 20",
        answer("200 OK", b"x" * (connection_pool.MAX_BODY_BYTES + 1)),
        answer("200 OK", gzip.compress(b"x" * 5_000_000), "Content-Encoding: gzip"),
    ],
)
def test_a_broken_or_endless_answer_is_deferred(data: bytes) -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(data)

    with Peer(behave) as peer:
        judged = create(HighLevel(peer.url))
    assert (judged.outcome, judged.reason) == ("deferred", "upstream_connection_lost")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3 leaves the socket to the GC
def test_two_lengths_are_a_broken_answer() -> None:
    with Peer(serve(b"HTTP/1.1 201 Created\r\nContent-Length: 5, 7\r\n\r\n" + BODY)) as peer:
        assert create(HighLevel(peer.url)).reason == "upstream_connection_lost"
    gc.collect()


def test_an_answer_at_the_limit_is_read() -> None:
    padded = BODY + b" " * (connection_pool.MAX_BODY_BYTES - len(BODY))
    with Peer(serve(answer("201 Created", padded))) as peer:
        assert create(HighLevel(peer.url)).body == json.loads(BODY)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_no_redirect_is_followed(status: str) -> None:
    with Peer(serve(answer())) as elsewhere:
        with Peer(serve(answer(status, b"", f"Location: {elsewhere.url}/conversations/"))) as peer:
            judged = create(HighLevel(peer.url))
        assert (judged.outcome, judged.reason, judged.status) == ("deferred", "upstream_unexpected", int(status[:3]))
        assert elsewhere.connections == 0


# The deadline


def drip_status_line(connection: Connection) -> None:
    connection.drip(b"HTTP/1.1 201 " + b"C" * 100, 0.1)


def drip_headers(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 201 Created\r\n")
    connection.drip(b"X: y\r\n" * 20, 0.1)


def drip_body(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n")
    connection.drip(b" " * 100, 0.1)


def drip_chunks(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        connection.send(b"1\r\n \r\n")
        time.sleep(0.1)


def drip_continues(connection: Connection) -> None:
    for _ in range(20):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.1)


@pytest.mark.parametrize(
    "misbehave",
    [drip_status_line, drip_headers, drip_body, drip_chunks, drip_continues, Connection.hang],
    ids=lambda behaviour: behaviour.__name__,
)
def test_a_result_comes_in_time_whatever_the_peer_does(misbehave: Callable[[Connection], None]) -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        misbehave(connection)

    with Peer(behave) as peer, in_time(WITHIN):
        judged = create(HighLevel(peer.url), WITHIN)
    assert (judged.outcome, judged.reason) == ("deferred", "upstream_timeout")


@pytest.mark.parametrize("kind", ["hang", "drip", "drip_headers"])
def test_a_result_comes_in_time_whatever_highlevel_does(highlevel: LocalHighLevel, kind: str) -> None:
    highlevel.fail(kind=kind, **({} if kind == "hang" else {"seconds": 0.05}))
    with in_time(WITHIN):
        assert create(HighLevel(highlevel.url), WITHIN).reason == "upstream_timeout"


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_a_dropped_connection_is_reported_immediately_and_not_retried(highlevel: LocalHighLevel, kind: str) -> None:
    highlevel.fail(kind=kind)
    with in_time(WITHIN):
        assert create(HighLevel(highlevel.url)).reason == "upstream_connection_lost"
    assert len(highlevel.calls) == 1


def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with in_time(WITHIN):
            judged = create(HighLevel(f"http://127.0.0.1:{port}"))
    assert (judged.outcome, judged.reason) == ("deferred", "upstream_unreachable")


def test_a_listener_that_does_not_accept_is_given_up_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        with in_time(WITHIN):
            judged = create(HighLevel(f"http://127.0.0.1:{address[1]}"), WITHIN)
        for filler in fillers:
            filler.close()
    assert judged.outcome == "deferred"
    assert judged.reason in ("upstream_unreachable", "upstream_timeout")


def test_a_name_that_resolves_slowly_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolve(*_: object, **__: object) -> list[Any]:
        released.wait(5)
        raise socket.gaierror("later")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with in_time(WITHIN):
        judged = create(HighLevel("http://localhost:1"), WITHIN)
    released.set()
    assert (judged.outcome, judged.reason) == ("deferred", "upstream_timeout")


def test_a_name_that_does_not_exist_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert create(HighLevel("http://localhost:1")).reason == "upstream_unreachable"


def test_a_host_label_that_no_name_may_have_is_a_mistake_in_the_configuration() -> None:
    judged = create(HighLevel(f"https://{'a' * 64}.invalid"))
    assert (judged.outcome, judged.reason) == ("rejected", "base_url_refused")


def test_tls_to_a_peer_that_speaks_none_is_unreachable() -> None:
    with Peer(lambda connection: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer:
        judged = create(HighLevel(peer.url.replace("http", "https")))
    assert (judged.outcome, judged.reason) == ("deferred", "upstream_unreachable")


@pytest.mark.parametrize("within", [0.0, -1.0])
def test_no_time_left_is_a_timeout(highlevel: LocalHighLevel, within: float) -> None:
    with in_time(WITHIN):
        assert create(HighLevel(highlevel.url), within).reason == "upstream_timeout"


def test_a_late_response_is_not_given_to_another_call() -> None:
    arrived, release = threading.Event(), threading.Event()

    def behave(connection: Connection) -> None:
        while connection.request():
            if not arrived.is_set():
                arrived.set()
                release.wait(5)
                connection.send(answer("500 Internal Server Error", b'{"message":"late"}'))
            else:
                connection.send(answer())

    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url)
        assert create(highlevel, 0.2).reason == "upstream_timeout"
        assert arrived.wait(2)
        assert create(highlevel).outcome == "opened"
        release.set()
        time.sleep(0.1)
        assert [create(highlevel).outcome for _ in range(3)] == ["opened"] * 3


# Open connections


def test_one_connection_serves_many_calls(highlevel: LocalHighLevel) -> None:
    calls = HighLevel(highlevel.url)
    for number in range(5):
        create(calls, contact=f"contact-{number}")
        create(calls, contact=f"contact-{number}")  # a refusal leaves the connection as good as a success
    assert (len(highlevel.calls), highlevel.connections) == (10, 1)


def test_nothing_is_opened_before_the_first_call() -> None:
    with Peer(serve(answer())) as peer:
        HighLevel(peer.url)
        time.sleep(0.05)
        assert peer.connections == 0


@pytest.mark.parametrize(("passed", "connection_pool"), [(19.9, 1), (20.1, 2), (3600.0, 2), (-5.0, 2)])
def test_a_connection_that_idled_too_long_by_the_wall_clock_is_not_used(
    monkeypatch: pytest.MonkeyPatch, passed: float, connection_pool: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(clock, "monotonic", time.monotonic)  # stands still while an environment is frozen
    monkeypatch.setattr("shared.connection_pool.time", clock)
    with Peer(serve(answer())) as peer:
        highlevel = HighLevel(peer.url)
        create(highlevel)
        clock.now += passed
        assert create(highlevel).outcome == "opened"
        assert peer.connections == connection_pool


def drop_reused(drop: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Answer the first request of each connection; drop the connection at the second."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(answer())
        if connection.request():
            drop(connection)

    return behave


@pytest.mark.parametrize("drop", [Connection.reset, Connection.close], ids=["reset", "close"])
def test_a_reused_connection_dropped_without_an_answer_is_replaced(drop: Callable[[Connection], None]) -> None:
    with Peer(drop_reused(drop)) as peer:
        highlevel = HighLevel(peer.url)
        assert [create(highlevel).outcome for _ in range(3)] == ["opened"] * 3
        assert peer.connections == 3


def test_the_replacement_is_a_new_connection_even_if_several_are_idle() -> None:
    together = threading.Barrier(3)

    def behave(connection: Connection) -> None:
        connection.request()
        if connection.number <= 3:
            together.wait(5)
        connection.send(answer())
        if connection.request():
            connection.reset()

    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda _: create(highlevel), range(3)))
        assert peer.connections == 3
        assert create(highlevel).outcome == "opened"


def test_the_replacement_is_not_replaced_again() -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        if connection.number == 1:
            connection.send(answer())
            connection.request()
        connection.reset()

    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url)
        create(highlevel)
        assert create(highlevel).reason == "upstream_connection_lost"
        assert peer.connections == 2


def test_an_idle_connection_that_the_peer_has_closed_is_not_used() -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(answer())

    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url)
        create(highlevel)
        time.sleep(0.05)
        assert create(highlevel).outcome == "opened"


def test_the_replacement_has_only_the_time_that_is_left() -> None:
    def behave(connection: Connection) -> None:
        connection.request()
        if connection.number == 1:
            connection.send(answer())
            connection.request()
            time.sleep(WITHIN / 2)
            connection.reset()
        connection.hang()

    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url)
        create(highlevel)
        with in_time(WITHIN):
            assert create(highlevel, WITHIN).reason == "upstream_timeout"


def test_a_batch_of_parallel_calls_leaves_no_warning(
    highlevel: LocalHighLevel, caplog: pytest.LogCaptureFixture
) -> None:
    highlevel.latency = 0.1
    calls = HighLevel(highlevel.url)
    with caplog.at_level(logging.WARNING, urllib3.connectionpool.log.name), ThreadPoolExecutor(10) as threads:
        outcomes = [v.outcome for v in threads.map(lambda n: create(calls, contact=f"contact-{n}"), range(10))]
    assert outcomes == ["opened"] * 10
    assert caplog.messages == []


# The base URL


@pytest.mark.parametrize(
    "url",
    [
        "https://services.leadconnectorhq.com",
        "https://services.leadconnectorhq.com/",
        "HTTPS://Services.LeadConnectorHQ.com:443",
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://localhost:8000/",
        "http://[::1]:8000",
    ],
)
def test_https_and_http_to_loopback_are_addresses(url: str) -> None:
    HighLevel(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "services.leadconnectorhq.com",
        "//services.leadconnectorhq.com",
        "https://",
        "https:///conversations",
        "http://services.leadconnectorhq.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://2130706433",
        "https://user:password@services.leadconnectorhq.com",
        "https://services.leadconnectorhq.com/v2",
        "https://services.leadconnectorhq.com/?a=b",
        "https://services.leadconnectorhq.com#here",
        "https://services.leadconnectorhq.com:99999",
        "https://services.leadconnectorhq.com:port",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
    ],
)
def test_any_other_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        HighLevel(url)
