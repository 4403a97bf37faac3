"""Show on a terminal that a command is at work: on standard error, once it takes longer than a second."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

FIRST_SECONDS = 1.0
EACH_SECONDS = 0.5


@contextlib.contextmanager
def progress(what: str | Callable[[], str]) -> Iterator[None]:
    """Show `what` and the seconds that have passed, until the block ends. Nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(what, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _show(what: str | Callable[[], str], ended: threading.Event) -> None:
    began, longest = time.monotonic(), 0
    wait = FIRST_SECONDS
    while not ended.wait(wait):
        wait = EACH_SECONDS
        text = f"{what if isinstance(what, str) else what()} … {time.monotonic() - began:.0f} s"
        longest = max(longest, len(text))
        print(f"\r{text.ljust(longest)}", end="", file=sys.stderr, flush=True)
    if longest:
        print(f"\r{'':{longest}}\r", end="", file=sys.stderr, flush=True)
