"""Which tokens leave: the most informative share, or as many as the byte budget takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.tokens import CodedTokens, Regions, VisualTokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Coded:
    """What leaves of an image: the kept tokens and, where images may leave, the regions of them."""

    tokens: CodedTokens
    regions: Regions | None = None

    @property
    def num_bytes(self) -> int:
        return len(self.tokens.payload) + (self.regions.num_bytes if self.regions else 0)


Encode = Callable[[VisualTokens], Coded]


def num_kept(num_tokens: int, share: float) -> int:
    """Tokens kept of `num_tokens` at `share` (0..1): rounded to the nearest, one at least."""
    return min(num_tokens, max(1, math.floor(num_tokens * share + 0.5)))


def top_positions(
    scores: NDArray[np.floating], positions: NDArray[np.int32], count: int
) -> NDArray[np.int32]:
    """The `count` positions of highest score, rising.

    `scores` and `positions` (V,) run in parallel. Of equal scores the lower position wins, and a
    score that is NaN loses to all, so the result depends on nothing but its arguments.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-ranked, kind="stable")[:count]
    return np.sort(positions[order]).astype(np.int32)


def select(
    tokens: VisualTokens,
    scores: NDArray[np.floating],
    encode: Encode,
    *,
    share: float,
    max_bytes: int,
    least: int = 1,
    step: int = 1,
) -> Coded | None:
    """Code the most informative tokens: `share` of them, or fewer if `max_bytes` holds fewer.

    None when fewer than `least` tokens fit. Coded size depends on what zstd finds, so it is
    measured, not predicted: the count is cut in proportion, and by `step` at least, until it fits.
    """
    count = num_kept(tokens.num_tokens, share)
    while count >= max(least, 1):
        coded = encode(tokens.keep(top_positions(scores, tokens.positions, count)))
        size = coded.num_bytes
        if size <= max_bytes:
            return coded
        count = min(count - step, count * max_bytes // size)
    return None
