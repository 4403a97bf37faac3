"""Malformed events without HTTP: of the bus, batches of the retry queue, and top-level values of no known event."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from create_conversation.submission import Submission
from tests.chaos.fuzz_bodies import BODIES
from tests.chaos.fuzz_values import API, LOCATIONS, ODD, OFTEN, SICK, TEXTS, nested, value

if TYPE_CHECKING:
    from tests.chaos.fuzz_requests import Requests


@dataclass(frozen=True, slots=True)
class Turn:
    """What one request is made from."""

    requests: "Requests"
    number: int
    rng: random.Random
    now: float


def bus_event(turn: Turn) -> dict[str, Any]:
    """A good event of the bus."""
    number, rng, canary = turn.number, turn.rng, turn.requests.canary
    detail = {"locationId": rng.choice(OFTEN[:-1]), "contactId": f"event{number:08d}"}
    if rng.random() < 0.3:
        detail = {"locationId": LOCATIONS[0], "email": canary.email(number), "phone": canary.phone(number)}
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


def message(turn: Turn, contact: str, location: str = LOCATIONS[0]) -> str:
    """A good message of the retry queue."""
    sender = turn.rng.choice([API, "token"])
    body = json.dumps({"locationId": location, "contactId": contact}).encode()
    trigger = "http" if sender == API else "webhook"
    return Submission(trigger, sender, f"request{turn.number}", 1.0, "application/json", body).to_message()


def record(message_id: str, body: Any, now: float, **attributes: Any) -> dict[str, Any]:
    """A record of SQS as Lambda passes it to the function."""
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


# --- events of the bus ------------------------------------------------------------------------------------------------


def _member(name: str) -> Callable[[random.Random, dict[str, Any]], Any]:
    def change(rng: random.Random, event: dict[str, Any]) -> Any:
        if rng.random() < 0.15:
            del event[name]
        else:
            event[name] = rng.choice([value(rng), rng.choice(ODD)])
        return event

    return change


def _detail_values(rng: random.Random, event: dict[str, Any]) -> Any:
    detail = event["detail"] | {"email": "a@b.example"}
    for name in rng.sample([*detail], rng.choice([1, 2, 3])):
        detail[name] = value(rng)
    if rng.random() < 0.3:
        detail.pop("contactId", None)
    return event | {"detail": detail}


def _deep_event(rng: random.Random, event: dict[str, Any]) -> bytes:
    deep = nested(rng)
    name = rng.choice(["detail", "source", "resources", "more"])
    return (json.dumps(event)[:-1] + f', "{name}": {deep}}}').encode()


def _huge_event(rng: random.Random, event: dict[str, Any]) -> bytes:
    filler = rng.choice(
        ['"' + "A" * 30 + '"', "1e15", '"\u00e4\u00e4\u00e4"', '"\\ud800\\udfff"', '"\\u0000"', "[]", '"\ufffe\uffff"']
    )
    size = rng.choice([50_000, 200_000, 255_000, 1_000_000])  # EventBridge takes up to 1 MiB
    more = ",".join([filler] * (size // (len(filler.encode()) + 1)))
    text = json.dumps(event)[:-1]
    return (text + f', "more": [{more}]}}').encode()


def _event_of_another_trigger(rng: random.Random, event: dict[str, Any]) -> Any:
    """Looks like the event of another trigger."""
    return rng.choice(
        [
            event | {"routeKey": "POST /conversations"},
            {"requestPayload": event, "requestContext": None},
            {"requestPayload": event, "version": "1.0"},
            event | {"detail": {"submission": {"trigger": "http", "sender": "api", "request_id": "request1"}}},
            event | {"httpMethod": "POST"},
            event | {"detail": event},
        ]
    )


BUS_EVENTS: dict[str, Callable[[random.Random, dict[str, Any]], Any]] = {
    "good": lambda _rng, event: event,
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
    "of another trigger": _event_of_another_trigger,
}


# --- batches of the retry queue ---------------------------------------------------------------------------------------

# No message of SQS can contain these.
_NOT_OF_SQS = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _bodies(make: Callable[[Turn], Any]) -> Callable[..., list[Any]]:
    def records(turn: Turn) -> list[Any]:
        count = turn.rng.choice([1, 3, 7])
        texts = [_NOT_OF_SQS.sub("?", make(turn)) or "?" for _ in range(count)]
        return [record(f"bad-{turn.number}-{each}", text, turn.now) for each, text in enumerate(texts)]

    return records


def _garbage(turn: Turn) -> str:
    garbage = [
        *("", " ", "null", "[]", "{}", '"x"', "NaN", "{", "A" * 250_000, nested(turn.rng)),
        *('{"submission": null}', "9" * 5000),
    ]
    return turn.rng.choice(
        [*garbage, '{"submission": {}}', '{"detail-type": 1}', '{"requestPayload": {}}', str(turn.rng.choice(TEXTS))]
    )


def _odd_submission(turn: Turn) -> str:
    queued = json.loads(message(turn, f"odd{turn.number:08d}x"))
    for name in turn.rng.sample([*queued["submission"]], turn.rng.choice([1, 2])):
        queued["submission"][name] = value(turn.rng)
    return json.dumps(queued)


def _fuzzed_submission(turn: Turn) -> str:
    """A stored submission with a fuzzed body in it."""
    requests, rng = turn.requests, turn.rng
    name = rng.choice([*requests.http_senders])
    draft = requests.draft(turn, name)
    BODIES[rng.choice([kind for kind in BODIES if kind not in ("huge", "long array")])](draft)
    body = re.sub(rb"pit-[0-9a-f-]{36}", b"", draft.body)
    for secret in requests.signer.secrets.values():
        body = body.replace(secret.encode(), b"")
    if requests.canary.leaks(body.decode("latin-1").replace("\0", "")):
        body = b"{}"  # no handler would have stored it
    trigger = "http" if name == API else "webhook"
    return Submission(trigger, name, f"request{turn.number}", 1.0, draft.content_type, body[: 256 * 1024]).to_message()


def _raw_event(turn: Turn) -> str:
    event = bus_event(turn)
    fuzzed = BUS_EVENTS[turn.rng.choice([*BUS_EVENTS])](turn.rng, event)
    return fuzzed.decode() if isinstance(fuzzed, bytes) else json.dumps(fuzzed)


def _on_failure(turn: Turn) -> str:
    context = {"requestId": "8d39a5ea", "functionArn": "arn:aws:lambda:…", "condition": "RetriesExhausted"}
    payload = f'{{"version": "1.0", "requestContext": {json.dumps(context)}, "requestPayload": '
    return payload + _raw_event(turn) + f', "responsePayload": {json.dumps(value(turn.rng))}}}'


def _odd_attributes(turn: Turn) -> list[Any]:
    body = message(turn, f"attributes{turn.number:08d}")
    one = record(f"bad-{turn.number}", body, turn.now)
    for name in turn.rng.sample(["ApproximateReceiveCount", "SentTimestamp"], turn.rng.choice([1, 2])):
        one["attributes"][name] = turn.rng.choice([*ODD, "9" * 30, "-5", "\uff11", "1.5", "1e3", "0"])
    if turn.rng.random() < 0.2:
        one["attributes"] = turn.rng.choice(ODD)
    return [one]


def _odd_record(turn: Turn) -> list[Any]:
    one = record(f"bad-{turn.number}", message(turn, f"record{turn.number:08d}"), turn.now)
    name = turn.rng.choice(["messageId", "receiptHandle", "body", "attributes", "eventSource"])
    if turn.rng.random() < 0.4:
        del one[name]
    else:
        odd = turn.rng.choice(ODD)
        one[name] = _NOT_OF_SQS.sub("?", odd) if isinstance(odd, str) else odd
    return [turn.rng.choice([one, one, one, None, "text", 5, []])]


def _old_message(turn: Turn) -> list[Any]:
    body = message(turn, f"old{turn.number:08d}", turn.rng.choice([SICK, LOCATIONS[0]]))
    sent = turn.rng.choice([0, int(1000 * turn.now) - 80 * 3600 * 1000, 10**15])
    count = turn.rng.choice(["1", "2", "1001", "999999"])
    return [record(f"bad-{turn.number}", body, turn.now, SentTimestamp=str(sent), ApproximateReceiveCount=count)]


def _duplicated(turn: Turn) -> list[Any]:
    body = message(turn, f"twice{turn.number:08d}")
    return [
        record(f"bad-{turn.number}", body, turn.now),
        record(f"bad-{turn.number}", turn.rng.choice([body, "garbage"]), turn.now),
    ]


def _foreign_records(turn: Turn) -> list[Any]:
    return [
        turn.rng.choice(
            [
                {"eventSource": "aws:s3", "s3": {"bucket": {"name": "x"}, "object": {"key": "y"}}},
                {"EventSource": "aws:sns", "Sns": {"Message": "{}", "MessageId": "x"}},
                {"eventSource": "aws:kinesis", "kinesis": {"data": "e30="}},
            ]
        )
    ]


def _long_batch(turn: Turn) -> list[Any]:
    count = 2_000 if turn.rng.random() < 0.002 else 20
    return [
        record(f"bad-{turn.number}-{each}", turn.rng.choice(["garbage", "{}", "[]"]), turn.now) for each in range(count)
    ]


BATCHES: dict[str, Callable[[Turn], Any]] = {
    "garbage": _bodies(_garbage),
    "members of a submission odd": _bodies(_odd_submission),
    "stored fuzzed bodies": _bodies(_fuzzed_submission),
    "stored fuzzed bodies again": _bodies(_fuzzed_submission),
    "raw events": _bodies(_raw_event),
    "failed invocations": _bodies(_on_failure),
    "attributes odd": _odd_attributes,
    "pieces of a record odd": _odd_record,
    "old messages": _old_message,
    "duplicated ids": _duplicated,
    "another service's records": _foreign_records,
    "long": _long_batch,
    "empty": lambda _turn: [],
    "no list": lambda turn: turn.rng.choice([None, {}, "x", 5, True]),
}


# --- top-level events -------------------------------------------------------------------------------------------------

TOP_LEVEL: dict[str, Callable[[random.Random], Any]] = {
    "no object": lambda rng: rng.choice(
        [[], [1], "text", "", None, True, False, 0, 1.5, float("nan"), "Records", ["Records"]]
    ),
    "empty object": lambda _rng: {},
    "junk": lambda rng: {str(rng.choice(TEXTS)): value(rng) for _ in range(5)},
    "junk array": lambda rng: [value(rng) for _ in range(5)],
    "nested deeply": lambda rng: nested(rng).encode(),
}
