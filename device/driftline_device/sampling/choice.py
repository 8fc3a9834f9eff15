"""How many tokens of an image leave, and which: the best by score, some drawn evenly, or as many
as hold enough of the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.tokens import SamplingPolicy

Scores = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenChoice:
    """Shares of V tokens, 0..1. `share`: the most that leave. `spread`: of those that leave, drawn
    evenly over the image whatever their score, so that a student learns on pictures like the whole
    ones it will read. `mass`: the fewest leave whose squared scores hold this share of the sum of
    squares, `floor` of V at least; 0: always `share` of them.

    Squares, since attention leaves a little everywhere: over many tokens that adds up.
    """

    share: float
    spread: float = 0.0
    mass: float = 0.0
    floor: float = 0.0

    @staticmethod
    def of(policy: SamplingPolicy) -> TokenChoice:
        """As the policy says."""
        return TokenChoice(
            share=policy.token_share,
            spread=policy.token_spread,
            mass=policy.token_mass,
            floor=policy.token_floor,
        )

    @property
    def draws(self) -> bool:
        """Whether `positions` needs lots."""
        return self.spread > 0.0

    def count(self, scores: Scores) -> int:
        """K of V `scores`. By mass it is a rung of `rung`: samples of equal K share a batch."""
        most = num_kept(len(scores), self.share)
        if self.mass <= 0.0:
            return most
        squares = np.sort(np.square(_ranked(scores, 0.0)))[::-1]
        needed = int(np.searchsorted(squares.cumsum(), self.mass * squares.sum())) + 1
        least = min(most, num_kept(len(scores), self.floor))
        return min(most, max(least, rung(needed)))

    def positions(
        self,
        scores: Scores,
        positions: NDArray[np.int32],
        count: int,
        lots: NDArray[np.floating] | None = None,
    ) -> NDArray[np.int32]:
        """The `count` positions that leave, rising; all arrays (V,) run in parallel.

        `lots`: uniform numbers, one a token, drawn once, so that fewer tokens of one image are no
        new draw. What the score leaves over is cut, in reading order, into as many equal stretches
        as are to be drawn, and of each the token with the largest lot leaves.
        """
        even = 0 if lots is None else math.floor(self.spread * count + 0.5)
        best = _best(scores, count - even)
        if not even or lots is None:
            return np.sort(positions[best]).astype(np.int32)
        left = np.setdiff1d(np.arange(len(scores)), best)
        drawn = [part[np.argmax(lots[part])] for part in np.array_split(left, even)]
        return np.sort(positions[np.concatenate([best, drawn])]).astype(np.int32)


def num_kept(num_tokens: int, share: float) -> int:
    """Tokens kept of `num_tokens` at `share` (0..1): rounded to the nearest, one at least."""
    return min(num_tokens, max(1, math.floor(num_tokens * share + 0.5)))


def rung(count: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is not below `count`.

    A batch holds samples of one K: of 64 counts they would hardly meet.
    """
    power = 1 << max(0, count - 1).bit_length()
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= count else power


def top_positions(scores: Scores, positions: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The `count` positions of highest score, rising.

    `scores` and `positions` (V,) run in parallel. Of equal scores the lower position wins, and a
    score that is NaN loses to all, so the result depends on nothing but its arguments.
    """
    return np.sort(positions[_best(scores, count)]).astype(np.int32)


def _best(scores: Scores, count: int) -> NDArray[np.intp]:
    return np.argsort(-_ranked(scores, -np.inf), kind="stable")[:count]


def _ranked(scores: Scores, unknown: float) -> NDArray[np.float64]:
    return np.where(np.isnan(scores), unknown, scores).astype(np.float64)
