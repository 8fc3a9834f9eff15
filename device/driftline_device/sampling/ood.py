"""The `ood` score: how far an image's pooled tokens lie from the source statistics."""

from __future__ import annotations

import numpy as np

from driftline_shared.pair.token_space import squared_distance
from driftline_shared.tokens import TokenSpace, VisualTokens


def ood_score(tokens: VisualTokens, space: TokenSpace) -> float:
    """Mahalanobis distance of the mean token from the source mean, per channel.

    sqrt((z - mean)^T precision (z - mean) / D) with z the mean over tokens: about 1 on source
    images whatever the width D.
    """
    offset = tokens.values.mean(axis=0, dtype=np.float64) - space.mean
    return float(np.sqrt(max(squared_distance(offset, space.precision), 0.0) / space.width))
