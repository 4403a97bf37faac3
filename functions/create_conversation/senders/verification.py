"""Verify that a request comes from the sender that it names.

By its raw bytes, and what only that sender can make of them.

Pure: bytes, headers and secrets in; the reason for a refusal out, or none. No input raises: what is missing or
malformed is refused. Signatures are compared as the text that the sender must have sent, in constant time, so that no
other spelling of the same bytes passes.
"""

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import parse_qsl

from create_conversation.errors import InvalidError
from create_conversation.senders.body import MAX_BODY_BYTES, MAX_STORED_BYTES, Body, read_body, too_large
from create_conversation.senders.config import Sender
from create_conversation.senders.ed25519 import ed25519_key, from_base64

MAX_FIELDS = 1000
# Why a request is refused: for the log only. All of them get the same answer.
MISSING, MALFORMED = "credentials_missing", "credentials_malformed"
STALE, WRONG = "credentials_stale", "credentials_wrong"

type Matches = Callable[[Sender, str, bytes, str], bool]


@dataclass(frozen=True)
class Request:
    """What came in: headers by lower-case name, the query string as it stood in the URL, the body's raw bytes.

    `is_text`: API Gateway has read the body as UTF-8, whatever charset was declared, and so it is. `id` is the
    request's, `sender` the one in its path, `seconds_left` the time until the response must leave. `only_json`: the
    endpoint takes no other body.
    """

    headers: Mapping[str, str]
    query: str
    body: bytes
    is_text: bool = False
    id: str = ""
    sender: str = ""
    seconds_left: float = 0.0
    only_json: bool = False

    @property
    def content_type(self) -> str:
        """The declared type; empty where there is none."""
        return self.headers.get("content-type", "")

    @cached_property
    def parsed(self) -> Body | InvalidError:
        """The body, parsed when it is first needed, or why it cannot be."""
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            return InvalidError("unsupported_media_type", "Send the body without Content-Encoding.")
        try:
            return read_body(self.body, self.content_type, is_text=self.is_text, only_json=self.only_json)
        except InvalidError as error:
            is_why = len(self.body) <= MAX_BODY_BYTES or error.reason == "body_too_large"
            return error if is_why else too_large()


def secrets_for(text: str, sender: str) -> tuple[str, ...]:
    """List a sender's secrets in `SenderSecrets`: `{"<sender>": "secret"}` or `{"<sender>": ["new", "old"]}`.

    Return none for anything else, or an empty text: then no request gets in.
    """
    try:
        entry = json.loads(text)[sender]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return ()
    candidates = entry if isinstance(entry, list) else [entry]
    return tuple(secret for secret in candidates if isinstance(secret, str) and secret)


def is_authentic(sender: Sender, request: Request, secrets: tuple[str, ...], now: float) -> bool:
    """Return whether the request carries what only this sender can make. `now` is Unix time in seconds."""
    return not refusal(sender, request, secrets, now)


def refusal(sender: Sender, request: Request, secrets: tuple[str, ...], now: float) -> str:
    """Return why the request is not authenticated: a reason code for the log; empty if it is. `now` is Unix time."""
    match sender.scheme:
        case "token":
            return _token_refusal(sender, request, secrets)
        case "mac":
            return _signature_refusal(sender, request, now, secrets, _mac_matches)
        case "pubkey":
            return _signature_refusal(sender, request, now, (*secrets, *sender.public_keys), _ed25519_matches)
    return MISSING  # an event's entry does not take requests


def is_ping(sender: Sender, request: Request) -> bool:
    """Return whether this is the sender's unsigned check of its URL: a form of one field, which holds a number.

    It gets an answer, and nothing else is done for it.
    """
    if not sender.ping or sender.sig_header in request.headers:
        return False
    form = request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")
    return form and re.fullmatch(re.escape(sender.ping.encode()) + rb"=[0-9]{1,20}", request.body) is not None


def credential_places(sender: Sender) -> tuple[str, ...]:
    """Where this sender's secret or signature is looked for: for the log."""
    return sender.where if sender.scheme == "token" else (f"header:{sender.sig_header}",)


def delivery_id(sender: Sender, request: Request) -> str | None:
    """Read the id that a header gives the delivery, the same in each repeat; None where there is none."""
    return request.headers.get(sender.id.removeprefix("header:")) if sender.id.startswith("header:") else None


def has_signed_id(sender: Sender) -> bool:
    """Return whether the id in a header is as authentic as the body; any other id makes a captured delivery new."""
    return sender.scheme == "token" or "{id}" in sender.signed


# --- a constant token -------------------------------------------------------------------------------------------------


def _token_refusal(sender: Sender, request: Request, secrets: tuple[str, ...]) -> str:
    given = [token for place in sender.where for token in _tokens_at(place, request)]
    # Every pair is compared, so the time does not show which one matched.
    matched = [_equal(token, secret) for token in given for secret in secrets]
    if True in matched:
        return ""
    is_malformed = given or ("authorization" in request.headers and {"bearer", "basic"} & {*sender.where})
    return WRONG if any(given) else MALFORMED if is_malformed else MISSING


def _tokens_at(place: str, request: Request) -> list[str]:
    kind, _, name = place.partition(":")
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    match kind:
        case "bearer":
            return [credentials.strip(" ")] if scheme.lower() == "bearer" else []
        case "basic":
            decoded = from_base64(credentials.strip(" ")) if scheme.lower() == "basic" else None
            return [decoded.decode("utf-8", "replace")] if decoded else []
        case "header":
            return [request.headers[name]] if name in request.headers else []
        case "query":
            return _named(request.query, name)
        case _:
            return _body_tokens(request, name)


def _body_tokens(request: Request, name: str) -> list[str]:
    """List the values of the body's member of that name; ten at most, of a form that has it several times."""
    if len(request.body) > MAX_STORED_BYTES:  # not authenticated yet: parse no more than what others may store
        return []
    body = request.parsed
    if not isinstance(body, Body) or not isinstance(body.payload, dict):
        return []
    value = body.payload.get(name)
    values = value if isinstance(value, list) and body.is_form else [value]
    return [token for token in values[:10] if isinstance(token, str) and token]


def _named(pairs: str, name: str) -> list[str]:
    """List the values under that name; ten at most, so that a request is not a list of guesses."""
    try:
        values = [value for key, value in parse_qsl(pairs, max_num_fields=MAX_FIELDS) if key == name]
    except ValueError:
        return []
    return values[:10]


# --- a signature ------------------------------------------------------------------------------------------------------


def _signature_refusal(sender: Sender, request: Request, now: float, keys: tuple[str, ...], matches: Matches) -> str:
    header = request.headers.get(sender.sig_header)
    if header is None:
        return MISSING
    fields = _pairs(header) if sender.sig_format == "kv" else []
    message = _signed_bytes(sender, request, fields)
    candidates = _signatures(sender, header, fields)
    if message is None or not candidates:
        return MALFORMED
    signed = [matches(sender, key, message, candidate) for key in keys for candidate in candidates]
    # Only now may the body be parsed: some senders carry their timestamp, and their app's id, in there.
    if True not in signed:
        return WRONG if any(_looks_signed(sender, candidate) for candidate in candidates) else MALFORMED
    if not _is_in_time(sender, request, fields, now):
        return STALE
    return "" if _is_of_its_app(sender, request) else WRONG


def _pairs(header: str) -> list[tuple[str, str]]:
    return [(label.strip(), value) for label, _, value in (part.partition("=") for part in header.split(","))]


def _signatures(sender: Sender, header: str, fields: list[tuple[str, str]]) -> list[str]:
    """List the candidates, ten at most, so that a header is not a list of guesses; other labels are passed over."""
    if sender.sig_format == "kv":
        found = [value for label, value in fields if label == sender.sig_label]
    elif sender.sig_format == "space-list":
        found = [
            value
            for label, _, value in (part.partition(",") for part in header.split(" "))
            if label == sender.sig_label
        ]
    else:
        found = [header.removeprefix(sender.prefix)] if header.startswith(sender.prefix) else []
    return found[:10]


def _looks_signed(sender: Sender, signature: str) -> bool:
    """Whether the text can be a signature of this sender's: of its encoding and length."""
    size = 64 if sender.scheme == "pubkey" else len(hmac.digest(b"", b"", sender.hash))
    if sender.scheme == "mac" and sender.encoding == "hex":
        return re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", signature) is not None
    return len(from_base64(signature) or b"") == size


def _timestamp(sender: Sender, request: Request, fields: list[tuple[str, str]]) -> str | None:
    """Read the timestamp, exactly as it was received: that is what was signed."""
    place, _, name = sender.ts.partition(":")
    if place == "header":
        return request.headers.get(name)
    if place == "kv":
        return next((value for label, value in fields if label == name), None)
    return _body_member(request, name, numbers=True) if place == "json" else None


def _is_in_time(sender: Sender, request: Request, fields: list[tuple[str, str]], now: float) -> bool:
    """Check that it is neither older nor further ahead than the tolerance; without a timestamp it is always in time."""
    if not sender.ts:
        return True
    at = _unix_time(_timestamp(sender, request, fields) or "", sender.ts_unit)
    return at is not None and abs(now - at) <= sender.tolerance_s


def _unix_time(text: str, unit: str) -> float | None:
    if unit == "iso8601":
        try:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if not re.fullmatch(r"[0-9]{1,16}", text):
        return None
    return int(text) / (1000 if unit == "ms" else 1)


def _signed_bytes(sender: Sender, request: Request, fields: list[tuple[str, str]]) -> bytes | None:
    """Build what the sender must have signed; None where a part of it is missing."""
    parts: list[bytes] = []
    for part in re.split(r"(\{(?:body|ts|id)\})", sender.signed):
        match part:
            case "{body}":
                parts.append(request.body)
                continue
            case "{ts}":
                text = _timestamp(sender, request, fields)
            case "{id}":
                text = delivery_id(sender, request)
            case _:
                text = part
        if text is None:
            return None
        parts.append(_bytes(text))
    return b"".join(parts)


def _mac_matches(sender: Sender, secret: str, message: bytes, signature: str) -> bool:
    key = (
        from_base64(secret.removeprefix("whsec_"), pad=True) if sender.key_format == "whsec_base64" else _bytes(secret)
    )
    if not key:
        return False
    digest = hmac.digest(key, message, sender.hash)
    expected = digest.hex() if sender.encoding == "hex" else base64.b64encode(digest).decode("ascii")
    return _equal(signature, expected)


def _ed25519_matches(sender: Sender, key: str, message: bytes, signature: str) -> bool:
    raw, given = ed25519_key(key, sender.key_format), from_base64(signature)
    if raw is None or given is None or len(given) != 64:
        return False
    # Loaded only here: most stacks have no sender that signs with Ed25519.
    from nacl.exceptions import CryptoError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(raw).verify(message, given)
    except (CryptoError, ValueError):
        return False
    return True


def _is_of_its_app(sender: Sender, request: Request) -> bool:
    """Check the signed body's app id: HighLevel signs the webhooks of every app with one key."""
    if not sender.app_id and "app_id" not in sender.requires:
        return True
    return bool(sender.app_id) and _equal(_body_member(request, "appId") or "", sender.app_id)


def _body_member(request: Request, name: str, *, numbers: bool = False) -> str | None:
    body = request.parsed
    payload = body.payload if isinstance(body, Body) else None
    value = payload.get(name) if isinstance(payload, dict) else None
    if numbers and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**16:
        return str(value)
    return value if isinstance(value, str) else None


# --- text and bytes ---------------------------------------------------------------------------------------------------


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(_bytes(given), _bytes(expected))
