"""Full fp16 adapter down: no compression at all.

    bytes = 2 n        C_{v+1} = fp16(T)        n weights of the adapter

The yardstick that sizes of updates are given in.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.release.delta import no_residual
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.shipping import Candidate, Shipped
from driftline_shared.update import Adapter

_TOP = np.float32(np.finfo(np.float16).max)


def pack_full_fp16(candidate: Candidate) -> Shipped:
    """Every weight, two bytes each; nothing is owed afterwards."""
    return as_fp16(candidate, candidate.distilled.adapter)


def as_fp16(candidate: Candidate, names: Collection[str]) -> Shipped:
    """The tensors `names` of the candidate as fp16, two bytes a weight; the others as they are."""
    target = candidate.distilled.adapter
    adapter = {
        name: rounded(target[name]) if name in names else base
        for name, base in candidate.base.items()
    }
    return Shipped(
        adapter=adapter,
        residual=no_residual(candidate.base),
        num_bytes=fp16_bytes({name: target[name] for name in names}),
        label="fp16",
    )


def fp16_bytes(tensors: Adapter) -> int:
    """Two bytes a weight."""
    return 2 * sum(array.size for array in tensors.values())


def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest fp16 values, saturated, as float32."""
    return np.clip(array, -_TOP, _TOP).astype(np.float16).astype(np.float32)


FULL_FP16 = Baseline(
    name="full-fp16-down",
    kind=Kind.DOWNLINK,
    source="no compression",
    rule="2 bytes for each weight of the adapter",
    pack=pack_full_fp16,
)
