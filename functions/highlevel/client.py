"""HighLevel's HTTP API: open connections, and one time limit over each call."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError

from highlevel import __version__
from highlevel.ids import InvalidIdError, is_id
from highlevel.responses import (
    ApiResult,
    classify_contact,
    classify_contact_search,
    classify_conversation,
    classify_conversation_search,
    classify_failure,
    classify_new_contact,
    classify_response,
    classify_write,
    found_conversation,
    response_facts,
)
from highlevel.texts import PAGE_SIZE, UnknownFormatError, read_comments, read_notes
from shared.clock import Clock
from shared.connection_pool import ConnectionPool, DeadlineError, HttpResponse, NotSentError, SendGuard, TimeLimits
from shared.json_text import json_object
from shared.time_limit import call_with_time_limit

DEFAULT_BASE_URL = "https://services.leadconnectorhq.com"
OTHER_VERSION = "2021-07-28"  # the only one that HighLevel documents for its contacts and for OAuth

# Sends a request (method, path, headers, body) within so many seconds, if its guard lets it, and returns the response.
# Raises urllib3's HTTPError, or TimeoutError.
type Exchange = Callable[[str, str, Mapping[str, str], bytes | None, SendGuard, float], HttpResponse]


class HighLevel:
    """HighLevel's API at `base_url` (scheme and host; plain http only to a loopback address, else ValueError).

    `version` is the value of the `Version` header for conversations. All threads and locations may share one instance;
    it opens no connection before the first call.

    `within` is always in seconds: a call returns after them at the latest, raises nothing, and is not sent after them,
    by the wall clock either (an environment may have been frozen meanwhile). The writes that HighLevel carries out
    twice if they come twice (a comment, a note, a new contact) are sent once at most, and not after `not_after` (Unix
    time). `exchange`: what sends a request, instead of its connections.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        version: str = "2021-04-15",
        clock: Clock = time,
        exchange: Exchange | None = None,
    ) -> None:
        self._version = version
        self._clock = clock
        self._connections = ConnectionPool(base_url)
        self._send = exchange or self._over_connections

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
        return found_conversation(self._search(token, location, contact, within), location, contact)

    def search_conversation(self, token: str, location: str, contact: str, *, within: float) -> ApiResult:
        """Make the same call: `found`, with id and unread count, or `missing` (not shown yet), or why neither."""
        return classify_conversation_search(self._search(token, location, contact, within), location, contact)

    def _search(self, token: str, location: str, contact: str, within: float) -> HttpResponse | Exception:
        query = urlencode({"locationId": location, "contactId": contact})
        return self.call("GET", f"/conversations/search?{query}", token, None, within)

    # --- contacts (their scopes: contacts.readonly, contacts.write) ---------------------------------------------------

    def get_contact(self, token: str, location: str, contact: str, *, within: float) -> ApiResult:
        """`GET /contacts/{id}`: the result `found` has the contact's e-mail address and phone number."""
        result = self._call_with_id("GET", "/contacts/{}", contact, token, None, within)
        return classify_contact(result, location, contact)

    def search_contact(
        self, token: str, location: str, *, email: str = "", phone: str = "", within: float
    ) -> ApiResult:
        """`GET /contacts/search/duplicate`: `found`, with e-mail address and phone number, or `missing`.

        Unlike the upsert it changes nothing. How it depends on the location's "Allow Duplicate Contact" is not known.
        """
        query = {"locationId": location, "email": email, "number": phone}
        path = "/contacts/search/duplicate?" + urlencode({name: value for name, value in query.items() if value})
        return classify_contact_search(self.call("GET", path, token, None, within), location)

    def create_contact(
        self, token: str, location: str, details: Mapping[str, Any], *, within: float, not_after: float = math.inf
    ) -> ApiResult:
        """`POST /contacts/`: `found`, with `is_new` False if the location allows no duplicates and has the contact.

        `details` are members of the official CreateContactDto; names stay in the case they were typed in.
        """
        body = {"locationId": location, **details}
        return classify_new_contact(self._write_once("/contacts/", token, body, within, not_after), location)

    def update_contact(self, token: str, contact: str, details: Mapping[str, Any], *, within: float) -> ApiResult:
        """`PUT /contacts/{id}`: `written`. Never send tags: they would replace all of the contact's."""
        result = self._call_with_id("PUT", "/contacts/{}", contact, token, dict(details), within)
        return classify_write(result, "contact_refused")

    def add_tags(self, token: str, contact: str, tags: Sequence[str], *, within: float) -> ApiResult:
        """`POST /contacts/{id}/tags`: `written`. It adds to the contact's tags; a tag added twice is one tag."""
        result = self._call_with_id("POST", "/contacts/{}/tags", contact, token, {"tags": list(tags)}, within)
        return classify_write(result, "contact_refused")

    def add_note(
        self,
        token: str,
        contact: str,
        text: str,
        *,
        user_id: str = "",
        within: float,
        not_after: float = math.inf,
    ) -> ApiResult:
        """`POST /contacts/{id}/notes`: `written`. It stands in the contact's panel, not in the thread."""
        if not is_id(contact):
            return classify_failure(InvalidIdError())
        body = {"body": text, "userId": user_id} if user_id else {"body": text}
        result = self._write_once(f"/contacts/{contact}/notes", token, body, within, not_after)
        return classify_write(result, "message_refused")

    def list_notes(self, token: str, contact: str, *, since: float = 0.0, within: float) -> ApiResult:
        """`GET /contacts/{id}/notes`: `found`, with the `texts` of all notes since that Unix time.

        Whatever cannot be read to its end is deferred.
        """
        result = self._call_with_id("GET", "/contacts/{}/notes", contact, token, None, within)
        if isinstance(result, Exception) or result.status != 200:
            return classify_failure(result)
        payload = json_object(result.body)
        facts = response_facts(result, payload)
        try:
            return ApiResult("found", texts=read_notes(payload, since), **facts)
        except UnknownFormatError:
            return ApiResult("deferred", "upstream_unexpected", **facts)

    # --- the thread (conversations.readonly, conversations.write, conversations/message.readonly and .write) ----------

    def add_comment(  # noqa: PLR0913 - all that a comment may have
        self,
        token: str,
        contact: str,
        text: str,
        *,
        conversation_id: str | None = None,
        user_id: str = "",
        mentions: Sequence[str] = (),
        within: float,
        not_after: float = math.inf,
    ) -> ApiResult:
        """`POST /conversations/messages` with the type InternalComment, which only staff see: `written`.

        The official document lists the type for reading, not for sending; measured with private integration tokens. The
        result has the conversation's id if HighLevel names it.
        """
        optional = {"conversationId": conversation_id, "userId": user_id, "mentions": list(mentions)}
        body: dict[str, Any] = {"type": "InternalComment", "contactId": contact, "message": text}
        body |= {name: value for name, value in optional.items() if value}
        result = self._write_once("/conversations/messages", token, body, within, not_after)
        return classify_write(result, "message_refused")

    def list_comments(self, token: str, conversation_id: str, *, since: float, within: float) -> ApiResult:
        """`GET /conversations/{id}/messages`: `found`, with the `texts` of all comments since that Unix time.

        Reads page after page, all within one deadline. Whatever cannot be read to its end is deferred.
        """
        until = self._clock.monotonic() + within
        texts: tuple[str, ...] = ()
        query = {"type": "TYPE_INTERNAL_COMMENTS", "limit": str(PAGE_SIZE)}
        while True:
            path = "/conversations/{}/messages?" + urlencode(query)
            left = until - self._clock.monotonic()
            result = self._call_with_id("GET", path, conversation_id, token, None, left)
            if isinstance(result, Exception) or result.status != 200:
                return classify_failure(result)
            payload = json_object(result.body)
            facts = response_facts(result, payload)
            try:
                page = read_comments(payload, since)
            except UnknownFormatError:
                return ApiResult("deferred", "upstream_unexpected", **facts)
            texts += page.texts
            if page.next_from is None:
                return ApiResult("found", texts=texts, **facts)
            if page.next_from == query.get("lastMessageId"):  # the same page for ever
                return ApiResult("deferred", "upstream_unexpected", **facts)
            query["lastMessageId"] = page.next_from

    def get_conversation(self, token: str, conversation_id: str, *, within: float) -> ApiResult:
        """`GET /conversations/{id}`: `found`, with its `unread_count` (None if HighLevel does not say)."""
        result = self._call_with_id("GET", "/conversations/{}", conversation_id, token, None, within)
        return classify_conversation(result, conversation_id)

    def mark_unread(self, token: str, location: str, conversation_id: str, count: int, *, within: float) -> ApiResult:
        """`PUT /conversations/{id}`: `written`. It sets the unread count, it does not add to it."""
        body = {"locationId": location, "unreadCount": count}
        result = self._call_with_id("PUT", "/conversations/{}", conversation_id, token, body, within)
        return classify_write(result, "ids_refused")

    # --- one call -----------------------------------------------------------------------------------------------------

    def call(  # noqa: PLR0913 - one call, and how it may be sent
        self,
        method: str,
        path: str,
        token: str | None,
        body: bytes | None,
        within: float,
        media: str = "application/json",
        send_once_by: float | None = None,
    ) -> HttpResponse | Exception:
        """Make one call and return the response, or urllib3's exception, after `within` seconds at the latest.

        `media`: the body's type. The exception is NotSentError if no byte of the call has left; then none will. A call
        may be sent twice (see `ConnectionPool.exchange`), unless `send_once_by` is given: until when (Unix time).
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
        guard = SendGuard(within, self._clock, send_once_by)
        error: Exception
        try:
            return self._send(method, path, headers, body, guard, within)
        except TimeoutError:
            error = DeadlineError("the deadline passed")
        except HTTPError as raised:
            error = raised
        return error if guard.give_up() else NotSentError(error)

    def _over_connections(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, guard: SendGuard, within: float
    ) -> HttpResponse:
        limits = TimeLimits(guard.until)
        return call_with_time_limit(
            lambda: self._connections.exchange(method, path, headers, body, limits, guard), within
        )

    def _call_with_id(
        self, method: str, path: str, id_: str, token: str, members: dict[str, Any] | None, within: float
    ) -> HttpResponse | Exception:
        """Make one call with the id in its path at `{}`; none if it cannot be an id."""
        if not is_id(id_):
            return InvalidIdError()
        body = None if members is None else json.dumps(members).encode()
        return self.call(method, path.format(id_), token, body, within)

    def _write_once(
        self, path: str, token: str, members: dict[str, Any], within: float, not_after: float
    ) -> HttpResponse | Exception:
        """Make one POST that is never sent twice."""
        return self.call("POST", path, token, json.dumps(members).encode(), within, send_once_by=not_after)
