"""Malformed events of API Gateway around a good, signed body."""

import random
from collections.abc import Callable
from typing import Any

from tests.chaos.fuzz_values import ODD, TEXTS


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
            inside[path[-1]] = rng.choice(ODD)
        return event

    return change


def _odd_headers(rng: random.Random, event: dict[str, Any]) -> Any:
    headers = event["headers"]
    match rng.randrange(5):
        case 0:
            event["headers"] = {name.upper(): text for name, text in headers.items()}
        case 1:
            event["headers"] = headers | {name.title(): rng.choice(ODD) for name in headers}
        case 2:
            event["headers"] = {
                name: rng.choice([text, f"{text},{text}", rng.choice(ODD)]) for name, text in headers.items()
            }
        case 3:
            headers |= {f"x-{each}": "y" for each in range(5_000)}
        case _:
            headers |= {
                str(rng.choice(TEXTS)): rng.choice(ODD),
                "content-encoding": rng.choice(["gzip", "identity", "br, gzip", ""]),
            }
    return event


def _odd_base64(rng: random.Random, event: dict[str, Any]) -> Any:
    event["isBase64Encoded"] = rng.choice([True, True, True, "true", 1, None, [], "false"])
    body = event["body"] if isinstance(event["body"], str) else ""
    event["body"] = rng.choice(
        [
            *(body, body + "=", body[:-1], "\u00e4\u00f6", "====", "A", body.replace("A", "\n"), "-_" * 40),
            *("\ud800", body + "!", None, 5),
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
        *(now - 9_000, now - 3_900, now - 4_100, now + 9_000, now + 10**12, -now, 0, str(now), float(now)),
        *(10**400, True),
    ]
    event["requestContext"]["timeEpoch"] = rng.choice(odd)
    return event


def _several(rng: random.Random, event: dict[str, Any]) -> Any:
    for name in rng.sample([*event], rng.randrange(1, 5)):
        if rng.random() < 0.4:
            del event[name]
        else:
            event[name] = rng.choice(ODD)
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
