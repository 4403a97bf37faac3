"""Time as a parameter: the module `time`, or the virtual time of a test or a simulation."""

from typing import Protocol


class Clock(Protocol):
    """The part of the module `time` that ours use."""

    def time(self) -> float:
        """Unix time."""

    def monotonic(self) -> float:
        """Seconds from some start; never put back."""

    def sleep(self, seconds: float, /) -> None:
        """Return after that many seconds."""
