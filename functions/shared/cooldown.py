"""A switch that leaves a failing service alone for a while."""

import time

from shared.clock import Clock


class Cooldown:
    """Is active for some seconds after each `start`. By monotonic seconds; no two threads need a lock for it."""

    def __init__(self, seconds: float, clock: Clock = time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0

    def start(self, at_least: float = 0.0) -> None:
        """Be active from now on for the usual time, or for `at_least` seconds if that is longer."""
        self._until = self._clock.monotonic() + max(self._seconds, at_least)

    def end(self) -> None:
        """Be active no longer."""
        self._until = 0.0

    @property
    def is_active(self) -> bool:
        """Return whether the last start was less than its seconds ago."""
        return self._clock.monotonic() < self._until
