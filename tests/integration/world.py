"""What the tests of this folder share."""

import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.application import Application
from local.highlevel import LocalHighLevel
from local.stack import ROOT, build
from tests.samples import ANYWHERE

TOKEN = f"pit-{uuid.uuid4()}"


def built_for_any_location() -> Path:
    """The application as it is built for a stack of many locations, whose senders may name each of them."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "template.yaml", folder)
        shutil.copytree(ROOT / "functions", Path(folder, "functions"), ignore=shutil.ignore_patterns("__pycache__"))
        Path(folder, "functions", "senders.toml").write_text(ANYWHERE)
        return build(Path(folder, "template.yaml"))


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
