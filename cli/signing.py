"""Build the request that a sender would send, with its signature or token. For `./hlc send`, `make run` and the tests.

It shares no code with the module `verification`, which must accept the request.
"""

import base64
import hmac
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from cli.stack import StackError
from create_conversation.senders.config import Sender
from create_conversation.senders.verification import Request, is_authentic

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
SAMPLE_LOCATION = b"ve9EPM428h8vShlRW1KT"

_SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")
# Headers that API Gateway or the HTTP client sets.
_NOT_THE_SENDERS = re.compile(r"host|content-length|accept-encoding|x-amzn-.*|x-forwarded-.*")

type Signed = tuple[dict[str, str], str, bytes]


def sign(  # noqa: PLR0913 - all that a signature may cover
    sender: Sender,
    secret: str,
    body: bytes,
    content_type: str,
    now: float,
    *,
    place: str = "",
    delivery: str = "",
) -> Signed:
    """Return the headers (lower case), query string and body with which this sender authenticates.

    `now`: Unix time in seconds. `place`: one of a token sender's `where`, by default the first that fits. `delivery`:
    the delivery's id where a header carries one, by default a new one. The body changes only where it contains a token
    or a timestamp. Raises StackError where only the sender itself can sign, or no place fits.
    """
    match sender.scheme:
        case "token":
            return _with_token(sender, secret, body, content_type, place)
        case "mac":
            return _with_mac(sender, secret, body, now, delivery or f"msg_{uuid.uuid4().hex}")
        case "pubkey":
            raise StackError(
                f"{sender.name} signs with a private key that only the sender has: "
                f"trigger a delivery there ({_trigger(sender)})"
            )
    raise StackError(f"{sender.name} maps events of the event bus: send one with aws events put-events")


def sign_event(sender: Sender, secret: str, event: Mapping[str, Any], now: float, *, location: str = "") -> Signed:
    """Sign a sample of `events/` (an API Gateway event with placeholders `<…>`) like `sign`, with its own headers.

    A token replaces the placeholder in the sample's query, and in a URL in its body. `location` replaces the sample's
    location id. Raises StackError.
    """
    text = event["body"]
    body = base64.b64decode(text) if event.get("isBase64Encoded") else text.encode()
    body = body.replace(SAMPLE_LOCATION, location.encode()) if location else body
    body = body.replace(f"<secret of the sender {sender.name}>".encode(), quote(secret, "").encode())
    given = {name: value for name, value in event["headers"].items() if not _NOT_THE_SENDERS.fullmatch(name)}
    query = parse_qsl(event.get("rawQueryString", ""), keep_blank_values=True)
    place = next((f"query:{name}" for name, value in query if "<" in value), "")
    delivery = given.get(sender.id.removeprefix("header:"), "")
    headers, secret_query, body = sign(
        sender, secret, body, given.get("content-type", ""), now, place=place, delivery=delivery
    )
    rest = urlencode([(name, value) for name, value in query if "<" not in value])
    headers = {name: value for name, value in given.items() if "<" not in value} | headers
    return headers, "&".join(filter(None, (rest, secret_query))), body


def is_usable(sender: Sender, secret: str) -> bool:
    """Whether the sender can authenticate with this secret: a key that decodes, a token that fits into a header.

    For senders that sign with a private key: whether this is a public key.
    """
    if sender.scheme == "pubkey":
        return _is_public_key(sender.key_format, secret)
    try:
        headers, query, body = sign(sender, secret, b"{}", "application/json", 0)
    except (StackError, ValueError):
        return False
    sendable = all(value.isascii() and value.isprintable() for value in headers.values())
    request = Request({"content-type": "application/json", **headers}, query, body)
    return bool(secret) and sendable and is_authentic(sender, request, (secret,), 0)


def _trigger(sender: Sender) -> str:
    if sender.name == "highlevel-app":
        return "create a contact in a location that has the app installed"
    return "most senders have a test button"


def _with_token(sender: Sender, secret: str, body: bytes, content_type: str, place: str) -> Signed:
    for each in (place,) if place else sender.where:
        kind, _, name = each.partition(":")
        match kind:
            case "bearer":
                return {"authorization": f"Bearer {secret}"}, "", body
            case "basic":
                return {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}, "", body
            case "header":
                return {name: secret}, "", body
            case "query":
                return {}, urlencode({name: secret}), body
        if content_type.lower().startswith(FORM):
            others = [field for field in body.split(b"&") if field and not field.startswith(f"{name}=".encode())]
            return {}, "", b"&".join([*others, urlencode({name: secret}).encode()])
        if content_type.lower().startswith(MULTIPART):
            return {}, "", _with_part(body, name, secret)
        if (filled := _with_member(body, name, secret)) is not None:
            return {}, "", filled
    raise StackError(f"{sender.name}: no place of {', '.join(sender.where)} fits this body")


def _with_mac(sender: Sender, secret: str, body: bytes, now: float, delivery: str) -> Signed:
    headers: dict[str, str] = {}
    place, _, name = sender.ts.partition(":")
    ts = _timestamp(now, sender.ts_unit)
    if place == "header":
        headers[name] = ts
    elif place == "json":
        filled = _with_member(body, name, ts)
        if filled is None:
            raise StackError(f"{sender.name}: the body must be a JSON object: its member {name} holds the time")
        body = filled
    if sender.id.startswith("header:"):
        headers[sender.id.removeprefix("header:")] = delivery
    parts = {"{body}": body, "{ts}": ts.encode(), "{id}": delivery.encode()}
    message = b"".join(parts.get(part, part.encode()) for part in re.split(r"(\{(?:body|ts|id)\})", sender.signed))
    digest = hmac.digest(_key(sender, secret), message, sender.hash)
    signature = digest.hex() if sender.encoding == "hex" else base64.b64encode(digest).decode()
    match sender.sig_format:
        case "kv":
            stamp = f"{name}={ts}," if place == "kv" else ""
            headers[sender.sig_header] = f"{stamp}{sender.sig_label}={signature}"
        case "space-list":
            headers[sender.sig_header] = f"{sender.sig_label},{signature}"
        case _:
            headers[sender.sig_header] = f"{sender.prefix}{signature}"
    return headers, "", body


def _with_part(body: bytes, name: str, value: str) -> bytes:
    """Return the multipart body with that field before all others."""
    boundary = body.partition(b"\r\n")[0]
    head = f'Content-Disposition: form-data; name="{name}"'.encode()
    return b"\r\n".join((boundary, head, b"", value.encode(), body))


def _with_member(body: bytes, name: str, value: str) -> bytes | None:
    """Return the JSON object with that member set; None if the body is not a JSON object."""
    try:
        payload = json.loads(body)
    except ValueError:
        return None
    return json.dumps({**payload, name: value}).encode() if isinstance(payload, dict) else None


def _timestamp(now: float, unit: str) -> str:
    if unit == "iso8601":
        return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(int(now * 1000 if unit == "ms" else now))


def _key(sender: Sender, secret: str) -> bytes:
    if sender.key_format == "whsec_base64":
        return _decoded(secret.removeprefix("whsec_"))
    return secret.encode()


def _is_public_key(key_format: str, key: str) -> bool:
    try:
        if key_format == "whpk_base64":
            return key.startswith("whpk_") and len(_decoded(key.removeprefix("whpk_"))) == 32
        spki = _decoded(re.sub(r"-----[A-Z ]+-----|\s", "", key))
    except ValueError:
        return False
    return spki.startswith(_SPKI_ED25519) and len(spki) == len(_SPKI_ED25519) + 32


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
