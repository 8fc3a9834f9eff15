"""Fits the tables of the transform codec to calibration tokens.

Rotation: x = mean + c B, with C the tokens' covariance and G a metric of what an error costs,

    H = G^(1/2),   H C H = E diag(w) E',   c = (x - mean) H E,   B = E' H^(-1)

the Karhunen-Loeve transform in that metric (G = I: the plain one), so that equal steps of all c are
the best use of bits. Then, over random choices of each picture's places: how far each coefficient
deviates, by level of the pyramid, and how often each magnitude follows what was written before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.transform import ans, symbols
from driftline_shared.codec.transform.file import MAX_WIDTH, transform_of
from driftline_shared.codec.transform.pyramid import Pyramid, num_levels, pyramid_of
from driftline_shared.errors import DataError
from driftline_shared.tokens import Grid, TokenTransform

_SHARES = (0.25, 0.5, 1.0)
"""Of a picture's places: what is seen of it in the fit."""
_MOST_VALUES = 1 << 25
"""Values of tokens that are fitted on (256 MiB as float64)."""
_OCTAVES_BELOW = 20
"""The finest step lies this far below the largest deviation."""
_TOP_INT16 = 32_767
_PRIOR = 16.0
"""Counts that a wider context's frequencies stand for in a narrower one's."""
_STEPS_BELOW, _STEPS_ABOVE, _STEPS_APART = 56, 8, 4
"""Steps counted, in eighths of octaves round the largest deviation: a sixty-fourth to twice."""

Floats = NDArray[np.float64]


def fit_transform(
    tokens: NDArray[np.floating], grid: Grid, metric: Floats | None = None
) -> TokenTransform:
    """Tables for (N, V, D) `tokens` of calibration images. `metric`: (D, D), symmetric, positive.

    Raises DataError for too few or too wide tokens, or values that are not finite.
    """
    num_images, places, width = tokens.shape
    if num_images < 2 or places != grid.num_tokens or not 1 <= width <= MAX_WIDTH:
        raise DataError(
            f"{num_images} images of {places} tokens of {width} channels: a token codec is fitted "
            f"on two images at least, {grid.num_tokens} tokens each, at most {MAX_WIDTH} channels"
        )
    images = tokens[: max(2, _MOST_VALUES // (places * width))].astype(np.float64)
    if not np.isfinite(images).all():
        raise DataError("the calibration tokens are not finite")
    mean = images.mean(axis=(0, 1)).astype(np.float32)
    basis, scale = _basis(images.reshape(-1, width) - mean, metric)
    analysis = np.asarray(np.linalg.inv(basis.astype(np.float64) * scale), dtype=np.float64)
    seen = _seen(images - mean, grid, analysis)
    deviations = _deviations(seen, num_levels(grid))
    largest = float(deviations.max())
    unit = 2.0 ** (math.frexp(largest)[1] - 1 - _OCTAVES_BELOW) if largest > 0 else 1.0
    logs = np.rint(8 * np.log2(np.maximum(deviations, unit) / unit)).astype(np.int16)
    return transform_of(
        mean=mean,
        basis=basis,
        scale=scale,
        unit=unit,
        log_scales=logs,
        frequencies=_frequencies(_counts(seen, logs, unit, largest)),
    )


def _basis(centred: Floats, metric: Floats | None) -> tuple[NDArray[np.int16], float]:
    """(D, D) rows by falling variance, and what one of their steps stands for."""
    width = centred.shape[1]
    root = inverse = np.eye(width)
    if metric is not None:
        sizes, axes = np.linalg.eigh(metric)
        sizes = np.sqrt(np.maximum(sizes, 1e-6 * sizes.max()))
        root, inverse = (axes * sizes) @ axes.T, (axes / sizes) @ axes.T
    variances, axes = np.linalg.eigh(root @ (centred.T @ centred / len(centred)) @ root)
    rows = (inverse @ axes[:, np.argsort(-variances, kind="stable")]).T
    # An eigenvector's sign is free: the same one on every machine is the easier to compare.
    rows *= np.sign(rows[np.arange(width), np.abs(rows).argmax(axis=1)])[:, None]
    scale = float(np.abs(rows).max()) / _TOP_INT16
    return np.rint(rows / scale).astype(np.int16), scale


def _seen(centred: Floats, grid: Grid, analysis: Floats) -> list[tuple[Pyramid, Floats]]:
    """Each picture once at each share: its pyramid and (K, D) coefficients."""
    rng = np.random.default_rng(0)
    seen = []
    for image in centred:
        for share in _SHARES:
            count = max(1, round(share * grid.num_tokens))
            kept = np.sort(rng.permutation(grid.num_tokens)[:count])
            pyramid = pyramid_of(kept, grid)
            seen.append((pyramid, pyramid.forward(image[kept] @ analysis)))
    return seen


def _deviations(seen: Sequence[tuple[Pyramid, Floats]], levels: int) -> Floats:
    """(L, D) root mean squares by level, as if each node's weight were 1."""
    squares, counts = np.zeros((levels, seen[0][1].shape[1])), np.zeros((levels, 1))
    for pyramid, coefficients in seen:
        weighed = coefficients**2 / 2.0 ** (symbols.log_weight(pyramid.weight)[:, None] / 4)
        np.add.at(squares, pyramid.level, weighed)
        np.add.at(counts[:, 0], pyramid.level, 1)
    return np.sqrt(squares / np.maximum(counts, 1))


def _counts(
    seen: Sequence[tuple[Pyramid, Floats]], logs: NDArray[np.int16], unit: float, largest: float
) -> Floats:
    """(S, N, E, M) how often each magnitude came, over steps of a wide range."""
    middle = symbols.step_index(unit, largest)
    shape = (*symbols.ALPHABETS, symbols.NUM_MAGNITUDES)
    counts = np.zeros(math.prod(shape))
    for step in range(middle - _STEPS_BELOW, middle + _STEPS_ABOVE + 1, _STEPS_APART):
        for pyramid, coefficients in seen:
            numbers = symbols.whole_steps(coefficients, symbols.step_of(unit, step))
            scales = symbols.scales_of(pyramid, logs, step)
            alphabets = symbols.alphabets_of(numbers, scales)
            magnitudes = np.minimum(np.abs(numbers), symbols.TOP)
            places = (alphabets * symbols.NUM_MAGNITUDES + magnitudes).reshape(-1)
            counts += np.bincount(places, minlength=counts.size)
    return counts.reshape(shape)


def _frequencies(counts: Floats) -> NDArray[np.uint16]:
    """Whole frequencies that sum to 2^15 in each alphabet; even ones beside 0's, for two signs.

    What was seen seldom leans on what was seen at that scale with any neighbours, and that on a
    guess which halves with each magnitude.
    """
    guess = 0.5 ** np.arange(1, symbols.NUM_MAGNITUDES + 1)
    by_scale = counts.sum(axis=(1, 2))
    by_scale = by_scale + guess
    by_scale /= by_scale.sum(axis=-1, keepdims=True)
    leaned = counts + _PRIOR * by_scale[:, None, None, :]
    shares = leaned / leaned.sum(axis=-1, keepdims=True)
    found = 2 * np.maximum(1, np.rint(shares * (ans.TOTAL / 2))).astype(np.int64)
    found[..., 0] = ans.TOTAL - found[..., 1:].sum(axis=-1)
    # Rounding up can leave nothing for 0: the largest then gives way.
    short = np.minimum(found[..., 0] - 2, 0)
    np.put_along_axis(
        found,
        found.argmax(axis=-1, keepdims=True),
        found.max(axis=-1, keepdims=True) + short[..., None],
        axis=-1,
    )
    found[..., 0] -= short
    frequencies: NDArray[np.uint16] = found.astype(np.uint16)
    return frequencies
