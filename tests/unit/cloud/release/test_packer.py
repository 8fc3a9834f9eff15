"""Packing: sizes rise with the share, what is lost is kept, feedback brings it back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.release.arrays import load_packed, save_packed
from driftline_cloud.release.delta import delta, no_residual, residual_after
from driftline_cloud.release.packer import PackSetting, pack, pack_exact, pack_full
from driftline_shared.update import UpdateKind, adapter_digest, adapter_fp16_bytes
from tests.fakes.adapters import lora_adapter, same_bits, sqrt_fisher, trained, weighted_error

BASE = lora_adapter(num_layers=6, width=96, rank=8)
TARGET = trained(BASE, 1)
FISHER = sqrt_fisher(BASE)
SHARES = (0.01, 0.02, 0.05, 0.10, 0.25, 0.50, 1.0)


@pytest.mark.parametrize("quantizer", ["linear2", "linear3", "linear4", "linear8", "nf4"])
def test_size_rises_and_error_falls_with_the_share(quantizer: str) -> None:
    sizes, errors = [], []
    for share in SHARES:
        setting = PackSetting(share=share, quantizer=quantizer)
        packed = pack(BASE, TARGET, no_residual(BASE), FISHER, setting)
        sizes.append(len(packed.blob))
        errors.append(weighted_error(TARGET, packed.adapter, FISHER))
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)
    assert all(later <= earlier * 1.01 for earlier, later in pairwise(errors))
    assert errors[-1] < 0.3 * weighted_error(TARGET, BASE, FISHER)


def test_more_bits_cost_more_and_lose_less() -> None:
    packings = [
        pack(BASE, TARGET, no_residual(BASE), FISHER, PackSetting(share=1.0, quantizer=name))
        for name in ("linear2", "linear3", "linear4", "linear8")
    ]
    sizes = [len(packed.blob) for packed in packings]
    errors = [weighted_error(TARGET, packed.adapter, FISHER) for packed in packings]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_a_tenth_of_fp16_keeps_most_of_the_change() -> None:
    packed = pack(
        BASE, TARGET, no_residual(BASE), FISHER, PackSetting(share=0.15, quantizer="linear3")
    )
    assert len(packed.blob) < 0.09 * adapter_fp16_bytes(BASE)
    assert weighted_error(TARGET, packed.adapter, FISHER) < 0.25 * weighted_error(
        TARGET, BASE, FISHER
    )


def test_tensors_with_nothing_selected_are_not_named() -> None:
    quiet = {name: (TARGET if "layers.0." in name else BASE)[name] for name in BASE}
    setting = PackSetting(share=0.5, quantizer="linear4")
    packed = pack(BASE, quiet, no_residual(BASE), FISHER, setting)
    assert {entry.name for entry in packed.tensors} <= {n for n in BASE if "layers.0." in n}
    assert packed.tensors


def test_a_change_of_nothing_is_still_an_update() -> None:
    setting = PackSetting(share=0.5, quantizer="linear2")
    packed = pack(BASE, BASE, no_residual(BASE), FISHER, setting)
    assert packed.raw_bytes > 0 and len(packed.tensors) == 1
    assert same_bits(packed.adapter, BASE)
    assert same_bits(pack_exact(BASE, BASE).adapter, BASE)


def test_what_is_lost_is_the_residual() -> None:
    setting = PackSetting(share=0.1, quantizer="linear2")
    packed = pack(BASE, TARGET, no_residual(BASE), FISHER, setting)
    for name in BASE:
        restored = packed.adapter[name] + packed.residual[name]
        assert np.allclose(restored, TARGET[name], atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["linear2", "linear3"]), st.integers(0, 1000))
def test_feedback_brings_back_what_was_lost(quantizer: str, seed: int) -> None:
    """Without feedback the part that is never selected stays lost; with it the error dies out."""
    target = trained(BASE, seed)
    setting = PackSetting(share=0.25, quantizer=quantizer)
    adapter, residual = BASE, no_residual(BASE)
    start = weighted_error(target, BASE, FISHER)
    trained_target = target
    for _ in range(6):
        packed = pack(adapter, trained_target, residual, FISHER, setting)
        adapter, residual = packed.adapter, packed.residual
        trained_target = adapter  # nothing new was learned: only the residual is sent
    assert weighted_error(target, adapter, FISHER) < 0.02 * start


def test_feedback_can_be_turned_off() -> None:
    residual = {name: np.ones_like(array) for name, array in BASE.items()}
    assert same_bits(delta(BASE, TARGET, residual, 0.0), delta(BASE, TARGET, {}, 1.0))
    wanted = delta(BASE, TARGET, residual, 1.0)
    assert np.allclose(residual_after(wanted, BASE, TARGET)["layers.0.q_proj.lora_A"], 1, atol=1e-5)


def test_a_candidate_that_does_not_fit_is_a_fault() -> None:
    with pytest.raises(ValueError, match="same tensors"):
        delta(BASE, {}, {})
    bad = {**TARGET, "layers.0.q_proj.lora_A": TARGET["layers.0.q_proj.lora_A"][:1]}
    with pytest.raises(ValueError, match="shape"):
        delta(BASE, bad, {})
    nan = {name: np.full_like(array, np.nan) for name, array in TARGET.items()}
    with pytest.raises(ValueError, match="finite"):
        delta(BASE, nan, {})


def test_packing_is_deterministic() -> None:
    setting = PackSetting(share=0.25, quantizer="linear3")
    first, second = (pack(BASE, TARGET, {}, FISHER, setting) for _ in range(2))
    assert first.blob == second.blob and first.tensors == second.tensors


def test_exact_and_full_lose_nothing() -> None:
    few = {name: array.copy() for name, array in BASE.items()}
    few["layers.1.q_proj.lora_B"][3] = 0.25
    exact, full = pack_exact(BASE, few), pack_full(few)
    assert [entry.name for entry in exact.tensors] == ["layers.1.q_proj.lora_B"]
    assert same_bits(exact.adapter, few) and same_bits(full.adapter, few)
    assert len(exact.blob) < 100 < len(full.blob)
    assert full.kind is UpdateKind.FULL and len(full.tensors) == len(BASE)
    assert not any(array.any() for array in exact.residual.values())


def test_a_packed_update_survives_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    setting = PackSetting(share=0.25, quantizer="linear3")
    packed = pack(BASE, TARGET, {}, FISHER, setting)
    store, key = FolderStore(tmp_path), "round/packed.safetensors"
    assert load_packed(store, key) is None
    save_packed(store, key, packed)
    again = load_packed(store, key)
    assert again is not None
    assert (again.blob, again.tensors, again.kind) == (packed.blob, packed.tensors, packed.kind)
    assert same_bits(again.adapter, packed.adapter) and same_bits(again.residual, packed.residual)
    assert adapter_digest(again.adapter) == again.target_digest == packed.target_digest
    store.put(key, (store.get(key) or b"")[:-7])
    assert load_packed(store, key) is None
