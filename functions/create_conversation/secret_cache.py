"""Secrets Manager, read through a cache."""

import time
from collections import deque

from create_conversation import submission_log
from create_conversation.aws_client import AwsError, AwsService
from create_conversation.clock import Clock

# A stale text serves so long before the next try to renew it. In the same time at most FORCED_READS are forced: a
# thousand refused tokens, or a flood of wrong senders' secrets, cause a handful of reads.
GUARD_SECONDS = 10.0
FORCED_READS = 5


class SecretError(Exception):
    """The secret has no text to give."""


class SecretMissingError(SecretError):
    """Secrets Manager was asked and has no value: only a person mends it."""


class SecretUnavailableError(SecretError):
    """Secrets Manager could not be asked, and nothing is cached: time may mend it."""


class CachedSecret:
    """One secret's current text, cached for `max_age` seconds; past that, a stale text serves while reading fails."""

    def __init__(self, secrets_manager: AwsService, arn: str, max_age: float, clock: Clock = time) -> None:
        self._secrets_manager = secrets_manager
        self._arn = arn
        self._max_age = max_age
        self._clock = clock
        self._text: str | None = None
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._forced_at = deque([float("-inf")] * FORCED_READS, maxlen=FORCED_READS)
        self._unreachable = False

    def get(self) -> str:
        """The text. Raises SecretMissing or SecretUnavailable."""
        now = self._clock.time()
        if self._text is None or (
            _passed(self._read_at, now, self._max_age) and _passed(self._tried_at, now, GUARD_SECONDS)
        ):
            self._read(now)
        if self._text is None:
            raise SecretUnavailableError
        return self._text

    def newer_than(self, text: str) -> str | None:
        """A text other than this one, which was just refused: the cached one if it differs already, else what a read
        finds. Forces FORCED_READS in GUARD_SECONDS at most; None when there is nothing newer. Raises SecretMissing, or
        SecretUnavailable when the last read failed: whether there is a newer one cannot be told now."""
        now = self._clock.time()
        if self._text == text and _passed(self._forced_at[0], now, GUARD_SECONDS):
            self._forced_at.append(now)
            self._read(now)
        if self._text != text:
            return self._text
        if self._unreachable:
            raise SecretUnavailableError
        return None

    def _read(self, now: float) -> None:
        self._tried_at = now
        try:
            self._text = self._secrets_manager.call("GetSecretValue", SecretId=self._arn).get("SecretString", "")
            self._read_at = now
            self._unreachable = False
        except AwsError as error:
            self._unreachable = error.code != "ResourceNotFoundException"
            if not self._unreachable:  # it was never given a value, or it is gone: an answer, not an outage
                self._text = None
                raise SecretMissingError from None
            submission_log.aws_request_failed("Secrets Manager", error)  # get() decides: stale, or unavailable


def _passed(then: float, now: float, seconds: float) -> bool:
    """Whether so many seconds have passed, by the wall clock: while an environment is frozen, the monotonic one may
    stand still. A clock that was put back has passed them."""
    return not 0 <= now - then <= seconds
