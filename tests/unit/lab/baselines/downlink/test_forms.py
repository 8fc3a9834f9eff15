"""Bytes and values of what travels down without DWC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from driftline_cloud.jobs import Distilled
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.release.packer import Packed
from driftline_lab.baselines.downlink.exact_sparse import EXACT_SPARSE
from driftline_lab.baselines.downlink.full_fp16 import FULL_FP16
from driftline_lab.baselines.in_cloud.cema import CEMA
from driftline_lab.baselines.shipping import Candidate
from driftline_shared.update import Adapter, adapter_fp16_bytes

NOTHING: Any = None
BASE: Adapter = {
    "a.A": np.zeros((40, 50), np.float32),
    "a.B": np.zeros((50, 40), np.float32),
    "norm": np.ones(30, np.float32),
}


def candidate(target: Adapter, costs: list[Packed] | None = None) -> Candidate:
    def cost(packed: Packed) -> int:
        if costs is not None:
            costs.append(packed)
        return len(packed.blob)

    return Candidate(
        base=BASE,
        distilled=Distilled(adapter=target, importance={}, numbers={}),
        residual={},
        gate=NOTHING,
        cost=cost,
        settings=ChooseSettings(),
    )


def changed(share: float, seed: int = 0) -> Adapter:
    rng = np.random.default_rng(seed)
    return {
        name: np.where(rng.random(array.shape) < share, rng.normal(size=array.shape), array).astype(
            np.float32
        )
        for name, array in BASE.items()
    }


def test_a_full_adapter_takes_two_bytes_a_weight() -> None:
    target = changed(1.0)
    shipped = FULL_FP16.pack(candidate(target))
    assert shipped.num_bytes == 2 * (2000 + 2000 + 30) == adapter_fp16_bytes(BASE)
    for name, array in target.items():
        assert np.array_equal(shipped.adapter[name], array.astype(np.float16).astype(np.float32))


def test_norms_alone_take_two_bytes_each_and_leave_the_rest() -> None:
    target = changed(1.0)
    shipped = CEMA.pack(candidate(target))
    assert shipped.num_bytes == 2 * 30
    assert np.array_equal(shipped.adapter["a.A"], BASE["a.A"])
    assert shipped.adapter["norm"] == pytest.approx(target["norm"], abs=1e-3)


@pytest.mark.parametrize("share", [0.01, 0.15, 0.6])
def test_exact_sparse_is_where_and_four_bytes_each_and_loses_nothing(share: float) -> None:
    target = changed(share)
    packed: list[Packed] = []
    shipped = EXACT_SPARSE.pack(candidate(target, packed))
    for name, array in target.items():
        assert np.array_equal(shipped.adapter[name], array)
    entries = {entry.name: entry.length for entry in packed[0].tensors}
    for name, array in target.items():
        moved = np.flatnonzero(array != BASE[name])
        if len(moved) == 0:
            assert name not in entries
            continue
        bitmap = -(-array.size // 8)
        gaps = np.diff(moved, prepend=-1) - 1
        where = min(bitmap, int(np.where(gaps < 128, 1, 2).sum()))
        count = 1 if len(moved) < 128 else 2
        assert entries[name] == 1 + count + where + 4 * len(moved)
    assert not any(array.any() for array in shipped.residual.values())
