"""The `ood` score: how far an image's pooled tokens lie from the source statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError
from driftline_shared.tokens import TokenSpace, VisualTokens


def ood_score(tokens: VisualTokens, space: TokenSpace) -> float:
    """Mahalanobis distance of the mean token from the source mean, per channel.

    sqrt((z - mean)^T precision (z - mean) / D) with z the mean over tokens: about 1 on source
    images whatever the width D.
    """
    offset = tokens.values.mean(axis=0, dtype=np.float64) - space.mean
    squared = float(offset @ space.precision.astype(np.float64) @ offset)
    return float(np.sqrt(max(squared, 0.0) / space.width))


def pool(tokens: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, V, D) tokens of N images -> (N, D) their means."""
    return np.asarray(tokens.mean(axis=1, dtype=np.float64))


def fit(pooled: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (D,) and precision (D, D) of `pooled` (N, D), float32, with a shrunk covariance.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices"
    (2004): C = (1 - s) S + s m I with S the sample covariance, m = tr(S)/D and the s in 0..1 that
    minimises the expected squared Frobenius error. In numpy, because a device has no scikit-learn.
    Raises DataError for fewer than two rows or values that are not finite.
    """
    x = np.asarray(pooled, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise DataError("ood statistics need at least two finite rows of pooled tokens")
    num_rows, width = x.shape
    mean = x.mean(axis=0)
    centred = x - mean
    sample = centred.T @ centred / num_rows
    scale = float(np.trace(sample)) / width
    shrink = _shrinkage(centred, sample, scale)
    covariance = (1.0 - shrink) * sample
    # A constant channel set would leave nothing to invert: keep a floor relative to the scale.
    covariance[np.diag_indices(width)] += shrink * scale + max(1e-9 * scale, 1e-12)
    precision = np.linalg.inv(covariance)
    return mean.astype(np.float32), ((precision + precision.T) / 2).astype(np.float32)


def _shrinkage(centred: NDArray[np.float64], sample: NDArray[np.float64], scale: float) -> float:
    """The Ledoit-Wolf weight s of the target, 0..1: E|S - Sigma|^2 / E|S - m I|^2, estimated."""
    num_rows, width = centred.shape
    distance = float(((sample - scale * np.eye(width)) ** 2).sum())
    if distance <= 0.0:
        return 1.0
    # sum over rows of |x x^T - S|^2 = sum |x|^4 - N |S|^2, without N matrices of (D, D).
    fourth = float(((centred**2).sum(axis=1) ** 2).sum())
    error = (fourth / num_rows - float((sample**2).sum())) / num_rows
    return float(np.clip(error / distance, 0.0, 1.0))
