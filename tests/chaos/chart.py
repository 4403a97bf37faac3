"""The load as a chart: `python -m tests.chaos.chart RUN.json CHART.svg`, in the environment `figures`."""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

ACCEPTED, OPENED, WAITING, DEAD = "#9aa4b1", "#1f6feb", "#d97706", "#b91c1c"
MOST_POINTS = 400


def main() -> None:
    source, target = sys.argv[1:]
    run = json.loads(Path(source).read_text())
    # Text stays text; a fixed salt and no date, so that the same run gives the same file.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "chaos", "font.family": "sans-serif", "font.size": 9}
    samples = run["samples"][:: max(1, len(run["samples"]) // MOST_POINTS)] + run["samples"][-1:]
    at = [sample["at"] for sample in samples]
    figure, (whole, queues) = plt.subplots(
        2, 1, figsize=(8, 5.2), sharex=True, height_ratios=(3, 2), facecolor="white", layout="constrained"
    )
    whole.plot(at, [sample["accepted"] for sample in samples], color=ACCEPTED, linewidth=2.5, label="accepted")
    whole.plot(at, [sample["opened"] for sample in samples], color=OPENED, linewidth=1.5, label="opened")
    queues.plot(at, [sample["waiting"] for sample in samples], color=WAITING, linewidth=1.5, label="waiting")
    queues.plot(at, [sample["dead"] for sample in samples], color=DEAD, linewidth=1.5, label="dead letters")
    for axis in (whole, queues):
        for shade in run["shades"]:
            axis.axvspan(shade["begins"], shade["ends"], color="#e5e7eb", linewidth=0)
        for at_second in (run["recovered_at"], run["redriven_at"]):
            axis.axvline(at_second, color="#6b7280", linewidth=0.8, linestyle=(0, (4, 3)))
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("submissions")
        axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.98), ncols=2)
    whole.set_xlim(0, at[-1])
    top = whole.get_ylim()[1]
    notes = [((shade["begins"] + shade["ends"]) / 2, "center", shade["name"]) for shade in run["shades"]]
    notes += [(run["recovered_at"], "right", "HighLevel has recovered"), (run["redriven_at"], "right", "./hlc redrive")]
    for place, side, text in notes:
        # Away from the lines, which rise from the left.
        low = place > at[-1] / 3
        height = 0.02 * top if low else 0.98 * top
        look = {"rotation": 90, "fontsize": 7.5, "color": "#4b5563"}
        whole.text(place, height, f" {text} ", ha=side, va="bottom" if low else "top", **look)
    queues.set_xlabel("seconds")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
