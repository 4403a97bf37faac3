"""What the load sends: submissions of all triggers and senders, good ones and some that need an operator."""

import base64
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode

from nacl.signing import SigningKey

from cli.signing import FORM, Signed, sign
from create_conversation.senders.config import load
from create_conversation.submission import Submission
from local.highlevel_settings import CommentRefusal
from local.stack import ROOT
from tests.chaos.canary_secrets import Canary
from tests.samples import ANYWHERE

type Trigger = Literal["http", "webhook", "event", "queue"]

JSON = "application/json"
V1A = "standard-webhooks-v1a"
TRIGGERS: dict[Trigger, int] = {"http": 30, "webhook": 42, "event": 18, "queue": 10}  # shares, as the next three
WEBHOOKS = {"typeform": 7, "tally": 7, "standard-webhooks": 7, V1A: 7, "highlevel-workflow": 7, "token": 14}
WITHOUT_CONTACT_ID = 25  # of 100 submissions in a webhook, event or message have no contact id
BAD = {"ids_refused": 2, "location_refused": 1, "no_token": 1, "expired": 1, "no_contact": 1, "invalid_body": 1}
ARRAY = 4  # elements at most
# The preset that writes no words writes them too.
SENDERS_TOML = f'{ANYWHERE}[highlevel-workflow]\nmessage = "customData.message"\n'
NAME = re.compile(r"delivery-\d{6}-\d")
PLACES = ("bearer", "basic", "header:x-webhook-token", "query:token", "body:token")

# Prefixes of contacts. The local HighLevel refuses the first kind and always fails for the second.
REFUSED, SICK = "refused", "sick"
STRANGE_LOCATION, UNKNOWN_LOCATION = "location-of-another-token", "location-without-token"
# Locations that refuse comments, so that words become notes; and one whose token may not read comments.
WITHOUT_COMMENTS: dict[str, CommentRefusal] = {"location00": "scope", "location01": "type"}
UNREADABLE = "location02"


@dataclass(frozen=True, slots=True)
class Asked:
    """The conversation that a submission asks for. `name`: its words, in no other one's body. `dead_for`: the reason of
    the dead letter it must become, if it cannot be opened."""

    name: str
    location: str
    contact: str = ""
    email: str = ""
    phone: str = ""
    dead_for: str = ""


@dataclass(eq=False, slots=True)
class Delivery:
    """One request, event or message with one submission or (an array) several. `once`: its sender never repeats."""

    number: int
    trigger: Trigger
    sender: str
    asked: tuple[Asked, ...]
    place: str = ""
    once: bool = False
    accepted_at: float = 0.0  # monotonic seconds; 0: not accepted
    attempts: int = 0

    @property
    def submissions(self) -> int:
        """How often its words are to be written: an event that is put again is another one, with an id of its own."""
        return self.attempts if self.trigger == "event" else 1


@dataclass(frozen=True, slots=True)
class Senders:
    """All senders with the secrets of this run. It makes the signed requests."""

    canary: Canary
    private_key: SigningKey

    def secrets(self) -> dict[str, str]:
        """The content of SenderSecrets."""
        secrets = {name: self._secret(name) for name in WEBHOOKS if name != V1A}
        return secrets | {V1A: f"whpk_{base64.b64encode(bytes(self.private_key.verify_key)).decode()}"}

    def request(self, delivery: Delivery) -> Signed:
        """Headers, query string and body of a webhook, signed again for each repeat."""
        content_type, body = _payload(delivery)
        if delivery.sender == V1A:
            return self._signed_with_ed25519(delivery, body)
        headers, query, body = sign(
            load_once()[delivery.sender],
            self._secret(delivery.sender),
            body,
            content_type,
            time.time(),
            place=delivery.place,
            delivery=f"msg_{delivery.number}",
        )
        return headers | {"content-type": content_type}, query, body

    def message(self, delivery: Delivery) -> str:
        """The delivery as a message of the retry queue: stored by the function, or redriven from the dead letters of
        EventBridge or Lambda."""
        event = {
            "version": "0",
            "id": f"event-{delivery.number}",
            "source": "my.crm",
            "detail-type": "ConversationRequested",
            "detail": detail(delivery.asked[0]),
        }
        if delivery.sender == "event":
            return json.dumps({"version": "1.0", "requestPayload": event} if delivery.number % 2 else event)
        content_type, body = _payload(delivery)
        return Submission(
            "webhook", delivery.sender, f"stored-{delivery.number}", time.time(), content_type, body
        ).to_message()

    def _secret(self, name: str) -> str:
        return self.canary.sender_secret(name, whsec=name == "standard-webhooks")

    def _signed_with_ed25519(self, delivery: Delivery, body: bytes) -> Signed:
        identifier, at = f"msg_{delivery.number}", str(int(time.time()))
        signature = base64.b64encode(self.private_key.sign(f"{identifier}.{at}.".encode() + body).signature).decode()
        headers = {"webhook-id": identifier, "webhook-timestamp": at, "webhook-signature": f"v1a,{signature}"}
        return headers | {"content-type": JSON}, "", body


def plan(count: int, locations: list[str], canary: Canary, rng: random.Random) -> list[Delivery]:
    """`count` deliveries to these locations, each for contacts of its own; every kind occurs at least once."""
    kinds = [(trigger, sender) for trigger, sender in _kinds() for _ in range(2)]
    kinds += [_random_kind(rng) for _ in range(count - len(kinds))]
    rng.shuffle(kinds)
    bad = [reason for reason in BAD for _ in range(3)]
    bad += rng.choices(list(BAD), list(BAD.values()), k=round(count * 0.07))
    is_bad = dict(zip(rng.sample(range(count), min(len(bad), count)), bad, strict=False))

    deliveries: list[Delivery] = []
    for number, (trigger, sender) in enumerate(kinds[:count]):
        size = rng.randint(2, ARRAY) if trigger == "webhook" and sender == "token" and rng.random() < 0.3 else 1
        asked = [_asked(trigger, f"{number:06d}-{each}", rng.choice(locations), canary, rng) for each in range(size)]
        if reason := is_bad.get(number):
            asked[0] = _bad(reason, asked[0])
        place = rng.choice(PLACES) if sender == "token" else ""
        if size > 1 and place == "body:token":
            place = "bearer"
        deliveries.append(Delivery(number, trigger, sender, tuple(asked), place, once=place == "query:token"))
    return deliveries


def detail(asked: Asked) -> dict[str, str]:
    """As `POST /conversations` and events have it."""
    members = {"locationId": asked.location, "contactId": asked.contact, "email": asked.email, "phone": asked.phone}
    return {name: value for name, value in members.items() if value} | {"message": asked.name}


_senders: dict[str, Any] = {}


def load_once() -> dict[str, Any]:
    """The senders as the function has them."""
    if not _senders:
        _senders.update(load())
    return _senders


def _kinds() -> list[tuple[Trigger, str]]:
    kinds: list[tuple[Trigger, str]] = [("http", "api"), ("event", "event"), ("queue", "event")]
    return kinds + [("webhook", sender) for sender in WEBHOOKS] + [("queue", sender) for sender in WEBHOOKS]


def _random_kind(rng: random.Random) -> tuple[Trigger, str]:
    (trigger,) = rng.choices(list(TRIGGERS), list(TRIGGERS.values()))
    (sender,) = rng.choices(list(WEBHOOKS), list(WEBHOOKS.values()))
    if trigger == "http":
        return trigger, "api"
    return trigger, "event" if trigger == "event" or (trigger == "queue" and rng.random() < 0.5) else sender


def _asked(trigger: Trigger, name: str, location: str, canary: Canary, rng: random.Random) -> Asked:
    if trigger == "http" or rng.randrange(100) >= WITHOUT_CONTACT_ID:
        return Asked(f"delivery-{name}", location, contact=f"contact-{name}")
    number, _, each = name.partition("-")
    person = int(number) * ARRAY + int(each)
    email, phone = canary.email(person), canary.phone(person)
    known = rng.choice([{"email": email}, {"phone": phone}, {"email": email, "phone": phone}])
    return Asked(f"delivery-{name}", location, **known)


def _bad(reason: str, asked: Asked) -> Asked:
    changes: dict[str, dict[str, str]] = {
        "ids_refused": {"contact": f"{REFUSED}-{asked.name}"},
        "expired": {"contact": f"{SICK}-{asked.name}"},
        "location_refused": {"contact": f"contact-{asked.name}", "location": STRANGE_LOCATION},
        "no_token": {"contact": f"contact-{asked.name}", "location": UNKNOWN_LOCATION},
        "invalid_body": {"contact": f"no id: {asked.name}"},
        "no_contact": {"contact": ""},
    }
    return replace(asked, email="", phone="", dead_for=reason, **changes[reason])


def _payload(delivery: Delivery) -> tuple[str, bytes]:
    """Content type and body, in the format of that sender (recorded in tests/data/payloads)."""
    number, asked = delivery.number, delivery.asked
    if delivery.sender == "token":
        return _token_payload(delivery)
    payload = _FORMATS[delivery.sender](_recorded(delivery.sender), asked[0], number)
    return JSON, json.dumps(payload).encode()


def _token_payload(delivery: Delivery) -> tuple[str, bytes]:
    members = [detail(asked) for asked in delivery.asked]
    if len(members) > 1:
        return JSON, json.dumps(members).encode()
    if delivery.number % 2:
        return FORM, urlencode(members[0]).encode()
    return JSON, json.dumps(members[0]).encode()


def _recorded(sender: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "payloads" / f"{sender}.json").read_text())
    return payload


def _typeform(payload: dict[str, Any], asked: Asked, number: int) -> dict[str, Any]:
    form = payload["form_response"]
    form["hidden"] = {"location_id": asked.location} | ({"contact_id": asked.contact} if asked.contact else {})
    form["answers"] = [
        {"type": kind, kind: value}
        for kind, value in (("text", asked.name), ("email", asked.email), ("phone_number", asked.phone))
        if value
    ]
    return payload | {"event_id": f"event-{number}"}


def _tally(payload: dict[str, Any], asked: Asked, number: int) -> dict[str, Any]:
    fields = [
        ("HIDDEN_FIELDS", "location_id", asked.location),
        ("HIDDEN_FIELDS", "contact_id", asked.contact),
        ("TEXTAREA", "Message", asked.name),
        ("INPUT_EMAIL", "E-mail", asked.email),
        ("INPUT_PHONE_NUMBER", "Phone", asked.phone),
    ]
    payload["data"]["fields"] = [
        {"key": "question", "type": kind, "label": label, "value": value} for kind, label, value in fields if value
    ]
    return payload | {"eventId": f"event-{number}"}


def _standard(payload: dict[str, Any], asked: Asked, _number: int) -> dict[str, Any]:
    return payload | {"data": detail(asked)}


def _workflow(payload: dict[str, Any], asked: Asked, _number: int) -> dict[str, Any]:
    members = {"contact_id": asked.contact, "email": asked.email, "phone": asked.phone}
    return payload | members | {"location": {"id": asked.location}, "customData": {"message": asked.name}}


_FORMATS: dict[str, Callable[[dict[str, Any], Asked, int], dict[str, Any]]] = {
    "typeform": _typeform,
    "tally": _tally,
    "standard-webhooks": _standard,
    V1A: _standard,
    "highlevel-workflow": _workflow,
}
