"""Accuracy against bytes: every baseline, and the product at other shares of tokens and samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables import accuracy, token_share
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, MARKERS, grid, spread_text
from driftline_lab.experiments.tables.statistics import front
from driftline_lab.experiments.tables.table import Arm, Table, arm, results

TOKENS, SAMPLES = "token share", "sample share"


def arms(scale: Scale) -> list[Arm]:
    """Baselines, then the sweeps."""
    tokens = [
        replace(each, label=f"{each.group}, {each.label} dropped", group=TOKENS)
        for each in token_share.arms(scale)
    ]
    samples = [
        arm(
            scale,
            REFERENCE,
            f"{100 * share:g} % of the samples",
            group=SAMPLES,
            policy=replace(scale.plan.policy, max_sample_share=share),
        )
        for share in scale.sample_shares
    ]
    return [*accuracy.arms(scale), *tokens, *samples]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A point an arm: bytes a question, both ways together, and accuracy on drifted domains."""
    rows = []
    for each, runs in results(lab, arms(scale)):
        up = float(np.mean([run.last.bytes_up / run.last.seen for run in runs]))
        down = float(np.mean([run.last.bytes_down / run.last.seen for run in runs]))
        found = accuracy.summary(runs)
        rows.append(
            {
                "label": each.label,
                "group": each.group,
                "up": up,
                "down": down,
                "drifted": found["drifted"],
                "recovered": found["recovered"],
            }
        )
    best = front([(row["up"] + row["down"], row["drifted"]["mean"]) for row in rows])
    for place, row in enumerate(rows):
        row["on_front"] = place in best
    return {"rows": rows}


def text(result: dict[str, Any]) -> list[str]:
    """Points by rising bytes."""
    head = ["", "kind", "bytes a question up", "down", "drifted, %", "recovered, %", "front"]
    rows = [
        [
            row["label"],
            row["group"],
            f"{row['up']:.0f}",
            f"{row['down']:.1f}",
            spread_text(row["drifted"]),
            spread_text(row["recovered"]),
            "•" if row["on_front"] else "",
        ]
        for row in sorted(result["rows"], key=lambda row: row["up"] + row["down"])
    ]
    about = "Front: nothing else is both cheaper and better."
    return [HOW, about, "", *grid(head, rows)]


def draw(result: dict[str, Any], figure: Any) -> None:
    """Points by kind, and the front."""
    axes = figure.add_subplot()
    cost = {id(row): row["up"] + row["down"] for row in result["rows"]}
    edge = sorted((r for r in result["rows"] if r["on_front"]), key=lambda r: cost[id(r)])
    axes.step(
        [cost[id(row)] for row in edge],
        [100 * row["drifted"]["mean"] for row in edge],
        where="post",
        color="0.75",
        linewidth=4,
        zorder=1,
        label="front",
    )
    for number, group in enumerate(dict.fromkeys(row["group"] for row in result["rows"])):
        mine = [row for row in result["rows"] if row["group"] == group]
        axes.scatter(
            [cost[id(row)] for row in mine],
            [100 * row["drifted"]["mean"] for row in mine],
            marker=MARKERS[number % len(MARKERS)],
            zorder=2,
            label=group,
        )
        for row in mine:
            axes.annotate(
                row["label"],
                (cost[id(row)], 100 * row["drifted"]["mean"]),
                fontsize=6,
                xytext=(3, 3),
                textcoords="offset points",
            )
    axes.set_xlabel("bytes a question, up and down")
    axes.set_ylabel("mean accuracy on drifted domains, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


PARETO = Table(
    name="pareto",
    title="Accuracy against bytes",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
