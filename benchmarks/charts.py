"""Bar charts of docs/benchmarks/figures.json, as SVG beside it. Runs in an environment of its own (group figures)."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
OURS, OTHER = "#1f6feb", "#9aa4b1"
CHARTS = {
    "time": (
        ("first_answer_ms", "start → first answer, ms", "%.0f"),
        ("cpu_opened_ms", "CPU for each opened submission, ms", "%.2f"),
        ("cpu_repeated_ms", "CPU for each repeated submission, ms", "%.2f"),
    ),
    "size": (("peak_mb", "peak memory, MiB", "%.0f"), ("artifact_mb", "artifact zipped, MB", "%.2f")),
}


def main() -> None:
    figures = json.loads((FOLDER / "figures.json").read_text())
    # Text stays text; a fixed salt and no date, so that the same figures give the same file.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.family": "sans-serif", "font.size": 9}
    for name, panels in CHARTS.items():
        _chart(FOLDER / f"{name}.svg", panels, figures["peers"])


def _chart(path: Path, panels: tuple[tuple[str, str, str], ...], measured: dict[str, Any]) -> None:
    peers = [peer for name, peer in measured.items() if name != "null"]
    colors = [OURS if name in ("ours", "message") else OTHER for name in measured if name != "null"]
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 1.9 * len(panels)), facecolor="white")
    for axis, (name, title, form) in zip(axes, panels, strict=True):
        spreads = [_spread(peer, name) for peer in peers]
        medians = [median for _, median, _ in spreads]
        whiskers = [[median - low for low, median, _ in spreads], [high - median for _, median, high in spreads]]
        bars = axis.barh(
            [peer["title"] for peer in peers],
            medians,
            color=colors,
            xerr=whiskers,
            error_kw={"ecolor": "#333333", "elinewidth": 0.8, "capsize": 2},
        )
        axis.bar_label(bars, labels=[_label(peer, name, form) for peer in peers], padding=6)
        axis.set_title(title, loc="left", fontsize=9, fontweight="bold")
        axis.set_xlim(0, 1.35 * max(high for _, _, high in spreads))
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(length=0)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _spread(peer: dict[str, Any], name: str) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if name == "artifact_mb":
        return (peer["artifact_bytes"] / 1e6,) * 3
    found = peer["figures"][name]
    return found["q1"], found["median"], found["q3"]


def _label(peer: dict[str, Any], name: str, form: str) -> str:
    """Format the median, and the error status where the caller gets one for it."""
    _, median, _ = _spread(peer, name)
    status = peer["answers"]["repeated"] if name == "cpu_repeated_ms" else 200
    return form % median + (f", answers {status}" if status >= 400 else "")


if __name__ == "__main__":
    main()
