"""Captioning: made for a pair that captions; for any other, the gap is said in its place."""

from __future__ import annotations

from typing import Any

from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.table import Arm, Table

GAP = (
    "Needs the pair `smol` and its world `openmoji`, whose questions ask for captions; runs "
    "score exact answers only, so this table is not made yet. `driftline demo --pair smol` "
    "measures captions of one stream."
)


def arms(scale: Scale) -> list[Arm]:
    """None yet."""
    return []


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """The gap."""
    return {"gap": GAP}


def text(result: dict[str, Any]) -> list[str]:
    """The gap, as a sentence."""
    return [result["gap"]]


def draw(result: dict[str, Any], figure: Any) -> None:
    """The gap, where a plot would be."""
    figure.text(0.5, 0.5, "needs smol", ha="center", va="center", fontsize=20, color="0.5")


CAPTIONS = Table(
    name="captions",
    title="Captioning",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
