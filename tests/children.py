"""Processes that tests start: they have default signals and the same environment on every machine, and end with their
test."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

# A shell's background job ignores SIGINT and SIGQUIT, `nohup` SIGHUP, some supervisors the others.
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD)

# Settings of AWS tools, Powertools, Python, pytest, `make` and this application, and the look of a terminal.
PREFIXES = ("AWS_", "POWERTOOLS_", "PYTHON", "HIGHLEVEL_", "MAKE", "MFLAGS", "SAM_")
NAMES = {"STACK", "PARAMETERS", "CONFIG_ENV", "LOG_LEVEL", "PYTEST_ADDOPTS"}
NAMES |= {"COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE"}

_started: list[subprocess.Popen[str]] = []


def default_signals_for_children() -> None:
    """Give every process that this one starts the default signals, also where this one ignores some of them.

    This process still ignores those with a handler that does nothing, which `exec` resets, unlike SIG_IGN.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def remove_settings() -> None:
    """Remove the settings of the developer's machine from this process's environment.

    Proxies for the internet stay, which pip may need; tests only call 127.0.0.1.
    """
    for name in [name for name in os.environ if name.startswith(PREFIXES) or name in NAMES]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def start(arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process in its own session, with text pipes; `end_all` kills it if it still runs."""
    process: subprocess.Popen[str] = subprocess.Popen(arguments, text=True, start_new_session=True, **options)
    _started.append(process)
    return process


def end_all() -> None:
    """Kill every process that `start` started and that still runs, with its session's group; close its pipes."""
    for process in _started:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            with contextlib.suppress(OSError):
                pipe.close()
    _started.clear()
