"""Show on a terminal that a command is at work: on standard error, once it takes longer than a second."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

FIRST_SECONDS = 1.0
EACH_SECONDS = 0.5


class _Line:
    """The last line of the terminal, which each text replaces."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0

    def show(self, text: str) -> None:
        with self._lock:
            self._width = max(self._width, len(text))
            print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        with self._lock:
            if self._width:
                print(f"\r{'':{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0


_LINE = _Line()


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
        _LINE.clear()


def clear_progress() -> None:
    """Remove the progress from the terminal's line, before something is printed there."""
    _LINE.clear()


def _show(what: str | Callable[[], str], ended: threading.Event) -> None:
    began = time.monotonic()
    wait = FIRST_SECONDS
    while not ended.wait(wait):
        wait = EACH_SECONDS
        _LINE.show(f"{what if isinstance(what, str) else what()} … {time.monotonic() - began:.0f} s")
