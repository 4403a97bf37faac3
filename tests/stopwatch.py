"""Upper bounds of time that hold on a busy machine too, and are as tight as before on an idle one."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path


class Stopwatch:
    """Runs from its creation on. `child`: the id of another process whose work is measured, too."""

    def __init__(self, child: int | None = None) -> None:
        self._processes = ["self"] if child is None else ["self", str(child)]
        self._started, self._waited = time.monotonic(), _waited(self._processes)

    @property
    def seconds(self) -> float:
        """What has passed, less what the threads have waited for a processor."""
        return time.monotonic() - self._started - max(0.0, _waited(self._processes) - self._waited)


@contextlib.contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """The block takes hardly longer than that."""
    stopwatch = Stopwatch()
    yield
    assert stopwatch.seconds < seconds + 0.3


def _waited(processes: list[str]) -> float:
    """For how long the threads that now run have waited for a processor, in all. Only Linux reports it; elsewhere 0."""
    nanoseconds = 0
    for process in processes:
        for statistics in Path("/proc", process, "task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                nanoseconds += int(statistics.read_text().split()[1])
    return nanoseconds / 1e9
