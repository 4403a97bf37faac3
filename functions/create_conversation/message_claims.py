"""Claims in DynamoDB: which attempt may write a message, or create a contact, and what came of it.

HighLevel has no idempotency key for these calls, so a claim is taken by a conditional write before the call. Unlike the
idempotency records, claims decide: where DynamoDB fails, nothing is written and the submission is tried again.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from create_conversation.aws_client import AwsError, AwsService
from create_conversation.errors import DeferredError
from shared.clock import Clock
from shared.cooldown import Cooldown
from shared.observability import aws_request_failed

# A claim is used for a call only this long, by the wall clock: Lambda may freeze the environment between the two.
USABLE_SECONDS = 60.0
# An attempt that has not ended by then is taken to have died; its call may still have been carried out.
TAKE_OVER_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 15.0
# Longer than the retry queue (14 days) and the dead-letter queue (14 days) hold a submission.
TTL_SECONDS = 35 * 86_400.0
# After a failure that no condition explains, DynamoDB is left alone this long.
SKIP_SECONDS = 1.0
CONDITION_FAILED = "ConditionalCheckFailedException"


def _new_owner() -> str:
    return os.urandom(8).hex()


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt's right to write. Unix times.

    `place`: where it writes (comment or note). `received_at`: of the submission that the claim is for. `result`: what
    came of it, empty while that is not known. `is_complete`: nothing is left to do for that submission.
    """

    owner: str
    attempt: int
    place: str
    claimed_at: float
    received_at: float
    result: str = ""
    is_complete: bool = False

    @property
    def not_after(self) -> float:
        """Return when the call must have been sent, in Unix seconds: later, it may be another attempt's."""
        return self.claimed_at + USABLE_SECONDS


@dataclass(frozen=True, slots=True)
class ClaimItem:
    """The item of a key as it was read: at most one claim for each submission that has this key.

    Submissions share a key where only the body's hash distinguishes them (see `of`). `version`: of the item, 0 if there
    is none; each write is conditional on it.
    """

    key: str
    version: int = 0
    claims: tuple[Claim, ...] = ()

    def of(self, received_at: float, window: float) -> Claim | None:
        """Return the claim of a submission received at most `window` seconds before or after this one."""
        near = [claim for claim in self.claims if abs(claim.received_at - received_at) <= window]
        return min(near, key=lambda claim: abs(claim.received_at - received_at), default=None)


class ClaimStore:
    """Reads and writes claims. Every method raises DeferredError if DynamoDB fails. All threads may share it."""

    def __init__(
        self,
        dynamodb: AwsService,
        table: str,
        clock: Clock = time,
        new_owner: Callable[[], str] = _new_owner,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock
        self._new_owner = new_owner
        self._cooldown = Cooldown(SKIP_SECONDS, clock)

    def new(self, place: str, received_at: float, earlier: Claim | None = None) -> Claim:
        """Return a claim of this attempt, not written yet. `earlier`: the one that it takes over."""
        attempt = earlier.attempt + 1 if earlier else 1
        received_at = earlier.received_at if earlier else received_at
        return Claim(self._new_owner(), attempt, place, self._clock.time(), received_at)

    def is_held(self, claim: Claim) -> bool:
        """Return whether another attempt may still be writing."""
        return not claim.result and self._clock.time() < claim.claimed_at + TAKE_OVER_SECONDS

    def retry_after(self, claim: Claim) -> float:
        """Return when to look again, in seconds: most attempts end soon, a dead one is taken over."""
        return min(LOOK_AGAIN_SECONDS, max(1.0, claim.claimed_at + TAKE_OVER_SECONDS - self._clock.time()))

    def read(self, key: str) -> ClaimItem:
        """Read the item of a key, as it is now."""
        response = self._call("GetItem", Key={"pk": {"S": key}}, ConsistentRead=True)
        return claim_item(key, response.get("Item") or {}, self._clock.time())

    def write(self, item: ClaimItem, claim: Claim, replaces: Claim | None = None) -> ClaimItem | None:
        """Write a claim into an item that was read, in the place of another one or beside the others.

        Return the item as it is now, or None if another attempt has changed it since.
        """
        return self._save(item, (*self._without(item, replaces), claim), claim)

    def release(self, item: ClaimItem, claim: Claim, earlier: Claim | None = None) -> None:
        """Remove a claim whose attempt has certainly written nothing. If that fails, it is taken over later.

        `earlier`: the claim of unknown end that it has taken over, which then holds again.
        """
        try:
            self._save(item, (*self._without(item, claim), *([earlier] if earlier else ())), None)
        except DeferredError:
            return

    def _without(self, item: ClaimItem, claim: Claim | None) -> tuple[Claim, ...]:
        oldest = self._clock.time() - TTL_SECONDS
        return tuple(each for each in item.claims if each != claim and each.claimed_at > oldest)

    def _save(self, item: ClaimItem, claims: tuple[Claim, ...], own: Claim | None) -> ClaimItem | None:
        now = self._clock.time()
        saved = ClaimItem(item.key, item.version + 1, claims)
        is_new = item.version == 0
        condition = "attribute_not_exists(claims_version) OR expires_at <= :now" if is_new else "claims_version = :read"
        compared = {":now": {"N": str(int(now))}} if is_new else {":read": {"N": str(item.version)}}
        try:
            self._call(
                "UpdateItem",
                Key={"pk": {"S": item.key}},
                UpdateExpression="SET claims = :claims, claims_version = :version, expires_at = :expires_at",
                ConditionExpression=condition,
                ExpressionAttributeValues={
                    ":claims": {"S": json.dumps([asdict(claim) for claim in claims])},
                    ":version": {"N": str(saved.version)},
                    ":expires_at": {"N": str(math.ceil(now + TTL_SECONDS))},
                    **compared,
                },
            )
        except _OutcomeUnknownError:
            return self._read_back(item.key, own)
        except _ConditionError:
            return None
        return saved

    def _read_back(self, key: str, own: Claim | None) -> ClaimItem:
        """Return the item if the write whose answer did not come has been carried out. Raises DeferredError."""
        self._cooldown.end()
        found = self.read(key)
        if own is None or own not in found.claims:
            raise DeferredError("claim_unavailable")
        return found

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        if self._cooldown.is_active:
            raise DeferredError("claim_unavailable")
        try:
            return self._dynamodb.call(operation, TableName=self._table, **arguments)
        except AwsError as error:
            if error.code == CONDITION_FAILED:
                raise _ConditionError from None
            aws_request_failed("DynamoDB", error.operation, error.code)
            self._cooldown.start()
            is_unknown = operation == "UpdateItem" and (error.status is None or error.status >= 500)
            raise (_OutcomeUnknownError if is_unknown else DeferredError)("claim_unavailable") from None


class _ConditionError(Exception):
    """Another attempt has changed the item."""


class _OutcomeUnknownError(DeferredError):
    """The write may have been carried out."""


def claim_item(key: str, item: dict[str, Any], now: float) -> ClaimItem:
    """Return what DynamoDB's item says; an expired one counts as none."""
    if float(item.get("expires_at", {}).get("N", 0)) <= now or "claims" not in item:
        return ClaimItem(key)
    claims = tuple(Claim(**claim) for claim in json.loads(item["claims"]["S"]))
    return ClaimItem(key, int(item["claims_version"]["N"]), claims)
