"""No fuzzed request gets in, and none makes the sender check raise.

FUZZ=2000 sets how many requests each verifier gets (5000 without it); the same number means the same requests.
"""

import base64
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from create_conversation.senders.config import Sender, load
from create_conversation.senders.verification import Request, delivery_id, is_authentic, secrets_for
from tests.factories import make_senders

COUNT = int(os.environ.get("FUZZ", "5000"))
DATA: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data" / "signatures.json").read_text("utf-8"))
PRESETS = {name: sender for name, sender in load().items() if sender.scheme != "event"}
SIGNING = tuple(name for name, sender in PRESETS.items() if sender.scheme != "token")
# One for each set of places: to the check of a token, all others are the same.
TOKENS = tuple({sender.where: name for name, sender in PRESETS.items() if sender.scheme == "token"}.values())
# The members in which a token may ride.
MEMBERS = ("token", "google_key", "HandshakeKey")
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Valid:
    """A request that is let in."""

    sender: Sender
    request: Request
    secrets: tuple[str, ...]
    now: float

    def accepts(self, request: Request, secrets: tuple[str, ...] | None = None) -> bool:
        delivery_id(self.sender, request)
        return is_authentic(self.sender, request, self.secrets if secrets is None else secrets, self.now)


@pytest.fixture(scope="module")
def senders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sender]:
    return make_senders(tmp_path_factory.mktemp("functions"), **DATA["senders"])


def valid(senders: dict[str, Sender], name: str) -> Valid:
    """The first documented request of a sender that signs; for a token, one that bears it in each place."""
    if name in TOKENS:
        basic = senders[name].where == ("basic",)
        credentials = f"Basic {base64.b64encode(TOKEN.encode()).decode()}" if basic else f"Bearer {TOKEN}"
        places = {"authorization": credentials, "x-webhook-token": TOKEN}
        return Valid(
            senders[name],
            Request(places, f"token={TOKEN}", json.dumps(dict.fromkeys(MEMBERS, TOKEN)).encode()),
            (TOKEN,),
            0,
        )
    vectors = [vector for vector in DATA["vectors"] if vector["sender"] == name and vector["valid"]]
    # One whose whole header counts: Stripe's may hold a signature of another scheme, too.
    vector = next(vector for vector in vectors if "v0=" not in str(vector["headers"]))
    request = Request(vector["headers"], "", vector["body"].encode())
    secrets = (vector["secret"],) if vector["secret"] else ()
    return Valid(senders[name], request, secrets, vector.get("now", 0))


# --- every bit --------------------------------------------------------------------------------------------------------


def flips(raw: bytes) -> Iterator[bytes]:
    for place, byte in enumerate(raw):
        for bit in range(8):
            yield raw[:place] + bytes([byte ^ (1 << bit)]) + raw[place + 1 :]


@pytest.mark.parametrize("name", SIGNING)
def test_one_flipped_bit_is_refused(name: str, senders: dict[str, Sender]) -> None:
    right = valid(senders, name)
    assert right.accepts(right.request)
    for body in flips(right.request.body):
        assert not right.accepts(replace(right.request, body=body))
    signed = {right.sender.sig_header, right.sender.ts.removeprefix("header:")}
    if "{id}" in right.sender.signed:
        signed.add(right.sender.id.removeprefix("header:"))
    for header in signed & right.request.headers.keys():
        for value in flips(right.request.headers[header].encode("ascii")):
            changed = {**right.request.headers, header: value.decode("latin-1")}
            assert not right.accepts(replace(right.request, headers=changed))


@pytest.mark.parametrize("name", SIGNING)
def test_one_byte_more_or_less_is_refused(name: str, senders: dict[str, Sender]) -> None:
    right = valid(senders, name)
    body = right.request.body
    for place in range(len(body)):
        assert not right.accepts(replace(right.request, body=body[:place] + body[place + 1 :]))
        assert not right.accepts(replace(right.request, body=body[:place]))
    for place in range(len(body) + 1):
        for more in (b" ", b"\x00", b"\n", b"}"):
            assert not right.accepts(replace(right.request, body=body[:place] + more + body[place:]))


# --- at random --------------------------------------------------------------------------------------------------------

TOKEN = "pZ4kTn8-Ww_x2vQeR7yUbA"
ALPHABETS = (
    "".join(map(chr, range(128))),
    "".join(map(chr, range(0x20, 0x180))),
    "0123456789abcdef",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
    "٠١٢１２３\ud800\udfff\ufeff\u2028💥ß",
    " ,=;:.&%+\t\r\n\x00",
)
PIECES = (
    *(
        "v1,",
        "v1a,",
        "t=",
        "v1=",
        "sha256=",
        "Bearer ",
        "Basic ",
        "N/A",
        "null",
        "whsec_",
        "whpk_",
        ",",
        " ",
        "==",
        "&",
    ),
    *(
        "token=",
        "%",
        "%00",
        "\\u0000",
        "{",
        "}",
        "[",
        "]",
        '"',
        '{"token":',
        '"appId":',
        '"timestamp":',
        "NaN",
        "1e999",
    ),
    *("-----BEGIN PUBLIC KEY-----", "MCowBQYDK2VwAyEA", "9" * 400, "1767225600", "msg_", FORM, "application/json"),
)


class Fuzz:
    """Requests made of noise, of pieces that mean something to a verifier, and of a valid request taken apart."""

    def __init__(self, right: Valid, seed: str) -> None:
        self._draw = random.Random(seed)
        self._right = right
        self._names = [*right.request.headers, "authorization", "x-webhook-token", "content-type", "x-other"]
        whole = [*right.request.headers.values(), right.request.body.decode("utf-8", "replace")]
        self._pieces = [*PIECES, *whole, *(part for text in whole for part in text.replace(",", " ").split(" "))]

    def requests(self) -> Iterator[tuple[Request, tuple[str, ...]]]:
        """Each lacks its authentication: the body, the secret, or the signature is another."""
        for _ in range(COUNT):
            request, secrets = self._right.request, self._right.secrets
            match self._draw.randrange(4):
                case 0:
                    yield Request(self._headers(), self.text(), self._bytes()), self._wrong_secrets()
                case 1:
                    yield replace(request, body=self._other_body()), self._wrong_secrets()
                case 2:
                    yield self._with_other_body(), secrets
                case _:
                    yield self._unsigned(), secrets

    def _with_other_body(self) -> Request:
        request = self._right.request
        if self._right.sender.scheme == "token":
            return self._unsigned()
        headers = request.headers if self._draw.random() < 0.5 else self._headers()
        return Request(headers, self.text(), self._other_body())

    def _unsigned(self) -> Request:
        sender, request = self._right.sender, self._right.request
        if sender.scheme == "token":
            wrong = self._near(TOKEN)
            place = self._draw.randrange(5)
            credentials = wrong if place else base64.b64encode(wrong.encode("utf-8", "replace")).decode()
            scheme = self._draw.choice(["Bearer ", "bearer ", "", "Bearer"]) if place else "Basic "
            form = "&".join(f"{member}={quote(wrong, errors='replace')}" for member in MEMBERS)
            body = (form if place == 3 else json.dumps(dict.fromkeys(MEMBERS, wrong))).encode()
            headers = {"authorization": scheme + credentials, "x-webhook-token": wrong, "content-type": FORM}
            return Request(headers, f"token={quote(wrong, errors='replace')}", body)
        given = request.headers[sender.sig_header]
        signature = max(given.replace(",", " ").replace("=", " ", 1).split(" "), key=len)
        other = given.replace(signature, self._near(signature)) if self._draw.random() < 0.7 else self.text()
        return replace(
            request, headers={**request.headers, sender.sig_header: other if signature not in other else "N/A"}
        )

    def _near(self, text: str) -> str:
        """The text with a character or more changed, cut or added in its middle."""
        chars = list(text)
        for _ in range(self._draw.choice([1, 1, 2, 9])):
            place = self._draw.randrange(len(chars) // 4, len(chars) // 4 * 3 + 1)
            chars[place : place + self._draw.choice([0, 1, 1, 3])] = self._draw.choice([*"aZ9~é\ud800", "xx"])
        near = "".join(chars)
        return near if text not in near and near != text else "~" + text[1:]

    def _other_body(self) -> bytes:
        body = bytearray(self._right.request.body)
        for _ in range(self._draw.choice([1, 1, 3, 30])):
            place = self._draw.randrange(len(body) + 1)
            body[place : place + self._draw.choice([0, 1, 5])] = self._draw.randbytes(self._draw.choice([1, 2, 8]))
        if self._draw.random() < 0.2:
            body = bytearray(self._bytes())
        return bytes(body) if bytes(body) != self._right.request.body else bytes(body) + b" "

    def _wrong_secrets(self) -> tuple[str, ...]:
        """None of them the right one; some malformed, some of the right format."""
        near = [self._near(secret) for secret in self._right.secrets]
        random_key = base64.b64encode(self._draw.randbytes(self._draw.choice([0, 1, 24, 32, 33]))).decode()
        texts = [*near, self.text() + "#", f"whsec_{random_key}", f"whpk_{random_key}", random_key]
        chosen = self._draw.sample(texts, self._draw.randrange(len(texts) + 1))
        stored = secrets_for(json.dumps({"x": chosen}), "x")
        return tuple(secret for secret in stored if secret.strip() and secret not in ("whsec_", "whpk_"))

    def _headers(self) -> dict[str, str]:
        return {name: self.text() for name in self._draw.sample(self._names, self._draw.randrange(len(self._names)))}

    def _bytes(self) -> bytes:
        if self._draw.random() < 0.3:
            return self._draw.randbytes(self._draw.randrange(64))
        return self.text().encode(self._draw.choice(["utf-8", "utf-16", "utf-32-be"]), "surrogatepass")

    def text(self) -> str:
        if self._draw.random() < 0.001:
            return 250_000 * str(self._draw.choice((*",= 9[{", "v1, ", "&a=b")))
        parts = [
            self._draw.choice(self._pieces)
            if self._draw.random() < 0.6
            else "".join(self._draw.choices(self._draw.choice(ALPHABETS), k=self._draw.randrange(20)))
            for _ in range(self._draw.randrange(5))
        ]
        return "".join(parts)


@pytest.mark.parametrize("name", [*SIGNING, *TOKENS])
def test_no_fuzzed_request_gets_in(name: str, senders: dict[str, Sender]) -> None:
    right = valid(senders, name)
    assert right.accepts(right.request)
    for request, secrets in Fuzz(right, name).requests():
        assert not right.accepts(request, secrets)


def test_a_fuzzed_secret_value_gives_texts_or_nothing(senders: dict[str, Sender]) -> None:
    fuzz = Fuzz(valid(senders, "tally"), "secrets")
    for _ in range(COUNT):
        assert all(secrets_for(fuzz.text(), "tally"))
