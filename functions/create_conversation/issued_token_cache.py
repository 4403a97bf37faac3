"""The tokens that HighLevel has issued for an agency's locations, shared by all instances of the function in DynamoDB.

One record for each location, in the table Records under the key `token#<location>`:

- `encrypted`: the token, see `token_encryption`;
- `issued_at`, `expires_at`: its life, in Unix seconds. `expires_at` is the table's time to live, too;
- `issuing_until`: the lease. One instance has the right to issue the next token until then. If it fails or ends, the
  lease runs out, so that no other instance repeats a failure immediately.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from create_conversation.idempotency import IdempotencyStore
from create_conversation.token_encryption import decrypt, encrypt
from highlevel.oauth import OAuth
from shared.clock import Clock

# No call begins with a token that expires this soon; the secret is read again this long before its token expires.
MARGIN_SECONDS = 60.0
# An issued token is renewed after this part of its life: 72 minutes before the end of a day.
RENEW_AFTER = 0.95
# Time for a call to HighLevel and for saving its token.
LEASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A location's token. Unix times: an instance that Lambda freezes for hours must notice that they have passed."""

    text: str = field(repr=False)
    issued_at: float
    expires_at: float

    def is_alive(self, now: float) -> bool:
        """Return whether a call may begin with it."""
        return now < self.expires_at - min(MARGIN_SECONDS, 0.5 * (self.expires_at - self.issued_at))

    def is_fresh(self, now: float) -> bool:
        """Return whether it need not be renewed yet."""
        return now < self.issued_at + RENEW_AFTER * (self.expires_at - self.issued_at)


@dataclass(frozen=True, slots=True)
class SharedRecord:
    """The table's record of a location: the token that this connection issued, if any, and the lease."""

    token: IssuedToken | None
    issuing_until: float


class IssuedTokenCache:
    """The shared records. No method raises if DynamoDB fails."""

    def __init__(self, records: IdempotencyStore, clock: Clock = time) -> None:
        self._records = records
        self._clock = clock

    def read(self, location: str, oauth: OAuth) -> SharedRecord | None:
        """Return the location's record, an empty one where there is none; None if DynamoDB fails."""
        response = self._records.call("GetItem", Key=_key(location))
        return None if response is None else _record(response.get("Item", {}), oauth, location)

    def take_lease(self, location: str, oauth: OAuth) -> SharedRecord | None:
        """Take the right to issue the location's next token and return the record after that.

        None if another instance has the right, or DynamoDB fails.
        """
        now = self._clock.time()
        response = self._records.call(
            "UpdateItem",
            Key=_key(location),
            UpdateExpression="SET issuing_until = :until, expires_at = if_not_exists(expires_at, :until)",
            ConditionExpression="attribute_not_exists(issuing_until) OR issuing_until <= :now",
            ExpressionAttributeValues={
                ":until": {"N": str(math.ceil(now + LEASE_SECONDS))},
                ":now": {"N": f"{now:.3f}"},
            },
            ReturnValues="ALL_NEW",
        )
        item = (response or {}).get("Attributes")
        return None if item is None else _record(item, oauth, location)

    def save(self, location: str, oauth: OAuth, token: IssuedToken) -> None:
        """Save a new token and give the lease back."""
        self._records.call(
            "UpdateItem",
            Key=_key(location),
            UpdateExpression=(
                "SET encrypted = :encrypted, issued_at = :issued_at, expires_at = :expires_at REMOVE issuing_until"
            ),
            ExpressionAttributeValues={
                ":encrypted": {"B": encrypt(token.text, oauth, location)},
                ":issued_at": {"N": f"{token.issued_at:.0f}"},
                ":expires_at": {"N": f"{token.expires_at:.0f}"},
            },
        )


def _key(location: str) -> dict[str, Any]:
    return {"pk": {"S": f"token#{location}"}}


def _record(item: Mapping[str, Any], oauth: OAuth, location: str) -> SharedRecord:
    encrypted = item.get("encrypted", {}).get("B")
    text = None if encrypted is None else decrypt(encrypted, oauth, location)
    token = None if text is None else IssuedToken(text, _number(item, "issued_at"), _number(item, "expires_at"))
    return SharedRecord(token, _number(item, "issuing_until"))


def _number(item: Mapping[str, Any], name: str) -> float:
    return float(item.get(name, {}).get("N", 0))
