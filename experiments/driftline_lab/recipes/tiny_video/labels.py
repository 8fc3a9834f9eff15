"""What the places of a clip show: targets of auxiliary heads, which are dropped after training.

They tell the tower what a patch belongs to, and the language model early that what moved, changed
or came before is worth keeping at each place. None of it is known when the model is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_lab.data.tiny_video.clips import Clip
from driftline_lab.data.tiny_video.drawing import NOBODY
from driftline_lab.data.tiny_video.scene import STEPS, Scene
from driftline_lab.drift.reworded import COLOURS, SHAPES

IGNORE = -100
NO_COLOUR, NO_SHAPE = len(COLOURS), len(SHAPES)
CELL_CLASSES = {
    "colour": len(COLOURS) + 1,
    "shape": len(SHAPES) + 1,
    "direction": len(STEPS),
    "earlier": len(COLOURS) + 1,
    "rank": len(SHAPES) + 1,
}
"""Of each cell: colour and shape of what is there, which way it moves, the colour it had before,
and as which it appeared (0: it was there from the start).
"""
FRAME_CLASSES = {"so_far": 6, "now": 6}
"""Of each frame: shapes seen up to it, and in it."""
ORDER_CLASSES = {"first": len(SHAPES) + 1, "latest": len(SHAPES) + 1}
"""Of each frame: the shapes that appeared first and latest up to it."""

_MOVED = 0.3
"""Share of the clip after which a direction is asked for."""

_COVERED = 0.12
"""Share of a place that a shape covers at least to be what is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchLabels:
    """`colour` and `shape` (F, 64) int64 of the 8 x 8 patches of each frame."""

    colour: NDArray[np.int64]
    shape: NDArray[np.int64]


def patch_labels(clip: Clip, patches: int = 8) -> PatchLabels:
    """Colour and shape at each patch, `NO_COLOUR` and `NO_SHAPE` in the background."""
    owner = owners_of(clip, patches)
    attributes = _attributes(clip.scene)
    return PatchLabels(
        colour=_read(attributes["colour"], owner, NO_COLOUR),
        shape=_read(attributes["shape"], owner, NO_SHAPE),
    )


def cell_labels(clip: Clip, cells: int) -> dict[str, NDArray[np.int64]]:
    """`CELL_CLASSES` as (F, cells^2), the others as (F,); `IGNORE` where nothing is asked."""
    owner = owners_of(clip, cells)
    attributes = _attributes(clip.scene)
    absent = {"colour": NO_COLOUR, "shape": NO_SHAPE}
    labels = {
        name: _read(attributes[name], owner, absent.get(name, IGNORE)) for name in CELL_CLASSES
    }
    scene = clip.scene
    frames = range(scene.num_frames)
    labels["so_far"] = np.array([sum(a.first <= f for a in scene.actors) for f in frames])
    labels["now"] = np.array([scene.count(f) for f in frames])
    return labels | order_labels(scene)


def order_labels(scene: Scene) -> dict[str, NDArray[np.int64]]:
    """`ORDER_CLASSES` as (F,), `NO_SHAPE` before anything has appeared."""
    first, latest = [], []
    for frame in range(scene.num_frames):
        come = [SHAPES.index(a.shape) for a in scene.comers if a.first <= frame]
        first.append(come[0] if come else NO_SHAPE)
        latest.append(come[-1] if come else NO_SHAPE)
    return {"first": np.array(first), "latest": np.array(latest)}


def owners_of(clip: Clip, places: int) -> NDArray[np.int64]:
    """(F, places^2) which actor covers most of each place, `NOBODY` where none covers enough."""
    frames, side = clip.owners.shape[:2]
    width = side // places
    tiles = clip.owners.reshape(frames, places, width, places, width).swapaxes(2, 3)
    tiles = tiles.reshape(frames, places * places, width * width)
    covered = np.stack([(tiles == i).mean(-1) for i in range(len(clip.scene.actors))], axis=-1)
    return np.where(covered.max(-1) >= _COVERED, covered.argmax(-1), NOBODY)


def _attributes(scene: Scene) -> dict[str, NDArray[np.int64]]:
    """{name: (F, actors)}."""
    ranks = {id(actor): rank for rank, actor in enumerate(scene.comers, start=1)}
    ways = list(STEPS)
    table: dict[str, list[list[int]]] = {name: [] for name in CELL_CLASSES}
    for frame in range(scene.num_frames):
        moved = frame >= _MOVED * scene.num_frames
        row: dict[str, list[int]] = {name: [] for name in CELL_CLASSES}
        for actor in scene.actors:
            turned = sum(frame >= turn for turn in actor.turns)
            known = moved and actor.direction is not None
            row["colour"].append(COLOURS.index(actor.colours[turned]))
            row["shape"].append(SHAPES.index(actor.shape))
            row["direction"].append(ways.index(actor.direction or "") if known else IGNORE)
            row["earlier"].append(COLOURS.index(actor.colours[turned - 1]) if turned else NO_COLOUR)
            row["rank"].append(ranks.get(id(actor), 0))
        for name, values in row.items():
            table[name].append(values)
    return {name: np.array(rows, dtype=np.int64) for name, rows in table.items()}


def _read(values: NDArray[np.int64], owner: NDArray[np.int64], absent: int) -> NDArray[np.int64]:
    """(F, actors) values at each place's owner (F, places)."""
    found = np.take_along_axis(values, owner.clip(0), axis=1)
    labels: NDArray[np.int64] = np.where(owner == NOBODY, absent, found)
    return labels
