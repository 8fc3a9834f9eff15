"""Pareto plots of a table: accuracy against time, and against FLOPs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftline_lab.bench.compression.rows import BASELINE, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cost = Callable[[Row], float]

AXES: dict[str, tuple[str, Cost]] = {
    "time": ("time to the first token over the uncompressed model's", lambda r: r.first_ratio),
    "flops": ("prefill FLOPs over the uncompressed model's", lambda r: r.prefill_share),
}
"""By file name: what the horizontal axis says, and what it shows."""

_MARKERS = "osD^v<>Pp*hX"


def write_plots(folder: Path, title: str, rows: Sequence[Row]) -> list[Path]:
    """One PNG an axis, accuracy-time.png and accuracy-flops.png; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (label, cost) in AXES.items():
        path = folder / f"accuracy-{name}.png"
        figure = _drawn(title, label, rows, cost)
        figure.savefig(path, dpi=130, bbox_inches="tight")
        written.append(path)
    return written


def front(rows: Sequence[Row], cost: Cost) -> list[Row]:
    """Rows than which none is both cheaper and more accurate, by rising cost."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda r: (cost(r), -r.accuracy)):
        if not best or row.accuracy > best[-1].accuracy:
            best.append(row)
    return best


def _drawn(title: str, label: str, rows: Sequence[Row], cost: Cost) -> Figure:
    # The object interface: pyplot would keep figures and a backend of its own.
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5))
    axes: Any = figure.add_subplot()
    edge = front(rows, cost)
    axes.step(
        [cost(row) for row in edge],
        [100 * row.accuracy for row in edge],
        where="post",
        color="0.75",
        linewidth=4,
        zorder=1,
        label="Pareto front",
    )
    palette = colormaps["tab20"]
    for number, name in enumerate(dict.fromkeys(row.label for row in rows)):
        line = sorted((row for row in rows if row.label == name), key=cost)
        whole = name == BASELINE
        axes.plot(
            [cost(row) for row in line],
            [100 * row.accuracy for row in line],
            color="black" if whole else palette(number % 20),
            marker="*" if whole else _MARKERS[number % len(_MARKERS)],
            markersize=13 if whole else 6,
            linestyle="--" if line[0].trained else "-",
            linewidth=1.2,
            label=name + (" (trained)" if line[0].trained else ""),
        )
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy, %")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure
