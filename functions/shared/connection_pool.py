"""HTTP connections to one host that stay open: no redirect, one retry at most, a deadline over the whole exchange."""

import math
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import ip_address
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError, ProtocolError, ReadTimeoutError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from shared.clock import Clock

IDLE_SECONDS = 20.0
MAX_BODY_BYTES = 1 << 20
_NO_RETRY = urllib3.Retry(False, redirect=False)  # what urllib3 makes of retries=False, for each exchange again


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


class DeadlineError(HTTPTimeoutError):
    """The deadline passed."""


class NotSentError(HTTPError):
    """The exchange failed before the first byte of its request: the server cannot have carried it out."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class SendGuard:
    """Decides immediately before the first byte of a request whether it is sent.

    It is not sent once its caller has given up, nor after `within` seconds by the wall clock: the monotonic clock may
    stand still while an environment is frozen. With `once_by` (Unix time) it is sent once at most, and not after that
    either.
    """

    def __init__(self, within: float, clock: Clock = time, once_by: float | None = None) -> None:
        self.until = clock.monotonic() + within
        self.may_repeat = once_by is None
        self._clock = clock
        self._wall_until = min(clock.time() + within, math.inf if once_by is None else once_by)
        self._decided = threading.Lock()  # taken by whichever comes first: the first byte, or its caller giving up
        self._is_sent = False

    def begin(self) -> None:
        """Let the request's first byte leave, or raise DeadlineError."""
        self.check_time()
        if self._decided.acquire(blocking=False):
            self._is_sent = True
        elif not (self._is_sent and self.may_repeat):
            raise DeadlineError("the caller has given up, or the request was sent before")

    def check_time(self) -> None:
        """Raise DeadlineError after the deadline, by the wall clock."""
        if self._clock.time() >= self._wall_until:
            raise DeadlineError("the deadline passed")

    def give_up(self) -> bool:
        """Return whether a byte may have left; if none has, none will."""
        return not self._decided.acquire(blocking=False)


class ConnectionPool:
    """Connections to `base_url`: scheme and host, plain http only to a loopback address, else ValueError.

    All threads may share it. It opens no connection before the first exchange.
    """

    def __init__(self, base_url: str) -> None:
        self.pool = _pool(base_url)

    def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limits: TimeLimits,
        guard: SendGuard | None = None,
    ) -> HttpResponse:
        """Send a request and return its response, whatever the status. Raises urllib3's HTTPError.

        A request is sent again if its reused connection was closed without a response: the server may see it twice.
        `guard` decides whether it is sent, and whether again.
        """
        once = partial(self._exchange_once, method, path, headers, body, limits)
        if guard:
            guard.check_time()
        _sending.guard = guard
        try:
            return once()
        except ProtocolError as error:
            is_stale = any(isinstance(part, _StaleConnectionError) for part in error.args)
            if not is_stale or (guard and not guard.may_repeat):
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
            retries=_NO_RETRY,
            redirect=False,
            preload_content=False,
        )
        is_encoded = "content-encoding" in response.headers  # then its decoder may hold more than was received
        received = bytearray()
        try:
            while chunk := response.read1(1 << 16):
                received += chunk
                # A dripping response renews the read timeout with every byte; an endless one would fill the memory.
                if time.monotonic() > limits.until and response.length_remaining != 0:
                    raise ReadTimeoutError(self.pool, path, "the deadline passed")
                if len(received) > MAX_BODY_BYTES:
                    raise ProtocolError("the response is too large")
                if response.length_remaining == 0 and not is_encoded:
                    break
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return HttpResponse(response.status, response.headers, bytes(received))


class _Sending(threading.local):
    """The guard of the exchange that this thread is in: urllib3 has no argument to pass it on."""

    guard: SendGuard | None = None


_sending = _Sending()


class _StaleConnectionError(ConnectionError):
    """The server closed a reused connection before it responded."""


class _ReusedConnection:
    """Closes a connection that has idled too long, and raises if a reused one is closed without a response.

    Sends head and body together, after the connection stands and the exchange's guard has agreed.
    """

    _served = 0
    _last_used = 0.0
    _parts: list[bytes]

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
        self._parts = []
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
            self._send_parts()
        except ConnectionError as error:
            self._raise_if_stale(error)
            raise

    def send(self, data: Any) -> None:
        self._parts.append(data)

    def _send_parts(self) -> None:
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()
        if guard := _sending.guard:
            guard.begin()
        parts, self._parts = self._parts, []
        super().send(b"".join(parts))  # type: ignore[misc]

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
