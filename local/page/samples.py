"""The senders that have a sample in `events/`, and their samples: shown, changed, signed."""

import base64
import binascii
import json
import random
import re
import string
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from nacl.signing import SigningKey

from create_conversation.errors import REASONS, SubmissionError
from create_conversation.senders.body import FORM
from create_conversation.senders.config import Sender
from create_conversation.senders.mapping import Target, body_of, target_of
from create_conversation.senders.verification import secrets_for
from create_conversation.submission import Submission, json_bytes
from local.run import V1A, public_key, signed_with_ed25519
from local.stack import ROOT
from operate.known_senders import new_secret
from operate.signing import Signed, sign_event
from operate.stack import StackError

_FILES = {"api": "http_conversation", "event": "event_conversation_requested"}
_ALPHANUMERICS = string.ascii_letters + string.digits


class SampleError(Exception):
    """A sample cannot be shown, changed or sent; the text tells the user why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A submission to be edited: the body's text (for `event` its detail), and the id of the delivery where a header
    carries one."""

    text: str
    delivery: str = ""


class Samples:
    """Of these senders, for a stack with this `location` as its LocationId. `door`: http, webhook or event."""

    def __init__(self, senders: Mapping[str, Sender], location: str | None) -> None:
        self._senders = senders
        self._location = location
        self._events = {name: event for name in senders if (event := _event(name))}
        self._private_key = SigningKey.generate()

    def listed(self) -> list[dict[str, str]]:
        """For the page: each sender's name, its door, how it proves itself, and what cannot be done here."""
        return [
            {
                "name": name,
                "door": self.door(name),
                "where": _where(name),
                "proof": _credentials(self._senders[name]),
                "content_type": self._content_type(name),
                "note": self._note(self._senders[name]),
            }
            for name in self._events
        ]

    def door(self, name: str) -> str:
        return {"api": "http", "event": "event"}.get(name, "webhook")

    def original(self, name: str) -> Sample:
        """The sample as it lies in `events/`, JSON indented. Raises SampleError."""
        event = self._event(name)
        if name == "event":
            return Sample(json.dumps(event["detail"], indent=2, ensure_ascii=False))
        return Sample(_pretty(_body(event)), event["headers"].get(self._delivery_header(name), ""))

    def fresh(self, name: str, sample: Sample) -> Sample:
        """The same of another person, and another delivery. Raises SampleError."""
        known = self._person(name, sample.text) | self._delivery(name, sample.text)
        if not known:
            raise SampleError("This text names nobody whom a button could change.")
        instead = {value: _another(field, value) for field, value in known.items()}
        delivery = f"msg_{uuid.uuid4().hex}" if sample.delivery else ""
        return Sample(self._with(name, sample.text, instead), delivery)

    def without_contact(self, name: str, sample: Sample) -> Sample:
        """The same without contact id, e-mail address and phone number. Raises SampleError."""
        text = sample.text
        for _ in range(8):  # behind a value that is gone the mapping may find another
            if not (known := self._person(name, text)):
                break
            text = self._with(name, text, dict.fromkeys(known.values(), ""))
        if text == sample.text:
            raise SampleError("This text names no contact as it is.")
        return Sample(text, sample.delivery)

    def missing_secrets(self, kept: str) -> dict[str, str]:
        """Secrets, or the public key, for those senders that have none in SenderSecrets, whose text is `kept`."""
        return {
            name: public_key(self._private_key) if name == V1A else new_secret(self._senders[name])
            for name in self._events
            if not secrets_for(kept, name) and (self._senders[name].scheme in ("token", "mac") or name == V1A)
        }

    def signed(self, name: str, sample: Sample, kept: str, proof: str) -> Signed:
        """Headers, query and body as this sender puts them on the wire. `kept`: the text of SenderSecrets. `proof`:
        right, wrong (another secret) or none. Raises SampleError."""
        event, sender = self._event(name), self._senders[name]
        headers = dict(event["headers"])
        if sample.delivery:
            headers[self._delivery_header(name)] = sample.delivery
        event = {**event, "headers": headers, "body": self._wire(name, sample.text), "isBase64Encoded": False}
        if proof == "none" or (sender.scheme == "pubkey" and name != V1A):
            unproved = {header: headers[header] for header in ("content-type", "user-agent") if header in headers}
            return unproved, "", event["body"].encode()
        if name == V1A:
            return signed_with_ed25519(event, self._private_key if proof == "right" else SigningKey.generate())
        secret = new_secret(sender) if proof == "wrong" else next(iter(secrets_for(kept, name)), "")
        try:
            return sign_event(sender, secret, event, time.time())
        except (StackError, ValueError) as error:
            raise SampleError(str(error)) from None

    def detail(self, text: str) -> Any:
        """An event's detail. Raises SampleError."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise SampleError("An event's detail must be JSON: EventBridge takes nothing else.") from None

    def target(self, name: str, body: str) -> Target | None:
        """Whom the function will find it to be about, so that HighLevel's calls for it can be told from others."""
        try:
            return target_of(self._submission(name, body), self._senders, self._location)
        except (SubmissionError, SampleError):
            return None

    def _event(self, name: str) -> dict[str, Any]:
        if name not in self._events:
            raise SampleError(f"There is no sample of {name}.")
        return self._events[name]

    def _content_type(self, name: str) -> str:
        return str(self._event(name).get("headers", {}).get("content-type", "application/json"))

    def _wire(self, name: str, text: str) -> str:
        """The text as it is sent: a browser's text field makes every line end in LF, multipart asks for CRLF."""
        return re.sub("\r?\n", "\r\n", text) if self._content_type(name).startswith("multipart/") else text

    def _delivery_header(self, name: str) -> str:
        return self._senders[name].id.removeprefix("header:")

    def _note(self, sender: Sender) -> str:
        if sender.scheme != "pubkey" or sender.name == V1A:
            return ""
        return "Only the sender itself has the private key: from here it goes unsigned, and is refused."

    def _submission(self, name: str, text: str) -> Submission:
        if name == "event":
            event = {"source": "my.crm", "detail-type": "ConversationRequested", "detail": self.detail(text)}
            return Submission("event", name, "", 0.0, "application/json", json_bytes(event))
        return Submission(self.door(name), name, "", 0.0, self._content_type(name), self._wire(name, text).encode())

    def _person(self, name: str, text: str) -> dict[str, str]:
        """What tells the function whom the text is about, by field. Raises SampleError."""
        try:
            target = target_of(self._submission(name, text), self._senders, self._location)
        except SubmissionError as error:
            if error.reason in ("no_contact", "invalid_body"):
                return {}
            raise SampleError(f"A button cannot change this text: {REASONS[error.reason].title.lower()}.") from None
        person = target.person
        found = {"contact_id": target.contact, "email": person and person.email, "phone": person and person.phone}
        return {field: value for field, value in found.items() if value}

    def _delivery(self, name: str, text: str) -> dict[str, str]:
        """The id that the body gives the delivery, where the sender's entry says that it has one."""
        sender = self._senders[name]
        value = (
            sender.paths["id"].search(body_of(self._submission(name, text)).payload) if "id" in sender.paths else None
        )
        return {"id": str(value)} if value and isinstance(value, str | int) else {}

    def _with(self, name: str, text: str, instead: Mapping[str, str]) -> str:
        """The text with other values in place of these, wherever they stand."""
        content_type = self._content_type(name)
        if content_type.startswith(FORM):
            parsed = self._senders[name].parse  # members that are JSON in themselves
            return urlencode(
                [
                    (key, _with_all(value, instead) if key in parsed else instead.get(value, value))
                    for key, value in parse_qsl(text, True)
                ]
            )
        if content_type.startswith("multipart/"):
            return _with_all(text, instead)
        return json.dumps(_replaced(json.loads(text), instead), indent=2, ensure_ascii=False)


def _event(name: str) -> dict[str, Any] | None:
    file = ROOT / "events" / f"{_FILES.get(name, f'webhook_{name.replace("-", "_")}')}.json"
    try:
        event = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return event if isinstance(event, dict) and ("detail" in event or {"headers", "body"} <= event.keys()) else None


def _body(event: Mapping[str, Any]) -> str:
    if not event.get("isBase64Encoded"):
        return str(event["body"])
    try:
        return base64.b64decode(event["body"]).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SampleError("This sample is no text: send it with make send.") from None


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _where(name: str) -> str:
    if name == "event":
        return "an event on the bus, detail-type ConversationRequested"
    return "POST /conversations" if name == "api" else f"POST /webhooks/{name}"


def _credentials(sender: Sender) -> str:
    match sender.scheme:
        case "mac":
            return f"signs each delivery: header {sender.sig_header}"
        case "pubkey":
            return f"signs each delivery with a private key: header {sender.sig_header}"
        case "token":
            return f"carries a secret: {', '.join(place.replace(':', ' ') for place in sender.where)}"
    return "AWS permissions"


def _another(field: str, value: str) -> str:
    """Another value of the same kind."""
    match field:
        case "email":
            name, _, domain = value.partition("@")
            return f"{name.partition('.')[0]}.{uuid.uuid4().hex[:6]}@{domain}"
        case "phone":
            return f"+1555{random.randrange(10**7):07}"
        case "contact_id":
            return "".join(random.choices(_ALPHANUMERICS, k=20))
    if value.isdecimal():
        return str(random.randrange(10**9, 10**10))
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return str(uuid.uuid4())
    return "".join(random.choices(string.ascii_uppercase + string.digits, k=26))


def _with_all(text: str, instead: Mapping[str, str]) -> str:
    for old, new in instead.items():
        text = text.replace(old, new)
    return text


def _replaced(value: Any, instead: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _replaced(member, instead) for key, member in value.items()}
        case list():
            return [_replaced(member, instead) for member in value]
        case str():
            return instead.get(value, value)
        case int() if str(value) in instead:
            new = instead[str(value)].removeprefix("+")
            return int(new) if new else ""
    return value
