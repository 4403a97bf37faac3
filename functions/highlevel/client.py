"""HTTP to HighLevel: one keep-alive pool, one deadline over each call, no redirect, no retry but one."""

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError, ProtocolError, ReadTimeoutError
from urllib3.util import parse_url

from highlevel import __version__
from highlevel.verdict import Answer, Verdict, found_conversation, upsert_verdict, verdict

DEFAULT_BASE_URL = "https://services.leadconnectorhq.com"
OTHER_VERSION = "2021-07-28"  # the only one that HighLevel documents for its contacts and for OAuth
IDLE_SECONDS = 20.0
MAX_BODY_BYTES = 1 << 20


class HighLevel:
    """HighLevel's API at `base_url` (scheme and host; plain http only to a loopback address, else ValueError).

    `version` is the value of the `Version` header for conversations. One instance serves all threads and locations; it
    opens no connection before the first call.
    """

    def __init__(self, base_url: str = DEFAULT_BASE_URL, version: str = "2021-04-15") -> None:
        self._version = version
        self._pool = _pool(base_url)

    def create_conversation(self, token: str, location: str, contact: str, *, within: float) -> Verdict:
        """`POST /conversations/` (the slash matters: without it, 404). The verdict comes after `within` seconds at
        the latest; whether a call cut off then was carried out is unknown, and a second create is harmless."""
        body = json.dumps({"locationId": location, "contactId": contact}).encode()
        return verdict(self.call("POST", "/conversations/", token, body, within), location, contact)

    def find_conversation(self, token: str, location: str, contact: str, *, within: float) -> dict[str, Any] | None:
        """`GET /conversations/search`: the contact's conversation as `{id, contactId, locationId}`, or None when the
        search, which lags and needs another scope, does not show it within that many seconds."""
        query = urlencode({"locationId": location, "contactId": contact})
        return found_conversation(
            self.call("GET", f"/conversations/search?{query}", token, None, within), location, contact
        )

    def upsert_contact(self, token: str, location: str, details: Mapping[str, str], *, within: float) -> Verdict:
        """`POST /contacts/upsert` with `details` (email, phone, firstName, lastName, name): the verdict `found` names
        the contact, new or not. Never send tags: they would replace all of the contact's."""
        body = json.dumps({"locationId": location, **details}).encode()
        return upsert_verdict(self.call("POST", "/contacts/upsert", token, body, within), location)

    def call(
        self,
        method: str,
        path: str,
        token: str | None,
        body: bytes | None,
        within: float,
        media: str = "application/json",
    ) -> Answer | Exception:
        """One call with our headers: the answer, or urllib3's exception, after `within` seconds at the latest. `media`:
        the body's type."""
        headers = {
            "Version": self._version if path.startswith("/conversations/") else OTHER_VERSION,
            "Accept": "application/json",  # without it HighLevel answers an empty 404
            "User-Agent": f"highlevel-conversations/{__version__}",  # a library's default one is blocked at the edge
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = media
        until = time.monotonic() + within
        try:
            return bounded(lambda: self._exchange(method, path, headers, body, until), within)
        except TimeoutError:
            return ReadTimeoutError(self._pool, path, "the deadline passed")
        except HTTPError as error:
            return error

    def _exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None, until: float) -> Answer:
        try:
            return self._exchange_once(method, path, headers, body, until)
        except ProtocolError as error:
            # The other side had closed the kept connection: nothing was answered on it. Once more, on a fresh one;
            # should the first have been carried out all the same, HighLevel refuses the second create.
            if not any(isinstance(part, _StaleConnectionError) for part in error.args):
                raise
            return self._exchange_once(method, path, headers, body, until)

    def _exchange_once(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, until: float
    ) -> Answer:
        left = max(until - time.monotonic(), 0.001)
        response = self._pool.urlopen(
            method,
            path,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=left, read=left),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        received = bytearray()
        try:
            while chunk := response.read1(1 << 16):
                received += chunk
                # A dripping answer renews the read timeout with every byte; an endless one would fill the memory.
                if time.monotonic() > until:
                    raise ReadTimeoutError(self._pool, path, "the deadline passed")
                if len(received) > MAX_BODY_BYTES:
                    raise ProtocolError("the answer is too large")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return Answer(response.status, response.headers, bytes(received))


def bounded[Result](call: Callable[[], Result], seconds: float) -> Result:
    """Run `call` in a thread and return or raise as it does; TimeoutError after `seconds`.

    Socket timeouts bound one operation each: neither a name resolution that hangs nor headers that drip. A call cut
    off is left to end by itself, its result dropped.
    """
    results: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:  # noqa: BLE001 raised again by the caller
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


class _StaleConnectionError(ConnectionError):
    """A reused connection was closed by the other side before it answered."""


class _KeptConnection:
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


class _Http(_KeptConnection, HTTPConnection):
    pass


class _Https(_KeptConnection, HTTPSConnection):
    pass


def _pool(base_url: str) -> urllib3.HTTPConnectionPool:
    try:
        url = parse_url(base_url)
    except LocationValueError:
        raise ValueError("the base URL is not a URL") from None
    if not url.host or url.auth or url.query or url.fragment or url.path not in (None, "/"):
        raise ValueError("the base URL must be a scheme and a host, nothing more")
    if url.scheme == "https":
        pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(url.host, url.port, maxsize=16)
        pool.ConnectionCls = _Https
    elif url.scheme == "http" and _is_loopback(url.host):
        pool = urllib3.HTTPConnectionPool(url.host, url.port, maxsize=16)
        pool.ConnectionCls = _Http
    else:
        raise ValueError("the base URL must be https (http only to a loopback address)")
    return pool


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
