"""Canary values: put in as secrets and addresses, and searched for in everything that comes out.

    canary = Canary.new(seed)
    canary.token("ve9EPM428h8vShlRW1KT")   # pit-…: put it into HighLevelToken
    assert canary.leaks(everything_that_was_written) == []

The search finds any `FRAGMENT` consecutive characters of a value, plain or in one of its encodings. It samples the text
at every seventh place and compares the sample with all runs of eight characters: a second or two for 100 MB, for any
number of values.
"""

import base64
import json
import math
import random
import re
import string
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote

FRAGMENT = 14  # shorter parts of a value occur by chance
_GRAM, _STRIDE = 8, 7  # every run of FRAGMENT characters has a gram that starts at a multiple of the stride

type _Place = tuple[int, int]  # the form's number, and where in it


@dataclass(slots=True)
class Canary:
    """Random values by name, the same for the same seed. The search covers each value as soon as a method has returned
    it."""

    _seed: int
    _values: dict[str, str] = field(default_factory=dict, repr=False)
    _forms: list[tuple[str, str, int]] = field(default_factory=list, repr=False)  # name, form, shortest fragment
    _grams: dict[str, list[_Place]] = field(default_factory=dict, repr=False)
    _people: str = field(default="", repr=False)
    _digits: str = field(default="", repr=False)
    _phone: tuple[str, ...] = field(default=(), repr=False)
    _spaced: re.Pattern[str] = field(default_factory=lambda: re.compile("(?!)"), repr=False)

    @classmethod
    def new(cls, seed: int | None = None) -> Self:
        canary = cls(random.SystemRandom().randrange(2**63) if seed is None else seed)
        rng = canary._random("people")
        canary._people = "".join(rng.choices(string.ascii_lowercase, k=24))
        canary._digits = "999" + "".join(rng.choices(string.digits, k=6))  # no country has 999
        canary._spaced = re.compile(r"[ ()./\u00a0-]{0,3}".join(canary._digits))
        # Too short for the sampling, and few enough to search one by one.
        canary._phone = tuple(form for form in {*_disguises(canary._digits)} if len(form) >= 8)
        canary.watch("e-mail", canary._people)
        return canary

    def token(self, location: str = "*") -> str:
        """HighLevel's token of a location, in HighLevel's format."""
        rng = self._random(f"token {location}")
        return self.watch(f"token of {location}", f"pit-{uuid.UUID(int=rng.getrandbits(128), version=4)}")

    def sender_secret(self, name: str, *, whsec: bool = False) -> str:
        """A sender's secret: 40 characters that fit into a header and a URL; `whsec`: the base64 key of Standard
        Webhooks."""
        rng = self._random(f"secret {name}")
        if not whsec:
            secret = "".join(rng.choices(string.ascii_letters + string.digits, k=40))
            return self.watch(f"secret of {name}", secret)
        key = base64.b64encode(rng.randbytes(32)).decode()
        return "whsec_" + self.watch(f"secret of {name}", key)

    def email(self, number: int) -> str:
        """An address for each number; the search finds all by their common part."""
        return f"lead{number}.{self._people}@{self._people[::2]}.example"

    def phone(self, number: int) -> str:
        """A number (E.164) for each one below a million."""
        return f"+{self._digits}{number % 1_000_000:06d}"

    def watch(self, name: str, value: str) -> str:
        """Search for this value from now on, by that name, and return it. Raises ValueError for a short one."""
        if self._values.get(name) == value:
            return value
        self._values[name] = value
        if len(value) < FRAGMENT:
            raise ValueError(f"{name} is too short to be recognised")
        for form in dict.fromkeys(_disguises(value)):
            number, shortest = len(self._forms), math.ceil(FRAGMENT * max(1.0, len(form) / len(value)))
            self._forms.append((name, form, min(shortest, len(form))))
            for place in range(len(form) - _GRAM + 1):
                self._grams.setdefault(form[place : place + _GRAM], []).append((number, place))
        return value

    def leaks(self, text: str) -> list[str]:
        """The names, never the values, of the canaries in that text."""
        grams = self._grams
        hits = [
            place for place in range(0, max(len(text) - _GRAM + 1, 0), _STRIDE) if text[place : place + _GRAM] in grams
        ]
        found = {name for place in hits for name in self._at(text, place)}
        if any(form in text for form in self._phone) or self._spaced.search(text):
            found.add("phone")
        return sorted(found)

    def _at(self, text: str, place: int) -> Iterator[str]:
        """The names of values with the gram at that place of which enough characters are around it."""
        for number, at in self._grams[text[place : place + _GRAM]]:
            name, form, shortest = self._forms[number]
            before = after = 0
            while at > before and place > before and form[at - before - 1] == text[place - before - 1]:
                before += 1
            after_form, after_text = form[at + _GRAM :], text[place + _GRAM : place + _GRAM + len(form)]
            for expected, actual in zip(after_form, after_text, strict=False):
                if expected != actual:
                    break
                after += 1
            if before + _GRAM + after >= shortest:
                yield name

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self._seed} {purpose}")


def _disguises(value: str) -> Iterator[str]:
    """All forms in which a program may write a value: encoded, quoted or dumped."""
    raw = value.encode()
    yield from (value, value.lower(), value.upper(), value[::-1])
    yield from (quote(value, safe=""), quote(quote(value, safe=""), safe=""))
    hexadecimal = raw.hex()
    yield from (hexadecimal, hexadecimal.upper())
    yield from ("".join(f"%{byte:02{case}}" for byte in raw) for case in "xX")
    yield from ("".join(f"\\x{byte:02x}" for byte in raw), "".join(f"\\u{byte:04x}" for byte in raw))
    yield from (json.dumps(value)[1:-1], json.dumps(json.dumps(value))[3:-3])
    # Within a longer text, such as Basic credentials or a body, it may start at any of three places.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[before] :]
        # The last character may contain bits of the next byte.
        whole = whole[:-1] if (len(raw) + before) % 3 else whole
        yield from (whole, whole.replace("+", "-").replace("/", "_"))
