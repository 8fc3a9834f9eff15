"""Noise on the tokens that leave, where the device's owner wants less to be read from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftline_shared.tokens import TokenSpace, VisualTokens


def noisy(
    tokens: VisualTokens, space: TokenSpace, *, scale: float, rng: np.random.Generator
) -> VisualTokens:
    """`tokens` with normal noise of `scale` times each channel's range; as they are for 0.

    What is sent twice of one scene is two draws, and their mean tells more than either: repeats are
    kept back by `repeat_distance`.
    """
    if scale == 0.0:
        return tokens
    spread = scale * (space.high - space.low)
    drawn = rng.standard_normal(tokens.values.shape).astype(np.float32)
    return replace(tokens, values=tokens.values + spread * drawn)
