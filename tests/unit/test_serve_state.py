"""What `make serve` saves: ports and secrets for its next start, and that one process serves in a clone."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local import serve_state
from local.serve_state import ServeError, only_serve, write_private
from local.stack import ROOT

WAIT = """
import sys
import threading
from pathlib import Path
from local import serve_state
serve_state.STATE, serve_state.LOCK = Path(sys.argv[1], "state.json"), Path(sys.argv[1], "lock")
with serve_state.only_serve() as state:
    print(state.page_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(serve_state, "STATE", tmp_path / "state.json")
    monkeypatch.setattr(serve_state, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(serve_state, "PATIENCE_SECONDS", 0.2)
    return tmp_path


def free_ports() -> int:
    return serve_state._free_ports()


def test_next_start_has_the_same_ports_and_secrets() -> None:
    with only_serve() as first:
        first.sender_secrets = {"our-site": ["new", "old"]}
        first.apps = {"client": "secret"}
        first.save()
    with only_serve() as second:
        assert second == first
    assert second is not first


def test_two_clones_have_other_ports_and_secrets(folder: Path) -> None:
    with only_serve() as first:
        pass
    (folder / "state.json").unlink()
    with only_serve() as second:
        pass
    assert not {first.port, first.port + 1, first.port + 2} & {second.port}
    assert not set(first.tokens) & set(second.tokens)
    assert first.signing_key != second.signing_key


def test_port_is_chosen_and_stays() -> None:
    chosen = free_ports()
    with only_serve(str(chosen)) as state:
        assert (state.port, state.aws_port, state.highlevel_port) == (chosen, chosen + 1, chosen + 2)
        assert state.page_url == f"http://127.0.0.1:{chosen}/"
        tokens = state.tokens
    with only_serve() as state:
        assert (state.port, state.tokens) == (chosen, tokens)


@pytest.mark.parametrize("port", ["80", "0", "-1", "65534", "8080 ", "8o80", "٨٠٨٠"])
def test_port_that_cannot_be_used_is_refused(port: str) -> None:
    with pytest.raises(ServeError, match=r"PORT is a number from 1024 to 65533"), only_serve(port):
        pass


@pytest.mark.parametrize(("offset", "server"), [(0, "the page"), (1, "the local AWS"), (2, "the local HighLevel")])
def test_port_in_use_is_named_with_what_needs_it(offset: int, server: str) -> None:
    port = free_ports()
    with (
        socket.create_server(("127.0.0.1", port + offset)),
        pytest.raises(ServeError, match=rf"Port {port + offset}, which {server} needs, is in use .*make serve PORT="),
        only_serve(str(port)),
    ):
        pass


def test_port_that_is_free_in_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local AWS of a `make serve` that was killed ends soon after."""
    monkeypatch.setattr(serve_state, "PATIENCE_SECONDS", 20.0)
    port = free_ports()
    listener = socket.create_server(("127.0.0.1", port + 1))
    ending = threading.Timer(0.5, listener.close)
    ending.start()
    with only_serve(str(port)) as state:
        assert state.port == port
    ending.join()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": 1, "unknown": 2}'])
def test_damaged_state_is_replaced(folder: Path, text: str) -> None:
    (folder / "state.json").write_text(text)
    with only_serve() as state:
        assert json.loads((folder / "state.json").read_text())["port"] == state.port


def test_second_process_says_which_one_runs_and_changes_nothing(folder: Path) -> None:
    with only_serve() as state:
        before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
        with pytest.raises(ServeError) as refused, only_serve(str(free_ports())):
            pass
        assert f"process {os.getpid()}" in str(refused.value)
        assert state.page_url in str(refused.value)
        assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before
    with only_serve():
        pass


def test_killed_process_blocks_nothing(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"functions{os.pathsep}."}
    with subprocess.Popen(
        [sys.executable, "-c", WAIT, folder],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        with pytest.raises(ServeError, match=rf"process {process.pid}\. Its page is {url}"), only_serve():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with only_serve() as state:
        assert state.page_url == url


def test_files_are_private_and_replaced_whole(folder: Path) -> None:
    file = folder / "secret"
    file.write_text("world-readable before")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text() == "new"
    with only_serve():
        assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
