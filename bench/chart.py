"""The ratios as a picture: one panel per group, one line per case, one mark per peer, fastnn at 1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import NAMES, Results, _threads

COLOURS = {
    "numpy": "#8c8c8c",
    "torch": "#e4572e",
    "torch:compile": "#f3a712",
    "jax": "#669bbc",
    "onnxruntime": "#29335c",
    "openvino": "#76b041",
    "ncnn": "#9d4edd",
}


def draw(all_results: Sequence[Results], path: Path) -> None:
    """One column of panels per number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = list(dict.fromkeys(g for r in all_results for g in r.groups()))
    sizes = [max(sum(k[0] == g for k in r.cases) for r in all_results) for g in groups]
    figure, axes = plt.subplots(
        len(groups),
        len(all_results),
        figsize=(7.5 * len(all_results), 0.22 * sum(sizes) + 0.8 * len(groups) + 1),
        height_ratios=[n + 1 for n in sizes],
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for row, group in enumerate(groups):
        for column, results in enumerate(all_results):
            _panel(axes[row][column], results, group)
            if row == 0:
                axes[row][column].set_title(_threads(results), fontsize=11)
    for axis in axes[-1]:
        axis.set_xlabel("peer's time / fastnn's time (right of 1: fastnn is faster)", fontsize=9)
    marks = [plt.Line2D([], [], marker="o", linestyle="", color=c, label=NAMES[p]) for p, c in COLOURS.items()]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axis: Any, results: Results, group: str) -> None:
    keys = [k for k in results.cases if k[0] == group]
    for y, key in enumerate(keys):
        ratios = {p: r for p, r in results.ratios(key).items() if p in COLOURS}
        if ratios:
            axis.plot([min(ratios.values()), max(ratios.values())], [y, y], color="#dddddd", linewidth=2, zorder=1)
        for peer, ratio in ratios.items():
            axis.scatter(ratio, y, color=COLOURS[peer], s=28, zorder=2)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xscale("log")
    axis.set_yticks(range(len(keys)), [k[1] for k in keys], fontsize=8)
    axis.set_ylim(len(keys) - 0.4, -0.6)
    axis.set_title(group, fontsize=9, loc="left")  # beside the axis long names of low panels run into each other
    axis.grid(axis="x", which="major", color="#eeeeee")
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
