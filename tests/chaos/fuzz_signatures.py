"""Who signs a fuzzed request, and malformed or wrong signatures.

Each function of `SIGNATURES` changes the signed event and returns whether the function must refuse it.
"""

import base64
import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from nacl.signing import SigningKey

from cli.signing import Signed, sign
from cli.stack import StackError
from create_conversation.senders.config import Sender
from tests.chaos.canary_secrets import Canary
from tests.chaos.fuzz_bodies import Draft
from tests.chaos.fuzz_values import ODD, TEXTS, value


class Signer:
    """The secret or the private key of every sender."""

    def __init__(self, senders: Mapping[str, Sender], canary: Canary, rng: random.Random) -> None:
        self._senders, self._canary = senders, canary
        self._keys = {
            name: SigningKey(rng.randbytes(32)) for name, sender in senders.items() if sender.scheme == "pubkey"
        }
        self.secrets = {
            name: canary.sender_secret(name, whsec=sender.key_format == "whsec_base64")
            for name, sender in senders.items()
            if name not in self._keys
        }

    def secret_text(self) -> str:
        """The text of SenderSecrets: each sender's secret with a previous one, or its public key."""
        text: dict[str, Any] = {
            name: [secret, self._canary.sender_secret(f"{name}, previous", whsec=secret.startswith("whsec_"))]
            for name, secret in self.secrets.items()
        }
        for name, key in self._keys.items():
            raw = bytes(key.verify_key)
            if self._senders[name].key_format == "whpk_base64":
                text[name] = "whpk_" + base64.b64encode(raw).decode()
            else:
                text[name] = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
        return json.dumps(text)

    def sign(self, draft: Draft, secret: str, now: float, *, genuine: bool = True) -> Signed:
        """Headers, query string and body of the signed request; not `genuine`: with a wrong secret or key."""
        sender = draft.sender
        if sender.scheme == "pubkey":
            return self._with_private_key(draft, now, genuine)
        if sender.key_format == "whsec_base64" and not genuine:
            secret = "whsec_d3Jvbmctc2VjcmV0LW9mLW5vYm9keQ=="
        for place in (draft.place, ""):
            try:
                return sign(sender, secret, draft.body, draft.content_type, now, place=place)
            except (StackError, ValueError, RecursionError):  # the body has no room for it
                continue
        if query := [place for place in sender.where if place.startswith("query")]:
            return sign(sender, secret, draft.body, draft.content_type, now, place=query[0])
        return {}, "", draft.body

    def _with_private_key(self, draft: Draft, now: float, genuine: bool) -> Signed:
        sender, headers, body = draft.sender, dict[str, str](), draft.body
        place, _, name = sender.ts.partition(":")
        mac = {"scheme": "mac", "key_format": "utf8"}
        stand_in = Sender(**{entry: getattr(sender, entry) for entry in Sender.__slots__} | mac)
        try:
            headers, _, body = sign(stand_in, "x" * 20, draft.body, draft.content_type, now)
        except (StackError, ValueError, RecursionError):
            return {}, "", draft.body
        parts = {
            "{body}": body,
            "{ts}": headers.get(name, "").encode() if place == "header" else b"",
            "{id}": headers.get(sender.id.removeprefix("header:"), "").encode(),
        }
        message = b"".join(parts.get(part, part.encode()) for part in re.split(r"(\{(?:body|ts|id)\})", sender.signed))
        key = self._keys[sender.name] if genuine else SigningKey(bytes(32))
        signature = base64.b64encode(key.sign(message).signature).decode()
        right = f"{sender.sig_label},{signature}" if sender.sig_format == "space-list" else sender.prefix + signature
        return headers | {sender.sig_header: right}, "", body


def _signature_header(draft: Draft, event: dict[str, Any]) -> str:
    """The header that contains the signature or the token, or may contain it."""
    if draft.sender.sig_header:
        return draft.sender.sig_header
    given = [name for name in event["headers"] if name == "authorization" or "token" in name or "key" in name]
    return given[0] if given else "authorization"


def _strip(draft: Draft, event: dict[str, Any]) -> None:
    """Remove every signature and token."""
    for name in [*event["headers"]]:
        if name not in ("content-type", "host") and name != draft.sender.ts.removeprefix("header:"):
            del event["headers"][name]
    event["rawQueryString"] = ""
    if any(place.startswith("body:") for place in draft.sender.where):
        event["body"], event["isBase64Encoded"] = '{"email": "a@b.example"}', False


def _no_signature(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    _strip(draft, event)
    return True


def _odd_signature(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    header = _signature_header(draft, event)
    _strip(draft, event)
    given = [str(odd) for odd in ODD] + list(TEXTS)
    prefix = draft.rng.choice(["", "Bearer ", "Basic ", "bearer\t", "v1,", "v1a,", "t=1,v1=", "sha256="])
    event["headers"][header] = draft.rng.choice([prefix + draft.rng.choice(given), draft.rng.choice(ODD)])
    return True


def _oversize_signature(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    header = _signature_header(draft, event)
    _strip(draft, event)
    piece = draft.rng.choice(["A", "v1,", "v1a,AAAA ", "v1=00,", "t=1,", " ", "=", "Basic ", "%41", "\u00e4", "\ud800"])
    event["headers"][header] = piece * (draft.rng.choice([8_192, 100_000]) // len(piece))
    event["rawQueryString"] = draft.rng.choice(["", "token=" * 20_000, "&".join(["token=x"] * 20_000), "%" * 90_000])
    return True


def _candidates(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    """The right signature among thousands of guesses."""
    header = _signature_header(draft, event)
    right = event["headers"].get(header)
    if not isinstance(right, str):
        return False
    wrong = right[:-6] + "AAAAAA"
    guesses = [wrong] * draft.rng.choice([3, 20, 3000])
    guesses.insert(draft.rng.randrange(len(guesses)), right)
    event["headers"][header] = draft.rng.choice([" ", ",", ", "]).join(guesses)
    return False


def _near_signature(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    """The right signature, a little changed. The function refuses it unless the change is white space."""
    header = _signature_header(draft, event)
    right = event["headers"].get(header)
    if not isinstance(right, str):
        return False
    near = draft.rng.choice(
        [right[:-2], right + "\0", right + "\r\nx: y", right.swapcase(), f"\ufeff{right}", right[::-1], right + "="]
    )
    event["headers"][header] = near
    # Other places of a token sender may still contain the token.
    return near != right and not event["rawQueryString"] and not any(p.startswith("body") for p in draft.sender.where)


def _odd_time(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    """A timestamp that is not now, or not a timestamp; signed where possible."""
    place, _, name = draft.sender.ts.partition(":")
    if not place:
        return False
    at = draft.rng.choice([0.0, draft.now - 100_000, draft.now + 100_000, -draft.now, 10.0**11])
    try:
        headers, _, body = signer.sign(draft, draft.secret, at)
    except (ValueError, OverflowError, OSError):
        return False
    event["headers"] |= headers
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if place == "header" and draft.rng.random() < 0.6:
        odd = [
            *("9" * 18, "-1", "", "\uff11\uff17\uff19\uff15", "1e9", "nan", "0x10", " 1795358768", str(10**400)),
            *(None, "1795358768,1"),
        ]
        event["headers"][name] = draft.rng.choice(odd)
    return True


def _others_secret(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    """The secret of another sender."""
    if draft.sender.name not in signer.secrets:
        return False
    kind = draft.sender.key_format == "whsec_base64"
    others = [
        secret
        for name, secret in signer.secrets.items()
        if name != draft.sender.name and secret.startswith("whsec_") == kind
    ]
    if not others:
        return False
    _strip(draft, event)
    draft.body = b'{"email": "a@b.example"}'
    draft.content_type = "application/json"
    headers, query, body = signer.sign(draft, draft.rng.choice(others), draft.now)
    event["headers"] |= headers
    event |= {"body": body.decode(), "isBase64Encoded": False, "rawQueryString": query}
    return True


def _other_body(signer: Signer, draft: Draft, event: dict[str, Any]) -> bool:
    """The right signature of another body."""
    event |= {"body": json.dumps(value(draft.rng)), "isBase64Encoded": False}
    return draft.sender.scheme != "token"


SIGNATURES: dict[str, Callable[[Signer, Draft, dict[str, Any]], bool]] = {
    "no signature": _no_signature,
    "odd signature": _odd_signature,
    "oversize signature": _oversize_signature,
    "thousands of candidates": _candidates,
    "nearly the right signature": _near_signature,
    "odd timestamp": _odd_time,
    "another sender's secret": _others_secret,
    "another body than was signed": _other_body,
}
