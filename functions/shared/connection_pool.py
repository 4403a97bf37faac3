"""HTTP connections to one host that stay open: no redirect, one retry at most, a deadline over the whole exchange."""

import ssl
import time
from collections.abc import Mapping
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
    """One complete HTTP response: status, headers (any case) and the body's bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """When an exchange gives up: at `until` (monotonic seconds), or after so many seconds without a connection or byte.

    They bound what sockets bound, so neither a name resolution nor headers that drip (see `call_with_time_limit`).
    """

    until: float
    connect_seconds: float = float("inf")
    read_seconds: float = float("inf")

    def timeout(self, left: float) -> urllib3.Timeout:
        """Return urllib3's timeout when `left` seconds are left."""
        return urllib3.Timeout(total=left, connect=min(left, self.connect_seconds), read=min(left, self.read_seconds))


class ConnectionPool:
    """Connections to `base_url`: scheme and host, plain http only to a loopback address, else ValueError.

    All threads may share it. It opens no connection before the first exchange.
    """

    def __init__(self, base_url: str) -> None:
        self.pool = _pool(base_url)

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, limits: TimeLimits
    ) -> HttpResponse:
        """Send a request and return its response, whatever the status. Raises urllib3's HTTPError.

        A request is sent again if its reused connection was closed without a response: the server may see it twice.
        """
        once = partial(self._exchange_once, method, path, headers, body, limits)
        try:
            return once()
        except ProtocolError as error:
            if not any(isinstance(part, _StaleConnectionError) for part in error.args):
                raise
            return once()

    def _exchange_once(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, limits: TimeLimits
    ) -> HttpResponse:
        left = limits.until - time.monotonic()
        if left <= 0:
            raise ReadTimeoutError(self.pool, path, "the deadline passed")
        response = self.pool.urlopen(
            method,
            path,
            body=body,
            headers=headers,
            timeout=limits.timeout(left),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        received = bytearray()
        try:
            while chunk := response.read1(1 << 16):
                received += chunk
                # A dripping response renews the read timeout with every byte; an endless one would fill the memory.
                if time.monotonic() > limits.until and response.length_remaining != 0:
                    raise ReadTimeoutError(self.pool, path, "the deadline passed")
                if len(received) > MAX_BODY_BYTES:
                    raise ProtocolError("the response is too large")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return HttpResponse(response.status, response.headers, bytes(received))


class _StaleConnectionError(ConnectionError):
    """The server closed a reused connection before it responded."""


class _ReusedConnection:
    """Closes a connection that has idled too long, and raises if a reused one is closed without a response."""

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
    """Return one context for all connections: urllib3 would read the machine's authorities for each, 20 ms of CPU."""
    context = create_urllib3_context()
    context.load_default_certs()
    return context


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
