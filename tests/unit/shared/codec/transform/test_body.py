"""The body: one payload gives one picture, bit for bit, on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from driftline_shared.codec.transform import ans, symbols
from driftline_shared.codec.transform.body import check_body, decode_body, encode_body
from driftline_shared.codec.transform.file import transform_of
from driftline_shared.codec.varint import write_varint
from driftline_shared.errors import CodecError
from driftline_shared.tokens import Grid, TokenTransform
from tests.fakes.transforms import made_transform, smooth_pictures

GRID = Grid(rows=5, cols=7)


def drawn_transform() -> TokenTransform:
    """Tables that no fit made, and so no machine's linear algebra."""
    rng = np.random.default_rng(5)
    frequencies = np.full((*symbols.ALPHABETS, symbols.NUM_MAGNITUDES), 100, dtype=np.uint16)
    frequencies[..., 0] = ans.TOTAL - 1500
    return transform_of(
        mean=rng.integers(-50, 50, size=9).astype(np.float32) / 16,
        basis=rng.integers(-30_000, 30_000, size=(9, 9)).astype(np.int16),
        scale=2.0**-15,
        unit=2.0**-12,
        log_scales=rng.integers(0, 90, size=(7, 9)).astype(np.int16),
        frequencies=frequencies,
    )


def test_a_payload_decodes_to_the_same_bits_everywhere() -> None:
    transform = drawn_transform()
    places = np.array([0, 1, 4, 9, 10, 11, 17, 20, 26, 33, 34])
    numbers = np.random.default_rng(6).integers(0, 256, size=200).astype(np.uint8).tobytes()
    body = transform.digest[:4] + bytes([77]) + write_varint(8) + numbers
    values = decode_body(body, places, GRID, transform)
    assert values.shape == (11, 9) and np.abs(values).max() > 1
    assert transform.digest.hex()[:16] == "42546f4510e80d3d"
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:16] == "fb7582d35be14d3c"


def test_even_pictures_cost_a_head_alone() -> None:
    transform = made_transform(GRID, 8)
    values = np.repeat(transform.mean[None], 35, axis=0)
    body = encode_body(values, np.arange(35), GRID, transform, 64)
    assert len(body) == 6
    assert (decode_body(body, np.arange(35), GRID, transform) == values).all()


def test_more_numbers_than_are_read_for_one_picture_are_refused() -> None:
    transform = made_transform(GRID, 8)
    head = transform.digest[:4] + bytes([77])
    with pytest.raises(CodecError, match="at most 7"):
        check_body(head + write_varint(8) + bytes(8), (1 << 20) // 8 + 1, transform)
    for body in (head, head + bytes([9]) + bytes(8), head + bytes([8]) + bytes(7), head + b"\0\0"):
        with pytest.raises(CodecError):
            check_body(body, 35, transform)


@pytest.mark.parametrize("bits", [64, 128, 256])
def test_most_of_the_bits_are_used(bits: int) -> None:
    transform = made_transform(GRID, 24)
    sizes = []
    for seed in range(10):
        values = smooth_pictures(1, GRID, 24, seed=seed)[0]
        sizes.append(len(encode_body(values, np.arange(35), GRID, transform, bits)))
    assert max(sizes) <= 35 * bits // 8
    assert np.mean(sizes) > 0.9 * 35 * bits // 8
