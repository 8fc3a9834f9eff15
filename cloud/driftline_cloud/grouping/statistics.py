"""What a device's world looks like, from the tokens and scores that it sent: pure.

Of a sample with kept tokens x_1..x_K, whitened by the source's statistics of the token space,

    z_k = clip(W (x_k - mu), -c, c)        W' W = precision, mu = mean of pooled source tokens

its features are per channel the mean of z over k and the mean of z^2, and its gate score. All are
centred, scores scaled, and projected on the leading directions of the pooled samples (PCA), which
know nothing of devices, so that shuffling samples over devices is a fair null (see `clusters`).
What a picture shows averages out over a device's samples, how its pictures look does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.tokens import Sample, TokenSpace

DIRECTIONS = 16
CLIP = 6.0
"""c of the module's formula: no token counts for more."""


def features(samples: Sequence[Sample], space: TokenSpace, *, score: str) -> NDArray[np.float64]:
    """(N, at most `DIRECTIONS`) of N samples. `score`: the kind of gate score, where they have it.

    Raises DataError for tokens that do not decode.
    """
    if not samples:
        return np.zeros((0, 1))
    whiten = whitener(space)
    rows = np.stack([_moments(sample, space, whiten) for sample in samples])
    rows -= rows.mean(axis=0)
    scores = np.array([sample.scores.get(score, np.nan) for sample in samples], np.float64)
    seen = np.isfinite(scores)
    scores = np.where(seen, scores, scores[seen].mean() if seen.any() else 0.0)
    spread = float(scores.std())
    # As much as one direction of tokens, whatever the unit of the score is.
    scale = float(np.sqrt(np.square(rows).sum(axis=1).mean() / DIRECTIONS))
    scores = (scores - scores.mean()) / spread * scale if spread > 0 else 0.0 * scores
    rows = np.column_stack([rows, scores])
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    found: NDArray[np.float64] = rows @ directions[:DIRECTIONS].T
    return found


def _moments(sample: Sample, space: TokenSpace, whiten: NDArray[np.float64]) -> NDArray[np.float64]:
    values = decode_tokens(sample.tokens, space).values.astype(np.float64) - space.mean
    values = values @ whiten if whiten.ndim == 2 else values * whiten
    values = np.clip(values, -CLIP, CLIP)
    return np.concatenate([values.mean(axis=0), np.square(values).mean(axis=0)])


def whitener(space: TokenSpace) -> NDArray[np.float64]:
    """(D, D), or (D,) where the space has a diagonal: x W is of unit covariance on the source."""
    precision = space.precision.astype(np.float64)
    if precision.ndim == 1:
        return np.sqrt(np.maximum(precision, 0.0))
    values, vectors = np.linalg.eigh((precision + precision.T) / 2.0)
    root: NDArray[np.float64] = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
