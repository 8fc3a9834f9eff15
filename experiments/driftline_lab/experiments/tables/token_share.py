"""Share of tokens dropped, 0 to 90 %, by token scorer: what a round still recovers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables.accuracy import summary
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, MARKERS, grid, spread_text
from driftline_lab.experiments.tables.table import Arm, Table, arm, results


def arms(scale: Scale) -> list[Arm]:
    """Every share under every scorer; with nothing dropped, scorers are one."""
    return [
        arm(
            scale,
            REFERENCE,
            f"{100 * drop:.0f} %",
            group=scorer,
            policy=replace(
                scale.plan.policy, token_scorer=scorer, token_share=round(1.0 - drop, 6)
            ),
        )
        for scorer in scale.scorers
        for drop in scale.drops
        if drop > 0 or scorer == scale.scorers[0]
    ]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row a scorer and share."""
    rows = []
    for each, runs in results(lab, arms(scale)):
        per_sample = [run.last.bytes_up / max(run.last.sent, 1) for run in runs]
        rows.append(
            {
                "scorer": each.group,
                "dropped": 1.0 - each.plans[0].policy.token_share,
                "bytes_per_sample": sum(per_sample) / len(per_sample),
                **summary(runs),
            }
        )
    return {"rows": rows}


def text(result: dict[str, Any]) -> list[str]:
    """One table."""
    head = ["scorer", "dropped, %", "drifted, %", "recovered, %", "bytes a sample"]
    rows = [
        [
            row["scorer"],
            f"{100 * row['dropped']:.0f}",
            spread_text(row["drifted"]),
            spread_text(row["recovered"]),
            f"{row['bytes_per_sample']:.0f}",
        ]
        for row in result["rows"]
    ]
    return [HOW, "", *grid(head, rows)]


def draw(result: dict[str, Any], figure: Any) -> None:
    """A line a scorer."""
    axes = figure.add_subplot()
    names = list(dict.fromkeys(row["scorer"] for row in result["rows"]))
    whole = [row for row in result["rows"] if row["dropped"] == 0]
    for number, name in enumerate(names):
        line = [row for row in result["rows"] if row["scorer"] == name and row["dropped"] > 0]
        line = [*whole, *line]
        axes.errorbar(
            [100 * row["dropped"] for row in line],
            [100 * row["drifted"]["mean"] for row in line],
            yerr=[100 * row["drifted"]["interval"] for row in line],
            marker=MARKERS[number],
            capsize=3,
            label=name,
        )
    axes.set_xlabel("tokens dropped, %")
    axes.set_ylabel("mean accuracy on drifted domains, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


TOKEN_SHARE = Table(
    name="token-share",
    title="Tokens dropped before they leave",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
