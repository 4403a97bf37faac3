"""What the tests of this folder share."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from local.application import Application
from local.highlevel import LocalHighLevel

TOKEN = f"pit-{uuid.uuid4()}"


@dataclass(frozen=True)
class World:
    """A HighLevel and the application that talks to it. Each test takes contacts and locations of its own."""

    highlevel: LocalHighLevel
    application: Application

    def calls(self, contact: str) -> int:
        """How often HighLevel was asked to open this contact's conversation."""
        return sum(call.contact == contact and call.method == "POST" for call in self.highlevel.calls)


def eventually(happened: Callable[[], object], within: float = 30.0) -> None:
    """Wait until `happened()` is true; fails after that many seconds."""
    until = time.monotonic() + within
    while not happened():
        assert time.monotonic() < until, f"did not happen within {within:.0f} s"
        time.sleep(0.1)
