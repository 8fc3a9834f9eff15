"""Source pictures spoilt in token space, so that the student makes mistakes without any drift.

A model that is right on nearly all source rows leaves a P(IK) head few mistakes to learn from. Here
tokens are exchanged for another picture's, mixed with them, blanked (after the blank-image contrast
of BICR, arXiv 2605.10893), disturbed or left out; the true answer stays the true answer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.float32]
Positions = NDArray[np.int64]


def spoil(
    tokens: Tokens, number: int, picture: int, rng: np.random.Generator
) -> tuple[Tokens, Positions]:
    """Picture `picture` of `tokens` (N, V, D), spoilt in the way of `number` (they take turns) and
    as much as is drawn; its values (K, D) and their flat grid indices (K,).
    """
    return WAYS[number % len(WAYS)](tokens, picture, rng)


def _exchanged(tokens: Tokens, picture: int, rng: np.random.Generator) -> tuple[Tokens, Positions]:
    """Some tokens are another picture's, at the same places."""
    chosen = rng.random((tokens.shape[1],)) < rng.uniform(0.2, 1.0)
    other = tokens[rng.integers(len(tokens))]
    return _whole(np.where(chosen[:, None], other, tokens[picture]))


def _mixed(tokens: Tokens, picture: int, rng: np.random.Generator) -> tuple[Tokens, Positions]:
    """All tokens are a mean of two pictures."""
    share, other = rng.uniform(0.2, 0.8), tokens[rng.integers(len(tokens))]
    return _whole((1.0 - share) * tokens[picture] + share * other)


def _blanked(tokens: Tokens, picture: int, rng: np.random.Generator) -> tuple[Tokens, Positions]:
    """Some tokens are the mean token."""
    chosen = rng.random((tokens.shape[1],)) < rng.uniform(0.3, 1.0)
    return _whole(np.where(chosen[:, None], tokens.mean(axis=(0, 1)), tokens[picture]))


def _disturbed(tokens: Tokens, picture: int, rng: np.random.Generator) -> tuple[Tokens, Positions]:
    """Noise on every token, and one shift of all, in standard deviations of each channel."""
    scale = tokens.std(axis=(0, 1))
    noise = rng.uniform(0.3, 1.5) * rng.standard_normal(tokens.shape[1:])
    shift = rng.uniform(0.0, 1.0) * rng.standard_normal(tokens.shape[2])
    return _whole(tokens[picture] + (noise + shift) * scale)


def _thinned(tokens: Tokens, picture: int, rng: np.random.Generator) -> tuple[Tokens, Positions]:
    """A tenth, a quarter or half of the tokens."""
    places = tokens.shape[1]
    count = max(1, int(places * rng.choice((0.1, 0.25, 0.5))))
    kept = np.sort(rng.permutation(places)[:count]).astype(np.int64)
    return tokens[picture][kept], kept


WAYS: tuple[Callable[[Tokens, int, np.random.Generator], tuple[Tokens, Positions]], ...] = (
    _exchanged,
    _mixed,
    _blanked,
    _disturbed,
    _thinned,
)
"""In the order in which rows take turns."""


def _whole(values: NDArray[np.floating]) -> tuple[Tokens, Positions]:
    return values.astype(np.float32), np.arange(len(values), dtype=np.int64)
