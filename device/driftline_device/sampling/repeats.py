"""What was sent lately, so that a scene that does not change is not paid for again and again.

Of each sample sent a short memory keeps the question's digest and a sketch of the picture: its
tokens less the source mean, brought to `SKETCH_CHANNELS` numbers by fixed random signs and averaged
over a grid of `SKETCH_SIDE` x `SKETCH_SIDE` cells at most. Random signs keep squared distances in
the mean (Achlioptas, "Database-friendly random projections", 2003) and need no tables beside the
pair. Nothing is saved: after a restart each still scene is sent once more.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftline_shared.tokens import Grid, TokenSpace, VisualTokens

SKETCH_SIDE = 8
"""Most cells on a side of a sketch; the frames of a clip share them."""

SKETCH_CHANNELS = 8
"""Numbers of a cell."""

MAX_SENT = 60
"""Samples remembered: at 1 KiB a sketch and a few bytes beside it, 64 KB at most."""

KEPT_S = 24 * 3_600.0
"""Seconds that a sample is remembered: a cloud that lost it gets a still scene again every day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """A picture under a question. `question`: 16 bytes, its digest. `cells`: (C, SKETCH_CHANNELS)
    float16, of mean squared length 1 a cell; times `scale` they are in units of the tokens.
    """

    question: bytes
    cells: NDArray[np.float16]
    scale: float

    @staticmethod
    def suits(tokens: VisualTokens, space: TokenSpace) -> bool:
        """Whether `tokens` are of `space` and lie within their grid."""
        where, shape = tokens.positions, (tokens.num_tokens, space.width)
        return (
            tokens.values.shape == shape
            and where.shape == shape[:1]
            and 0 <= where.min() <= where.max() < tokens.grid.num_tokens
        )

    @staticmethod
    def of(question: str, tokens: VisualTokens, space: TokenSpace) -> Sketch:
        """The sketch of finite `tokens`; a cell that no token lies in is zero."""
        numbers = (tokens.values - space.mean) @ _signs(space.width)
        cell_of, num_cells = _cells(tokens.grid)
        cell = cell_of[tokens.positions]
        cells = np.zeros((num_cells, SKETCH_CHANNELS))
        np.add.at(cells, cell, numbers)
        cells /= np.maximum(np.bincount(cell, minlength=num_cells), 1)[:, None]
        scale = float(np.sqrt(np.square(cells).sum(axis=1).mean()))
        return Sketch(
            question=hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()[:16],
            cells=(cells / (scale or 1.0)).astype(np.float16),
            scale=scale,
        )


def distance(a: Sketch, b: Sketch) -> float:
    """max_c |a_c - b_c|^2 / max(mean_c |a_c|^2, mean_c |b_c|^2), of sketches of one grid.

    The cell that differs most, since a small thing that moves changes few of them.
    """
    scale = max(a.scale, b.scale)
    if scale == 0.0:
        return 0.0
    apart = a.cells * np.float64(a.scale / scale) - b.cells * np.float64(b.scale / scale)
    return float(np.square(apart).sum(axis=1).max())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sent:
    sketch: Sketch
    at_s: float


class SentLately:
    """The last `MAX_SENT` samples of the last `KEPT_S` seconds; the oldest goes first."""

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque(maxlen=MAX_SENT)

    def __len__(self) -> int:
        return len(self._sent)

    def has(self, sketch: Sketch, *, nearer_than: float, now_s: float) -> bool:
        """Whether the same question about nearly the same picture was sent (Unix seconds).

        `nearer_than`: the `distance` below which two pictures are the same.
        """
        # A clock set back a little forgets nothing, one set back by more than KEPT_S all.
        while self._sent and abs(now_s - self._sent[0].at_s) >= KEPT_S:
            self._sent.popleft()
        return any(
            sent.sketch.question == sketch.question
            and abs(now_s - sent.at_s) < KEPT_S
            and sent.sketch.cells.shape == sketch.cells.shape
            and distance(sent.sketch, sketch) < nearer_than
            for sent in self._sent
        )

    def add(self, sketch: Sketch, *, now_s: float) -> None:
        """Remember what was sent just now (Unix seconds)."""
        self._sent.append(_Sent(sketch=sketch, at_s=now_s))

    def drop_last(self) -> None:
        """Forget the newest, which did not leave after all."""
        if self._sent:
            self._sent.pop()

    def forget(self) -> None:
        """Forget all."""
        self._sent.clear()


@lru_cache(maxsize=4)
def _signs(width: int) -> NDArray[np.float64]:
    """(D, SKETCH_CHANNELS) of +-1 / sqrt(SKETCH_CHANNELS), the same on every machine."""
    count = width * SKETCH_CHANNELS
    drawn = hashlib.shake_256(b"sketch of visual tokens").digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8), count=count)
    signs = bits.reshape(width, SKETCH_CHANNELS).astype(np.float64) * 2.0 - 1.0
    return np.asarray(signs / np.sqrt(SKETCH_CHANNELS), np.float64)


@lru_cache(maxsize=4)
def _cells(grid: Grid) -> tuple[NDArray[np.intp], int]:
    """The cell of each flat position, and how many cells there are."""
    rows, cols = min(SKETCH_SIDE, grid.rows), min(SKETCH_SIDE, grid.cols)
    down = np.arange(grid.rows) * rows // grid.rows
    across = np.arange(grid.cols) * cols // grid.cols
    picture = (down[:, None] * cols + across).ravel().astype(np.intp)
    return np.tile(picture, grid.frames), rows * cols
