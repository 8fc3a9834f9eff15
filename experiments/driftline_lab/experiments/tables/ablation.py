"""The product without one of its parts: of UTS, of AKD, of DWC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables.accuracy import summary
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, grid, kilobytes, spread_text
from driftline_lab.experiments.tables.table import Arm, Table, arm, results

AKD: dict[str, dict[str, object]] = {
    "no pseudo-label (a1)": {"a1": 0.0},
    "no distribution (a2)": {"a2": 0.0},
    "no projected tokens (a3)": {"a3": 0.0},
    "no answer states (a4)": {"a4": 0.0},
    "no term against forgetting (a5)": {"a5": 0.0},
    "no memory rows": {"a5": 0.0, "memory_batch_size": 0, "num_source_rows": 0},
    "no further questions": {"extra_questions": 0},
    "further questions by lot": {"asked_questions": 0},
    "last weights, not their mean": {"averaged_share": 0.0, "final_share": 0.05},
}


def arms(scale: Scale) -> list[Arm]:
    """The product, and each part left out."""
    found = [arm(scale, REFERENCE, "all of it")]
    for name, label in (
        ("random-samples", "samples by lot"),
        ("random-tokens", "tokens by lot"),
        ("full-upload", "all tokens"),
    ):
        found.append(arm(scale, BASELINES[name], label, group="UTS"))
    for label, changes in AKD.items():
        without = replace(REFERENCE, name=label, distil=changes)
        found.append(arm(scale, without, group="AKD"))
    ungated = replace(REFERENCE, name="no gate", gated=False)
    found.append(arm(scale, ungated, group="AKD"))
    dense = replace(REFERENCE, name="all weights to the end", distil={"trained_share": 1.0})
    found.append(arm(scale, dense, group="DWC"))
    lost = scale.plan.dwc.model_copy(update={"feedback": 0.0})
    found.append(arm(scale, REFERENCE, "no error feedback", group="DWC", dwc=lost))
    for name, label in (
        ("exact-sparse-down", "no quantization"),
        ("full-fp16-down", "no compression"),
    ):
        found.append(arm(scale, BASELINES[name], label, group="DWC"))
    return found


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row an arm."""
    return {
        "rows": [
            {"part": each.group, "without": each.label, **summary(runs)}
            for each, runs in results(lab, arms(scale))
        ]
    }


def text(result: dict[str, Any]) -> list[str]:
    """One table over all parts."""
    head = ["", "part", "drifted, %", "recovered, %", "source lost, points", "up, kB", "down, kB"]
    rows = [
        [
            row["without"],
            row["part"],
            spread_text(row["drifted"]),
            spread_text(row["recovered"]),
            spread_text(row["forgetting"]),
            kilobytes(row["bytes_up"]["mean"]),
            kilobytes(row["bytes_down"]["mean"]),
        ]
        for row in result["rows"]
    ]
    return [HOW, "", *grid(head, rows)]


def draw(result: dict[str, Any], figure: Any) -> None:
    """Mean accuracy on drifted domains, a bar an arm."""
    axes = figure.add_subplot()
    colours = {"": "black", "UTS": "tab:blue", "AKD": "tab:orange", "DWC": "tab:green"}
    rows = result["rows"][::-1]
    axes.barh(
        [row["without"] for row in rows],
        [100 * row["drifted"]["mean"] for row in rows],
        xerr=[100 * row["drifted"]["interval"] for row in rows],
        color=[colours[row["part"]] for row in rows],
    )
    low = min(row["drifted"]["mean"] for row in rows)
    axes.set_xlim(left=max(0.0, 100 * low - 10))
    axes.set_xlabel("mean accuracy on drifted domains, %")
    axes.grid(alpha=0.3, axis="x")


ABLATION = Table(
    name="ablation",
    title="Without one part of UTS, AKD or DWC",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
