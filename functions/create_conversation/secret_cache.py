"""Secrets Manager, read through a cache."""

import time
from collections import deque

from create_conversation.aws_client import AwsError, AwsService
from shared.clock import Clock
from shared.observability import aws_request_failed

# A stale text is used this long before the next attempt to renew it. In the same time at most FORCED_READS are forced:
# a thousand refused tokens, or a flood of wrong secrets, cause a handful of reads.
GUARD_SECONDS = 10.0
FORCED_READS = 5


class SecretError(Exception):
    """The secret has no text to give."""


class SecretMissingError(SecretError):
    """Secrets Manager answered that the secret has no value: an operator must store one."""


class SecretUnavailableError(SecretError):
    """Secrets Manager could not be asked and nothing is cached: a transient failure."""


class CachedSecret:
    """One secret's current text, cached for `max_age` seconds. While reading fails, the stale text is used.

    Times are Unix times: while Lambda freezes an environment, its monotonic clock may stand still.
    """

    def __init__(self, secrets_manager: AwsService, arn: str, max_age: float, clock: Clock = time) -> None:
        self._secrets_manager = secrets_manager
        self._arn = arn
        self._max_age = max_age
        self._clock = clock
        self._text: str | None = None
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._forced_reads = _ReadLimit(FORCED_READS, GUARD_SECONDS)
        self._is_unreachable = False

    @property
    def cached(self) -> str | None:
        """The text, if `get` would return it without a read; else None."""
        now = self._clock.time()
        is_stale = _have_passed(self._max_age, self._read_at, now) and _have_passed(GUARD_SECONDS, self._tried_at, now)
        return None if is_stale else self._text

    def get(self) -> str:
        """Return the text. Raises SecretMissingError or SecretUnavailableError."""
        if (cached := self.cached) is not None:
            return cached
        self._read(self._clock.time())
        if self._text is None:
            raise SecretUnavailableError
        return self._text

    def newer_than(self, text: str) -> str | None:
        """Return a text other than this one, which was just refused; None when there is none.

        It is the cached one if that differs already, else what a read finds; FORCED_READS in GUARD_SECONDS at most.
        Raises SecretMissingError, or SecretUnavailableError when the last read failed.
        """
        now = self._clock.time()
        if self._text == text and self._forced_reads.take(now):
            self._read(now)
        if self._text != text:
            return self._text
        if self._is_unreachable:
            raise SecretUnavailableError
        return None

    def _read(self, now: float) -> None:
        """Read the secret; if Secrets Manager cannot be reached, the text that is cached stays."""
        self._tried_at = now
        try:
            self._text = self._secrets_manager.call("GetSecretValue", SecretId=self._arn).get("SecretString", "")
            self._read_at = now
            self._is_unreachable = False
        except AwsError as error:
            self._is_unreachable = error.code != "ResourceNotFoundException"
            if not self._is_unreachable:  # the secret never had a value, or it was deleted: an answer, not an outage
                self._text = None
                raise SecretMissingError from None
            aws_request_failed("Secrets Manager", error.operation, error.code)


class _ReadLimit:
    """Allows `count` reads in any `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._taken_at = deque([float("-inf")] * count, maxlen=count)  # the oldest of the last `count` comes first

    def take(self, now: float) -> bool:
        """Return whether a read is allowed at that Unix time, and count it if it is."""
        if not _have_passed(self._seconds, self._taken_at[0], now):
            return False
        self._taken_at.append(now)
        return True


def _have_passed(seconds: float, since: float, now: float) -> bool:
    """Return whether so many seconds have passed. They have if the clock was put back."""
    return not 0 <= now - since <= seconds
