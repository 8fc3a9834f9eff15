"""Value and tensor codecs: round trips, error bounds, exact sizes, layers, fuzz."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_shared.codec.table import (
    DENSE,
    EXACT,
    QUANTIZERS,
    apply_tensor,
    decode_values,
    encode_exact,
    encode_layer,
    join_layers,
    max_coded_bytes,
    value_codec,
)
from driftline_shared.errors import CodecError

VALUES = [*DENSE, *QUANTIZERS, "linear2/512", "nf4/16"]
LAYERS = [*VALUES, *(f"sparse:{name}" for name in VALUES)]


def normal(size: int, seed: int, scale: float = 1e-3) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=size) * scale).astype(np.float32)


@given(
    st.sampled_from(sorted(QUANTIZERS)),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.floats(1e-4, 1e3),
)
def test_a_quantized_value_is_off_by_half_a_level_at_most(
    name: str, size: int, seed: int, scale: float
) -> None:
    values = normal(size, seed, scale)
    codec = value_codec(name)
    data = codec.encode(values)
    assert len(data) == codec.coded_bytes(size) <= max_coded_bytes(size)
    levels = np.array(QUANTIZERS[name].levels)
    for start in range(0, size, 64):
        block = values[start : start + 64]
        half = np.diff(levels).max() / 2 * np.abs(block).max() / levels[-1]
        error = np.abs(block - codec.decode(data, size)[start : start + 64]).max()
        assert error <= half * 1.002 + 1e-7  # fp16 scales round up by < 0.1 %, or are subnormal


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_weights_lower_the_weighted_error(size: int, seed: int) -> None:
    values = normal(size, seed)
    weights = np.abs(normal(size, seed + 1, 1.0)) + np.float32(1e-3)
    codec = value_codec("linear2")

    def cost(data: bytes) -> float:
        return float((weights * (values - codec.decode(data, size)) ** 2).sum())

    assert cost(codec.encode(values, weights)) <= cost(codec.encode(values)) * (1 + 1e-3)


@given(st.sampled_from(LAYERS), st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_zeros_stay_zero_and_sizes_are_bounded(
    layer: str, size: int, share: float, seed: int
) -> None:
    values = normal(size, seed)
    values[np.random.default_rng(seed).random(size) >= share] = 0
    data = encode_layer(layer, values)
    assert len(data) <= max_coded_bytes(size)
    decoded = decode_values(layer, data, size)
    assert decoded.dtype == np.float32 and decoded.shape == (size,)
    assert (decoded[values == 0] == 0).all()
    if layer.endswith("fp32"):
        assert decoded.tobytes() == values.tobytes()


@given(st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_exact_gives_every_bit(size: int, share: float, seed: int) -> None:
    base = normal(size, seed)
    changed = np.random.default_rng(seed).random(size) < share
    target = np.where(changed, np.float32(-0.0), base)
    result = apply_tensor(EXACT, encode_exact(base, target), base)
    assert result.tobytes() == target.tobytes()


@given(st.lists(st.sampled_from([*LAYERS, EXACT]), min_size=1, max_size=4), st.integers(0, 2**32))
def test_joined_layers_give_what_the_layers_give_one_by_one(names: list[str], seed: int) -> None:
    base = values = normal(90, seed)
    steps = []
    for index, name in enumerate(names):
        change = normal(90, seed + index + 1)
        if name == EXACT:
            step = (name, encode_exact(values, values + change))
        else:
            step = (name, encode_layer(name, change))
        steps.append(step)
        values = apply_tensor(*step, values)
    # Joining what is joined already keeps the order.
    joined = join_layers([join_layers(steps[:2]), *steps[2:]])
    assert apply_tensor(*joined, base).tobytes() == values.tobytes()


def test_base_is_not_changed() -> None:
    base = normal(64, 0)
    before = base.tobytes()
    for layer in (EXACT, "sparse:linear4", "linear2"):
        data = encode_exact(base, -base) if layer == EXACT else encode_layer(layer, base)
        apply_tensor(layer, data, base)
        assert base.tobytes() == before


@pytest.mark.parametrize(
    "name",
    ["", "linear5", "sparse:", "sparse:sparse:fp32", "linear2/0", "linear2/9999999", "fp32+",
     "sparse:exact", "fp32/64", "+".join(["fp32"] * 99), "x" * 999],
)  # fmt: skip
def test_an_unknown_codec_is_refused(name: str) -> None:
    with pytest.raises(CodecError):
        apply_tensor(name, b"\x00" * 64, np.zeros(16, dtype=np.float32))


@settings(max_examples=300)
@given(st.sampled_from([*LAYERS, EXACT, "sparse:linear2+linear4"]), st.binary(max_size=200))
def test_any_bytes_decode_or_give_our_error(codec: str, data: bytes) -> None:
    base = np.zeros(70, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"), contextlib.suppress(CodecError):
        assert apply_tensor(codec, data, base).shape == base.shape


def test_an_infinite_scale_is_refused() -> None:
    data = np.array([np.inf], dtype="<f2").tobytes() + b"\x00"
    with pytest.raises(CodecError):
        decode_values("linear8", data, 1)
