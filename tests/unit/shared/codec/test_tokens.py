"""The token codec: error bound, saturation, byte budget, and a reason for whatever else comes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_shared.codec.tokens import (
    ALL_CODECS,
    TOKEN_CODECS,
    TRANSFORM_CODECS,
    check_codec,
    check_tokens,
    codec_for,
    coded_size_bound,
    decode_tokens,
    encode_tokens,
    tokens_within,
)
from driftline_shared.errors import ConfigError, Reason, SampleError
from driftline_shared.tokens import MAX_SAMPLE_BYTES, CodedTokens, Grid, TokenSpace, VisualTokens
from tests.fakes.transforms import smooth_pictures, with_transform

codecs = st.sampled_from(sorted(TOKEN_CODECS))
all_codecs = st.sampled_from(sorted(ALL_CODECS))
transform_codecs = st.sampled_from(sorted(TRANSFORM_CODECS))


def space_of(width: int, grid: Grid) -> TokenSpace:
    rng = np.random.default_rng(width)
    low = -np.abs(rng.normal(size=width)).astype(np.float32)
    high = low + np.abs(rng.normal(size=width) * 3).astype(np.float32)
    high[0] = low[0]  # a channel that never varies
    return TokenSpace(
        digest="ab" * 32,
        grid=grid,
        low=low,
        high=high,
        mean=np.zeros(width, dtype=np.float32),
        precision=np.eye(width, dtype=np.float32),
    )


def tokens_of(space: TokenSpace, kept: int, seed: int) -> VisualTokens:
    rng = np.random.default_rng(seed)
    places = space.grid.num_tokens
    positions = np.sort(rng.permutation(places)[:kept]).astype(np.int32)
    values = rng.uniform(space.low - 0.5, space.high + 0.5, size=(kept, space.width))
    return VisualTokens(values=values.astype(np.float32), positions=positions, grid=space.grid)


PLAIN = space_of(16, Grid(rows=4, cols=6))
SPACE = with_transform(PLAIN)


@given(codecs, st.integers(1, 40), st.integers(1, 7), st.integers(1, 7), st.data())
def test_round_trip_within_half_a_step_and_saturated_outside(
    codec: str, width: int, rows: int, cols: int, data: st.DataObject
) -> None:
    space = space_of(width, Grid(rows=rows, cols=cols))
    kept = data.draw(st.integers(1, rows * cols))
    tokens = tokens_of(space, kept, seed=kept)
    coded = encode_tokens(tokens, space, codec)
    decoded = decode_tokens(coded, space)
    assert len(coded.payload) <= coded_size_bound(kept, space, codec)
    assert decoded.positions.tolist() == tokens.positions.tolist()
    assert decoded.values.dtype == np.float32 and decoded.values.shape == (kept, width)
    step = (space.high - space.low) / (2 ** TOKEN_CODECS[codec] - 1)
    inside = np.clip(tokens.values, space.low, space.high)
    assert (np.abs(decoded.values - inside) <= step / 2 + 1e-5).all()


@given(codecs, st.integers(1, 24))
def test_coding_what_was_decoded_changes_nothing(codec: str, kept: int) -> None:
    once = decode_tokens(encode_tokens(tokens_of(SPACE, kept, 3), SPACE, codec), SPACE)
    again = decode_tokens(encode_tokens(once, SPACE, codec), SPACE)
    assert np.allclose(again.values, once.values, atol=1e-6)


def test_positions_of_all_tokens_cost_nothing() -> None:
    noise = tokens_of(SPACE, 24, 0)
    coded = encode_tokens(noise, SPACE, "int8")
    assert coded_size_bound(24, SPACE, "int8") == 1 + 24 * 16
    assert len(coded.payload) <= 1 + 24 * 16


def test_bytes_fall_with_the_share_and_int4_takes_half() -> None:
    sizes = {
        codec: [
            len(encode_tokens(tokens_of(SPACE, kept, 1), SPACE, codec).payload)
            for kept in (3, 6, 12, 24)
        ]
        for codec in TOKEN_CODECS
    }
    for row in sizes.values():
        assert row == sorted(row) and row[0] < row[-1] / 4
    for four, eight in zip(sizes["int4"], sizes["int8"], strict=True):
        assert four < 0.6 * eight


def test_smooth_tokens_shrink() -> None:
    space = space_of(32, Grid(rows=8, cols=8))
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    tokens = VisualTokens(
        values=space.low + ramp * (space.high - space.low),
        positions=np.arange(64, dtype=np.int32),
        grid=space.grid,
    )
    assert len(encode_tokens(tokens, space, "int8").payload) < 64 * 32 / 4


@given(all_codecs, st.integers(0, 500))
def test_tokens_within_a_budget_always_fit_and_one_more_might_not(codec: str, budget: int) -> None:
    fits = tokens_within(budget, SPACE, codec)
    assert 0 <= fits <= SPACE.grid.num_tokens
    if fits:
        assert coded_size_bound(fits, SPACE, codec) <= budget
        payload = encode_tokens(tokens_of(SPACE, fits, budget), SPACE, codec).payload
        assert len(payload) <= budget
    if fits < SPACE.grid.num_tokens - 1:
        assert coded_size_bound(fits + 1, SPACE, codec) > budget


def refused(call: object, reason: Reason) -> None:
    with pytest.raises(SampleError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.reason is reason


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_sent(bad: float) -> None:
    tokens = tokens_of(SPACE, 5, 0)
    tokens.values[2, 3] = bad
    refused(lambda: encode_tokens(tokens, SPACE, "int8"), Reason.SAMPLE_NOT_FINITE)


@pytest.mark.parametrize("codec", TRANSFORM_CODECS)
@pytest.mark.parametrize("value", [3e38, -3e38, 1e9])
def test_huge_values_are_coded_within_the_bytes_all_the_same(codec: str, value: float) -> None:
    tokens = tokens_of(SPACE, 24, 0)
    tokens.values[:, ::2] = np.float32(value)
    coded = encode_tokens(tokens, SPACE, codec)
    assert len(coded.payload) <= coded_size_bound(24, SPACE, codec)
    assert np.isfinite(decode_tokens(coded, SPACE).values).all()


def test_huge_values_saturate_without_a_warning() -> None:
    tokens = tokens_of(SPACE, 2, 0)
    tokens.values[:] = np.float32(3e38)
    decoded = decode_tokens(encode_tokens(tokens, SPACE, "int4"), SPACE)
    assert np.allclose(decoded.values, SPACE.high, atol=1e-5)


def test_each_fault_has_its_reason() -> None:
    good = encode_tokens(tokens_of(SPACE, 5, 0), SPACE, "int8")
    cases = [
        (replace(good, codec="int2"), Reason.SAMPLE_CODEC_UNKNOWN),
        (replace(good, num_tokens=0), Reason.SAMPLE_SHAPE),
        (replace(good, num_tokens=25), Reason.SAMPLE_SHAPE),
        (replace(good, num_tokens=-1), Reason.SAMPLE_SHAPE),
        (replace(good, grid=Grid(rows=4, cols=7)), Reason.SAMPLE_SHAPE),
        (replace(good, grid=Grid(frames=0, rows=4, cols=6)), Reason.SAMPLE_SHAPE),
        (replace(good, grid=Grid(frames=10**6, rows=4, cols=6)), Reason.SAMPLE_SHAPE),
        (replace(good, num_tokens=6), Reason.SAMPLE_CORRUPT),
        (replace(good, payload=b""), Reason.SAMPLE_CORRUPT),
        (replace(good, payload=b"\x00" + good.payload[1:]), Reason.SAMPLE_CORRUPT),
        (replace(good, payload=good.payload[:-1]), Reason.SAMPLE_CORRUPT),
        (replace(good, payload=good.payload + b"\x00"), Reason.SAMPLE_CORRUPT),
        (replace(good, payload=bytes(MAX_SAMPLE_BYTES + 1)), Reason.SAMPLE_TOO_LARGE),
    ]
    for coded, reason in cases:
        refused(lambda coded=coded: decode_tokens(coded, SPACE), reason)
    refused(
        lambda: encode_tokens(tokens_of(SPACE, 5, 0), SPACE, "fp8"), Reason.SAMPLE_CODEC_UNKNOWN
    )


@pytest.mark.parametrize("positions", [[3, 2], [2, 2], [-1, 2], [2, 24], [1, 2, 3]])
def test_positions_that_are_none_are_not_sent(positions: list[int]) -> None:
    tokens = replace(tokens_of(SPACE, 2, 0), positions=np.array(positions, dtype=np.int32))
    refused(lambda: encode_tokens(tokens, SPACE, "int8"), Reason.SAMPLE_SHAPE)


def test_a_width_that_is_not_the_spaces_is_not_sent() -> None:
    other = space_of(15, SPACE.grid)
    refused(lambda: encode_tokens(tokens_of(other, 2, 0), SPACE, "int8"), Reason.SAMPLE_SHAPE)


def decodes_or_is_refused(coded: CodedTokens) -> None:
    try:
        tokens = decode_tokens(coded, SPACE)
    except SampleError as error:
        assert error.reason in {
            Reason.SAMPLE_CORRUPT,
            Reason.SAMPLE_SHAPE,
            Reason.SAMPLE_TABLES_UNKNOWN,
        }
        with pytest.raises(SampleError, match=re.escape(str(error))):
            check_tokens(coded, SPACE)
        return
    assert check_tokens(coded, SPACE).tolist() == tokens.positions.tolist()
    assert tokens.values.shape == (coded.num_tokens, SPACE.width)
    assert np.isfinite(tokens.values).all()


@settings(max_examples=300)
@given(all_codecs, st.integers(0, 31), st.binary(max_size=300), st.integers(-2, 30))
def test_any_payload_decodes_or_is_refused(
    codec: str, header: int, body: bytes, num_tokens: int
) -> None:
    payload = bytes([header]) + body
    decodes_or_is_refused(
        CodedTokens(codec=codec, num_tokens=num_tokens, grid=SPACE.grid, payload=payload)
    )


@settings(max_examples=300)
@given(all_codecs, st.integers(1, 24), st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_decodes_or_is_refused(codec: str, kept: int, place: int, bit: int) -> None:
    coded = encode_tokens(tokens_of(SPACE, kept, kept), SPACE, codec)
    payload = bytearray(coded.payload)
    payload[place % len(payload)] ^= 1 << bit
    decodes_or_is_refused(replace(coded, payload=bytes(payload)))


def picture(kept: int, seed: int) -> VisualTokens:
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.permutation(24)[:kept]).astype(np.int32)
    values = smooth_pictures(1, SPACE.grid, SPACE.width, seed=seed + 100)[0][positions]
    return VisualTokens(values=values, positions=positions, grid=SPACE.grid)


@given(transform_codecs, st.integers(1, 24), st.integers(0, 10**6))
def test_a_transform_codec_keeps_to_its_bits_and_more_of_them_are_nearer(
    codec: str, kept: int, seed: int
) -> None:
    tokens = picture(kept, seed)
    coded = encode_tokens(tokens, SPACE, codec)
    decoded = decode_tokens(coded, SPACE)
    assert len(coded.payload) <= coded_size_bound(kept, SPACE, codec)
    assert decoded.positions.tolist() == tokens.positions.tolist()
    assert decoded.values.dtype == np.float32
    finer = decode_tokens(encode_tokens(tokens, SPACE, "klt256"), SPACE).values
    assert ((finer - tokens.values) ** 2).sum() <= ((decoded.values - tokens.values) ** 2).sum()


def test_a_sample_of_other_tables_or_for_a_pair_without_is_refused() -> None:
    coded = encode_tokens(picture(9, 4), SPACE, "klt64")
    payload = bytearray(coded.payload)
    payload[1 + 3] ^= 1  # behind the bitmap: the first byte of the digest
    refused(
        lambda: check_tokens(replace(coded, payload=bytes(payload)), SPACE),
        Reason.SAMPLE_TABLES_UNKNOWN,
    )
    refused(lambda: decode_tokens(coded, PLAIN), Reason.SAMPLE_TABLES_UNKNOWN)
    refused(lambda: encode_tokens(picture(9, 4), PLAIN, "klt64"), Reason.SAMPLE_TABLES_UNKNOWN)


def test_a_codec_is_named_that_the_pair_can_be_coded_with() -> None:
    for codec in ALL_CODECS:
        check_codec(codec, SPACE)
    with pytest.raises(ConfigError, match="fit-token-codec"):
        check_codec("klt64", PLAIN)
    with pytest.raises(ConfigError, match="jpeg"):
        check_codec("jpeg", SPACE)


def test_a_clip_of_more_frames_than_the_space_is_coded_too() -> None:
    grid = replace(SPACE.grid, frames=5)
    values = smooth_pictures(1, grid, SPACE.width)[0]
    tokens = VisualTokens(values=values, positions=np.arange(120, dtype=np.int32), grid=grid)
    decoded = decode_tokens(encode_tokens(tokens, SPACE, "klt256"), SPACE)
    assert ((decoded.values - values) ** 2).mean() < 0.05 * values.var()


def test_auto_is_what_the_pair_has_tables_for() -> None:
    without, tables = PLAIN, SPACE
    assert codec_for("auto", without) == "int8" and codec_for("auto", tables) == "klt64"
    assert codec_for("int4", tables) == "int4"
    check_codec("auto", without)
    check_codec("auto", tables)
    for width, codec in ((128, "klt64"), (432, "klt192"), (4096, "klt256")):
        assert (
            codec_for("auto", replace(space_of(width, SPACE.grid), transform=SPACE.transform))
            == codec
        )
