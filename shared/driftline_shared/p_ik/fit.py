"""Fitting a P(IK) head: logistic regression with a fixed ridge, on standardised features.

    minimise  sum_i m_i log(1 + exp(-y_i (w . x_i + b))) / sum_i m_i  +  strength / 2 |w|^2

x: features, each with mean 0 and variance 1 over the rows, the two scalars with variance
SCALAR_SCALE^2, so that the ridge hardly holds them back: they are right everywhere, directions of
the state are learnt; y: +1 wrong, -1 right; m: weights of
the rows, scaled so that wrong and right rows weigh the same together. Solved by Newton's method in
float64: the same rows give the same head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.p_ik.head import (
    LEVELS,
    MAX_SOURCE,
    NUM_SCALARS,
    Floats,
    IkHead,
    sigmoid,
)

STRENGTH = 0.03
SCALAR_SCALE = 4.0
MIN_WRONG = 8
"""Fewer wrong (or right) rows than this say nothing."""

_STEPS = 40
_CLOSE = 1e-8
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class IkRows:
    """`features` (N, D + 2) as `head.features` gives them, `wrong` (N,), and what these rows weigh
    all together beside other sets.
    """

    features: Floats
    wrong: NDArray[np.bool_]
    weight: float = 1.0


def fit_head(rows: Sequence[IkRows], source: Floats, *, version: int) -> IkHead | None:
    """A head from `rows`, calibrated on `source` (N, D + 2), features of source answers that are
    not among them; None where too few rows are wrong, or right, to learn from.
    """
    rows = [each for each in rows if len(each.wrong)]
    wrong = np.concatenate([each.wrong for each in rows]) if rows else np.zeros(0, np.bool_)
    if not len(source) or min(int(wrong.sum()), int((~wrong).sum())) < MIN_WRONG:
        return None
    features = np.concatenate([each.features for each in rows])
    weights = np.concatenate(
        [np.full(len(each.wrong), each.weight / len(each.wrong)) for each in rows]
    )
    for side in (wrong, ~wrong):
        weights[side] *= 0.5 / weights[side].sum()
    mean, scale = features.mean(axis=0), features.std(axis=0)
    known = scale > _TINY
    scale = np.where(known, scale, 1.0)
    scale[-NUM_SCALARS:] /= SCALAR_SCALE
    fitted, bias = _solve((features - mean) / scale * known, wrong, weights)
    # What is stored is float16; the bias is then that of the stored weights.
    stored = (fitted / scale * known).astype(np.float16).astype(np.float64)
    bias = float(np.float32(bias - mean @ stored))
    logits = np.sort(source @ stored + bias)
    quantiles = np.quantile(logits, 1.0 - np.asarray(LEVELS))
    return IkHead(
        weights=stored,
        bias=bias,
        quantiles=quantiles.astype(np.float16).astype(np.float64),
        num_source=min(len(source), MAX_SOURCE),
        version=version,
    )


def _solve(rows: Floats, wrong: NDArray[np.bool_], weights: Floats) -> tuple[Floats, float]:
    """(D,) weights and the bias, of standardised rows (N, D)."""
    inputs = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    ridge = np.full(inputs.shape[1], STRENGTH)
    ridge[-1] = _TINY
    found = np.zeros(inputs.shape[1])
    loss = _loss(inputs, wrong, weights, ridge, found)
    for _ in range(_STEPS):
        p = sigmoid(inputs @ found)
        slope = inputs.T @ (weights * (p - wrong)) + ridge * found
        curve = (inputs * (weights * p * (1.0 - p))[:, None]).T @ inputs + np.diag(ridge)
        step, size = np.linalg.solve(curve, slope), 1.0
        while (tried := _loss(inputs, wrong, weights, ridge, found - size * step)) > loss:
            size /= 2.0
            if size < _TINY:
                return found[:-1], float(found[-1])
        found, loss = found - size * step, tried
        if np.abs(size * step).max() < _CLOSE:
            break
    return found[:-1], float(found[-1])


def _loss(
    inputs: Floats, wrong: NDArray[np.bool_], weights: Floats, ridge: Floats, found: Floats
) -> float:
    logits = inputs @ found
    against = np.where(wrong, -logits, logits)
    return float(weights @ np.logaddexp(0.0, against) + 0.5 * ridge @ np.square(found))
