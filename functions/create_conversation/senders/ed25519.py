"""Keys and signatures as text."""

import base64
import binascii
import re

_SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")  # what precedes the 32 bytes of the key (RFC 8410)


def from_base64(text: str, *, pad: bool = False) -> bytes | None:
    """Decode standard base64 in its one canonical spelling; None for anything else. `pad`: a secret may lack it."""
    padded = text + "=" * (-len(text) % 4) if pad else text
    try:
        decoded = base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if pad or base64.b64encode(decoded).decode("ascii") == text else None


def ed25519_key(text: str, key_format: str) -> bytes | None:
    """Decode the 32 bytes of a public key; None for any other text.

    `key_format`: `whpk_base64` (whpk_…) or `spki_base64` (what is in a PEM file, with or without its first and last
    line).
    """
    if key_format == "whpk_base64":
        key = from_base64(text.removeprefix("whpk_"), pad=True) if text.startswith("whpk_") else None
    else:
        spki = from_base64(re.sub(r"-----[A-Z ]+-----|\s", "", text)) or b""
        key = spki.removeprefix(_SPKI_ED25519) if spki.startswith(_SPKI_ED25519) else None
    return key if key is not None and len(key) == 32 else None
