"""A labelled sample as the screen sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.grouping.statistics import whitener
from driftline_cloud.jobs import Label
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.tokens import Sample, TokenSpace

CLIP = 100.0
"""Whitened values are cut here: squares of what a transform codec can bring stay finite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """`tokens`: (K, D) float64, whitened by the source's statistics: a source token has mean 0 and
    unit covariance. `values`: (K, D) float32, the same in parts of each channel's range around its
    mean. `positions`: (K,) flat grid indices of `num_cells`. `answer`: what would be
    learnt; `disputed`: as in `Label`.
    """

    id: bytes
    device: str
    question: str
    answer: str
    disputed: float
    tokens: NDArray[np.float64]
    values: NDArray[np.float32]
    positions: NDArray[np.int32]
    num_cells: int


def see(
    samples: Sequence[Sample],
    labels: Sequence[Label],
    devices: Mapping[bytes, str],
    space: TokenSpace,
) -> list[Seen]:
    """Of samples with their labels, in order. Raises DataError for tokens that do not decode."""
    whiten = whitener(space)
    span = np.maximum(space.high.astype(np.float64) - space.low, 1e-12)
    found = []
    for sample, label in zip(samples, labels, strict=True):
        tokens = decode_tokens(sample.tokens, space)
        values = np.nan_to_num(tokens.values.astype(np.float64) - space.mean)
        white = values @ whiten if whiten.ndim == 2 else values * whiten
        found.append(
            Seen(
                id=sample.id,
                device=devices[sample.id],
                question=sample.question,
                answer=label.text,
                disputed=label.disputed,
                tokens=np.clip(white, -CLIP, CLIP),
                values=np.clip(values / span, -1.0, 1.0).astype(np.float32),
                positions=tokens.positions,
                num_cells=space.grid.num_tokens,
            )
        )
    return found
