"""A planted value is found in every disguise, and nothing else is taken for one."""

import base64
import json
import random
import time
import uuid
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.chaos.secrets import Planted

PLANTED = Planted.new(7)
VALUES = {
    "token of *": PLANTED.token(),
    "token of abc": PLANTED.token("abc"),
    "secret of typeform": PLANTED.sender_secret("typeform"),
    "secret of standard-webhooks": PLANTED.sender_secret("standard-webhooks", whsec=True),
    "e-mail": PLANTED.email(17),
    "phone": PLANTED.phone(17),
}
DISGUISES: dict[str, Callable[[str], str]] = {
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
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_value_is_found(name: str, disguise: str) -> None:
    value = VALUES[name].removeprefix("whsec_")
    for before in range(30):  # wherever the sampling meets it
        text = "x" * before + " \u20ac " + DISGUISES[disguise](value) + ' and {"more": 1}'
        assert PLANTED.leaks(text) == [name], (name, disguise, before)


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("e-mail", "phone")])
def test_a_part_of_a_value_is_found(name: str) -> None:
    value = VALUES[name].removeprefix("whsec_")
    for start in range(len(value) - 14 + 1):
        assert PLANTED.leaks(f"…{value[start : start + 14]}…") == [name], start
        assert PLANTED.leaks(f"…{value[start : start + 4]}…") == []


def test_an_address_and_a_number_are_found_without_their_rest() -> None:
    assert PLANTED.leaks(PLANTED.email(17).partition("@")[0]) == ["e-mail"]
    assert PLANTED.leaks(PLANTED.phone(17).removeprefix("+")) == ["phone"]
    digits = PLANTED.phone(17).removeprefix("+")
    assert PLANTED.leaks(f"({digits[:3]}) {digits[3:6]}-{digits[6:9]} {digits[9:]}") == ["phone"]
    assert PLANTED.leaks(f'{{"phone": {digits}}}') == ["phone"]


def test_what_is_watched_is_found() -> None:
    planted = Planted.new(1)
    signature = planted.watch("a signature", base64.b64encode(bytes(range(32))).decode())
    assert planted.leaks(f"sha256={signature}") == ["a signature"]
    assert planted.leaks("sha256=") == []


def test_values_are_the_same_for_a_seed_and_no_other() -> None:
    assert Planted.new(7).token() == VALUES["token of *"]
    assert Planted.new(8).token() != VALUES["token of *"]
    assert Planted.new().token() != Planted.new().token()
    for value in VALUES.values():
        assert value not in repr(PLANTED)


def test_a_clean_log_is_not_flagged_and_takes_no_time() -> None:
    planted = Planted.new(3)
    for number in range(200):
        planted.token(f"location{number}")
        planted.sender_secret(f"sender-{number}")
    draw = random.Random(1)
    line = {"level": "INFO", "message": "submission", "timestamp": "2026-11-22T15:22:38.539+00:00", "attempts": 1}
    lines = [
        json.dumps(
            line
            | {
                "request_id": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
                "conversation_id": base64.b64encode(draw.randbytes(15)).decode(),
                "duration_ms": draw.getrandbits(60),
                "location_id": f"pit-{draw.getrandbits(32):08x}",
            }
        )
        for _ in range(20_000)
    ]
    text = "\n".join(lines)
    started = time.process_time()
    assert planted.leaks(text) == []
    assert time.process_time() - started < len(text) / 2_000_000  # 2 MB a second, at the very least
    assert planted.leaks(text + planted.token("location7")) == ["token of location7"]
