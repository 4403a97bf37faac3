"""The measurements as JSON, and their tables in docs/benchmarks.md."""

import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.artifacts import ALL, FLOOR, MESSAGE, NULL, OURS, POWERTOOLS, SDK, TUTORIAL, Peer, versions
from benchmarks.measure import LOCATIONS, Measured, Workload, summary, zipped_bytes
from benchmarks.stand_ins import ROOT
from local.lambda_runtime import PYTHON

TABLES = re.compile(r"(<!-- figures: made by `make bench` -->\n).*(<!-- end of figures -->)", re.DOTALL)
KINDS = {
    "cold": "the first one",
    "opened": "opened",
    "repeated": "repeated",
    "failing": "HighLevel answers 503",
    "breaker_open": "the same, known to be down",
}
ADDED = (
    "{} in one environment, after the warm-up. HighLevel's stand-in answers immediately, so nearly all of it is added "
    "to the call to HighLevel."
)
SERVICES = {"highlevel": "HighLevel", "secretsmanager": "Secrets Manager", "dynamodb": "DynamoDB", "sqs": "SQS"}


@dataclass(frozen=True, slots=True)
class Aim:
    """A target of this application: at most `target`, better `hoped`.

    `to`: the ratio to that peer's same figure, or to its `figure_of_it`. `of`: this application as it is configured.
    """

    what: str
    target: float
    hoped: float
    figure: str
    to: str | None = None
    figure_of_it: str | None = None
    digits: int = 2
    of: Peer = OURS

    def found(self, medians: Mapping[str, Mapping[str, float]]) -> float:
        own = medians[self.of.name][self.figure]
        return own / medians[self.to][self.figure_of_it or self.figure] if self.to else own


AIMS = (
    Aim("start → first answer, × tutorial", 0.49, 0.40, "first_answer_ms", "tutorial"),
    Aim("start → first answer, × Powertools documentation", 0.36, 0.36, "first_answer_ms", "powertools"),
    Aim("CPU of an opened submission, × Powertools documentation", 0.70, 0.60, "cpu_opened_ms", "powertools"),
    Aim("the same with message and badge, × the same", 1.20, 1.10, "cpu_opened_ms", "powertools", of=MESSAGE),
    Aim("CPU of a repeated one, × Powertools, opened", 0.30, 0.30, "cpu_repeated_ms", "powertools", "cpu_opened_ms"),
    Aim("peak memory, × floor", 0.78, 0.78, "peak_mb", "floor"),
    Aim(
        f"memory that {Workload().long:,} submissions of {LOCATIONS:,} locations add, MiB",
        1,
        0.2,
        "long_growth_mb",
        digits=1,
    ),
    Aim("artifact, MB zipped", 5, 5, "artifact_mb"),
    Aim("connections to HighLevel for 1,000 submissions", 1, 1, "connections_per_1000", digits=0),
    Aim("p99 of an opened submission, × floor", 2.5, 2.5, "submission_p99_ms", "floor"),
    Aim("answer while HighLevel is down, ms", 50, 20, "breaker_open_ms", digits=1),
)
FIGURES = {
    "first_answer_ms": "start → first answer, ms",
    "cpu_opened_ms": "CPU of an opened submission, ms",
    "cpu_repeated_ms": "CPU of a repeated one, ms",
    "cpu_failing_ms": "CPU while HighLevel answers 503, ms",
    "submission_p99_ms": "p99 of an opened one, ms",
    "peak_mb": "peak memory, MiB",
    "artifact_mb": "artifact zipped, MB",
}
# Why a peer is better in a figure.
ONE_CALL = (
    "It makes one call to HighLevel and nothing else: no check of the sender, no record in DynamoDB (here a read and a "
    "write), no log line and no metrics."
)
WHY = {
    "cpu_failing_ms": "It stores nothing: its caller gets an error.",
    "artifact_mb": "Most of this one is Powertools, libsodium (for webhooks signed with Ed25519) and byte code, "
    "without which a start takes nearly twice as long.",
}
MORE_CALLS = (
    "With message and badge an opened submission makes three calls to HighLevel and four to DynamoDB. Each peer makes "
    "one call to HighLevel and writes no words, so that most need less CPU: the next table compares it with one."
)


def document(
    usual: Mapping[str, Measured],
    in_reverse: Mapping[str, Measured],
    artifacts: Mapping[str, Path],
    workload: Workload,
    calls: Mapping[str, Mapping[str, list[str]]],
    *,
    tls: bool,
) -> dict[str, Any]:
    """All measurements of both orders together, the medians of each, the machine and the versions."""
    (packages,) = PYTHON.parents[1].glob("lib/python3.*/site-packages")
    sizes = {peer.name: zipped_bytes(artifacts[peer.name]) for peer in ALL}
    both = {peer.name: usual[peer.name].joined(in_reverse[peer.name]) for peer in ALL}
    orders = {"both orders": both, "usual order": usual, "reversed order": in_reverse}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": _machine(),
        "rounds": workload.rounds,
        "submissions_per_round": workload.warm,
        "submissions_per_block": workload.block,
        "long": workload.long,
        "tls": tls,
        "versions": {"runtime": versions(packages)}
        | {name: versions(path) for name, path in artifacts.items() if name != MESSAGE.name},
        "peers": {
            peer.name: {
                "title": peer.title,
                "answers": {"opened": 201, "repeated": peer.repeated, "failing": peer.failing},
                "artifact_bytes": sizes[peer.name],
                "figures": {name: summary(values) for name, values in both[peer.name].values.items()},
                "calls": both[peer.name].calls,
            }
            for peer in ALL
        },
        "medians": {
            order: {
                name: {figure: summary(values)["median"] for figure, values in found.values.items()}
                | {"artifact_mb": sizes[name] / 1e6}
                for name, found in measured.items()
            }
            for order, measured in orders.items()
        },
        "highlevel_calls": calls,
    }


def tables(figures: Mapping[str, Any]) -> str:
    """Write the tables, in Markdown."""
    runtime = figures["versions"]["runtime"]
    own = {name: found for name, found in figures["versions"].items() if name != "runtime" and found}
    spread = "medians, quartiles in brackets; × is the ratio of medians in this run"
    parts = [
        _run(figures),
        "## Where a peer is better",
        _worse(figures),
        "## In short",
        _in_short(figures),
        f"## Start\n\nFrom the creation of the process; {spread}.",
        _table(
            figures,
            {
                "start → first answer, ms": _spread("first_answer_ms", 0),
                "× tutorial": _ratio("first_answer_ms", "tutorial"),
                "× Powertools": _ratio("first_answer_ms", "powertools"),
                "of this INIT, ms": _spread("init_ms", 0),
            },
        ),
        f"## CPU for each submission, ms\n\nWarm, all threads, the runtime client's own included; {spread}.",
        _table(
            figures,
            {
                "opened": _spread("cpu_opened_ms", 2),
                "× Powertools": _ratio("cpu_opened_ms", "powertools"),
                "repeated": _spread("cpu_repeated_ms", 2),
                "× Powertools opened": _ratio("cpu_repeated_ms", "powertools", "cpu_opened_ms"),
                "HighLevel answers 503": _spread("cpu_failing_ms", 2),
            },
        ),
        "What the caller gets for it:",
        _table(
            figures,
            {
                "repeated": lambda _, peer: _answer(peer.repeated, peer),
                "HighLevel answers 503": lambda _, peer: _answer(peer.failing, peer),
                "stored and opened later": lambda _, peer: (
                    "yes" if peer.stores else "no: lost unless the caller repeats"
                ),
            },
            without_null=True,
        ),
        _breaker(figures),
        f"## Time for each opened submission, ms\n\n{ADDED.format(figures['submissions_per_block'])}",
        _table(
            figures,
            {
                "median": _spread("submission_p50_ms", 2),
                "p99": _spread("submission_p99_ms", 2),
                "p99 × floor": _ratio("submission_p99_ms", "floor"),
                "connections to HighLevel for each 1,000": _spread("connections_per_1000", 0),
            },
        ),
        f"## Size\n\nMemory: the most held at a time (VmHWM), after {figures['submissions_per_block']} opened.",
        _table(
            figures,
            {
                "peak memory, MiB": _spread("peak_mb", 1),
                "× floor": _ratio("peak_mb", "floor"),
                f"after {figures['long']:,} of {LOCATIONS:,} locations, MiB": _spread("long_peak_mb", 1),
                "artifact zipped, kB": lambda found, peer: f"{found[peer.name]['artifact_bytes'] / 1000:,.0f}",
            },
        ),
        "## Calls for each submission",
        _calls(figures),
        _highlevel_calls(figures),
        "## Versions",
        "Lambda's runtime: " + _versions(runtime) + ".",
        "\n".join(f"- {figures['peers'][name]['title']}: {_versions(found)}" for name, found in own.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_tables(page: Path, figures: Mapping[str, Any]) -> None:
    """Write the tables between the marks of that page."""
    made = tables(figures)
    text, replaced = TABLES.subn(lambda mark: f"{mark[1]}\n{made}\n{mark[2]}", page.read_text())
    if replaced != 1:
        raise ValueError(f"{page.name} has lost the marks between which the figures go")
    page.write_text(text)


def _run(figures: Mapping[str, Any]) -> str:
    transport = "TLS" if figures["tls"] else "plain HTTP"
    return (
        f"{figures['date']}, commit {figures['commit']}; {figures['machine']}; HighLevel by {transport}; "
        f"{figures['rounds']} rounds with the peers in their usual order, then as many in reversed order."
    )


def _worse(figures: Mapping[str, Any]) -> str:
    """List each figure in which a peer is better than this application without a message."""
    medians = figures["medians"]["both orders"]
    own = medians[OURS.name]
    lines = [["", "peer", OURS.title, "the peer", "×", "why"]]
    for figure, title in FIGURES.items():
        for peer in (TUTORIAL, POWERTOOLS, SDK):
            found = medians[peer.name][figure]
            if found < own[figure]:
                ratio = own[figure] / found
                lines.append(
                    [title, peer.title, f"{own[figure]:.2f}", f"{found:.2f}", f"{ratio:.2f}", _why(figure, peer)]
                )
    lower = [title for figure, title in FIGURES.items() if medians[FLOOR.name][figure] < own[figure]]
    floor = f"The floor, not an alternative but the least that opens a conversation, is lower in: {'; '.join(lower)}."
    return "\n\n".join([_lines(lines), floor, MORE_CALLS])


def _why(figure: str, peer: Peer) -> str:
    return ONE_CALL if peer is SDK and figure not in WHY else WHY.get(figure, "not known")


def _in_short(figures: Mapping[str, Any]) -> str:
    """Compare the targets of this application with what was measured."""
    orders = figures["medians"]
    lines = [["", "at most", "hoped for", *orders]]
    for aim in AIMS:
        found = [_found(aim, medians) for medians in orders.values()]
        lines.append([aim.what, f"{aim.target:g}", f"{aim.hoped:g}", *found])
    return _lines(lines)


def _found(aim: Aim, medians: Mapping[str, Mapping[str, float]]) -> str:
    if aim.figure not in medians[aim.of.name]:
        return "–"
    value = round(aim.found(medians), aim.digits)
    return f"{value:.{aim.digits}f}" + ("" if value <= aim.target else " (missed)")


type Cell = Callable[[Mapping[str, Any], Peer], str]


def _highlevel_calls(figures: Mapping[str, Any]) -> str:
    lines = [["written", "the submission names", "calls", "which"]]
    for writes, kinds in figures["highlevel_calls"].items():
        for kind, routes in kinds.items():
            lines.append([writes, kind, f"{len(routes)}", ", ".join(f"`{route}`" for route in routes) or "–"])
    return "highlevel-conversations, calls to HighLevel by what it writes:\n\n" + _lines(lines)


def _table(figures: Mapping[str, Any], columns: Mapping[str, Cell], *, without_null: bool = False) -> str:
    lines = [["", *columns]]
    for peer in ALL:
        if peer is NULL and without_null:
            continue
        title = f"**{peer.title}**" if peer in (OURS, MESSAGE) else peer.title
        lines.append([title, *(cell(figures["peers"], peer) for cell in columns.values())])
    return _lines(lines)


def _lines(lines: list[list[str]]) -> str:
    head, *rows = ("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rows])


def _spread(figure: str, digits: int) -> Cell:
    def cell(peers: Mapping[str, Any], peer: Peer) -> str:
        found = peers[peer.name]["figures"].get(figure)
        if not found:
            return "–"
        return f"{found['median']:.{digits}f} ({found['q1']:.{digits}f}–{found['q3']:.{digits}f})"

    return cell


def _ratio(figure: str, to: str, figure_of_it: str | None = None) -> Cell:
    def cell(peers: Mapping[str, Any], peer: Peer) -> str:
        other = peers[to]["figures"][figure_of_it or figure]["median"]
        return f"{peers[peer.name]['figures'][figure]['median'] / other:.2f}" if peer is not NULL else "–"

    return cell


def _answer(status: int, peer: Peer) -> str:
    if status in (200, 201):
        return f"{status} with the conversation"
    return f"{status}, stored" if status == 202 and peer.stores else f"{status}: an error"


def _breaker(figures: Mapping[str, Any]) -> str:
    found = figures["peers"][OURS.name]["figures"]
    answer, cpu = found["breaker_open_ms"], found["cpu_breaker_open_ms"]
    return (
        f"After five failures in a row {OURS.title} knows that HighLevel is down and stores without a call: answered "
        f"in {answer['median']:.1f} ms ({answer['q1']:.1f}–{answer['q3']:.1f}), {cpu['median']:.2f} ms CPU "
        f"({cpu['q1']:.2f}–{cpu['q3']:.2f}). No other handler has a circuit breaker, so that its "
        "callers wait for HighLevel."
    )


def _calls(figures: Mapping[str, Any]) -> str:
    lines = [["", "submission", *SERVICES.values()]]
    for peer in ALL:
        if peer is NULL:
            continue
        calls = figures["peers"][peer.name]["calls"]
        for kind, title in KINDS.items():
            if kind in calls:
                lines.append([peer.title, title, *(f"{calls[kind][service]:g}" for service in SERVICES)])
    return _lines(lines)


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _machine() -> str:
    information = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", information, re.MULTILINE)
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    python = subprocess.run([PYTHON, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, "
        f"{int(memory[1]) // 2**20 if memory else 0} GiB, {platform.system()} {platform.release()}, {python}"
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        return done.stdout.strip()

    measured = ("functions", "packaging", "benchmarks", "local", "uv.lock")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *measured)
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")
