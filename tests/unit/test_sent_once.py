"""A comment, a note and a new contact are sent once at most, and never after their deadline: by real sockets."""

import contextlib
import json
import math
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
import urllib3.util.connection

from highlevel.client import HighLevel
from highlevel.responses import ApiResult
from shared import connection_pool
from shared.connection_pool import DeadlineError, SendGuard
from tests.factories import CONTACT, LOCATION
from tests.unit.peer import Connection, Peer
from tests.unit.world import TOKEN

WITHIN = 0.25
HOURS = 3 * 3600.0
CONVERSATION = {"id": "conv-1", "contactId": CONTACT, "locationId": LOCATION}
OPENED = json.dumps({"success": True, "conversation": CONVERSATION}).encode()

type Write = Callable[..., ApiResult]


def comment(highlevel: HighLevel, **when: float) -> ApiResult:
    return highlevel.add_comment(TOKEN, CONTACT, "Hello", **when)  # type: ignore[arg-type]


def note(highlevel: HighLevel, **when: float) -> ApiResult:
    return highlevel.add_note(TOKEN, CONTACT, "Hello", **when)  # type: ignore[arg-type]


def new_contact(highlevel: HighLevel, **when: float) -> ApiResult:
    return highlevel.create_contact(TOKEN, LOCATION, {"email": "a@example.com"}, **when)


WRITES = pytest.mark.parametrize("write", [comment, note, new_contact], ids=lambda write: write.__name__)


def create(highlevel: HighLevel, within: float = 2.0) -> ApiResult:
    return highlevel.create_conversation(TOKEN, LOCATION, CONTACT, within=within)


class Wall:
    """A clock whose wall time jumps; its monotonic time goes on as ever, as in an environment that was frozen.

    `after`: it jumps after so many readings of the wall time, None if a test says when.
    """

    sleep = staticmethod(time.sleep)
    monotonic = staticmethod(time.monotonic)

    def __init__(self, after: int | None = None) -> None:
        self.ahead = 0.0
        self._left = after

    def time(self) -> float:
        if self._left is not None:
            if self._left == 0:
                self.ahead = HOURS
            self._left -= 1
        return time.time() + self.ahead


class Silent(Peer):
    """Notes what comes on each connection until the client closes it; answers nothing."""

    def __init__(self, receive: Callable[[Connection], bytes] = Connection.everything) -> None:
        self.received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        super().__init__(lambda connection: self.received.put(receive(connection)))


@contextlib.contextmanager
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's TLS context that the client trusts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    monkeypatch.setattr(connection_pool, "_trust", lambda: client)
    yield server


def https(peer: Peer) -> str:
    return peer.url.replace("http:", "https:")


def assert_not_sent(result: ApiResult) -> None:
    assert (result.outcome, result.reason, result.is_sent) == ("deferred", "upstream_timeout", False)


# After the deadline


@WRITES
def test_a_name_that_is_resolved_after_the_deadline_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    resolved, resolve = threading.Event(), socket.getaddrinfo

    def late(*args: Any, **kwargs: Any) -> Any:
        resolved.wait(5)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    with Silent() as peer:
        assert_not_sent(write(HighLevel(peer.url), within=WITHIN))
        resolved.set()
        assert peer.received.get(timeout=5) == b""


@WRITES
def test_a_connection_that_stands_after_the_deadline_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    stands, connect = threading.Event(), urllib3.util.connection.create_connection

    def late(*args: Any, **kwargs: Any) -> Any:
        connected = connect(*args, **kwargs)
        stands.wait(5)
        return connected

    monkeypatch.setattr(urllib3.util.connection, "create_connection", late)
    with Silent() as peer:
        assert_not_sent(write(HighLevel(peer.url), within=WITHIN))
        stands.set()
        assert peer.received.get(timeout=5) == b""


@WRITES
def test_a_handshake_that_ends_after_the_deadline_sends_nothing(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    with trusted(monkeypatch) as context, Silent(lambda each: each.drip_tls(context, 100, 0.08)) as peer:
        assert_not_sent(write(HighLevel(https(peer)), within=WITHIN))
        assert peer.received.get(timeout=10) == b""


@WRITES
@pytest.mark.parametrize("until", ["the name", "the connection", "the handshake"])
def test_an_environment_frozen_while_it_connects_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, write: Write, until: str
) -> None:
    """The monotonic clock has stood still: by it there is time left."""
    wall = Wall()
    resolve, connect = socket.getaddrinfo, urllib3.util.connection.create_connection

    def freeze(at: str) -> None:
        if at == until:
            wall.ahead = HOURS

    def resolve_frozen(*args: Any, **kwargs: Any) -> Any:
        freeze("the name")
        return resolve(*args, **kwargs)

    def connect_frozen(*args: Any, **kwargs: Any) -> Any:
        connected = connect(*args, **kwargs)
        freeze("the connection")
        return connected

    def receive(connection: Connection) -> bytes:
        freeze("the handshake")
        connection.start_tls(context)
        return connection.everything()

    monkeypatch.setattr(socket, "getaddrinfo", resolve_frozen)
    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect_frozen)
    with trusted(monkeypatch) as context, Silent(receive) as peer:
        assert_not_sent(write(HighLevel(https(peer), clock=wall), within=5.0))
        assert peer.received.get(timeout=5) == b""


@WRITES
@pytest.mark.parametrize("readings", [1, 2], ids=["before it connects", "immediately before the first byte"])
def test_an_environment_frozen_at_any_moment_sends_nothing(write: Write, readings: int) -> None:
    """On a connection that stands already: urllib3 has nothing to wait for."""
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(answer(OPENED))
        received.put(connection.everything())

    wall = Wall()
    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url, clock=wall)
        create(highlevel)
        wall._left = readings
        assert_not_sent(write(highlevel, within=5.0))
        highlevel._connections.pool.close()
        assert received.get(timeout=5) == b""
        assert peer.connections == 1


@WRITES
@pytest.mark.parametrize("within", [0.0, -1.0])
def test_no_time_left_opens_no_connection(write: Write, within: float) -> None:
    with Silent() as peer:
        assert_not_sent(write(HighLevel(peer.url), within=within))
        time.sleep(0.05)
        assert peer.connections == 0


@WRITES
@pytest.mark.parametrize(("ahead", "connections"), [(-0.01, 0), (-HOURS, 0), (60.0, 1), (math.inf, 1)])
def test_nothing_is_sent_after_the_time_that_its_caller_names(write: Write, ahead: float, connections: int) -> None:
    with Silent() as peer:
        result = write(HighLevel(peer.url), within=WITHIN, not_after=time.time() + ahead)
        assert result.is_sent == bool(connections)
        assert result.reason == "upstream_timeout"
        assert peer.connections == connections


def test_every_other_call_too_is_not_sent_after_the_deadline() -> None:
    with Silent() as peer:
        assert_not_sent(create(HighLevel(peer.url, clock=Wall(after=2)), 5.0))
        assert peer.received.get(timeout=5) == b""


# Once


def answer(body: bytes, status: str = "201 Created") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@WRITES
@pytest.mark.parametrize("drop", [Connection.reset, Connection.close], ids=["reset", "close"])
def test_a_write_on_a_stale_connection_is_not_repeated(write: Write, drop: Callable[[Connection], None]) -> None:
    requests = []

    def behave(connection: Connection) -> None:
        while request := connection.request():
            requests.append(request.partition(b"\r\n")[0])
            if len(requests) > 1:
                return drop(connection)
            connection.send(answer(OPENED))
        return None

    with Peer(behave) as peer:
        highlevel = HighLevel(peer.url)
        assert create(highlevel).outcome == "opened"
        result = write(highlevel, within=2.0)
        assert (result.outcome, result.reason, result.is_sent) == ("deferred", "upstream_connection_lost", True)
        assert (len(requests), peer.connections) == (2, 1)


@WRITES
def test_head_and_body_leave_together(write: Write) -> None:
    """An environment cannot be frozen between them."""
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def behave(connection: Connection) -> None:
        received.put(connection._socket.recv(65536))

    with Peer(behave) as peer:
        write(HighLevel(peer.url), within=2.0)
        head, _, body = received.get(timeout=5).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}" in head.decode().lower()
    assert json.loads(body)


def test_a_guard_lets_a_write_begin_once() -> None:
    guard = SendGuard(60.0, once_by=math.inf)
    guard.begin()
    with pytest.raises(DeadlineError):
        guard.begin()
    assert guard.give_up()


def test_a_guard_lets_another_call_begin_again_even_if_its_caller_has_given_up_meanwhile() -> None:
    guard = SendGuard(60.0)
    guard.begin()
    assert guard.give_up()
    guard.begin()


@pytest.mark.parametrize("once_by", [None, math.inf])
def test_nothing_begins_after_its_caller_has_given_up(once_by: float | None) -> None:
    guard = SendGuard(60.0, once_by=once_by)
    assert not guard.give_up()
    with pytest.raises(DeadlineError):
        guard.begin()


def test_either_the_first_byte_leaves_or_its_caller_knows_that_it_never_will() -> None:
    for _ in range(300):
        guard, meeting = SendGuard(60.0, once_by=math.inf), threading.Barrier(2)
        has_begun: list[bool] = []

        def begin(guard: SendGuard = guard, meeting: threading.Barrier = meeting, has: list[bool] = has_begun) -> None:
            meeting.wait(5)
            with contextlib.suppress(DeadlineError):
                guard.begin()
                has.append(True)

        thread = threading.Thread(target=begin)
        thread.start()
        meeting.wait(5)
        is_sent = guard.give_up()
        thread.join()
        assert is_sent == bool(has_begun)


# Whether it was sent


def cut(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{")


def oversized(connection: Connection) -> None:
    connection.request()
    connection.send(answer(b"x" * (connection_pool.MAX_BODY_BYTES + 1)))


def reset(connection: Connection) -> None:
    connection.request()
    connection.reset()


def hang(connection: Connection) -> None:
    connection.request()
    connection.hang()


def overloaded(connection: Connection) -> None:
    connection.request()
    connection.send(answer(b"{}", "503 Service Unavailable"))


def elsewhere(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /contacts/\r\nContent-Length: 0\r\n\r\n")


def garbage(connection: Connection) -> None:
    connection.request()
    connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")


@WRITES
@pytest.mark.parametrize(
    "behave",
    [cut, oversized, reset, hang, overloaded, elsewhere, garbage],
    ids=lambda behave: behave.__qualname__,
)
def test_whatever_happens_after_the_first_byte_it_may_have_been_sent(
    write: Write, behave: Callable[[Connection], None]
) -> None:
    with Peer(behave) as peer:
        result = write(HighLevel(peer.url), within=WITHIN)
        assert (result.outcome, result.is_sent) == ("deferred", True)
        assert peer.connections == 1


@WRITES
def test_without_a_connection_it_was_not_sent(write: Write) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        result = write(HighLevel(f"http://127.0.0.1:{bound.getsockname()[1]}"), within=2.0)
    assert (result.outcome, result.reason, result.is_sent) == ("deferred", "upstream_unreachable", False)


@WRITES
def test_without_a_name_it_was_not_sent(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    result = write(HighLevel("http://localhost:1"), within=2.0)
    assert (result.outcome, result.reason, result.is_sent) == ("deferred", "upstream_unreachable", False)


@WRITES
def test_without_a_usable_host_it_was_not_sent(write: Write) -> None:
    result = write(HighLevel(f"https://{'a' * 64}.invalid"), within=2.0)
    assert (result.outcome, result.reason, result.is_sent) == ("rejected", "base_url_refused", False)


@WRITES
@pytest.mark.parametrize("is_trusted", [True, False], ids=["no TLS", "an unknown authority"])
def test_without_a_handshake_it_was_not_sent(monkeypatch: pytest.MonkeyPatch, write: Write, is_trusted: bool) -> None:
    def behave(connection: Connection) -> None:
        if is_trusted:
            connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        else:
            connection.start_tls(context)

    with trusted(monkeypatch) as context, Peer(behave) as peer:
        if not is_trusted:
            monkeypatch.setattr(connection_pool, "_trust", ssl.create_default_context)
        result = write(HighLevel(https(peer)), within=2.0)
        assert (result.outcome, result.reason, result.is_sent) == ("deferred", "upstream_unreachable", False)


@WRITES
def test_a_write_over_tls_arrives(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    def behave(connection: Connection) -> None:
        connection.start_tls(context)
        while connection.request():
            connection.send(answer(json.dumps({"contact": {"id": CONTACT}}).encode()))

    with trusted(monkeypatch) as context, Peer(behave) as peer:
        highlevel = HighLevel(https(peer))
        results = [write(highlevel, within=2.0) for _ in range(3)]
        assert {result.outcome for result in results} <= {"written", "found"}
        assert all(result.is_sent for result in results)
        assert peer.connections == 1
