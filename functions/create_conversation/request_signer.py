"""Signature Version 4, by which AWS authenticates a request: for the JSON services, whose requests are all `POST /`.

botocore's signer signs any request; importing it takes a fifth of a start, and each signature three times the CPU
(docs/benchmarks.md). A contract test compares the two, for each request of this function.
"""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(slots=True)
class RequestSigner:
    """Signs requests to one service in one region, with the credentials of a role. All threads may share it."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str
    service: str
    host: str  # as the request's header has it
    _key_of_day: tuple[str, bytes] = field(default=("", b""), init=False, repr=False)

    def sign(self, headers: Mapping[str, str], body: bytes, now: float) -> dict[str, str]:
        """Return the headers with host, time, session token and signature. `now`: Unix time.

        All names are in lower case; all values are signed, and have no blanks around them or two in a row.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        signed = {**headers, "host": self.host, "x-amz-date": stamp}
        if self.token:
            signed["x-amz-security-token"] = self.token
        names = sorted(signed)
        lines = [f"{name}:{signed[name]}" for name in names]
        request = "\n".join(("POST", "/", "", *lines, "", ";".join(names), sha256(body).hexdigest()))
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"{ALGORITHM}\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key(stamp[:8]), text.encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}"
        signed["authorization"] = f"{ALGORITHM} {credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
        return signed

    def _key(self, day: str) -> bytes:
        """Return the signing key, which is the same all day."""
        known, key = self._key_of_day
        if known != day:
            key = f"AWS4{self.secret_key}".encode()
            for part in (day, self.region, self.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key_of_day = day, key
        return key
