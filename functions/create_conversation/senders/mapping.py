"""From a submission's parsed body to the location and contact that it names.

Pure; each try maps again, so a redrive uses the mapping of its time.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from jmespath.exceptions import JMESPathError, JMESPathTypeError

from create_conversation.errors import (
    NOTHING_TO_EXPLAIN,
    Explanation,
    IgnoredError,
    InvalidError,
    RejectedError,
    SubmissionError,
    Trigger,
)
from create_conversation.senders.body import MAX_BODY_BYTES, Body, json_or_text, read_body, too_large
from create_conversation.senders.config import TRUSTED, Sender, lacks_locations, of_event
from create_conversation.senders.person import Person as Person
from create_conversation.submission import Submission

if TYPE_CHECKING:
    from create_conversation.senders.contact_details import Found

PERSON_FIELDS = ("email", "phone", "first_name", "last_name", "full_name")
# Its callers write ids only, as HighLevel's own API takes them: no other spelling is accepted.
STRICT = "api"

MAX_MESSAGE_CHARACTERS = 5000
# HighLevel reports every change in a location to a marketplace app, this stack's own writes too.
HIGHLEVEL_SIGNATURE = "x-ghl-signature"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """The words of a submission, rendered when they are needed. Never logged: hence no repr.

    `delivery`: sender and id of the delivery. `is_by_body`: the id is the hash of the body, which is the same when the
    same is sent on another day. `received_at`: Unix time. `user_id`, `mentions`: HighLevel's users, for a comment.
    """

    sender: Sender
    payload: dict[str, Any]
    delivery: str
    received_at: float
    is_by_body: bool = False

    def render(self, reference: str = "") -> str:
        """Return the text, which ends with the reference; empty if there is nothing to write."""
        from create_conversation.senders.message import render_message  # a delivery that is written needs no text

        return render_message(self.sender, self.payload, reference=reference)

    @property
    def user_id(self) -> str:
        """Return the id of the user who writes the comment, empty for none."""
        return self.sender.user_id

    @property
    def mentions(self) -> tuple[str, ...]:
        """Return the ids of the users whom the comment mentions."""
        return self.sender.mentions


@dataclass(frozen=True, slots=True, repr=False)
class ContactFields:
    """What the sender's entry adds to the contact. `custom_fields`: values by the field's id."""

    tags: tuple[str, ...] = ()
    source: str = ""
    custom_fields: Mapping[str, Any] = field(default_factory=dict)
    update_contact: bool = False


NO_FIELDS = ContactFields()


@dataclass(frozen=True, slots=True)
class Target:
    """The location and contact whose conversation a submission asks for.

    Without a `contact` (HighLevel's id) the `person` is looked up, and `delivery` (sender, location and id) then
    distinguishes this delivery from all others. With both, the person is looked up where HighLevel refuses the id, or
    where the id is one that a visitor may have filled in (`is_unverified`) and that contact is another person.
    `message`: the words to write into the conversation; None if the sender writes none.
    """

    location: str
    contact: str | None = None
    person: Person | None = None
    delivery: str = ""
    is_unverified: bool = False
    more_emails: tuple[str, ...] = field(default=(), repr=False)  # in the order of preference, after the person's own
    more_phones: tuple[str, ...] = field(default=(), repr=False)
    explanation: Explanation = field(default=NOTHING_TO_EXPLAIN, compare=False)
    message: Message | None = field(default=None, compare=False)
    fields: ContactFields = field(default=NO_FIELDS, compare=False)


def target_of(
    submission: Submission,
    senders: Mapping[str, Sender],
    default_location: str | None,
    writes_messages: bool = False,
) -> Target:
    """Map a submission. `default_location` is the parameter LocationId, `writes_messages` whether Message is not off.

    Raises InvalidError (the body names no contact or location), IgnoredError (another kind of event) or RejectedError
    (a location that this sender may not name).
    """
    sender, payload = _read(submission, senders)
    if writes_messages and _is_own_write(sender, payload):
        raise IgnoredError("own_write")
    if "when" in sender.paths and not _is_wanted(sender, payload):
        raise IgnoredError("other_event")
    delivery, is_by_body = _delivery(sender, submission, payload)
    target = _target(sender, payload, default_location, delivery)
    message = Message(sender, payload, f"{sender.name}#{delivery}", submission.received_at, is_by_body)
    return replace(
        target,
        message=message if _has_message(sender, payload) else None,
        fields=_contact_fields(sender, payload),
    )


def _target(sender: Sender, payload: dict[str, Any], default_location: str | None, delivery: str) -> Target:
    named, dropped = _location_id(sender, payload)
    location = _location(sender, named, default_location)
    contact = _contact_id(sender, payload)
    if sender.name == STRICT:
        return _strict_target(location, contact)
    found = _find_person(sender, payload)
    explanation = dropped + _explanation(contact, found)
    if not (found.person.email or found.person.phone):
        return _target_without_person(location, contact, explanation)
    return Target(
        location,
        contact.id,
        found.person,
        f"{sender.name}#{location}#{delivery}",
        contact.id is not None and sender.name not in TRUSTED,
        found.more_emails,
        found.more_phones,
        explanation,
    )


def location_of(submission: Submission, senders: Mapping[str, Sender], default_location: str | None) -> str:
    """Map only the location, which costs a tenth. Raises as `target_of` does."""
    sender, payload = _read(submission, senders)
    return _location(sender, _location_id(sender, payload)[0], default_location)


def _read(submission: Submission, senders: Mapping[str, Sender]) -> tuple[Sender, dict[str, Any]]:
    payload = body_of(submission).payload
    sender = _sender_of(submission, payload, senders)
    if not isinstance(payload, dict):
        raise InvalidError("invalid_body", "The body must be an object.")
    inner = {name: json_or_text(payload[name]) for name in sender.parse if isinstance(payload.get(name), str)}
    return sender, payload | inner


def body_of(submission: Submission) -> Body:
    """Return the body as it was read; read it now if it comes from a queue. Raises InvalidError."""
    if len(submission.body) > MAX_BODY_BYTES:
        raise too_large()
    only_json = submission.trigger == Trigger.HTTP
    return submission.parsed or read_body(submission.body, submission.content_type, only_json=only_json)


def _sender_of(submission: Submission, payload: Any, senders: Mapping[str, Sender]) -> Sender:
    if submission.trigger == Trigger.EVENT and isinstance(payload, dict):
        return of_event(senders, payload.get("source"), payload.get("detail-type"))
    if submission.sender not in senders:  # stored under a name that senders.toml no longer has
        raise RejectedError("unknown_sender")
    return senders[submission.sender]


def _is_wanted(sender: Sender, payload: dict[str, Any]) -> bool:
    """Evaluate `when`. Raises InvalidError if that fails: what is ignored is lost, so it must be meant."""
    try:
        return bool(sender.paths["when"].search(payload))
    except JMESPathTypeError:
        return False  # another kind of event: what `when` looks at is not there, or is something else
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise InvalidError("mapping_failed", "The sender's `when` cannot be evaluated.") from None


def _search(path: Any, payload: dict[str, Any]) -> Any:
    try:
        return path.search(payload)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None  # a function of JMESPath met a value of another type


# --- ids --------------------------------------------------------------------------------------------------------------


class _ContactId(NamedTuple):
    """The contact's id in the payload, if usable; else whether something else was there."""

    id: str | None
    path: str = ""
    is_malformed: bool = False
    is_leftover: bool = False


def _location_id(sender: Sender, payload: dict[str, Any]) -> tuple[str | None, Explanation]:
    """Return the location that the payload names, and what of it is not used. Raises InvalidError."""
    value = _search(sender.paths["location_id"], payload) if "location_id" in sender.paths else None
    if value is None or (isinstance(value, str) and _ID.fullmatch(value) and sender.name == STRICT):
        return value, NOTHING_TO_EXPLAIN
    path = sender.paths["location_id"].expression
    usable, is_leftover = (None, False) if sender.name == STRICT else _cleaned(value)
    if usable is None and not is_leftover:
        raise _malformed(path)
    return usable, NOTHING_TO_EXPLAIN if usable else Explanation(dropped=(f"{path}: leftover",))


def _contact_id(sender: Sender, payload: dict[str, Any]) -> _ContactId:
    if "contact_id" not in sender.paths:
        return _ContactId(None)
    path = sender.paths["contact_id"]
    value = _search(path, payload)
    if value is None:
        return _ContactId(None, path.expression)
    if sender.name == STRICT:
        is_id = isinstance(value, str) and _ID.fullmatch(value) is not None
        return _ContactId(value if is_id else None, path.expression, is_malformed=not is_id)
    usable, is_leftover = _cleaned(value)
    return _ContactId(usable, path.expression, is_malformed=usable is None and not is_leftover, is_leftover=is_leftover)


def _cleaned(value: Any) -> tuple[str | None, bool]:
    """Return the id, and whether it is only what a template has left in its place."""
    from create_conversation.senders.contact_details import clean_id, is_leftover

    return clean_id(value), is_leftover(value)


def _malformed(path: str) -> InvalidError:
    return InvalidError("invalid_body", f"{path} must be a string of 1 to 64 letters, digits, _ or -.")


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


# --- the contact ------------------------------------------------------------------------------------------------------


def _find_person(sender: Sender, payload: dict[str, Any]) -> "Found":
    # Loaded only here: callers of POST /conversations name ids, and the words of all languages are large.
    from create_conversation.senders.answers import answers
    from create_conversation.senders.contact_details import find_person

    preferred = {
        name: [(path.expression, _search(path, payload)) for path in sender.paths[name].alternatives]
        for name in PERSON_FIELDS
        if name in sender.paths
    }
    return find_person(answers(payload, sender.format), preferred)


def _explanation(contact: _ContactId, found: "Found") -> Explanation:
    dropped = [f"{drop.label}: {drop.reason}" for drop in found.dropped]
    if contact.is_leftover or contact.is_malformed:
        dropped.insert(0, f"{contact.path}: {'leftover' if contact.is_leftover else 'not_an_id'}")
    looked_at = (contact.path, *found.looked_at) if contact.path else found.looked_at
    return Explanation(looked_at, found.fields, tuple(dropped))


def _strict_target(location: str, contact: _ContactId) -> Target:
    if contact.is_malformed:
        raise _malformed(contact.path)
    if contact.id is None:
        raise _with(
            InvalidError("no_contact", f"Name the contact: nothing usable at {contact.path}.", location=location),
            Explanation((contact.path,)),
        )
    return Target(location, contact.id)


def _target_without_person(location: str, contact: _ContactId, explanation: Explanation) -> Target:
    if contact.id is not None:
        return Target(location, contact.id, explanation=explanation)
    if contact.is_malformed:
        raise _with(_malformed(contact.path), explanation)
    detail = "Name the contact: there is no usable id, e-mail address or phone number."
    raise _with(InvalidError("no_contact", detail, location=location), explanation)


def _with(error: SubmissionError, explanation: Explanation) -> SubmissionError:
    error.explanation = explanation
    return error


# --- delivery, message, fields ----------------------------------------------------------------------------------------


def _delivery(sender: Sender, submission: Submission, payload: dict[str, Any]) -> tuple[str, bool]:
    """Return the id of the delivery, and whether it is only the hash of the body."""
    given = submission.delivery_id or (_search(sender.paths["id"], payload) if "id" in sender.paths else None)
    if not given and submission.trigger == Trigger.EVENT:
        given = payload.get("id")  # EventBridge's, which a replay from an archive keeps
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 10**20:
        given = str(given)
    if isinstance(given, str) and re.fullmatch(r"[!-~]{1,128}", given):
        return given, False
    return hashlib.sha256(submission.body).hexdigest(), True


def _is_own_write(sender: Sender, payload: dict[str, Any]) -> bool:
    if sender.sig_header != HIGHLEVEL_SIGNATURE:
        return False
    from create_conversation.senders.message import own_write

    return own_write(sender, payload)


def _has_message(sender: Sender, payload: dict[str, Any]) -> bool:
    """Return whether there may be words to write. Raises InvalidError for a message of POST /conversations."""
    if sender.name != STRICT:
        return sender.message is not False
    given = payload.get("message")
    if given is not None and not (isinstance(given, str) and len(given.strip()) <= MAX_MESSAGE_CHARACTERS):
        raise InvalidError("invalid_body", f"message must be a string of at most {MAX_MESSAGE_CHARACTERS} characters.")
    return bool(given and given.strip()) and sender.message is not False


def _contact_fields(sender: Sender, payload: dict[str, Any]) -> ContactFields:
    if not (sender.tags or sender.source or sender.custom_fields or sender.update_contact):
        return NO_FIELDS
    found = {name: _field_value(_search(path, payload)) for name, path in sender.custom_fields.items()}
    values = {name: value for name, value in found.items() if value is not None}
    return ContactFields(sender.tags, _source(sender), values, sender.update_contact)


def _field_value(value: Any) -> str | float | list[str] | None:
    """Return what a custom field of HighLevel can hold: a text, a number, true or false, or a list of texts."""
    if isinstance(value, int | float):
        return value if isinstance(value, int) or math.isfinite(value) else None
    if isinstance(value, str):
        return _clean_text(value) or None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return [text for each in value if (text := _clean_text(each))] or None
    return None


_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _clean_text(text: str) -> str:
    """Remove control characters and lone surrogates; lines stay."""
    return _NO_TEXT.sub("", text.replace("\r\n", "\n")).strip()


def _source(sender: Sender) -> str:
    """Return the source of a new contact; an event's entry has a key of that name for another thing."""
    return "" if sender.scheme == "event" else sender.source
