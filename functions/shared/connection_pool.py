"""Kept HTTP connections to one host: no redirect, no retry but one, a deadline over the whole exchange."""

import queue
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import ip_address
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationValueError, ProtocolError, ReadTimeoutError
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

IDLE_SECONDS = 20.0
MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One complete HTTP answer: status, headers (any case) and the body's bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionPool:
    """Connections to `base_url` (scheme and host; plain http only to a loopback address, else ValueError). Serves all
    threads; opens none before the first exchange."""

    def __init__(self, base_url: str) -> None:
        self.pool = _pool(base_url)

    def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
        connect_seconds: float = float("inf"),
        read_seconds: float = float("inf"),
    ) -> HttpResponse:
        """One answer, however it reads. Gives up at `until` (monotonic seconds), after `connect_seconds` without a
        connection, or after `read_seconds` without a byte; but for what sockets do not bound: a name resolution,
        headers that drip (see `bounded`). Raises urllib3's HTTPError.

        What a kept connection was closed on, unanswered, is sent again: the caller must bear that it is done twice.
        """
        once = partial(self._exchange_once, method, path, headers, body, until, connect_seconds, read_seconds)
        try:
            return once()
        except ProtocolError as error:
            if not any(isinstance(part, _StaleConnectionError) for part in error.args):
                raise
            return once()

    def _exchange_once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
        connect_seconds: float,
        read_seconds: float,
    ) -> HttpResponse:
        left = until - time.monotonic()
        if left <= 0:
            raise ReadTimeoutError(self.pool, path, "the deadline passed")
        response = self.pool.urlopen(
            method,
            path,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(total=left, connect=min(left, connect_seconds), read=min(left, read_seconds)),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        received = bytearray()
        try:
            while chunk := response.read1(1 << 16):
                received += chunk
                # A dripping answer renews the read timeout with every byte; an endless one would fill the memory.
                if time.monotonic() > until and response.length_remaining != 0:
                    raise ReadTimeoutError(self.pool, path, "the deadline passed")
                if len(received) > MAX_BODY_BYTES:
                    raise ProtocolError("the answer is too large")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return HttpResponse(response.status, response.headers, bytes(received))


def call_with_time_limit[Result](call: Callable[[], Result], seconds: float) -> Result:
    """Run `call` in a thread and return or raise as it does; TimeoutError after `seconds`.

    Socket timeouts bound one operation each: neither a name resolution that hangs nor headers that drip. A call cut
    off is left to end by itself, its result dropped.
    """
    results: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome: tuple[Result | None, BaseException | None] = (call(), None)
        except BaseException as error:  # noqa: BLE001 raised again by the caller
            outcome = (None, error)
        results.put(outcome)

    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.calls.put(run)
    try:
        result, error = results.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


class _Worker(threading.Thread):
    """Runs one call after another: to start a thread for each costs four times the CPU of handing it over."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            self.calls.get()()
            _idle.append(self)


_idle: list[_Worker] = []


class _StaleConnectionError(ConnectionError):
    """A reused connection was closed by the other side before it answered."""


class _ReusedConnection:
    """Closes a connection that has idled too long, and tells when a reused one was dropped without an answer."""

    _served = 0
    _last_used = 0.0

    @property
    def is_connected(self) -> bool:
        # By the wall clock: a frozen Lambda environment's monotonic clock may stand still while the peer hangs up.
        idle = time.time() - self._last_used
        return super().is_connected and 0 <= idle < IDLE_SECONDS  # type: ignore[misc]

    def connect(self) -> None:
        self._served = 0
        super().connect()  # type: ignore[misc]
        self._last_used = time.time()

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        except ConnectionError as error:
            self._raise_if_stale(error)
            raise

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except ConnectionError as error:  # http.client's RemoteDisconnected is one
            self._raise_if_stale(error)
            raise
        self._served += 1
        self._last_used = time.time()
        return response

    def _raise_if_stale(self, error: ConnectionError) -> None:
        if self._served:
            raise _StaleConnectionError from error


class _Http(_ReusedConnection, HTTPConnection):
    pass


class _Https(_ReusedConnection, HTTPSConnection):
    pass


def _pool(base_url: str) -> urllib3.HTTPConnectionPool:
    try:
        url = parse_url(base_url)
    except LocationValueError:
        raise ValueError("the base URL is not a URL") from None
    if not url.host or url.auth or url.query or url.fragment or url.path not in (None, "/"):
        raise ValueError("the base URL must be a scheme and a host, nothing more")
    if url.scheme == "https":
        pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
            url.host, url.port, maxsize=16, ssl_context=_trust()
        )
        pool.ConnectionCls = _Https
    elif url.scheme == "http" and _is_loopback(url.host):
        pool = urllib3.HTTPConnectionPool(url.host, url.port, maxsize=16)
        pool.ConnectionCls = _Http
    else:
        raise ValueError("the base URL must be https (http only to a loopback address)")
    return pool


@cache
def _trust() -> ssl.SSLContext:
    """One for all: urllib3 would read the machine's authorities anew for each connection, 20 ms of CPU."""
    context = create_urllib3_context()
    context.load_default_certs()
    return context


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
