"""What a round costs: seconds of each part on this machine, steps and bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftline_lab.baselines.baseline import Kind
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables import accuracy
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import grid, kilobytes
from driftline_lab.experiments.tables.table import Arm, Table, results
from driftline_lab.machine import conditions

PARTS = ("label", "learn", "gate", "pack")


def arms(scale: Scale) -> list[Arm]:
    """Everything that makes rounds or learns on the device; the runs of the first table."""
    kinds = {kind.value for kind in (Kind.REFERENCE, Kind.IN_CLOUD, Kind.ON_DEVICE, Kind.DOWNLINK)}
    return [each for each in accuracy.arms(scale) if each.group in kinds]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row an arm; of learners on the device, everything is for the whole stream."""
    rows = []
    for each, runs in results(lab, arms(scale)):
        num = max(sum(run.last.round for run in runs), 1)
        online = each.baseline.online is not None
        per = len(runs) if online else num
        rows.append(
            {
                "baseline": each.label,
                "per": "stream" if online else "round",
                "num_rounds": float(np.mean([run.last.round for run in runs])),
                "steps": sum(run.last.steps for run in runs) / per,
                "up": sum(run.last.bytes_up for run in runs) / per,
                "down": sum(run.last.bytes_down for run in runs) / per,
                "seconds": {
                    part: sum(run.seconds.get(part, 0.0) for run in runs) / per for part in PARTS
                },
            }
        )
    return {"conditions": conditions(), "rows": rows}


def text(result: dict[str, Any]) -> list[str]:
    """One table, and the machine."""
    head = ["", "per", "steps", *(f"{part}, s" for part in PARTS), "up, kB", "down, kB"]
    rows = [
        [
            row["baseline"],
            row["per"],
            f"{row['steps']:.0f}",
            *(f"{row['seconds'][part]:.1f}" for part in PARTS),
            kilobytes(row["up"]),
            kilobytes(row["down"]),
        ]
        for row in result["rows"]
    ]
    about = result["conditions"]
    return [
        f"One thread of {about['processor']}; seconds of when each run was made. "
        "Labels that were made for another run are not made again.",
        "",
        *grid(head, rows),
    ]


def draw(result: dict[str, Any], figure: Any) -> None:
    """Seconds by part, a bar an arm."""
    axes = figure.add_subplot()
    rows = result["rows"][::-1]
    left = np.zeros(len(rows))
    for part in PARTS:
        values = np.array([row["seconds"][part] for row in rows])
        axes.barh([row["baseline"] for row in rows], values, left=left, label=part)
        left += values
    axes.set_xlabel("seconds a round (a stream, where learnt on the device)")
    axes.legend(frameon=False)


ROUND_COST = Table(
    name="round-cost",
    title="What a round costs",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
