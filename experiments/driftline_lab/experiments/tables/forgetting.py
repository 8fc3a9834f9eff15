"""Six domains in turn: what is still known of the earlier ones at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables import statistics
from driftline_lab.experiments.tables.ablation import AKD
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, grid, spread_text
from driftline_lab.experiments.tables.statistics import spread
from driftline_lab.experiments.tables.table import Arm, Table, arm, results
from driftline_lab.experiments.tables.tested import by_domain

COMPARED = ("source-only", "tent", "cotta", "pseudo-label", "logit-kd", "cema-style")


def arms(scale: Scale) -> list[Arm]:
    """The product, without its memory, and some baselines."""
    names, compared = scale.long_segments, filter(scale.compares, COMPARED)
    without = replace(REFERENCE, name="no memory rows", distil=AKD["no memory rows"])
    chosen = [REFERENCE, without, *(BASELINES[name] for name in compared)]
    return [arm(scale, each, segments=names) for each in chosen]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row an arm, with its accuracies after each segment (mean over seeds)."""
    rows = []
    for each, runs in results(lab, arms(scale)):
        domains = [row.domain for row in runs[0].segment_ends]
        ends = [[by_domain(row.accuracy, domains) for row in run.segment_ends] for run in runs]
        final = [float(np.mean([e[-1][name] for name in dict.fromkeys(domains)])) for e in ends]
        rows.append(
            {
                "baseline": each.label,
                "final": spread(final),
                "forgetting": spread(
                    [statistics.forgetting(e, domains) for e in ends], higher_is_better=False
                ),
                "backward_transfer": spread(
                    [statistics.backward_transfer(e, domains) for e in ends]
                ),
                "answered": spread(
                    [float(np.mean([row.answered for row in run.segment_ends])) for run in runs]
                ),
                "after": [
                    {
                        name: float(np.mean([e[place][name] for e in ends]))
                        for name in dict.fromkeys(domains)
                    }
                    for place in range(len(domains))
                ],
            }
        )
    return {"segments": list(domains), "rows": rows}


def text(result: dict[str, Any]) -> list[str]:
    """Measures of all, then the product's accuracies after each segment."""
    head = ["", "final, %", "forgetting, points", "backward transfer, points", "in the stream, %"]
    rows = [
        [
            row["baseline"],
            spread_text(row["final"]),
            spread_text(row["forgetting"]),
            spread_text(row["backward_transfer"]),
            spread_text(row["answered"]),
        ]
        for row in result["rows"]
    ]
    first, names = result["rows"][0], list(dict.fromkeys(result["segments"]))
    after = [
        [name, *(f"{100 * first['after'][place][one]:.1f}" for one in names)]
        for place, name in enumerate(result["segments"])
    ]
    return [
        HOW,
        "Forgetting: best accuracy so far less the last one, mean over earlier domains "
        "(arXiv 1801.10112). Backward transfer: arXiv 1706.08840.",
        "",
        *grid(head, rows),
        "",
        f"## {first['baseline']}: accuracy on each domain after each segment, %",
        "",
        *grid(["after", *names], after),
    ]


def draw(result: dict[str, Any], figure: Any) -> None:
    """Mean accuracy over the domains met so far, along the segments."""
    axes = figure.add_subplot()
    names = result["segments"]
    for number, row in enumerate(result["rows"]):
        met = [
            100
            * float(np.mean([row["after"][place][n] for n in dict.fromkeys(names[: place + 1])]))
            for place in range(len(names))
        ]
        width = 2.5 if number == 0 else 1
        axes.plot(range(len(names)), met, marker="o", linewidth=width, label=row["baseline"])
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("mean accuracy on domains met so far, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


FORGETTING = Table(
    name="forgetting",
    title="Forgetting over six segments",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
