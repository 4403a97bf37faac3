"""`make chaos`: every part at full size, or at a fraction of it: `python -m tests.chaos [SIZE]`.

Exits 0 only if every part passed.
"""

import sys
import time
from collections.abc import Callable

from local.stack import LocalAwsError, exit_on_sigterm
from tests.chaos import crash_points, fuzzing, load, report, rotation
from tests.chaos.results import Part, Progress

PARTS: tuple[Callable[[float, Progress], Part], ...] = (load.run, crash_points.run, rotation.run, fuzzing.run)
SMALLEST, LARGEST = 0.001, 100.0


def main() -> int:
    """Run all parts, print their results, write the page; return the exit code."""
    exit_on_sigterm()
    try:
        size = size_of(sys.argv[1:])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return _run(size)
    except LocalAwsError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def size_of(arguments: list[str]) -> float:
    """The requested size, 1 by default. Raises ValueError with a sentence for the user."""
    given = arguments[0] if arguments else "1"
    try:
        size = float(given)
    except ValueError:
        size = 0.0
    if len(arguments) > 1 or not SMALLEST <= size <= LARGEST:
        raise ValueError(
            f"SIZE={' '.join(arguments)} is not a size: give the fraction of the full counts, "
            f"from {SMALLEST:g} to {LARGEST:g}; SIZE=1 is the full run"
        )
    return size


def _run(size: float) -> int:
    began = time.monotonic()

    def progress(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    parts = [run(size, progress) for run in PARTS]
    for part in parts:
        _show(part)
    page = report.write(parts, size, time.monotonic() - began)
    passed = all(part.passed for part in parts)
    print(f"\n{'All parts passed.' if passed else 'Not all parts passed.'} Tables and chart: {page}")
    return 0 if passed else 1


def _show(part: Part) -> None:
    print(f"\n{part.title}")
    for figure in part.figures:
        broken = "" if figure.passed else f"   must be {figure.must:,}"
        print(f"  {figure.found:>10,}  {figure.what}{broken}")
    for problem in part.problems:
        print(f"  problem: {problem}")


if __name__ == "__main__":
    sys.exit(main())
