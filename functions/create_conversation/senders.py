"""How a sender proves itself, and where its submission names the location and the contact."""

import codecs
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from create_conversation.errors import Invalid, Rejected
from create_conversation.submission import MAX_BODY_BYTES, Submission

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Text codecs of Python that are no character sets of the web, or cost more than linear time.
_NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "undefined", "mbcs", "oem"}


@dataclass(frozen=True, slots=True)
class Target:
    """Whose conversation a submission asks for: HighLevel's ids."""

    location: str
    contact: str


def secrets_of(text: str, sender: str) -> tuple[str, ...]:
    """A sender's secrets in the text of `SenderSecrets`: `{"<sender>": "secret"}` or `{"<sender>": ["new", "old"]}`.

    Of any other shape, or empty: none, and nobody gets in.
    """
    try:
        entry = json.loads(text)[sender]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return ()
    candidates = entry if isinstance(entry, list) else [entry]
    return tuple(secret for secret in candidates if isinstance(secret, str) and secret)


def bearer_is_known(authorization: str | None, secrets: tuple[str, ...]) -> bool:
    """Whether the `Authorization` header carries one of the secrets as its Bearer token. False for any other header,
    for none, and when there is no secret; compares in constant time; raises nothing."""
    scheme, _, token = (authorization or "").partition(" ")
    given = token.strip(" ").encode("utf-8", "surrogatepass")
    # Every secret is compared, so the time does not tell which one matched.
    matches = [hmac.compare_digest(given, secret.encode("utf-8", "surrogatepass")) for secret in secrets]
    return scheme.lower() == "bearer" and any(matches)


def target_of(submission: Submission, default_location: str | None) -> Target:
    """Map a submission to its location and contact.

    `default_location` (the parameter LocationId) serves when none is named; where it is set, no other may be named.
    Raises Invalid or Rejected.
    """
    request = _json(submission)
    if submission.trigger == "event":
        request = request.get("detail") if isinstance(request, dict) else None
    if not isinstance(request, dict):
        raise Invalid("invalid_body", "The body must be a JSON object.")
    location = _id(request, "locationId") or default_location
    contact = _id(request, "contactId")
    if location is None:
        raise Invalid("no_location", "Name the locationId; this stack has no default one.")
    if contact is None:
        raise Invalid("no_contact", "Name the contactId.")
    if default_location not in (None, location):
        raise Rejected("location_not_allowed")
    return Target(location, contact)


def _json(submission: Submission) -> Any:
    if len(submission.body) > MAX_BODY_BYTES:
        raise Invalid("body_too_large", f"A body may have {MAX_BODY_BYTES} bytes.")
    try:
        text = submission.body.decode(_charset(submission.content_type))
    except UnicodeError:
        raise Invalid("invalid_encoding", "The body is not encoded as its Content-Type says.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid("invalid_json", "The body must be JSON.") from None


def _charset(content_type: str) -> str:
    """The codec for a declared JSON content type; UTF-8, with or without a byte order mark, where none is declared."""
    header = Message()
    header["content-type"] = re.sub(r"[^\x20-\x7e]", "?", content_type) or "application/json"
    kind = header.get_content_type()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Invalid("unsupported_media_type", "Send application/json.")
    declared = header.get_param("charset", "utf-8")
    try:
        charset = codecs.lookup(declared if isinstance(declared, str) else "").name
        if charset in _NO_CHARSETS:
            raise LookupError
        b" ".decode(charset, "ignore")  # LookupError for codecs that make no text of bytes: zip, hex, …
    except (LookupError, ValueError):
        raise Invalid("unsupported_media_type", "The declared charset is not known here.") from None
    return "utf-8-sig" if charset == "utf-8" else charset


def _id(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Invalid("invalid_body", f"{name} must be a string of 1 to 64 letters, digits, _ or -.")
    return value
