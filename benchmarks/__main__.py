"""`make bench`: measure this application beside its alternatives; see docs/benchmarks.md.

Writes the page (tables, charts, JSON) only after all rounds, in the usual or in reversed order. A shorter run, or one
by TLS, writes .tools/benchmarks.json instead. Exits 1 if a handler answered wrongly.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.artifacts import artifacts
from benchmarks.measure import Workload, WrongAnswerError, measure
from benchmarks.report import document, tables, write_tables
from benchmarks.stand_ins import ROOT
from local.stack import TOOLS, LocalAwsError, exit_on_sigterm

PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "benchmarks" / "figures.json"
REVERSED_FIGURES = FIGURES.with_name("reversed.json")
OTHER_FIGURES = TOOLS / "benchmarks.json"


def main() -> int:
    """Return the exit code."""
    usual = Workload()
    arguments = _arguments(usual.rounds)
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
        measured = measure(built, workload, tls=arguments.tls, in_reverse=arguments.reverse, progress=progress)
    except (LocalAwsError, WrongAnswerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    figures = document(measured, built, workload, tls=arguments.tls, in_reverse=arguments.reverse)
    if workload != usual or arguments.tls:
        _write(OTHER_FIGURES, figures)
    else:
        _write(REVERSED_FIGURES if arguments.reverse else FIGURES, figures)
        write_tables(PAGE, _read(FIGURES) or figures, _read(REVERSED_FIGURES))
        subprocess.run([TOOLS / "figures" / "bin" / "python", "-m", "benchmarks.charts"], cwd=ROOT, check=True)
    print(tables(figures))
    return 0


def _write(path: Path, figures: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(f"figures in {path.relative_to(ROOT)}", file=sys.stderr)


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _arguments(rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--reverse", action="store_true", help="the peers in reversed order")
    parser.add_argument("--tls", action="store_true", help="HighLevel by TLS")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("ROUNDS must be at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
