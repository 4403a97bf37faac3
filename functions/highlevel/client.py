"""HTTP to HighLevel: kept connections, one deadline over each call."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError, ReadTimeoutError

from highlevel import __version__
from highlevel.responses import ApiResult, classify_response, classify_upsert, found_conversation
from shared.connection_pool import ConnectionPool, HttpResponse, call_with_time_limit

DEFAULT_BASE_URL = "https://services.leadconnectorhq.com"
OTHER_VERSION = "2021-07-28"  # the only one that HighLevel documents for its contacts and for OAuth


class HighLevel:
    """HighLevel's API at `base_url` (scheme and host; plain http only to a loopback address, else ValueError).

    `version` is the value of the `Version` header for conversations. One instance serves all threads and locations; it
    opens no connection before the first call.
    """

    def __init__(self, base_url: str = DEFAULT_BASE_URL, version: str = "2021-04-15") -> None:
        self._version = version
        self._connections = ConnectionPool(base_url)

    def create_conversation(self, token: str, location: str, contact: str, *, within: float) -> ApiResult:
        """`POST /conversations/` (the slash matters: without it, 404). The api_result comes after `within` seconds at
        the latest; whether a call cut off then was carried out is unknown, and a second create is harmless."""
        body = json.dumps({"locationId": location, "contactId": contact}).encode()
        return classify_response(self.call("POST", "/conversations/", token, body, within), location, contact)

    def find_conversation(self, token: str, location: str, contact: str, *, within: float) -> dict[str, Any] | None:
        """`GET /conversations/search`: the contact's conversation as `{id, contactId, locationId}`, or None when the
        search, which lags and needs another scope, does not show it within that many seconds."""
        query = urlencode({"locationId": location, "contactId": contact})
        return found_conversation(
            self.call("GET", f"/conversations/search?{query}", token, None, within), location, contact
        )

    def upsert_contact(self, token: str, location: str, details: Mapping[str, str], *, within: float) -> ApiResult:
        """`POST /contacts/upsert` with `details` (email, phone, firstName, lastName, name): the result `found` names
        the contact, new or not. Never send tags: they would replace all of the contact's."""
        body = json.dumps({"locationId": location, **details}).encode()
        return classify_upsert(self.call("POST", "/contacts/upsert", token, body, within), location)

    def call(
        self,
        method: str,
        path: str,
        token: str | None,
        body: bytes | None,
        within: float,
        media: str = "application/json",
    ) -> HttpResponse | Exception:
        """One call with our headers: the answer, or urllib3's exception, after `within` seconds at the latest. `media`:
        the body's type. One that was closed on unanswered is sent again: HighLevel refuses a second create."""
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
            return call_with_time_limit(lambda: self._connections.exchange(method, path, headers, body, until), within)
        except TimeoutError:
            return ReadTimeoutError(self._connections.pool, path, "the deadline passed")
        except HTTPError as error:
            return error
