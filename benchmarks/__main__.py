"""`make bench`: measure this application beside what one would use instead; see docs/benchmarks.md.

Writes the page (tables, charts, JSON) only after all rounds in the usual order and manner; a shorter or another run
leaves it alone and writes .tools/benchmarks.json. Exits 1 if a handler answered wrongly.
"""

import argparse
import compileall
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.artifacts import artifacts
from benchmarks.measure import Effort, WrongAnswerError, measure
from benchmarks.report import document, tables, write_tables
from benchmarks.stand_ins import ROOT
from local.lambda_runtime import PYTHON
from local.stack import TOOLS, LocalAwsError, exit_on_sigterm

PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "benchmarks" / "figures.json"
OTHER_FIGURES = TOOLS / "benchmarks.json"


def main() -> int:
    """Returns the exit code."""
    usual = Effort()
    arguments = _arguments(usual.rounds)
    effort = Effort(rounds=arguments.rounds)
    started = time.monotonic()

    def progress(text: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {text}", file=sys.stderr, flush=True)

    if sys.platform != "linux":
        print("Lambda's runtime client (awslambdaric) is for Linux only", file=sys.stderr)
        return 1
    exit_on_sigterm()
    try:
        progress("building")
        compile_runtime()
        built = artifacts()
        measured = measure(built, effort, tls=arguments.tls, in_reverse=arguments.reverse, progress=progress)
    except (LocalAwsError, WrongAnswerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    figures = document(measured, built, effort, tls=arguments.tls, in_reverse=arguments.reverse)
    is_usual = effort == usual and not arguments.tls and not arguments.reverse
    _write(FIGURES if is_usual else OTHER_FIGURES, figures)
    if is_usual:
        write_tables(PAGE, figures)
        subprocess.run([TOOLS / "figures" / "bin" / "python", "-m", "benchmarks.charts"], cwd=ROOT, check=True)
    print(tables(figures))
    return 0


def compile_runtime() -> None:
    """Byte code for the stand-in of Lambda's runtime (boto3, the runtime client), all of it: otherwise what happens to
    lie there from other runs would decide. An artifact has what its build makes."""
    (packages,) = PYTHON.parents[1].glob("lib/python3.*/site-packages")
    compileall.compile_dir(packages, quiet=2)


def _write(path: Path, figures: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(f"figures in {path.relative_to(ROOT)}", file=sys.stderr)


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
