"""An operator at the terminal of `./hlc connect`, with an app in HighLevel's portal and a browser."""

import os
import pty
import re
import select
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from local.highlevel import LocalHighLevel
from local.highlevel_oauth import Installation
from local.stack import LocalAws, clean_environment
from tests import children

ROOT = Path(__file__).parents[2]


class Terminal:
    """`./hlc connect` with an operator at its terminal. `shown`: the whole output."""

    def __init__(self, aws: LocalAws, stack: str) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self.process = children.start(
            [sys.executable, "-u", "-m", "cli", "connect", "--stack", stack],
            cwd=ROOT,
            env={**clean_environment(), **aws.env, "PYTHONPATH": "functions:."},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def until(self, text: str, within: float = 30.0) -> str:
        """Wait until the output contains this text. Returns the output since the last wait."""
        before, until = len(self.shown), time.monotonic() + within
        while text not in self.shown[before:]:
            if time.monotonic() > until or (not self._read(0.2) and self.process.poll() is not None):
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{text!r} was not shown:\n{self.shown}")
        return self.shown[before:]

    def type(self, prompt: str, text: str) -> str:
        shown = self.until(prompt)
        os.write(self._ours, f"{text}\n".encode())
        return shown

    def paste(self, address: str) -> None:
        os.write(self._ours, f"{address}\n".encode())

    def end(self, within: float = 60.0) -> int:
        until = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < until, self.shown
            self._read(0.1)
        while self._read(0.1):
            pass
        os.close(self._ours)
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], seconds)
        try:
            chunk = os.read(self._ours, 4096) if ready else b""
        except OSError:  # EIO: the other side is gone
            return False
        self.shown += chunk.decode()
        return bool(chunk)


class App:
    """An app in HighLevel's portal, installed somewhere."""

    def __init__(self, highlevel: LocalHighLevel, user_type: str = "Location", **installed: Any) -> None:
        self.server = highlevel.oauth
        self.id, self.secret = self.server.client()
        self.installation: Installation = self.server.install(self.id, user_type, **installed)  # type: ignore[arg-type]

    def approve(self, shown: str) -> str:
        """Open the printed address as a browser does. Returns the address of the redirect."""
        address = re.search(r"http\S+/oauth/chooselocation\S+", shown)
        assert address, shown
        self.server.chooses = self.installation

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any, **__: Any) -> None:
                return None

        with pytest.raises(urllib.error.HTTPError) as redirected:
            urllib.request.build_opener(Stay).open(address[0], timeout=10)
        with redirected.value as error:
            return str(error.headers["location"])


def asked(
    aws: LocalAws, stack: str, app: App, *, agency: bool | None = False, first: str = "", known: str = ""
) -> Terminal:
    """Answer every question before the redirected address; `shown` then contains the address to open.

    `agency`: None keeps the stored choice, an agency. `known`: the stored client id.
    """
    terminal = Terminal(aws, stack)
    if first:
        terminal.type("Continue? [y/N]: ", first)
    default = "Y/n" if agency is None else "y/N"
    terminal.type(f"one sub-account? [{default}]: ", "y" if agency else "")
    terminal.type(f"client id{f' [{known}]' if known else ''}: ", app.id)
    terminal.type("client secret (is not shown): ", app.secret)
    terminal.type("redirect URL [https://localhost/oauth/callback]: ", "")
    terminal.until("redirected address (is not shown): ")
    return terminal
