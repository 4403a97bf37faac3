"""Run MiniStack, the local AWS, with the patches that this application needs. `local.stack` starts it.

It runs in the emulator's own environment and takes all settings from environment variables: MiniStack's own
(GATEWAY_PORT, BIND_HOST, AUTH, TMPDIR, ...), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (the root user's; new for each
run), LOCAL_FUNCTION_PYTHON (the interpreter that runs the functions), LOCAL_FUNCTION_CODE (the folder in which all
emulators extract their code) and LOCAL_FUNCTION_ENDPOINT (where the functions find AWS; by default this emulator). It
ends when its standard input ends, so it cannot outlive the process that started it. It then removes TMPDIR and kills
its process group: both must be its own.

The patches replace private functions of one version of MiniStack, which is checked first. Each says in one sentence
what MiniStack lacks. They are in modules by what they patch.
"""

import importlib.metadata
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

MINISTACK = "1.5.33"
if (found := importlib.metadata.version("ministack")) != MINISTACK:
    sys.exit(f"local/emulator is written for MiniStack {MINISTACK}, found {found}")
if not Path(os.environ.get("TMPDIR", "")).name.startswith("local-aws-") or os.getpgrp() != os.getpid():
    sys.exit("local/emulator removes its TMPDIR and kills its process group: let local/stack.py start it")

sys.path.append(str(Path(__file__).resolve().parents[2]))  # `python -I` does not know this repository

from ministack import app  # type: ignore[import-not-found]  # noqa: E402
from ministack.core import lambda_runtime  # type: ignore[import-not-found]  # noqa: E402

from local.emulator import (  # noqa: E402, F401
    access,
    cloudformation,
    functions,
    http_api,
    queues,
    secrets_manager,
    server,
)


def reset_signals() -> None:
    """Reset ignored signals to their default, which the functions inherit.

    `nohup` and a shell's background job start a process with some signals ignored.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def end_with_parent() -> None:
    """Wait for the end of standard input, then end every process of this group and remove all files."""
    os.read(sys.stdin.fileno(), 1)

    def refuse(_worker: object) -> None:
        raise RuntimeError("the local AWS is stopping")

    lambda_runtime.Worker._spawn = refuse  # a worker that started now would survive its temporary directory
    for workers in list(lambda_runtime._workers.values()):
        for worker in list(workers):
            if worker._proc:
                worker._proc.kill()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


reset_signals()
threading.Thread(target=end_with_parent, daemon=True).start()
app.main()
