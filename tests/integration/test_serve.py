"""`make serve` as a user sees it: started twice, started again, with an edited senders.toml, and its files."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.run import LOCATION
from local.serve import SECOND_LOCATION
from local.stack import ROOT
from tests import children
from tests.integration.world import eventually

pytestmark = pytest.mark.slow

NOT_IN_A_CLONE = (
    ".git",
    ".venv",
    ".tools",
    ".aws-sam",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "tests",
    "benchmarks",
)
ENTRY = '[our-site]\nscheme = "token"\nwhere = ["header:x-our-key"]\nemail = "{}"\n'
START_SECONDS = 120.0


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in a folder with blanks and letters outside ASCII, with the tools and builds of this one."""
    clone = tmp_path / "a clöne of mine"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))
    (clone / ".tools").mkdir()
    for tool in ("sam", "emulator", "runtime"):
        (clone / ".tools" / tool).symlink_to(ROOT / ".tools" / tool)
    (ROOT / ".aws-sam").mkdir(exist_ok=True)
    (clone / ".aws-sam").symlink_to(ROOT / ".aws-sam")
    (clone / "functions" / "senders.toml").write_text(ENTRY.format("contact.mail"))
    return clone


class Serve:
    """A running `make serve`, and what it has printed."""

    def __init__(self, clone: Path, **environment: str) -> None:
        self.clone = clone
        self.lines: list[str] = []
        self.process = children.start(
            [sys.executable, "-m", "local.serve"],
            cwd=clone,
            env={**os.environ, "PYTHONPATH": "functions", "LANG": "C", "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, within: float = 60.0) -> None:
        until = time.monotonic() + within
        while text not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < until, self.text
            time.sleep(0.1)

    def wait_until_ready(self) -> None:
        self.wait_for("Ctrl-C stops everything", START_SECONDS)

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        self._reader.join(20)

    def found(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.text)


def ask(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, str]:
    """Send a request, JSON if it has a body. Returns the status and the text."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        connection.request(
            method, f"{address.path}?{address.query}", data, {"content-type": "application/json", **sent}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def page_asks(page: str, path: str, body: Any) -> Any:
    """Send what the page sends when its user clicks."""
    status, text = ask(page.rstrip("/") + path, "POST", body, origin=page.rstrip("/"))
    assert status == 200, text
    return json.loads(text)


def state_of(page: str) -> Any:
    return json.loads(ask(f"{page}state")[1])


def files_of(clone: Path) -> dict[str, tuple[bytes, int]]:
    files = [file for file in (clone / ".tools").iterdir() if file.is_file()]
    return {file.name: (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) for file in files}


def secrets_in(clone: Path) -> list[str]:
    saved = json.loads((clone / ".tools" / "serve.state.json").read_text())
    return [*saved["tokens"], *saved["apps"].values(), saved["signing_key"], *saved["sender_secrets"].values()]


def submit(page: str, text: str) -> str:
    """Send a submission of our-site from the page. Returns its request id."""
    sent = page_asks(page, "/send", {"sender": "our-site", "text": text, "delivery": "", "secret": "right"})
    return str(sent["request_id"])


def outcome(page: str, request_id: str) -> Callable[[str], bool]:
    def is_it(name: str) -> bool:
        found = [each for each in state_of(page)["submissions"] if each["request_id"] == request_id]
        return bool(found and found[0]["lines"]) and found[0]["lines"][-1]["outcome"] == name

    return is_it


def edit(serve: Serve, text: str, shown: str) -> None:
    serve.lines.clear()
    (serve.clone / "functions" / "senders.toml").write_text(text)
    serve.wait_for(shown)


def test_an_evening(clone: Path) -> None:
    serve = Serve(clone)
    serve.wait_until_ready()
    [page] = serve.found(r"  (http://127\.0\.0\.1:\d+/)")
    [highlevel] = serve.found(r"HighLevel is at (\S+) ")
    [webhooks] = serve.found(r"Webhooks are received at (\S+)<sender>")
    apps = serve.found(r"client id (\S+)  client secret (\S+)")
    assert len(apps) == 2
    files = files_of(clone)

    # Its files and processes.
    assert files.keys() == {"serve.state.json", "serve.lock", "serve.json", "serve.curl", "serve.credentials"}
    assert {mode for _content, mode in files.values()} == {0o600}
    assert json.loads(files["serve.json"][0])["page"] == page
    secrets = secrets_in(clone)
    assert len(secrets) > 30
    if sys.platform == "linux":
        arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not [secret for secret in secrets if any(secret.encode() in each for each in arguments)]

    # A second one leaves the first and its files alone.
    second = Serve(clone)
    second.process.wait(30)
    second._reader.join(30)
    assert second.process.returncode == 1
    assert f"make serve already runs in this clone (process {serve.process.pid}. Its page is {page})" in second.text
    assert files_of(clone) == files
    assert ask(page)[0] == 200

    # The tokens that it prints.
    tokens = serve.found(r"  (pit-\S+)  ")
    for token, location, status in (
        (tokens[0], LOCATION, 200),
        (tokens[0], SECOND_LOCATION, 200),
        (tokens[1], SECOND_LOCATION, 200),
        (tokens[1], LOCATION, 403),
    ):
        search = f"{highlevel}/conversations/search?locationId={location}&contactId=c"
        headers = {"authorization": f"Bearer {token}", "version": "2021-04-15", "user_agent": "test"}
        headers["accept"] = "application/json"
        assert ask(search, **headers)[0] == status, (token, location)

    # What a browser shows at a webhook's address, and what a program gets there.
    status, text = ask(f"{webhooks}our-site", accept="text/html,*/*")
    assert (status, "This address takes POST requests (POST /webhooks/{sender})" in text) == (404, True)
    assert ask(f"{webhooks}our-site") == (404, '{"message":"Not Found"}')
    assert ask(f"{webhooks}our-site", accept="text/html", origin="http://evil.example")[0] == 403

    # A wrong mapping, rehearsed: sent, found, a mistake, corrected, redriven.
    wrong = submit(page, '{"contact": {"recipient": "jane@example.com"}}')
    eventually(lambda: outcome(page, wrong)("invalid"))
    assert state_of(page)["dead_count"] == 1
    edit(serve, ENTRY.format("contact.recipient").replace("where", "were"), "did you mean where")
    eventually(lambda: state_of(page)["senders"]["wrong"])
    edit(serve, ENTRY.format("contact.recipient") + "\n[second]" + ENTRY.format("mail")[10:], "senders.toml is in use")
    assert state_of(page)["dead_count"] == 1
    assert {"our-site", "second"} <= {
        sender["name"] for sender in json.loads(ask(f"{page}senders")[1]) if sender["own"]
    }
    assert secrets_in(clone)[: len(secrets)] == secrets
    output = page_asks(page, "/redrive", {})["output"]
    assert "1 redriven" in output
    eventually(lambda: outcome(page, wrong)("opened"))
    assert state_of(page)["dead_count"] == 0

    # Started again: the same addresses and secrets.
    serve.end(signal.SIGINT)
    assert (serve.process.returncode, serve.lines[-1]) == (0, "stopped")
    assert files_of(clone).keys() == {"serve.state.json", "serve.lock"}
    again = Serve(clone)
    again.wait_until_ready()
    assert again.found(r"  (http://127\.0\.0\.1:\d+/)") == [page]
    assert again.found(r"  (pit-\S+)  ") == tokens
    assert again.found(r"client id (\S+)  client secret (\S+)") == apps
    assert files_of(clone)["serve.curl"] == files["serve.curl"]
    known = json.loads((clone / ".tools" / "serve.state.json").read_text())["sender_secrets"]
    body = {"contact": {"recipient": "john@example.com"}}
    assert ask(f"{webhooks}our-site", "POST", body, x_our_key=known["our-site"])[0] == 200  # opened, or deferred
    assert ask(f"{webhooks}our-site", "POST", body, x_our_key="another")[0] == 401
    again.end(signal.SIGKILL)

    # The next start takes over from the killed one; a port of another program stops it with a sentence.
    after = Serve(clone)
    after.wait_until_ready()
    after.end(signal.SIGTERM)
    assert after.process.returncode == 143
    assert files_of(clone).keys() == {"serve.state.json", "serve.lock"}
    port = (urlsplit(page).port or 0) + 1
    with socket.create_server(("127.0.0.1", port)):
        refused = Serve(clone)
        refused.process.wait(30)
        refused._reader.join(30)
    assert refused.process.returncode == 1
    assert f"Port {port}, which the local AWS needs, is in use by another program." in refused.text
