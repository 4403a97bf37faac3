"""The results of `make chaos` for docs/reliability.md: tables, a chart, and the versions that were used."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from local.stack import ROOT, TOOLS
from tests.chaos.reconcile import LoadPart
from tests.chaos.results import Figure, Part

PAGE = ROOT / "docs" / "reliability.md"
OTHER_PAGE = TOOLS / "chaos" / "reliability.md"
TABLES = re.compile(r"(<!-- found: made by `make chaos` -->\n).*(<!-- end of found -->)", re.DOTALL)


def write(parts: Sequence[Part], size: float, seconds: float) -> Path:
    """Write the page, and its chart beside it. Only a full run in which all parts passed is published; any other is
    written elsewhere. Raises ValueError if the page lacks the marks around the tables."""
    page = PAGE if size == 1 and all(part.passed for part in parts) else OTHER_PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    found = "\n\n".join([_run(size, seconds), *(_part(part) for part in parts)])
    text, replaced = TABLES.subn(lambda mark: f"{mark[1]}\n{found}\n\n{mark[2]}", PAGE.read_text())
    if not replaced:
        raise ValueError(f"{PAGE.name} has lost the marks between which the tables go")
    for part in parts:
        if isinstance(part, LoadPart):
            _draw(part, page.with_suffix(".svg"))
    page.write_text(text)
    return page


def _draw(part: LoadPart, chart: Path) -> None:
    run = TOOLS / "chaos" / "load.json"
    run.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "samples": [asdict(sample) for sample in part.samples],
        "shades": [asdict(shade) for shade in part.shades],
        "recovered_at": part.recovered_at,
        "redriven_at": part.redriven_at,
    }
    run.write_text(json.dumps(data))
    python = TOOLS / "figures" / "bin" / "python"
    subprocess.run([python, "-m", "tests.chaos.chart", run, chart], cwd=ROOT, check=True)


def _run(size: float, seconds: float) -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    tools = f"CPython {platform.python_version()}, MiniStack {_ministack()}, botocore {version('botocore')}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, SIZE={size:g}, {seconds / 60:.0f} minutes; "
        f"{platform.system()} {platform.machine()}, {_processors()}; {tools}."
    )


def _processors() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} processors{f' ({models[0]})' if models else ''}"


def _ministack() -> str:
    (found,) = (TOOLS / "emulator").glob("lib/*/site-packages/ministack-*.dist-info")
    return found.name.removeprefix("ministack-").removesuffix(".dist-info")


def _part(part: Part) -> str:
    lines = [f"### {part.title}", "", "| what | found | must be |", "|---|--:|--:|"]
    lines += [_row(figure) for figure in part.figures]
    if part.problems:
        lines += ["", f"**{len(part.problems)} problems**; `make chaos` prints them."]
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    must = "" if figure.must is None else f"{figure.must:,}"
    found = f"{figure.found:,}" if figure.passed else f"**{figure.found:,}**"
    return f"| {figure.what} | {found} | {must} |"
