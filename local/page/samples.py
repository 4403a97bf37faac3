"""The test submissions of the page: the samples in `events/`; for a sender without one, a body made of its entry."""

import base64
import binascii
import json
import random
import re
import string
import time
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from nacl.signing import SigningKey

from cli.known_senders import new_secret
from cli.signing import Signed, sign_event
from cli.stack import StackError
from create_conversation.errors import REASONS, SubmissionError
from create_conversation.senders.body import FORM
from create_conversation.senders.config import PRESETS, Sender
from create_conversation.senders.mapping import Target, body_of, target_of
from create_conversation.senders.verification import secrets_for
from create_conversation.submission import Submission, json_bytes
from local.page.entry_body import body_of_entry
from local.run import V1A, public_key, signed_with_ed25519
from local.stack import ROOT

JSON = "application/json"
MULTIPART = "multipart/form-data"
SOURCE, DETAIL_TYPE = "my.crm", "ConversationRequested"
_PRESETS = frozenset(tomllib.loads(PRESETS.read_text(encoding="utf-8")))
_FILES = {"api": "http_conversation", "event": "event_conversation_requested"}
_ALPHANUMERICS = string.ascii_letters + string.digits


class SampleError(Exception):
    """A sample cannot be shown, changed or sent. The text says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An editable submission: the text of the body (for events of their detail), and the delivery id of a header."""

    text: str
    delivery: str = ""


class Samples:
    """The samples of these senders. `location`: the stack's LocationId. `key`: for Ed25519 signatures."""

    def __init__(self, senders: Mapping[str, Sender], location: str | None, key: SigningKey | None = None) -> None:
        self._senders = senders
        self._location = location
        self._events = {name: _event(sender, location) for name, sender in senders.items()}
        self._private_key = key or SigningKey.generate()

    def listed(self) -> list[dict[str, Any]]:
        """Describe each sender for the page: its name, trigger and authentication, and what is not possible here."""
        return [
            {
                "name": name,
                "own": name not in _PRESETS,
                "trigger": self.trigger(name),
                "where": self._where(name),
                "authentication": _authentication(self._senders[name]),
                "content_type": self._declared_type(name),
                "note": self._note(self._senders[name]),
            }
            for name in self._events
        ]

    def trigger(self, name: str) -> str:
        """Return the trigger of a sender: http, webhook or event. Raises SampleError."""
        self._event(name)
        if name == "api":
            return "http"
        return "event" if self._senders[name].scheme == "event" else "webhook"

    def original(self, name: str) -> Sample:
        """Return the sample of `events/` or of the entry, with indented JSON. Raises SampleError."""
        event = self._event(name)
        if "detail" in event:
            return Sample(json.dumps(event["detail"], indent=2, ensure_ascii=False))
        return Sample(_pretty(_body(event)), event["headers"].get(self._delivery_header(name), ""))

    def fresh(self, name: str, sample: Sample) -> Sample:
        """Return the sample with another contact and another delivery id. Raises SampleError."""
        known = self._person(name, sample.text) | self._delivery(name, sample.text)
        if not known:
            raise SampleError("This text contains no contact and no delivery id that could be changed.")
        instead = {value: _another(field, value) for field, value in known.items()}
        delivery = f"msg_{uuid.uuid4().hex}" if sample.delivery else ""
        return Sample(self._with(name, sample.text, instead), delivery)

    def without_contact(self, name: str, sample: Sample) -> Sample:
        """Return the sample without contact id, e-mail address and phone number. Raises SampleError."""
        text = sample.text
        for _ in range(8):  # after a value is removed, the mapping may find another one
            if not (known := self._person(name, text)):
                break
            text = self._with(name, text, dict.fromkeys(known.values(), ""))
        if text == sample.text:
            raise SampleError("This text contains no contact.")
        return Sample(text, sample.delivery)

    def missing_secrets(self, stored: str) -> dict[str, Any]:
        """Create secrets (or the public key) for senders without one in SenderSecrets, whose text is `stored`."""
        return {
            name: public_key(self._private_key) if name == V1A else new_secret(sender)
            for name, sender in self._senders.items()
            if not secrets_for(stored, name) and (sender.scheme in ("token", "mac") or name == V1A)
        }

    def signed(self, name: str, sample: Sample, stored: str, secret_kind: str) -> Signed:
        """Return headers, query and body of this sender's request. Raises SampleError.

        `stored`: the text of SenderSecrets. `secret_kind`: right, wrong (a new secret) or none.
        """
        event, sender = self._event(name), self._senders[name]
        headers = {**event["headers"], "content-type": self._content_type(name, sample.text)}
        if sample.delivery:
            headers[self._delivery_header(name)] = sample.delivery
        event = {**event, "headers": headers, "body": self._wire(name, sample.text), "isBase64Encoded": False}
        if secret_kind == "none" or (sender.scheme == "pubkey" and name != V1A):
            unsigned = {header: headers[header] for header in ("content-type", "user-agent") if header in headers}
            return unsigned, "", event["body"].encode()
        if name == V1A:
            return signed_with_ed25519(event, self._private_key if secret_kind == "right" else SigningKey.generate())
        secret = new_secret(sender) if secret_kind == "wrong" else next(iter(secrets_for(stored, name)), "")
        try:
            return sign_event(sender, secret, event, time.time())
        except (StackError, ValueError) as error:
            raise SampleError(str(error)) from None

    def event(self, name: str, text: str) -> dict[str, Any]:
        """Return the event of the event bus with this text as its detail. Raises SampleError."""
        sender = self._senders[name]
        try:
            detail = json.loads(text)
        except json.JSONDecodeError as error:
            raise SampleError(
                "An event's detail must be JSON, because EventBridge accepts nothing else. "
                f"Line {error.lineno}, column {error.colno}: {error.msg}."
            ) from None
        except RecursionError:
            raise SampleError("An event's detail must be JSON with fewer levels.") from None
        return {
            "source": sender.source or SOURCE,
            "detail_type": sender.detail_type or DETAIL_TYPE,
            "detail": detail,
        }

    def target(self, name: str, body: str) -> Target | None:
        """Return the target that the function will find, which identifies the calls to HighLevel; None for none."""
        try:
            return target_of(self._submission(name, body), self._senders, self._location)
        except (SubmissionError, SampleError):
            return None

    def _event(self, name: str) -> dict[str, Any]:
        if name not in self._events:
            raise SampleError(f"There is no sender {name}.")
        return self._events[name]

    def _declared_type(self, name: str) -> str:
        """Return the content type of the sample; "" for a sender without one, which the text decides."""
        if self.trigger(name) == "event":
            return JSON
        return str(self._event(name)["headers"].get("content-type", ""))

    def _content_type(self, name: str, text: str) -> str:
        declared = self._declared_type(name)
        if declared.startswith(MULTIPART) or (not declared and text.startswith("--")):
            return f"{MULTIPART}; boundary={text.partition('\n')[0].strip()[2:]}"
        if declared:
            return declared
        return JSON if text.lstrip().startswith(("{", "[")) or "=" not in text else FORM

    def _wire(self, name: str, text: str) -> str:
        """Return the text as it is sent. A browser's text field ends lines with LF; multipart requires CRLF."""
        content_type = self._content_type(name, text)
        if content_type.startswith(MULTIPART):
            return re.sub("\r?\n", "\r\n", text)
        return text.strip() if content_type == FORM else text  # a pasted form body may end with a line break

    def _delivery_header(self, name: str) -> str:
        return self._senders[name].id.removeprefix("header:")

    def _where(self, name: str) -> str:
        if self.trigger(name) == "event":
            return f"An event on the event bus, detail-type {self._senders[name].detail_type or DETAIL_TYPE}"
        return "POST /conversations" if name == "api" else f"POST /webhooks/{name}"

    def _note(self, sender: Sender) -> str:
        if sender.detail_type not in ("", DETAIL_TYPE):
            return f"The rule of this stack takes events of detail-type {DETAIL_TYPE} only: this one reaches nothing."
        if sender.scheme != "pubkey" or sender.name == V1A:
            return ""
        return "Only the sender has the private key: this page sends the submission unsigned, and it is refused."

    def _submission(self, name: str, text: str) -> Submission:
        if self.trigger(name) == "event":
            event = self.event(name, text)
            event["detail-type"] = event.pop("detail_type")
            return Submission("event", name, "", 0.0, JSON, json_bytes(event))
        content_type = self._content_type(name, text)
        return Submission(self.trigger(name), name, "", 0.0, content_type, self._wire(name, text).encode())

    def _person(self, name: str, text: str) -> dict[str, str]:
        """Return the values by which the function finds the contact, by field. Raises SampleError."""
        try:
            target = target_of(self._submission(name, text), self._senders, self._location)
        except SubmissionError as error:
            if error.reason in ("no_contact", "invalid_body"):
                return {}
            raise SampleError(
                f"This text cannot be changed automatically: {REASONS[error.reason].title.lower()}."
            ) from None
        person = target.person
        found = {"contact_id": target.contact, "email": person and person.email, "phone": person and person.phone}
        return {field: value for field, value in found.items() if value}

    def _delivery(self, name: str, text: str) -> dict[str, str]:
        """Return the delivery id in the body, if the sender's entry names its place."""
        sender = self._senders[name]
        value = (
            sender.paths["id"].search(body_of(self._submission(name, text)).payload) if "id" in sender.paths else None
        )
        return {"id": str(value)} if value and isinstance(value, str | int) else {}

    def _with(self, name: str, text: str, instead: Mapping[str, str]) -> str:
        """Replace these values everywhere in the text."""
        content_type = self._content_type(name, text)
        if content_type.startswith(FORM):
            parsed = self._senders[name].parse  # fields that contain JSON
            return urlencode(
                [
                    (key, _with_all(value, instead) if key in parsed else instead.get(value, value))
                    for key, value in parse_qsl(text, True)
                ]
            )
        if content_type.startswith(MULTIPART):
            return _with_all(text, instead)
        return json.dumps(_replaced(json.loads(text), instead), indent=2, ensure_ascii=False)


def _event(sender: Sender, location: str | None) -> dict[str, Any]:
    """Return the sender's sample: its file, the body of the preset whose format it has, or a body of its entry."""
    if event := _file(sender.name):
        return event
    if sender.scheme == "event":
        payload = body_of_entry(sender, location)
        return {"detail": payload.get("detail", payload)}
    if like := _file(sender.format):
        return {"headers": {"content-type": like["headers"]["content-type"]}, "body": _body(like)}
    return {"headers": {}, "body": json.dumps(body_of_entry(sender, location))}


def _file(name: str) -> dict[str, Any] | None:
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
        raise SampleError("This sample is not text: send it with ./hlc send.") from None


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _authentication(sender: Sender) -> str:
    match sender.scheme:
        case "mac":
            return f"signs each delivery: header {sender.sig_header}"
        case "pubkey":
            return f"signs each delivery with a private key: header {sender.sig_header}"
        case "token":
            return f"carries a secret: {', '.join(place.replace(':', ' ') for place in sender.where)}"
    return "AWS permissions"


def _another(field: str, value: str) -> str:
    """Return another value of the same kind."""
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
