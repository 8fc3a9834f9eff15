"""Which shapes a clip shows, when, where, and in which colours: drawn at random, to be balanced.

A clip has `n` shapes in all, 2 to 5, of which `e`, 1 to 4, are there at the end. Both are uniform
and what one says of the other is little: `n` is uniform and `e` the image of `n` under a random
bijection that never asks for more shapes than there are.

Roles: a mover crosses the picture and comes back in on the other side, so that where it is in one
frame says nothing of its direction; a changer turns from one colour to a second and a third; a
flash appears and vanishes again, never two at a time; a latecomer appears and stays; a goer is
there from the start and vanishes; a fixture is there all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from driftline_lab.drift.reworded import COLOURS, SHAPES

SIDE = 64
"""Pixels a side of a frame."""

_COUNTS = tuple(
    order
    for order in permutations(range(1, 5))
    if all(end <= total for total, end in zip(range(2, 6), order, strict=True))
)
"""Bijections from shapes in all, 2..5, to shapes at the end, 1..4."""

_ATTEMPTS = 60


class Role(StrEnum):
    """What a shape does in a clip."""

    MOVER = "mover"
    CHANGER = "changer"
    FLASH = "flash"
    LATECOMER = "latecomer"
    GOER = "goer"
    FIXTURE = "fixture"


STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""(x, y) of each direction, y downwards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """One shape of a clip of F frames.

    `colours`: the first until frame `turns[0]`, then the second, and so on. `first`..`stop`: the
    frames in which it is seen. `centres` (F, 2) float64: x and y in pixels, 0 <= x, y < `SIDE`.
    `half` (2,): half its width and height in pixels.
    """

    role: Role
    shape: str
    colours: tuple[str, ...]
    turns: tuple[int, ...]
    first: int
    stop: int
    centres: NDArray[np.float64]
    half: tuple[float, float]
    direction: str | None = None

    @property
    def comes(self) -> bool:
        """Whether it appears in the course of the clip."""
        return self.first > 0

    def seen(self, frame: int) -> bool:
        """Whether it is there in this frame."""
        return self.first <= frame < self.stop

    def colour(self, frame: int) -> str:
        """Its colour in this frame."""
        return self.colours[sum(frame >= turn for turn in self.turns)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """The shapes of a clip; those that appear have different shapes and appear one by one."""

    num_frames: int
    actors: tuple[Actor, ...]

    @property
    def comers(self) -> tuple[Actor, ...]:
        """Those that appear in the course of the clip, in order."""
        return tuple(sorted((a for a in self.actors if a.comes), key=lambda a: a.first))

    def count(self, frame: int) -> int:
        """How many are there in this frame."""
        return sum(actor.seen(frame) for actor in self.actors)


def draw_scene(rng: np.random.Generator, num_frames: int) -> Scene:
    """A scene of 8 to 32 frames."""
    order = _COUNTS[rng.integers(len(_COUNTS))]
    total = int(rng.integers(2, 6))
    roles = _roles(rng, total, order[total - 2])
    windows = _windows(rng, roles, num_frames)
    shapes = _shapes(rng, roles)
    colours = [COLOURS[i] for i in rng.permutation(len(COLOURS))]
    while True:
        placed: list[Actor] = []
        spare = iter(colours)
        for role, shape, (first, stop) in zip(roles, shapes, windows, strict=True):
            turns = _turns(rng, num_frames) if role is Role.CHANGER else ()
            taken = tuple(next(spare) for _ in range(len(turns) + 1))
            actor = _placed(rng, placed, role, shape, taken, turns, first, stop, num_frames)
            if actor is None:
                break
            placed.append(actor)
        else:
            return Scene(num_frames=num_frames, actors=tuple(placed))


def _roles(rng: np.random.Generator, total: int, end: int) -> list[Role]:
    """`end` roles that stay, a mover first, and `total` - `end` that vanish; three appear at most,
    for there are three shapes.
    """
    gone = total - end
    flashes = min(gone, len(SHAPES))
    others = [Role.LATECOMER, (Role.MOVER, Role.FIXTURE)[rng.integers(2)]]
    if rng.random() < 0.3:
        others.reverse()
    others.insert(0 if rng.random() < 0.75 else 2, Role.CHANGER)
    stays = [Role.MOVER, *others[: end - 1]]
    if flashes == len(SHAPES):
        stays = [Role.FIXTURE if role is Role.LATECOMER else role for role in stays]
    return stays + [Role.FLASH] * flashes + [Role.GOER] * (gone - flashes)


def _windows(rng: np.random.Generator, roles: list[Role], num_frames: int) -> list[tuple[int, int]]:
    """First frame and the one past the last, for each role."""
    comers = [i for i, role in enumerate(roles) if role in (Role.FLASH, Role.LATECOMER)]
    # The latecomer stays, so that all others have gone before it comes.
    comers = sorted(comers, key=lambda i: (roles[i] is Role.LATECOMER, rng.random()))
    windows = [(0, num_frames)] * len(roles)
    least = max(2, num_frames // 6)
    slack = num_frames - 2 - least * len(comers)
    cuts = np.sort(rng.integers(0, slack + 1, size=len(comers)))
    for number, i in enumerate(comers):
        first = 1 + int(cuts[number]) + least * number
        room = int(cuts[number + 1] if number + 1 < len(comers) else slack) - int(cuts[number])
        stop = first + least + int(rng.integers(0, min(room, 2 * least) + 1))
        windows[i] = (first, num_frames if roles[i] is Role.LATECOMER else stop)
    for i, role in enumerate(roles):
        if role is Role.GOER:
            windows[i] = (0, int(rng.integers(num_frames // 4, 3 * num_frames // 4 + 1)))
    return windows


def _shapes(rng: np.random.Generator, roles: list[Role]) -> list[str]:
    """A shape for each role; those that appear have different ones."""
    spare = iter(rng.permutation(len(SHAPES)))
    return [
        SHAPES[next(spare) if role in (Role.FLASH, Role.LATECOMER) else rng.integers(len(SHAPES))]
        for role in roles
    ]


def _turns(rng: np.random.Generator, num_frames: int) -> tuple[int, int]:
    """Two frames in which a colour changes; each colour lasts a fifth of the clip at least."""
    least = max(2, num_frames // 5)
    early, late = np.sort(rng.integers(0, num_frames - 3 * least + 1, size=2))
    return least + int(early), 2 * least + int(late)


def _placed(
    rng: np.random.Generator,
    others: list[Actor],
    role: Role,
    shape: str,
    colours: tuple[str, ...],
    turns: tuple[int, ...],
    first: int,
    stop: int,
    num_frames: int,
) -> Actor | None:
    """An actor that never touches another; None where no place is found."""
    half = float(rng.uniform(6.5, 8.5)), float(rng.uniform(6.5, 8.5))
    direction = tuple(STEPS)[rng.integers(len(STEPS))] if role is Role.MOVER else None
    for _ in range(_ATTEMPTS):
        actor = Actor(
            role=role,
            shape=shape,
            colours=colours,
            turns=turns,
            first=first,
            stop=stop,
            centres=_path(rng, half, direction, num_frames),
            half=half,
            direction=direction,
        )
        if not any(_touch(actor, other) for other in others):
            return actor
    return None


def _path(
    rng: np.random.Generator, half: tuple[float, float], direction: str | None, num_frames: int
) -> NDArray[np.float64]:
    """(F, 2) centres: at rest, or less than half a picture far at constant speed, round its edge.

    Half a picture is where first and last frame would no longer tell the direction.
    """
    start = np.array([rng.uniform(h + 1, SIDE - h - 1) for h in half])
    if direction is None:
        return np.tile(start, (num_frames, 1))
    step = np.array(STEPS[direction], dtype=np.float64)
    start = np.where(step != 0, rng.uniform(0, SIDE, size=2), start)
    way = np.linspace(0, rng.uniform(22, 30), num_frames)
    path: NDArray[np.float64] = (start + way[:, None] * step) % SIDE
    return path


def _touch(one: Actor, other: Actor) -> bool:
    """Whether two actors come closer than a pixel in a frame that shows both."""
    frames = slice(max(one.first, other.first), min(one.stop, other.stop))
    apart = wrapped(one.centres[frames] - other.centres[frames])
    room = np.add(one.half, other.half) + 1
    return bool((np.abs(apart) < room).all(axis=1).any())


def wrapped(way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distances on a picture whose opposite edges meet: -`SIDE` / 2 <= d < `SIDE` / 2."""
    near: NDArray[np.float64] = (way + SIDE / 2) % SIDE - SIDE / 2
    return near
