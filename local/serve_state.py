"""What `make serve` saves for its next start, so that pasted addresses and secrets stay valid: its ports and secrets.

One process serves in a clone at a time. Its files are in `.tools`, and only their owner can read them.
"""

import contextlib
import errno
import fcntl
import json
import os
import random
import secrets
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from local.stack import TOOLS

STATE = TOOLS / "serve.state.json"
LOCK = TOOLS / "serve.lock"
SERVERS = ("the page", "the local AWS", "the local HighLevel")
# Under the range from which systems take the ports of outgoing connections.
FIRST_PORT, LAST_PORT = 20_000, 32_000
PATIENCE_SECONDS = 3.0


class ServeError(Exception):
    """`make serve` cannot start. The text says why and what to do."""


@dataclass
class ServeState:
    """Ports and secrets of one clone.

    `port`: that of the page; the local AWS and the local HighLevel have the next two. `tokens`: of the local HighLevel,
    for any location, and for one. `apps`: client ids and secrets of its OAuth apps. `signing_key`: for the
    page's Ed25519 signatures, as 64 hexadecimal digits. `sender_secrets`: the content of SenderSecrets when last seen.
    """

    port: int
    tokens: list[str] = field(default_factory=lambda: [f"pit-{uuid.uuid4()}" for _ in range(2)], repr=False)
    apps: dict[str, str] = field(default_factory=dict, repr=False)
    signing_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    sender_secrets: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def page_url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def aws_port(self) -> int:
        """The port of the local AWS."""
        return self.port + 1

    @property
    def highlevel_port(self) -> int:
        """The port of the local HighLevel."""
        return self.port + 2

    def save(self) -> None:
        """Save it for the next start."""
        write_private(STATE, json.dumps(asdict(self)))


@contextlib.contextmanager
def only_serve(port: str = "") -> Iterator[ServeState]:
    """Be the only `make serve` of this clone, and yield its state.

    `port`: the page's port as text; "" for that of the previous start, or a free one. Raises ServeError if another
    process serves in this clone, or a port is in use.
    """
    LOCK.parent.mkdir(exist_ok=True)
    with open(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with this process, however it ends
        except BlockingIOError:
            raise ServeError(_already_running(lock.read())) from None
        state = _state(_chosen(port))
        _require_free_ports(state.port)
        state.save()
        lock.truncate()
        lock.write(json.dumps({"pid": os.getpid(), "page": state.page_url}))
        lock.flush()
        yield state
        lock.truncate(0)


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read. Another process finds the previous text or this one."""
    descriptor, name = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _already_running(text: str) -> str:
    try:
        running = json.loads(text)
        which = f"process {running['pid']}. Its page is {running['page']}"
    except (ValueError, LookupError, TypeError):
        which = "it is starting"
    return (
        f"make serve already runs in this clone ({which}). Use that one, or end it with Ctrl-C in its terminal. "
        "For a second one beside it, make another clone."
    )


def _chosen(port: str) -> int | None:
    if not port:
        return None
    last = 65_536 - len(SERVERS)
    if not (port.isascii() and port.isdecimal() and 1024 <= int(port) <= last):
        raise ServeError(f"PORT={port} cannot be used: PORT is a number from 1024 to {last}, such as PORT=8080.")
    return int(port)


def _state(port: int | None) -> ServeState:
    """Return the saved state with this port, or a new one."""
    try:
        state = ServeState(**json.loads(STATE.read_text()))
    except (OSError, ValueError, TypeError):
        return ServeState(port or _free_ports())
    state.port = port or state.port
    return state


def _free_ports() -> int:
    """Return the first of as many free ports in a row as there are servers."""
    for _ in range(1000):
        first = random.randrange(FIRST_PORT, LAST_PORT)
        if all(_is_free(first + number) for number in range(len(SERVERS))):
            return first
    raise ServeError("No ports are free: choose them with make serve PORT=8080.")


def _require_free_ports(first: int) -> None:
    """Raise ServeError if a port is in use. The local AWS of a `make serve` that was killed needs a moment to end."""
    until = time.monotonic() + PATIENCE_SECONDS
    for port, server in enumerate(SERVERS, first):
        while not _is_free(port):
            if time.monotonic() > until:
                raise ServeError(
                    f"Port {port}, which {server} needs, is in use by another program. End that program, or choose "
                    "other ports: make serve PORT=8080 uses 8080, 8081 and 8082, also at later starts. Pasted "
                    "addresses change with them."
                )
            time.sleep(0.1)


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return False
    return True
