"""The tokens that leave, coded: as chosen, or as many of them as the byte budget takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.sampling.choice import TokenChoice
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


def select(
    tokens: VisualTokens,
    scores: NDArray[np.floating],
    encode: Encode,
    *,
    choice: TokenChoice,
    max_bytes: int,
    lots: NDArray[np.floating] | None = None,
    least: int = 1,
    step: int = 1,
) -> Coded | None:
    """Code the tokens of `choice`, or fewer of them if `max_bytes` holds fewer; `lots` as it needs.

    None when fewer than `least` tokens fit. Coded size depends on what zstd finds, so it is
    measured, not predicted: the count is cut in proportion, and by `step` at least, until it fits.
    """
    count = choice.count(scores)
    while count >= max(least, 1):
        coded = encode(tokens.keep(choice.positions(scores, tokens.positions, count, lots)))
        size = coded.num_bytes
        if size <= max_bytes:
            return coded
        count = min(count - step, count * max_bytes // size)
    return None
