"""The tests themselves: they neither depend on how they were started nor on each other's leaks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Started as a shell starts a background job, or `nohup` a command.
IGNORING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
"""
SIGNALS = """
import os, signal, subprocess
import pytest
from tests import children

NUMBERS = [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM]

@pytest.mark.parametrize("number", NUMBERS)
def test_of_a_child(number):
    child = children.start(["sleep", "600"])
    child.send_signal(number)
    assert child.wait(60) == -number

@pytest.mark.parametrize("number", [*NUMBERS, signal.SIGCHLD])
def test_of_the_tests(number):
    os.kill(os.getpid(), number)

def test_exit_codes_are_seen():
    assert subprocess.run(["false"], check=False).returncode == 1
"""
LEAKS = """
import gc, socket, subprocess
from tests import children

started = []

def test_leaks():
    leaked = socket.create_server(("127.0.0.1", 0)), open(__file__), subprocess.Popen(["true"])
    started.append(children.start(["sleep", "600"], stdout=subprocess.PIPE))
    raise ZeroDivisionError

def test_after_it():
    gc.collect()
    assert started[0].returncode == -9
    assert started[0].stdout.closed
"""
SETTINGS = """
import os, subprocess, sys

def test_settings():
    prefixes = ("AWS_", "PYTHON", "HIGHLEVEL_", "PYTEST_ADDOPTS")
    code = f"import os; print(*(name for name in os.environ if name.startswith({prefixes})))"
    printed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert set(printed.split()) == {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED"}
"""


def outcomes(directory: Path, code: str, *options: str, **variables: str) -> tuple[dict[str, int], str]:
    """Run these tests with this project's configuration, started with signals ignored: how many passed, failed, …"""
    (directory / "test_inner.py").write_text(code)
    options = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), *options)
    options += ("--basetemp", str(directory / "temporary"))
    finished = subprocess.run(
        [sys.executable, "-c", IGNORING, *options, "--rootdir", str(directory), str(directory / "test_inner.py")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"functions{os.pathsep}.", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    words = finished.stdout.splitlines()[-1].strip("= ").partition(" in ")[0].replace(",", "").split()
    return dict(zip(words[1::2], map(int, words[::2]), strict=True)), finished.stdout


@pytest.mark.parametrize("options", [(), ("--numprocesses", "2")], ids=["alone", "xdist"])
def test_children_have_the_default_signals_and_the_tests_ignore_what_they_ignored(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    found, printed = outcomes(tmp_path, SIGNALS, *options)
    assert found == {"passed": 10}, printed


def test_one_tests_leak_fails_no_other(tmp_path: Path) -> None:
    found, printed = outcomes(tmp_path, LEAKS)
    assert found == {"passed": 1, "failed": 1}, printed


def test_settings_of_the_machine_reach_no_child(tmp_path: Path) -> None:
    settings = {"AWS_PROFILE": "missing", "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    settings |= {"HIGHLEVEL_TOKEN": "pit-1", "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": ""}
    settings |= {"PYTEST_ADDOPTS": "--strict-config"}
    found, printed = outcomes(tmp_path, SETTINGS, **settings)
    assert found == {"passed": 1}, printed
