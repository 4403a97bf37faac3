"""`make bench`: measure this application beside its alternatives; see docs/benchmarks.md.

All rounds with the peers in their usual order, then all with the order reversed. Writes the page (tables, charts, JSON)
only after all of them. A run of fewer than MIN_ROUNDS rounds, or one by TLS, writes .tools/benchmarks.json instead.
Exits 1 if a handler answered wrongly.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.artifacts import artifacts
from benchmarks.measure import Workload, WrongAnswerError, count_calls, measure
from benchmarks.report import document, tables, write_tables
from benchmarks.stand_ins import ROOT
from local.stack import TOOLS, LocalAwsError, exit_on_sigterm

PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "benchmarks" / "figures.json"
OTHER_FIGURES = TOOLS / "benchmarks.json"
MIN_ROUNDS = 3  # of a run that may be published


def main() -> int:
    """Return the exit code."""
    arguments = _arguments(Workload().rounds)
    workload = Workload(rounds=arguments.rounds)
    started = time.monotonic()

    def progress(text: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {text}", file=sys.stderr, flush=True)

    if sys.platform != "linux":
        print("Lambda's runtime client (awslambdaric) is for Linux only", file=sys.stderr)
        return 1
    exit_on_sigterm()
    try:
        progress("building")
        built = artifacts()
        usual = measure(built, workload, tls=arguments.tls, progress=progress)
        progress("the peers in reversed order")
        in_reverse = measure(built, workload, tls=arguments.tls, in_reverse=True, progress=progress)
        calls = count_calls(built["ours"])
    except (LocalAwsError, WrongAnswerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    progress("measured")
    figures = document(usual, in_reverse, built, workload, calls, tls=arguments.tls)
    if workload.rounds < MIN_ROUNDS or arguments.tls:
        _write(OTHER_FIGURES, figures)
    else:
        _write(FIGURES, figures)
        write_tables(PAGE, figures)
        subprocess.run([TOOLS / "figures" / "bin" / "python", "-m", "benchmarks.charts"], cwd=ROOT, check=True)
    print(tables(figures))
    return 0


def _write(path: Path, figures: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(f"figures in {path.relative_to(ROOT)}", file=sys.stderr)


def _arguments(rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=rounds, help="in each order")
    parser.add_argument("--tls", action="store_true", help="HighLevel by TLS")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("ROUNDS must be at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
