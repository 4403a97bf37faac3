"""Calls to the local HighLevel as a client makes them."""

import http.client
import json
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from local.highlevel import LocalHighLevel

PIT = "pit-11111111-2222-3333-4444-555555555555"
OAUTH = "eyJhbGciOi.of.one-location"
CREATE = "/conversations/"
SEARCH = "/conversations/search"
UPSERT = "/contacts/upsert"
CONTACTS = "/contacts/"
DUPLICATE = "/contacts/search/duplicate"
MESSAGES = "/conversations/messages"
THREAD = "/conversations/{conversationId}/messages"
NOTES = "/contacts/{contactId}/notes"
HEADERS = {
    "Authorization": f"Bearer {PIT}",
    "Version": "2021-04-15",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "test/1",
}
MINE = {"locationId": "mine"}
RATE_LIMIT = ["max", "remaining", "interval-milliseconds", "limit-daily", "daily-remaining"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    local: LocalHighLevel,
    method: str = "POST",
    path: str = CREATE,
    body: Any = None,
    *,
    timeout: float = 5,
    **changed: str | None,
) -> Answer:
    """One call on its own connection; `changed` are headers, None leaves one out."""
    headers = HEADERS | {name.replace("_", "-").title(): value for name, value in changed.items()}
    connection = http.client.HTTPConnection(urlsplit(local.url).netloc, timeout=timeout)
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, raw, {name: value for name, value in headers.items() if value is not None})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def create(local: LocalHighLevel, location: str = "mine", contact: str = "c1", **changed: Any) -> Answer:
    return ask(local, body={"locationId": location, "contactId": contact}, **changed)


def comment(local: LocalHighLevel, contact: str = "c1", message: str = "hello", **members: Any) -> Answer:
    return ask(
        local, path=MESSAGES, body={"type": "InternalComment", "contactId": contact, "message": message} | members
    )


def create_contact(local: LocalHighLevel, location: str = "mine", **members: Any) -> Answer:
    return ask(local, path=CONTACTS, body={"locationId": location} | members)


def new_contact(local: LocalHighLevel, location: str = "mine", **members: Any) -> str:
    answer = create_contact(local, location, **members)
    assert answer.status == 201
    return str(answer.json["contact"]["id"])


def bodies(answer: Answer) -> list[str]:
    """The texts of a page of messages."""
    assert answer.status == 200
    return [message["body"] for message in answer.json["messages"]["messages"]]


def raw_call(local: LocalHighLevel) -> socket.socket:
    """A socket on which a create was just sent."""
    body = json.dumps({"locationId": "mine", "contactId": "c1"}).encode()
    parts = urlsplit(local.url)
    lines = ["POST /conversations/ HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    assert parts.hostname
    assert parts.port
    sock = socket.create_connection((parts.hostname, parts.port), timeout=5)
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return sock


def read_all(sock: socket.socket) -> bytes:
    with sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


def remaining(answer: Answer) -> tuple[int, int]:
    assert all(f"x-ratelimit-{name}" in answer.headers for name in RATE_LIMIT)
    return int(answer.headers["x-ratelimit-remaining"]), int(answer.headers["x-ratelimit-daily-remaining"])
