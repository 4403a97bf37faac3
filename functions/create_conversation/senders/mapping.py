"""From a submission's parsed body to the location and contact that it names. Pure; each try maps again, so that a
redrive uses the mapping of its time."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jmespath.exceptions import JMESPathError, JMESPathTypeError

from create_conversation.errors import IgnoredError, InvalidError, RejectedError, Trigger
from create_conversation.senders.body import MAX_BODY_BYTES, Body, json_or_text, read_body, too_large
from create_conversation.senders.config import Sender, lacks_locations, of_event
from create_conversation.submission import Submission

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PHONE = re.compile(r"[+(]{0,2} ?[0-9][0-9 \u00a0()./\u2010-\u2015-]{3,30}")


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """The contact that a payload describes, without its id. Never logged: hence no repr."""

    email: str | None
    phone: str | None
    first_name: str | None
    last_name: str | None
    full_name: str | None = None  # where neither of these is known


@dataclass(frozen=True, slots=True)
class Target:
    """The location and contact whose conversation a submission asks for.

    Without a `contact` (HighLevel's id) there is a `person` to look up, and `delivery` (sender, location and id) then
    distinguishes this delivery from all others.
    """

    location: str
    contact: str | None = None
    person: Person | None = None
    delivery: str = ""


def target_of(submission: Submission, senders: Mapping[str, Sender], default_location: str | None) -> Target:
    """Map a submission. `default_location` is the parameter LocationId.

    Raises InvalidError (the body names no contact or location), IgnoredError (another kind of event) or RejectedError
    (a location that this sender may not name).
    """
    payload = body_of(submission).payload
    sender = _sender_of(submission, payload, senders)
    if not isinstance(payload, dict):
        raise InvalidError("invalid_body", "The body must be an object.")
    inner = {name: json_or_text(payload[name]) for name in sender.parse if isinstance(payload.get(name), str)}
    payload = payload | inner
    if "when" in sender.paths and not _is_wanted(sender, payload):
        raise IgnoredError("other_event")
    location = _location(sender, _id(sender, "location_id", payload), default_location)
    contact = _id(sender, "contact_id", payload)
    if contact:
        return Target(location, contact)
    first, last = _name(sender, "first_name", payload), _name(sender, "last_name", payload)
    person = Person(
        _text(sender, "email", payload, _EMAIL),
        _text(sender, "phone", payload, _PHONE),
        first,
        last,
        None if first or last else _name(sender, "full_name", payload),
    )
    if not (person.email or person.phone):
        raise InvalidError("no_contact", _names_missing(sender), location=location)
    return Target(location, None, person, f"{sender.name}#{location}#{_delivery(sender, submission, payload)}")


def body_of(submission: Submission) -> Body:
    """The body as it was read, or is read now: one that comes from a queue. Raises InvalidError."""
    if len(submission.body) > MAX_BODY_BYTES:
        raise too_large()
    only_json = submission.trigger == Trigger.HTTP
    return submission.parsed or read_body(submission.body, submission.content_type, only_json=only_json)


def _sender_of(submission: Submission, payload: Any, senders: Mapping[str, Sender]) -> Sender:
    if submission.trigger == "event" and isinstance(payload, dict):
        return of_event(senders, payload.get("source"), payload.get("detail-type"))
    if submission.sender not in senders:  # stored under a name that senders.toml no longer has
        raise RejectedError("unknown_sender")
    return senders[submission.sender]


def _is_wanted(sender: Sender, payload: dict[str, Any]) -> bool:
    """Whether `when` is true. Raises Invalid if that cannot be told: what is ignored is lost, so it must be meant."""
    try:
        return bool(sender.paths["when"].search(payload))
    except JMESPathTypeError:
        return False  # an event of another shape: what `when` looks at is not there, or is something else
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise InvalidError("mapping_failed", "The sender's `when` cannot be evaluated.") from None


def _found(sender: Sender, field: str, payload: dict[str, Any]) -> Any:
    if field not in sender.paths:
        return None
    try:
        return sender.paths[field].search(payload)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None  # a function of JMESPath met a value of another type


def _id(sender: Sender, field: str, payload: dict[str, Any]) -> str | None:
    value = _found(sender, field, payload)
    if value is None or (value == "" and sender.name != "api"):
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        what = sender.paths[field].expression
        raise InvalidError("invalid_body", f"{what} must be a string of 1 to 64 letters, digits, _ or -.")
    return value


def _location(sender: Sender, named: str | None, default: str | None) -> str:
    own = () if sender.locations == ("*",) else sender.locations
    location = named or (own[0] if len(own) == 1 else default)
    if location is None:
        raise InvalidError("no_location", "Name the location; this stack has no default one.")
    if lacks_locations(sender, default):
        raise RejectedError("location_not_allowed", location=location)
    any_location = not own and (sender.locations == ("*",) or default is None)
    if not any_location and location not in (own or (default,)):
        raise RejectedError("location_not_allowed", location=location)
    return location


def _text(sender: Sender, field: str, payload: dict[str, Any], shape: re.Pattern[str]) -> str | None:
    """An e-mail address or phone number (some senders give it as a JSON number); None if it is not shaped like one."""
    value = _found(sender, field, payload)
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**20
    text = str(value).strip() if is_number or isinstance(value, str) else ""
    # No control characters, lone surrogates or invisible ones: no address has them, and they would go to HighLevel.
    return text if shape.fullmatch(text) and text.replace("\u00a0", " ").isprintable() else None


def _name(sender: Sender, field: str, payload: dict[str, Any]) -> str | None:
    value = _found(sender, field, payload)
    if not isinstance(value, str):
        return None
    return "".join(c for c in value if c.isprintable()).strip()[:100] or None


def _names_missing(sender: Sender) -> str:
    looked = [sender.paths[field].expression for field in ("contact_id", "email", "phone") if field in sender.paths]
    return f"Name the contact: nothing usable at {' or '.join(looked)}."


def _delivery(sender: Sender, submission: Submission, payload: dict[str, Any]) -> str:
    given = submission.delivery_id or _found(sender, "id", payload)
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 10**20:
        given = str(given)
    if isinstance(given, str) and re.fullmatch(r"[!-~]{1,128}", given):
        return given
    return hashlib.sha256(submission.body).hexdigest()
