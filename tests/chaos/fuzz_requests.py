"""Fuzzed requests, one for each number: from a stranger, a broken client, or a caller that knows a sender's secret.

    requests = Requests(seed, load(folder))
    request = requests.make(number, time.time())

A pure function of seed, number and the time, which signatures contain. Each pair of an endpoint and a kind of fuzzing
has its turn: `len(requests.turns)` consecutive numbers contain every kind at every endpoint where it applies. Most
requests over HTTP are properly signed, because otherwise all would end at the same 401.
"""

import base64
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cli.signing import FORM
from create_conversation.senders.config import Sender
from tests.chaos.canary_secrets import Canary
from tests.chaos.fuzz_bodies import BODIES, Draft
from tests.chaos.fuzz_envelopes import ENVELOPES
from tests.chaos.fuzz_events import BATCHES, BUS_EVENTS, TOP_LEVEL, Turn, bus_event, message, record
from tests.chaos.fuzz_signatures import SIGNATURES, Signer
from tests.chaos.fuzz_values import API, LOCATIONS, OFTEN
from tests.samples import ANYWHERE

EVENTS = Path(__file__).parents[2] / "events"

# What users write into senders.toml beside the presets; its mappings use more of JMESPath than the presets do.
OWN_SENDERS = (
    ANYWHERE
    + """
[highlevel-app]
app_id = "our-app"

[our-site]
scheme = "token"
where = ["body:secret", "query:key"]
email = "contact.mail || join('', contacts[*].mail)"
phone = "to_string(contact.mobile)"
first_name = "reverse(sort(contact.names))[0]"
location_id = "site"
locations = ["*"]
when = "length(kind) > `2` && max(scores) > min(scores) && sum(scores) > `0`"
id = "json:to_string(delivery)"
source = "Our site"
tags = ["website"]
update_contact = true
custom_fields = { scoreField01 = "max(scores)", noteField0002 = "message" }

[one-location]
scheme = "token"
where = ["header:x-our-key", "basic"]
contact_id = "contacts[?active].id | [0]"
email = "map(&mail, contacts)[0]"
location_id = "site.location"
locations = ["ve9EPM428h8vShlRW1KT"]

[stamped]
scheme = "mac"
sig_header = "x-stamped"
sig_format = "kv"
sig_label = "v1"
encoding = "hex"
signed = "{ts}.{body}"
ts = "kv:t"
contact_id = "id"
email = "keys(people)[0]"
location_id = "location"
locations = ["*"]

[orders]
scheme = "event"
source = "shop"
email = "detail.order.customer"
phone = "detail.order.phone"
location_id = "detail.shop"
"""
)
# A body for every sender, also for one that has a sample in events/.
_GENERAL: dict[str, Any] = {
    "locationId": LOCATIONS[0],
    "contactId": "<contact>",
    "email": "<email>",
    "phone": "<phone>",
    "firstName": "Ann",
    "lastName": "O'Hara",
    "kind": "signup",
    "scores": [1, 2, 3],
    "site": LOCATIONS[0],
    "contact": {"mail": "<email>", "mobile": "<phone>", "names": ["Ann", "Bea"]},
    "contacts": [{"id": "<contact>", "active": True, "mail": "<email>"}],
    "people": {"<email>": 1},
    "id": "<contact>",
    "location": LOCATIONS[1],
    "data": {"locationId": LOCATIONS[2], "contactId": "<contact>", "email": "<email>"},
    "type": "ContactCreate",
    "appId": "our-app",
    "webhookId": "<delivery>",
    "delivery": "<delivery>",
    "message": "Please call me\nafter five",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One invocation of the function. `payload`: the event as JSON. `unauthenticated`: the function must refuse it.
    `good`: (location, contact) that must have a conversation afterwards. `messages`: the ids of a batch's records, ""
    for a record without an id."""

    number: int
    endpoint: str
    kind: str
    payload: bytes = field(repr=False)
    unauthenticated: bool = False
    good: tuple[tuple[str, str], ...] = ()
    messages: tuple[str, ...] | None = None


class Requests:
    """All requests of a seed. `senders`: what `load()` returns for the folder that the function runs with."""

    def __init__(self, seed: int, senders: Mapping[str, Sender]) -> None:
        self.seed = seed
        self.canary = Canary.new(seed)
        self.senders = senders
        self.http_senders = {name: sender for name, sender in senders.items() if sender.scheme != "event"}
        self.signer = Signer(self.http_senders, self.canary, random.Random(f"{seed} keys"))
        self._samples = {name: _samples(name) for name in self.http_senders}
        self.turns = self._turns()

    def make(self, number: int, now: float) -> Request:
        """The request of that number, sent at `now` (Unix time)."""
        endpoint, kind, maker = self.turns[number % len(self.turns)]
        return maker(Turn(self, number, random.Random(f"{self.seed} {number}"), now), endpoint, kind)

    def draft(self, turn: Turn, sender: str) -> Draft:
        """A good request of the sender, for a contact of its own."""
        rng = turn.rng
        body = self._fill(rng.choice(self._samples[sender]), turn.number, rng)
        secret, email = self.signer.secrets.get(sender, ""), self.canary.email(turn.number)
        draft = Draft(self.http_senders[sender], secret, email, rng, turn.now, json.dumps(body).encode())
        where = draft.sender.where
        if draft.sender.scheme == "token" and rng.random() < 0.2 and sender != API:
            flat = {name: value for name, value in body.items() if isinstance(value, str)}
            draft.body, draft.content_type = urlencode(flat).encode(), FORM
        draft.place = rng.choice(where or ("",))
        return draft

    def _turns(self) -> list[tuple[str, str, Callable[..., Request]]]:
        turns: list[tuple[str, str, Callable[..., Request]]] = []
        for name in self.http_senders:
            endpoint = "conversations" if name == API else f"webhooks/{name}"
            turns += [(endpoint, kind, self._with_fuzzed_body) for kind in BODIES]
            turns += [(endpoint, kind, self._with_fuzzed_envelope) for kind in ENVELOPES]
            turns += [(endpoint, kind, self._with_fuzzed_signature) for kind in SIGNATURES]
        turns += 2 * [turn for turn in turns if turn[0] == "conversations"]
        for _ in range(6):  # there are fewer of these endpoints; they shall have the same weight
            turns += [("events", kind, self._fuzzed_event) for kind in BUS_EVENTS]
            turns += [("queue", kind, self._fuzzed_batch) for kind in BATCHES]
            turns += [("top", kind, self._fuzzed_top_level) for kind in TOP_LEVEL]
        random.Random(f"{self.seed} turns").shuffle(turns)
        return turns

    def _with_fuzzed_body(self, turn: Turn, endpoint: str, kind: str) -> Request:
        draft = self.draft(turn, _sender_of(endpoint))
        BODIES[kind](draft)
        unauthenticated = turn.rng.random() < 0.06
        event = self._event(draft, genuine=not unauthenticated)
        return Request(turn.number, endpoint, kind, _dumps(event), unauthenticated)

    def _with_fuzzed_envelope(self, turn: Turn, endpoint: str, kind: str) -> Request:
        event = self._event(self.draft(turn, _sender_of(endpoint)))
        return Request(turn.number, endpoint, kind, _dumps(ENVELOPES[kind](turn.rng, event)))

    def _with_fuzzed_signature(self, turn: Turn, endpoint: str, kind: str) -> Request:
        draft = self.draft(turn, _sender_of(endpoint))
        event = self._event(draft)
        unauthenticated = SIGNATURES[kind](self.signer, draft, event)
        return Request(turn.number, endpoint, kind, _dumps(event), unauthenticated)

    def _fuzzed_event(self, turn: Turn, endpoint: str, kind: str) -> Request:
        return Request(turn.number, endpoint, kind, _dumps(BUS_EVENTS[kind](turn.rng, bus_event(turn))))

    def _fuzzed_batch(self, turn: Turn, endpoint: str, kind: str) -> Request:
        number, rng = turn.number, turn.rng
        good = tuple((rng.choice(LOCATIONS), f"batch{number:08d}n{each}") for each in range(rng.randrange(1, 4)))
        records: list[Any] = [
            record(f"good-{number}-{each}", message(turn, contact, location), turn.now)
            for each, (location, contact) in enumerate(good)
        ]
        fuzzed = BATCHES[kind](turn)
        if not isinstance(fuzzed, list):  # the event has no list of records
            return Request(number, endpoint, kind, _dumps({"Records": fuzzed}))
        records += fuzzed
        rng.shuffle(records)
        ids = [one.get("messageId") if isinstance(one, dict) else None for one in records]
        messages = tuple(one if isinstance(one, str) else "" for one in ids)
        return Request(number, endpoint, kind, _dumps({"Records": records}), False, good, messages)

    def _fuzzed_top_level(self, turn: Turn, endpoint: str, kind: str) -> Request:
        return Request(turn.number, endpoint, kind, _dumps(TOP_LEVEL[kind](turn.rng)))

    def _fill(self, sample: Any, number: int, rng: random.Random) -> Any:
        text = json.dumps(sample)
        for mark, value in {
            "<contact>": rng.choice([*3 * [f"contact{number:08d}"], "contactThatComesAgain"]),
            "<email>": self.canary.email(number),
            "<phone>": self.canary.phone(number),
            "<location>": rng.choice(OFTEN),
            "<delivery>": f"delivery-{number}",
        }.items():
            text = text.replace(mark, value)
        return json.loads(text)

    def _event(self, draft: Draft, *, genuine: bool = True) -> dict[str, Any]:
        """API Gateway's event of a request, signed over the bytes that the function receives."""
        name, rng = draft.sender.name, draft.rng
        secret = draft.secret if genuine else "wrong-secret-of-a-stranger-0123456789"
        headers, query, body = self.signer.sign(draft, secret, draft.now, genuine=genuine)
        path = "/conversations" if name == API else f"/webhooks/{name}"
        route = "POST /conversations" if name == API else "POST /webhooks/{sender}"
        as_text = None
        if rng.random() < 0.5:
            try:
                as_text = body.decode()
            except UnicodeDecodeError:
                as_text = None
        return {
            "version": "2.0",
            "routeKey": route,
            "rawPath": path,
            "rawQueryString": query,
            "headers": {"content-type": draft.content_type, "host": "a1b2c3d4e5.execute-api.amazonaws.com", **headers},
            "requestContext": {
                "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
                "requestId": f"UZ{rng.getrandbits(48):012x}=",
                "routeKey": route,
                "timeEpoch": int(1000 * draft.now),
            },
            **({} if name == API else {"pathParameters": {"sender": name}}),
            "body": base64.b64encode(body).decode() if as_text is None else as_text,
            "isBase64Encoded": as_text is None,
        }


def _sender_of(endpoint: str) -> str:
    return API if endpoint == "conversations" else endpoint.removeprefix("webhooks/")


def _samples(name: str) -> list[Any]:
    """Good bodies of a sender: its sample in events/ with placeholders for ids and addresses, and the general one."""
    path = EVENTS / ("http_conversation.json" if name == API else f"webhook_{name.replace('-', '_')}.json")
    samples = [_GENERAL]
    if path.exists():
        event = json.loads(path.read_text("utf-8"))
        raw = base64.b64decode(event["body"]).decode() if event.get("isBase64Encoded") else event["body"]
        try:
            payload = json.loads(raw)
        except ValueError:
            return samples
        marked = _marked(payload)
        if isinstance(marked, dict) and "appId" in marked:
            marked["appId"] = _GENERAL["appId"]
        samples = [marked, marked, _GENERAL]
    if name == API:
        ids = {"locationId": "<location>", "contactId": "<contact>"}
        samples = [ids, ids | {"message": _GENERAL["message"]}]
    return samples


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _marked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_marked(each) for each in value]
    if not isinstance(value, str):
        return value
    if value == LOCATIONS[0]:
        return "<location>"
    if re.fullmatch(r"[A-Za-z0-9]{20}", value):
        return "<contact>"
    if "@" in value and " " not in value:
        return "<email>"
    return "<phone>" if re.fullmatch(r"\+[0-9]{8,15}", value) else value


def _dumps(event: Any) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()
