"""Detail bands of a 1-D discrete wavelet transform (Daubechies 6) along the token axis.

Filter: I. Daubechies, Ten Lectures on Wavelets (SIAM 1992), table 6.1, N = 6, whose 12 numbers
are given there to 12 digits; here they are solved on to double precision. Own code because it is
one matrix product a level: a library with gradients (ptwt, on PyWavelets) would be two dependencies
more (ADR 9).

The signal is taken as periodic (an odd band first repeats its last token): then each level is an
orthogonal map of any length from two tokens on, so a short answer has details too, and no
coefficient counts energy that is not in the signal.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

DB6 = (
    0.11154074335008017,
    0.4946238903983854,
    0.7511339080215775,
    0.3152503517092432,
    -0.22626469396516913,
    -0.12976686756709563,
    0.09750160558707936,
    0.02752286553001629,
    -0.031582039318031156,
    0.0005538422009938016,
    0.004777257511010651,
    -0.00107730108499558,
)
"""The low-pass filter: sums to sqrt(2), orthonormal to its even shifts, six vanishing moments."""

MAX_LEVELS = 3

MAX_MATRIX_TOKENS = 1024
"""Up to here all levels are one matrix product; a longer signal is filtered level by level."""


def num_levels(length: int, max_levels: int = MAX_LEVELS) -> int:
    """Levels a signal of `length` tokens has: each halves it, none splits a single token."""
    levels = 0
    while levels < max_levels and length >= 2:
        length = (length + 1) // 2
        levels += 1
    return levels


def transform(signal: Tensor, max_levels: int = MAX_LEVELS) -> tuple[list[Tensor], Tensor]:
    """Details from fine to coarse, each (B, n_level, D), and the last approximation, of (B, N, D).

    d[i] = sum_k g[k] x[(2i + k) mod N] with g[k] = (-1)^k h[11 - k], and a[i] likewise with h.
    """
    low = signal.new_tensor(DB6)
    signs = signal.new_tensor([(-1.0) ** k for k in range(len(DB6))])
    filters = torch.stack([low, low.flip(0) * signs], dim=1)  # (12, 2)
    details = []
    for _ in range(num_levels(signal.shape[1], max_levels)):
        bands = _windows(signal) @ filters  # (B, N/2, D, 2)
        signal = bands[..., 0]
        details.append(bands[..., 1])
    return details, signal


def details(signal: Tensor, max_levels: int = MAX_LEVELS) -> Tensor:
    """All detail bands of (B, N, D) on top of each other, (B, M, D): `transform`, but faster.

    The transform is linear in the tokens, so for short signals it is one (M, N) matrix: the
    windows of the filters, twelve times the signal, are never written out.
    """
    if signal.shape[1] > MAX_MATRIX_TOKENS:
        return _joined(signal, max_levels)
    matrix = _detail_matrix(signal.shape[1], max_levels)
    return matrix.to(signal.device, signal.dtype) @ signal


@lru_cache(maxsize=64)
def _detail_matrix(length: int, max_levels: int) -> Tensor:
    """(M, N) float64: what `transform` does to each unit vector."""
    return _joined(torch.eye(length, dtype=torch.float64)[None], max_levels)[0]


def _joined(signal: Tensor, max_levels: int) -> Tensor:
    bands, _ = transform(signal, max_levels)
    return torch.cat(bands, dim=1) if bands else signal[:, :0]


def _windows(signal: Tensor) -> Tensor:
    """(B, N, D) -> (B, ceil(N/2), D, 12): 12 tokens from every second one on."""
    if signal.shape[1] % 2:
        signal = torch.cat([signal, signal[:, -1:]], dim=1)
    length = signal.shape[1]
    needed = length + len(DB6) - 2
    # Repeating by cat, not by index: its gradient is summed in a fixed order.
    around = torch.cat([signal] * -(-needed // length), dim=1)[:, :needed]
    return around.unfold(1, len(DB6), 2)
