"""HighLevel's HTTP API: open connections, and one time limit over each call."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError, ReadTimeoutError

from highlevel import __version__
from highlevel.responses import ApiResult, classify_contact, classify_response, classify_upsert, found_conversation
from shared.connection_pool import ConnectionPool, HttpResponse, TimeLimits
from shared.time_limit import call_with_time_limit

DEFAULT_BASE_URL = "https://services.leadconnectorhq.com"
OTHER_VERSION = "2021-07-28"  # the only one that HighLevel documents for its contacts and for OAuth


class HighLevel:
    """HighLevel's API at `base_url` (scheme and host; plain http only to a loopback address, else ValueError).

    `version` is the value of the `Version` header for conversations. All threads and locations may share one instance;
    it opens no connection before the first call. `within` is always in seconds.
    """

    def __init__(self, base_url: str = DEFAULT_BASE_URL, version: str = "2021-04-15") -> None:
        self._version = version
        self._connections = ConnectionPool(base_url)

    def create_conversation(self, token: str, location: str, contact: str, *, within: float) -> ApiResult:
        """Call `POST /conversations/` (without the last slash HighLevel answers 404). Raises nothing.

        Returns after `within` seconds at the latest. HighLevel may have carried out a call that was cut off; a second
        create is harmless.
        """
        body = json.dumps({"locationId": location, "contactId": contact}).encode()
        return classify_response(self.call("POST", "/conversations/", token, body, within), location, contact)

    def find_conversation(self, token: str, location: str, contact: str, *, within: float) -> dict[str, Any] | None:
        """Call `GET /conversations/search` and return the contact's conversation as `{id, contactId, locationId}`.

        None when the search, which lags and needs another scope, does not show it. Raises nothing.
        """
        query = urlencode({"locationId": location, "contactId": contact})
        return found_conversation(
            self.call("GET", f"/conversations/search?{query}", token, None, within), location, contact
        )

    def upsert_contact(self, token: str, location: str, details: Mapping[str, str], *, within: float) -> ApiResult:
        """Call `POST /contacts/upsert` with `details` (email, phone, firstName, lastName, name). Raises nothing.

        The result `found` has the contact's id, new or not. Never send tags: they would replace all of the contact's.
        """
        body = json.dumps({"locationId": location, **details}).encode()
        return classify_upsert(self.call("POST", "/contacts/upsert", token, body, within), location)

    def get_contact(self, token: str, location: str, contact: str, *, within: float) -> ApiResult:
        """`GET /contacts/{id}`: the result `found` has the contact's e-mail address and phone number."""
        return classify_contact(self.call("GET", f"/contacts/{contact}", token, None, within), location, contact)

    def call(
        self,
        method: str,
        path: str,
        token: str | None,
        body: bytes | None,
        within: float,
        media: str = "application/json",
    ) -> HttpResponse | Exception:
        """Make one call and return the response, or urllib3's exception, after `within` seconds at the latest.

        `media`: the body's type. A call may be sent twice (see `ConnectionPool.exchange`).
        """
        headers = {
            "Version": self._version if path.startswith("/conversations/") else OTHER_VERSION,
            "Accept": "application/json",  # without it HighLevel answers an empty 404
            "User-Agent": f"highlevel-conversations/{__version__}",  # a library's default one is blocked at the edge
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = media
        limits = TimeLimits(time.monotonic() + within)
        try:
            return call_with_time_limit(lambda: self._connections.exchange(method, path, headers, body, limits), within)
        except TimeoutError:
            return ReadTimeoutError(self._connections.pool, path, "the deadline passed")
        except HTTPError as error:
            return error
