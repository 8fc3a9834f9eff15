"""Statistics of a token space: channel ranges for the codecs, pooled moments for the `ood` score.

Numpy only: a device has no scikit-learn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError

TAIL = 0.0005
"""Share of values beyond the codec's range at each end: saturating them buys finer steps for the
rest.
"""

MAX_WIDTH = 65_536
"""Most channels of a token."""

FULL_WIDTH = 1_024
"""Most channels with a full precision matrix (4 MiB); wider tokens keep its diagonal."""

MAX_ROWS = 16_384
"""Most images that statistics are fitted on: an (N, N) matrix is made for wide tokens."""

_BLOCK_VALUES = 1 << 26
"""Values sorted at a time (256 MiB as float32)."""


def pool(tokens: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, V, D) tokens of N images -> (N, D) their means."""
    return np.asarray(tokens.mean(axis=1, dtype=np.float64))


def channel_ranges(
    tokens: NDArray[np.floating], tail: float = TAIL
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(D,) low and (D,) high of (N, V, D) tokens: the `tail` and 1 - `tail` quantiles a channel.

    Memory stays bounded however many tokens there are. Raises DataError for values that are not
    finite.
    """
    width = tokens.shape[-1]
    values = tokens.reshape(-1, width)
    low, high = np.empty(width, np.float32), np.empty(width, np.float32)
    step = max(1, _BLOCK_VALUES // max(1, len(values)))
    for start in range(0, width, step):
        block = values[:, start : start + step].astype(np.float32)
        if not len(block) or not np.isfinite(block).all():
            raise DataError("channel ranges need finite tokens")
        low[start : start + step], high[start : start + step] = np.quantile(
            block, [tail, 1 - tail], axis=0
        )
    return low, high


def pooled_statistics(
    pooled: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (D,) and precision of `pooled` (N, D), float32, with a shrunk covariance.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices"
    (2004): C = (1 - s) S + s m I with S the sample covariance, m = tr(S)/D and the s in 0..1 that
    minimises the expected squared Frobenius error. Precision is the inverse (D, D), or beyond
    `FULL_WIDTH` channels the inverse of C's diagonal (D,). Raises DataError for fewer than two
    rows, more than `MAX_ROWS`, or values that are not finite.
    """
    x = np.asarray(pooled, dtype=np.float64)
    if x.ndim != 2 or not 2 <= len(x) <= MAX_ROWS or not np.isfinite(x).all():
        raise DataError(
            f"token statistics need 2 to {MAX_ROWS} finite rows of pooled tokens: one an image"
        )
    num_rows, width = x.shape
    mean = x.mean(axis=0)
    centred = x - mean
    variances = (centred**2).mean(axis=0)  # the diagonal of S
    scale = float(variances.sum()) / width
    shrink = _shrinkage(centred, scale)
    # A constant channel set would leave nothing to invert: keep a floor relative to the scale.
    floor = shrink * scale + max(1e-9 * scale, 1e-12)
    if width > FULL_WIDTH:
        precision = 1.0 / ((1.0 - shrink) * variances + floor)
        return mean.astype(np.float32), precision.astype(np.float32)
    covariance = (1.0 - shrink) * (centred.T @ centred / num_rows)
    covariance[np.diag_indices(width)] += floor
    precision = np.linalg.inv(covariance)
    return mean.astype(np.float32), ((precision + precision.T) / 2).astype(np.float32)


def squared_distance(offset: NDArray[np.floating], precision: NDArray[np.float32]) -> float:
    """offset^T P offset for `offset` (D,) and P the (D, D) `precision` or the (D,) diagonal."""
    z, p = offset.astype(np.float64), precision.astype(np.float64)
    return float(z @ p @ z if p.ndim == 2 else (z * z) @ p)


def _shrinkage(centred: NDArray[np.float64], scale: float) -> float:
    """The Ledoit-Wolf weight s of the target, 0..1: E|S - Sigma|^2 / E|S - m I|^2, estimated."""
    num_rows, width = centred.shape
    # |S|^2 is the same for X^T X and X X^T: take the smaller of both.
    few = centred if num_rows <= width else centred.T
    size = float(((few @ few.T) ** 2).sum()) / num_rows**2
    distance = size - width * scale**2  # |S - m I|^2, since tr S = D m
    if distance <= 1e-12 * size:
        return 1.0
    # sum over rows of |x x^T - S|^2 = sum |x|^4 - N |S|^2, without N matrices of (D, D).
    fourth = float(((centred**2).sum(axis=1) ** 2).sum())
    error = (fourth / num_rows - size) / num_rows
    return float(np.clip(error / distance, 0.0, 1.0))
