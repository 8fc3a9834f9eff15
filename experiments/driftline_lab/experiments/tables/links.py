"""Bytes and seconds on each link: a round's samples up, its update down."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables import accuracy
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import grid, kilobytes
from driftline_lab.experiments.tables.table import Arm, Table, results
from driftline_lab.replay.links import PROFILES, Direction, Link, LinkProfile

SHOWN = ("driftline", "full-upload", "full-fp16-down", "exact-sparse-down", "cema-style")
STARTS = 20
"""Moments at which a transfer is begun, each with losses of its own."""
BETWEEN_S = 37.0


def arms(scale: Scale) -> list[Arm]:
    """Runs of the first table whose traffic differs."""
    return [each for each in accuracy.arms(scale) if each.label in SHOWN]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row an arm and link; seconds are virtual, those of `replay.links`."""
    rows = []
    for each, runs in results(lab, arms(scale)):
        samples = float(np.mean([run.last.bytes_up / max(run.last.sent, 1) for run in runs]))
        num_released = sum(row.state == "released" for run in runs for row in run.rounds)
        update = sum(run.last.bytes_down for run in runs) / max(num_released, 1)
        round_bytes = samples * each.plans[0].round_samples
        for profile in PROFILES.values():
            up = seconds(profile, round(round_bytes), "up")
            down = seconds(profile, round(update), "down")
            rows.append(
                {
                    "baseline": each.label,
                    "link": profile.name,
                    "bytes_up": round_bytes,
                    "bytes_down": update,
                    "up_s": up,
                    "down_s": down,
                }
            )
    return {"rows": rows}


def seconds(profile: LinkProfile, num_bytes: int, direction: Direction) -> dict[str, float]:
    """Mean and longest time of that many bytes, begun at `STARTS` moments."""
    link = Link(profile, seed=0)
    found = []
    for number in range(STARTS if num_bytes else 0):
        start_s = number * BETWEEN_S
        sent = link.send(num_bytes, start_s=start_s, direction=direction, key=number)
        found.append(sent.end_s - start_s)
    return {"mean": float(np.mean(found or [0.0])), "most": float(max(found, default=0.0))}


def text(result: dict[str, Any]) -> list[str]:
    """One table."""
    head = ["", "link", "up, kB", "up, s", "longest", "down, kB", "down, s", "longest"]
    rows = [
        [
            row["baseline"],
            row["link"],
            kilobytes(row["bytes_up"]),
            f"{row['up_s']['mean']:.2f}",
            f"{row['up_s']['most']:.2f}",
            kilobytes(row["bytes_down"]),
            f"{row['down_s']['mean']:.2f}",
            f"{row['down_s']['most']:.2f}",
        ]
        for row in result["rows"]
    ]
    about = f"The samples of a round, and one update, begun at {STARTS} moments."
    return [about, "", *grid(head, rows)]


def draw(result: dict[str, Any], figure: Any) -> None:
    """Seconds up and down by link, a line a baseline."""
    for place, (key, title) in enumerate((("up_s", "a round's samples up"), ("down_s", "update"))):
        axes = figure.add_subplot(1, 2, place + 1)
        for name in dict.fromkeys(row["baseline"] for row in result["rows"]):
            mine = [row for row in result["rows"] if row["baseline"] == name]
            values = [max(row[key]["mean"], 1e-3) for row in mine]
            axes.plot([row["link"] for row in mine], values, marker="o", label=name)
        axes.set_yscale("log")
        axes.set_ylabel("seconds")
        axes.set_title(title)
        axes.tick_params(axis="x", rotation=45)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)


LINKS = Table(
    name="links",
    title="Bytes and seconds on each link",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
