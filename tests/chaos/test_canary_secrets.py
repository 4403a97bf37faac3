"""The search finds a canary value in every encoding, and nothing else."""

import base64
import json
import random
import time
import uuid
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.chaos.canary_secrets import Canary

CANARIES = Canary.new(7)
VALUES = {
    "token of *": CANARIES.token(),
    "token of abc": CANARIES.token("abc"),
    "secret of typeform": CANARIES.sender_secret("typeform"),
    "secret of standard-webhooks": CANARIES.sender_secret("standard-webhooks", whsec=True),
    "e-mail": CANARIES.email(17),
    "phone": CANARIES.phone(17),
}
ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "Bearer": lambda value: json.dumps({"Authorization": f"Bearer {value}"}),
    "Basic": lambda value: "Basic " + base64.b64encode(f"hook:{value}".encode()).decode(),
    "Basic without a user": lambda value: "Basic " + base64.b64encode(f":{value}".encode()).decode(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 of a body": lambda value: base64.b64encode(json.dumps({"ab": value, "cd": 1}).encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(b"{" + value.encode() + b"}").decode(),
    "URL": lambda value: "https://x.example/?token=" + quote(value, safe=""),
    "URL, every byte": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "URL, twice": lambda value: quote(quote(value, safe="")),
    "JSON": lambda value: json.dumps(value),
    "JSON in JSON": lambda value: json.dumps({"body": json.dumps({"secret": value})}),
    "JSON, every character": lambda value: "".join(f"\\u{ord(character):04x}" for character in value),
    "bytes' repr": lambda value: repr(value.encode()),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "reversed": lambda value: value[::-1],
    "lower case": str.lower,
    "upper case": str.upper,
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_value_is_found(name: str, encoding: str) -> None:
    value = VALUES[name].removeprefix("whsec_")
    for before in range(30):  # at any offset of the sampling
        text = "x" * before + " \u20ac " + ENCODINGS[encoding](value) + ' and {"more": 1}'
        assert CANARIES.leaks(text) == [name], (name, encoding, before)


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("e-mail", "phone")])
def test_a_part_of_a_value_is_found(name: str) -> None:
    value = VALUES[name].removeprefix("whsec_")
    for start in range(len(value) - 14 + 1):
        assert CANARIES.leaks(f"…{value[start : start + 14]}…") == [name], start
        assert CANARIES.leaks(f"…{value[start : start + 4]}…") == []


def test_a_part_of_an_address_or_a_phone_number_is_found() -> None:
    assert CANARIES.leaks(CANARIES.email(17).partition("@")[0]) == ["e-mail"]
    assert CANARIES.leaks(CANARIES.phone(17).removeprefix("+")) == ["phone"]
    digits = CANARIES.phone(17).removeprefix("+")
    assert CANARIES.leaks(f"({digits[:3]}) {digits[3:6]}-{digits[6:9]} {digits[9:]}") == ["phone"]
    assert CANARIES.leaks(f'{{"phone": {digits}}}') == ["phone"]


def test_a_watched_value_is_found() -> None:
    canary = Canary.new(1)
    signature = canary.watch("a signature", base64.b64encode(bytes(range(32))).decode())
    assert canary.leaks(f"sha256={signature}") == ["a signature"]
    assert canary.leaks("sha256=") == []


def test_values_depend_only_on_the_seed() -> None:
    assert Canary.new(7).token() == VALUES["token of *"]
    assert Canary.new(8).token() != VALUES["token of *"]
    assert Canary.new().token() != Canary.new().token()
    for value in VALUES.values():
        assert value not in repr(CANARIES)


def test_a_clean_log_is_searched_fast_without_findings() -> None:
    canary = Canary.new(3)
    for number in range(200):
        canary.token(f"location{number}")
        canary.sender_secret(f"sender-{number}")
    rng = random.Random(1)
    line = {"level": "INFO", "message": "submission", "timestamp": "2026-11-22T15:22:38.539+00:00", "attempts": 1}
    lines = [
        json.dumps(
            line
            | {
                "request_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "conversation_id": base64.b64encode(rng.randbytes(15)).decode(),
                "duration_ms": rng.getrandbits(60),
                "location_id": f"pit-{rng.getrandbits(32):08x}",
            }
        )
        for _ in range(20_000)
    ]
    text = "\n".join(lines)
    started = time.process_time()
    assert canary.leaks(text) == []
    assert time.process_time() - started < len(text) / 2_000_000  # 2 MB a second, at the very least
    assert canary.leaks(text + canary.token("location7")) == ["token of location7"]
