"""The price of a bit rules what changes: fewer and fewer weights, always those that matter."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_cloud.release.delta import delta
from driftline_cloud.release.packer import PackSetting, pack
from driftline_cloud.release.rate import price_of, quantize
from driftline_shared.codec.steps.matrix import TOP
from driftline_shared.update import Adapter
from driftline_shared.update_apply import decode_steps
from tests.fakes.adapters import lora_adapter, same_bits, sqrt_fisher, trained, weighted_error

BASE = lora_adapter(num_layers=4, width=64, rank=8)
TARGET = trained(BASE, 1)
FISHER = sqrt_fisher(BASE)
WANTED = delta(BASE, TARGET, {})


def test_bytes_rise_and_error_falls_with_the_share() -> None:
    packings = [
        pack(BASE, TARGET, {}, FISHER, PackSetting(share=share, quantizer="steps"))
        for share in (0.02, 0.1, 0.3, 0.8)
    ]
    sizes = [len(packed.blob) for packed in packings]
    errors = [weighted_error(TARGET, packed.adapter, FISHER) for packed in packings]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)


def test_it_beats_positions_and_levels_at_fewer_bytes() -> None:
    old = pack(BASE, TARGET, {}, FISHER, PackSetting(share=0.2, quantizer="linear2"))
    new = pack(BASE, TARGET, {}, FISHER, PackSetting(share=0.3, quantizer="steps"))
    # What the old one costs beside its blob: a tensor is named in about 65 bytes.
    assert len(new.blob) < len(old.blob) + 65 * len(old.tensors)
    assert error(new.adapter) < 0.8 * error(old.adapter)


def test_a_change_goes_as_far_along_what_was_wanted() -> None:
    """Without the weights that are left out, by larger steps of the others."""
    packed = pack(BASE, TARGET, {}, FISHER, PackSetting(share=0.5, quantizer="steps"))
    along = sum(float((FISHER[n] * WANTED[n] * (packed.adapter[n] - BASE[n])).sum()) for n in BASE)
    whole = sum(float((FISHER[n] * WANTED[n] ** 2).sum()) for n in BASE)
    assert along == pytest.approx(whole, rel=0.06)


def error(adapter: Adapter) -> float:
    """What `rate` minimises, but for the bits."""
    return float(sum((FISHER[n] * (TARGET[n] - adapter[n]) ** 2).sum() for n in BASE))


def test_what_is_lost_is_kept_for_the_next_update() -> None:
    packed = pack(BASE, TARGET, {}, FISHER, PackSetting(share=0.1, quantizer="steps"))
    assert same_bits(packed.adapter, decode_steps(BASE, packed.blob))
    for name in BASE:
        sent = packed.adapter[name] - BASE[name]
        np.testing.assert_array_equal(packed.residual[name], WANTED[name] - sent)


def test_nothing_wanted_changes_nothing() -> None:
    packed = pack(BASE, BASE, {}, FISHER, PackSetting(share=0.1, quantizer="steps"))
    assert same_bits(packed.adapter, BASE)
    assert len(packed.blob) < 100


def test_a_weight_without_importance_is_left_where_it_is() -> None:
    weights = {name: np.ones_like(array) for name, array in WANTED.items()}
    quiet = min(weights)
    weights[quiet] = np.zeros_like(weights[quiet])
    assert quiet not in quantize(WANTED, weights, price_of(WANTED, weights, 0.2))


@pytest.mark.parametrize("scale", [1e-30, 1e-5, 1.0, 1e3, 1e9])
def test_numbers_fit_whatever_the_size_of_the_change(scale: float) -> None:
    wanted = {name: array * np.float32(scale) for name, array in WANTED.items()}
    weights = {name: np.ones_like(array) for name, array in WANTED.items()}
    for change in quantize(wanted, weights, price_of(wanted, weights, 0.3)).values():
        assert int(np.abs(change.numbers).max()) <= TOP


def test_a_price_exists_where_fewer_weights_changed_than_the_share() -> None:
    wanted = {"a": np.zeros(10, dtype=np.float32)}
    weights = {"a": np.ones(10, dtype=np.float32)}
    assert price_of(wanted, weights, 0.5) > 0
    wanted["a"][3] = 2.0
    assert 0 < price_of(wanted, weights, 0.5) < 4.0
