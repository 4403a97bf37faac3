"""Values that must never come out again, planted where they go in, and found wherever they come out.

    planted = Planted.new(seed)
    planted.token("ve9EPM428h8vShlRW1KT")   # pit-…: put it into HighLevelToken
    assert planted.leaks(everything_that_was_written) == []

What is looked for is any run of `FRAGMENT` characters of a value, as it is or in one of its disguises. The text is
sampled at every seventh place and compared with all runs of eight characters at once: a second or two for 100 MB,
however many values there are.
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

FRAGMENT = 14  # shorter parts of a value say too little, and occur by chance
_GRAM, _STRIDE = 8, 7  # every run of FRAGMENT characters has a gram that starts at a multiple of the stride

type _Place = tuple[int, int]  # the form's number, and where in it


@dataclass(slots=True)
class Canary:
    """Random values by name, the same for the same seed. Each is looked for from the moment it is handed out."""

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
        rng = canary._draw("people")
        canary._people = "".join(rng.choices(string.ascii_lowercase, k=24))
        canary._digits = "999" + "".join(rng.choices(string.digits, k=6))  # no country has 999
        canary._spaced = re.compile(r"[ ()./\u00a0-]{0,3}".join(canary._digits))
        # Too short for the sampling; few enough to be searched for one by one.
        canary._phone = tuple(form for form in {*_disguises(canary._digits)} if len(form) >= 8)
        canary.watch("e-mail", canary._people)
        return canary

    def token(self, location: str = "*") -> str:
        """HighLevel's token of a location, as HighLevel shapes them."""
        rng = self._draw(f"token {location}")
        return self.watch(f"token of {location}", f"pit-{uuid.UUID(int=rng.getrandbits(128), version=4)}")

    def sender_secret(self, name: str, *, whsec: bool = False) -> str:
        """A sender's secret: 40 characters that fit into a header and a URL; `whsec`: the base64 key of Standard
        Webhooks."""
        rng = self._draw(f"secret {name}")
        if not whsec:
            secret = "".join(rng.choices(string.ascii_letters + string.digits, k=40))
            return self.watch(f"secret of {name}", secret)
        key = base64.b64encode(rng.randbytes(32)).decode()
        return "whsec_" + self.watch(f"secret of {name}", key)

    def email(self, number: int) -> str:
        """An address for each number; all are found by what they have in common."""
        return f"lead{number}.{self._people}@{self._people[::2]}.example"

    def phone(self, number: int) -> str:
        """A number (E.164) for each one below a million."""
        return f"+{self._digits}{number % 1_000_000:06d}"

    def watch(self, name: str, value: str) -> str:
        """Look for this value from now on, too, by that name; gives it back. Raises ValueError for a short one."""
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
        """The names, never the values, of what is found in that text."""
        grams = self._grams
        hits = [
            place for place in range(0, max(len(text) - _GRAM + 1, 0), _STRIDE) if text[place : place + _GRAM] in grams
        ]
        found = {name for place in hits for name in self._at(text, place)}
        if any(form in text for form in self._phone) or self._spaced.search(text):
            found.add("phone")
        return sorted(found)

    def _at(self, text: str, place: int) -> Iterator[str]:
        """Of the values that have the gram at that place, those of which enough is around it."""
        for number, at in self._grams[text[place : place + _GRAM]]:
            name, form, shortest = self._forms[number]
            before = after = 0
            while at > before and place > before and form[at - before - 1] == text[place - before - 1]:
                before += 1
            after_form, after_text = form[at + _GRAM :], text[place + _GRAM : place + _GRAM + len(form)]
            for ours, theirs in zip(after_form, after_text, strict=False):
                if ours != theirs:
                    break
                after += 1
            if before + _GRAM + after >= shortest:
                yield name

    def _draw(self, purpose: str) -> random.Random:
        return random.Random(f"{self._seed} {purpose}")


def _disguises(value: str) -> Iterator[str]:
    """All forms in which a value may come out of a program that encodes, quotes or dumps what it has."""
    raw = value.encode()
    yield from (value, value.lower(), value.upper(), value[::-1])
    yield from (quote(value, safe=""), quote(quote(value, safe=""), safe=""))
    hexadecimal = raw.hex()
    yield from (hexadecimal, hexadecimal.upper())
    yield from ("".join(f"%{byte:02{case}}" for byte in raw) for case in "xX")
    yield from ("".join(f"\\x{byte:02x}" for byte in raw), "".join(f"\\u{byte:04x}" for byte in raw))
    yield from (json.dumps(value)[1:-1], json.dumps(json.dumps(value))[3:-3])
    # Within something longer, as in Basic credentials or a whole body, it may start at any of three places.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[before] :]
        # The last character may hold bits of what follows.
        whole = whole[:-1] if (len(raw) + before) % 3 else whole
        yield from (whole, whole.replace("+", "-").replace("/", "_"))
