"""A body gives back every number, is small where rows and columns say much, and refuses damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.codec.steps.body import (
    Change,
    as_matrix,
    decode_body,
    encode_body,
    join_bodies,
    max_body_bytes,
    split_bodies,
    step_of,
)
from driftline_shared.codec.steps.matrix import TOP
from driftline_shared.errors import CodecError

SHAPES = {"a": (3, 20), "b": (30, 4), "norm": (17,), "one": (1,), "conv": (5, 2, 3)}


def changes_of(seed: int, density: float, top: int) -> dict[str, Change]:
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in SHAPES.items():
        numbers = rng.integers(-top, top + 1, size=shape)
        kept = rng.random(shape) < density
        found[name] = Change(np.where(kept, numbers, 0), int(rng.integers(256)))
    return found


@given(st.integers(0, 9999), st.floats(0, 1), st.sampled_from([1, 2, 7, TOP]))
def test_what_was_coded_comes_back(seed: int, density: float, top: int) -> None:
    changes = changes_of(seed, density, top)
    found = decode_body(encode_body(changes, SHAPES), SHAPES)
    assert set(found) == {name for name, change in changes.items() if change.numbers.any()}
    for name, change in found.items():
        assert change.code == changes[name].code
        np.testing.assert_array_equal(change.numbers, changes[name].numbers)


@given(st.integers(0, 999), st.data())
def test_damaged_bytes_are_refused_or_read_as_numbers_within_bounds(
    seed: int, data: st.DataObject
) -> None:
    body = bytearray(encode_body(changes_of(seed, 0.3, 2), SHAPES))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, 3))
    try:
        found = decode_body(bytes(body[: len(body) - cut]), SHAPES)
    except CodecError:
        return
    for name, change in found.items():
        assert change.numbers.shape == SHAPES[name]
        assert int(np.abs(change.numbers).max()) <= TOP and 0 <= change.code < 256


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode_body(data, SHAPES)
    except CodecError:
        return


def test_an_outer_product_costs_a_fraction_of_its_entropy() -> None:
    rng = np.random.default_rng(5)
    rows, columns = rng.normal(size=(16, 1)), rng.normal(size=(1, 400))
    product = rows * columns
    numbers = np.where(np.abs(product) > 1.0, np.sign(product), 0).astype(np.int64)
    density = np.count_nonzero(numbers) / numbers.size
    entropy = -density * np.log2(density / 2) - (1 - density) * np.log2(1 - density)
    body = encode_body({"a": Change(numbers, 90)}, {"a": numbers.shape})
    assert len(body) * 8 < 0.6 * entropy * numbers.size


def test_values_are_exact_products_and_steps_are_exact_in_half_precision() -> None:
    steps = np.array([step_of(code) for code in range(256)])
    np.testing.assert_array_equal(steps.astype(np.float16).astype(np.float32), steps)
    assert (np.diff(steps) > 0).all()
    numbers = np.arange(-TOP, TOP + 1)
    for code in (0, 7, 99, 255):
        exact = numbers.astype(np.float64) * float(step_of(code))
        np.testing.assert_array_equal(Change(numbers, code).values.astype(np.float64), exact)


def test_the_shorter_side_is_the_rows() -> None:
    assert as_matrix(np.zeros((30, 4))).shape == (4, 30)
    assert as_matrix(np.zeros((4, 30))).shape == (4, 30)
    assert as_matrix(np.zeros(9)).shape == (1, 9)
    assert as_matrix(np.zeros((5, 2, 3))).shape == (5, 6)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=16))
def test_bodies_join_and_split(bodies: list[bytes]) -> None:
    assert split_bodies(join_bodies(bodies)) == bodies


@pytest.mark.parametrize(
    "blob", [b"", b"\x00", b"\x01\x05abc", b"\x11" + b"\x01a" * 17, b"\x01\x01ab"]
)
def test_a_blob_that_is_no_list_of_bodies_is_refused(blob: bytes) -> None:
    with pytest.raises(CodecError):
        split_bodies(blob)


def test_numbers_that_do_not_fit_are_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        encode_body({"one": Change(np.array([TOP + 1]), 0)}, SHAPES)


@given(st.integers(0, 9999), st.sampled_from([1, 7, TOP]))
def test_no_body_is_longer_than_the_bound(seed: int, top: int) -> None:
    body = encode_body(changes_of(seed, 1.0, top), SHAPES)
    assert len(body) <= max_body_bytes(SHAPES)


def test_a_longer_body_or_one_of_other_lanes_is_not_looked_at() -> None:
    body = encode_body(changes_of(1, 0.5, 3), SHAPES)
    with pytest.raises(CodecError, match="are needed"):
        decode_body(body + b"\x00\x00" * max_body_bytes(SHAPES), SHAPES)
    with pytest.raises(CodecError, match="wrong length"):
        decode_body(bytes([0]) + body[1:], SHAPES)


def test_a_weight_that_does_not_change_keeps_its_bits() -> None:
    weights = np.array([-0.0, 0.0, 1.5, -0.0], dtype=np.float32)
    found = Change(np.array([0, 0, 1, -1]), 160).added_to(weights)
    assert found.dtype == np.float32
    assert np.signbit(found).tolist() == [True, False, False, True]
    assert found[:2].tobytes() == weights[:2].tobytes()
