"""Time as a parameter: the module `time`, or the virtual time of a test or a simulation."""

from typing import Protocol


class Clock(Protocol):
    """The functions of the module `time` that this application uses."""

    def time(self) -> float:
        """Return the Unix time in seconds."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; they never go back."""

    def sleep(self, seconds: float, /) -> None:
        """Return after that many seconds."""
