"""Visual tokens <-> payload bytes: int8 or int4 per value on the token space's channel ranges, or
a number of bits per token by the transform codec.

    symbol = round((value - low_d) / step_d),   step_d = (high_d - low_d) / top,   top = 255 or 15

saturating per channel d. Payload:

    1 byte   header: bits 0-1 PositionKind, bit 2 zstd, bit 3 channel-major, bits 4-7 format (1)
    ...      positions (none when all are kept)
    ...      K x D symbols; int4: the two symbols of a byte are neighbours, first one low

Channel-major lays one channel's symbols side by side as differences to the token before
(modulo the alphabet): neighbouring tokens look alike. zstd and the layout are used only where they
make the payload smaller, so it never exceeds `coded_size_bound`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.entropy import BEST_LEVEL, expand, shrink
from driftline_shared.codec.positions import (
    bitmap_bytes,
    check_positions,
    decode_positions,
    encode_positions,
)
from driftline_shared.codec.transform.body import check_body, decode_body, encode_body, most_bytes
from driftline_shared.errors import CodecError, ConfigError, Reason, SampleError
from driftline_shared.tokens import (
    MAX_SAMPLE_BYTES,
    MAX_TOKENS,
    CodedTokens,
    Grid,
    TokenSpace,
    TokenTransform,
    VisualTokens,
)

TOKEN_CODECS: dict[str, int] = {"int8": 8, "int4": 4}
"""Codec name -> bits of one value."""

TRANSFORM_CODECS: dict[str, int] = {f"klt{bits}": bits for bits in (64, 96, 128, 192, 224, 256)}
"""Codec name -> most bits of one token."""

ALL_CODECS = (*TOKEN_CODECS, *TRANSFORM_CODECS)

AUTO, AUTO_WITHOUT_TABLES = "auto", "int8"
"""What a policy may say instead of a codec's name, and what that is for a pair without tables."""

_ZSTD_LEVELS = {8: 1}
"""Bits of a value -> level of zstd, `BEST_LEVEL` where none is named. 8-bit values are close to
noise: the best level takes ten times as long for less than 1 % (of 4-bit values, for 14 %).
"""

_FORMAT = 1 << 4
_ZSTD = 1 << 2
_CHANNEL_MAJOR = 1 << 3


def codec_for(codec: str, space: TokenSpace) -> str:
    """The codec that `codec`, a name or `AUTO`, is for tokens of `space`.

    With tables `AUTO` is half a bit a channel: `klt64` for 128 channels, `klt192` for 432. There
    the teacher's labels of the shipped pairs agree with those of exact tokens in 94 % and more.
    """
    if codec != AUTO:
        return codec
    if space.transform is None:
        return AUTO_WITHOUT_TABLES
    fitting = [name for name, bits in TRANSFORM_CODECS.items() if 2 * bits <= space.width]
    return fitting[-1] if fitting else next(iter(TRANSFORM_CODECS))


def check_codec(codec: str, space: TokenSpace) -> None:
    """Raise ConfigError unless tokens of `space` can be coded by `codec`, a name or `AUTO`."""
    if codec not in (AUTO, *ALL_CODECS):
        known = ", ".join((AUTO, *ALL_CODECS))
        raise ConfigError(f"token_codec is {codec!r}; choose one of {known}")
    if codec in TRANSFORM_CODECS and space.transform is None:
        raise ConfigError(
            f"token_codec is {codec!r}, which needs tables that the pair has not "
            "(token_codec.safetensors): run `driftline models fit-token-codec`, or choose one of "
            f"{', '.join(TOKEN_CODECS)}"
        )


def encode_tokens(tokens: VisualTokens, space: TokenSpace, codec: str) -> CodedTokens:
    """Code (K, D) float32 `tokens`; SampleError if they are not finite or do not fit `space`."""
    bits, transform = _bits(codec), _transform(codec, space)
    _check_shape(tokens.num_tokens, tokens.grid, space)
    if tokens.values.shape[1:] != (space.width,) or not _rising(tokens):
        raise SampleError("the tokens do not fit the token space", reason=Reason.SAMPLE_SHAPE)
    if not np.isfinite(tokens.values).all():
        raise SampleError("the tokens hold NaN or infinity", reason=Reason.SAMPLE_NOT_FINITE)
    kind, where = encode_positions(tokens.positions.astype(np.int64), tokens.grid.num_tokens)
    if transform is not None:
        flags = 0
        body = encode_body(tokens.values, tokens.positions, tokens.grid, transform, bits)
    else:
        flags, body = _smallest_body(_quantize(tokens.values, space, bits), bits)
    payload = bytes([_FORMAT | flags | kind]) + where + body
    return CodedTokens(codec=codec, num_tokens=tokens.num_tokens, grid=tokens.grid, payload=payload)


def decode_tokens(coded: CodedTokens, space: TokenSpace) -> VisualTokens:
    """(K, D) float32 tokens; SampleError with a stable reason for any bytes that are not tokens.

    Everything is bounded by `space` and the counts checked here before it is allocated.
    """
    bits = _bits(coded.codec)
    positions, body = _unpack(coded, space, bits)
    transform = _transform(coded.codec, space)
    if transform is not None:
        values = decode_body(body, positions, coded.grid, transform)
        return VisualTokens(values=values, positions=positions.astype(np.int32), grid=coded.grid)
    shape = (coded.num_tokens, space.width)
    if coded.payload[0] & _CHANNEL_MAJOR:
        symbols = _from_channel_major(_from_bytes(body, shape[::-1], bits), bits)
    else:
        symbols = _from_bytes(body, shape, bits)
    low, step = _range(space, bits)
    values = low + symbols.astype(np.float32) * step
    return VisualTokens(values=values, positions=positions.astype(np.int32), grid=coded.grid)


def check_tokens(coded: CodedTokens, space: TokenSpace) -> NDArray[np.int64]:
    """(K,) int64 rising flat indices of the kept tokens, of bytes that `decode_tokens` decodes.

    Raises what it would raise. Every symbol is a finite value, so none needs to be computed.
    """
    return _unpack(coded, space, _bits(coded.codec))[0]


def check_decodes(coded: CodedTokens, space: TokenSpace) -> None:
    """As `check_tokens` for who does not ask which tokens were kept: a fraction of the time."""
    bits = _bits(coded.codec)
    _check_bounds(coded, space)
    try:
        offset = check_positions(
            _position_kind(coded),
            coded.payload,
            1,
            count=coded.num_tokens,
            places=coded.grid.num_tokens,
        )
        _read_body(coded, offset, space, bits)
    except CodecError as error:
        raise _undecodable(error) from error


def coded_size_bound(num_tokens: int, space: TokenSpace, codec: str) -> int:
    """Most payload bytes that `num_tokens` tokens can have (zstd makes it less, mostly)."""
    places = space.grid.num_tokens
    where = 0 if num_tokens >= places else min(bitmap_bytes(places), 5 * num_tokens)
    bits = _bits(codec)
    if codec in TRANSFORM_CODECS:
        return 1 + where + most_bytes(num_tokens, bits)
    return 1 + where + _body_bytes(num_tokens, space.width, bits)


def tokens_within(budget_bytes: int, space: TokenSpace, codec: str) -> int:
    """Most tokens whose payload surely fits `budget_bytes`; 0 if not even one does."""
    fits, too_many = 0, space.grid.num_tokens + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if coded_size_bound(middle, space, codec) <= budget_bytes:
            fits = middle
        else:
            too_many = middle
    return fits


def _bits(codec: str) -> int:
    """Of a value, or of a token for the transform codecs."""
    bits = TOKEN_CODECS.get(codec) or TRANSFORM_CODECS.get(codec)
    if bits is None:
        raise SampleError(
            f"token codec {codec[:40]!r} is unknown", reason=Reason.SAMPLE_CODEC_UNKNOWN
        )
    return bits


def _transform(codec: str, space: TokenSpace) -> TokenTransform | None:
    """The tables of a transform codec; None for the others."""
    if codec not in TRANSFORM_CODECS:
        return None
    if space.transform is None:
        raise SampleError(
            f"codec {codec} needs tables, and the pair here has no token_codec.safetensors",
            reason=Reason.SAMPLE_TABLES_UNKNOWN,
        )
    return space.transform


def _check_shape(num_tokens: int, grid: Grid, space: TokenSpace) -> None:
    """A clip may have other frames than the space names; rows and columns are the tower's."""
    same = (grid.rows, grid.cols) == (space.grid.rows, space.grid.cols)
    if not same or grid.frames < 1 or grid.num_tokens > MAX_TOKENS:
        raise SampleError(
            f"a grid of {grid.frames} x {grid.rows} x {grid.cols} is not the token space's",
            reason=Reason.SAMPLE_SHAPE,
        )
    if not 1 <= num_tokens <= grid.num_tokens:
        raise SampleError(
            f"{num_tokens} tokens in a grid of {grid.num_tokens}", reason=Reason.SAMPLE_SHAPE
        )


def _rising(tokens: VisualTokens) -> bool:
    positions = tokens.positions
    return bool(
        positions.shape == (tokens.num_tokens,)
        and positions[0] >= 0
        and positions[-1] < tokens.grid.num_tokens
        and (np.diff(positions) > 0).all()
    )


def _range(space: TokenSpace, bits: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(D,) low and (D,) step; a channel that never varies has step 0."""
    spread = np.maximum(space.high - space.low, np.float32(0.0))
    return space.low.astype(np.float32), (spread / np.float32(2**bits - 1)).astype(np.float32)


def _quantize(values: NDArray[np.float32], space: TokenSpace, bits: int) -> NDArray[np.uint8]:
    """(K, D) uint8 symbols in [0, 2**bits)."""
    low, step = _range(space, bits)
    # Clip first: a far outlier must saturate, not overflow.
    inside = np.clip(values, low, np.maximum(space.high, low)) - low
    symbols = np.rint(inside / np.where(step > 0, step, np.float32(1.0)))
    return np.clip(symbols, 0, 2**bits - 1).astype(np.uint8)


def _smallest_body(symbols: NDArray[np.uint8], bits: int) -> tuple[int, bytes]:
    """(header flags, bytes) of the smallest of: as it is, zstd, channel-major and zstd."""
    plain = _to_bytes(symbols, bits)
    moved = _to_bytes(_to_channel_major(symbols, bits), bits)
    level = _ZSTD_LEVELS.get(bits, BEST_LEVEL)
    bodies = [
        (0, plain),
        (_ZSTD, shrink(plain, level)),
        (_ZSTD | _CHANNEL_MAJOR, shrink(moved, level)),
    ]
    return min(bodies, key=lambda body: len(body[1]))


def _unpack(coded: CodedTokens, space: TokenSpace, bits: int) -> tuple[NDArray[np.int64], bytes]:
    """(K,) positions and the body, out of zstd; SampleError as for decoding."""
    _check_bounds(coded, space)
    try:
        positions, offset = decode_positions(
            _position_kind(coded),
            coded.payload,
            1,
            count=coded.num_tokens,
            places=coded.grid.num_tokens,
        )
        return positions, _read_body(coded, offset, space, bits)
    except CodecError as error:
        raise _undecodable(error) from error


def _check_bounds(coded: CodedTokens, space: TokenSpace) -> None:
    _check_shape(coded.num_tokens, coded.grid, space)
    if len(coded.payload) > MAX_SAMPLE_BYTES:
        raise SampleError("the tokens have too many bytes", reason=Reason.SAMPLE_TOO_LARGE)


def _position_kind(coded: CodedTokens) -> int:
    """How positions are written; the header is checked."""
    payload = coded.payload
    if not payload or payload[0] >> 4 != _FORMAT >> 4:
        raise CodecError("the payload's format is unknown")
    return payload[0] & 3


def _read_body(coded: CodedTokens, offset: int, space: TokenSpace, bits: int) -> bytes:
    """The bytes behind the positions, out of zstd."""
    body = coded.payload[offset:]
    transform = _transform(coded.codec, space)
    if transform is not None:
        if coded.payload[0] & (_ZSTD | _CHANNEL_MAJOR):
            raise CodecError("the payload's format is unknown")
        if len(body) > most_bytes(coded.num_tokens, bits):
            raise CodecError(f"{len(body)} bytes of values are too many")
        check_body(body, coded.num_tokens, transform)
        return body
    size = _body_bytes(coded.num_tokens, space.width, bits)
    if coded.payload[0] & _ZSTD:
        body = expand(body, size)
    if len(body) != size:
        raise CodecError(f"{len(body)} bytes of values, {size} are needed")
    return body


def _undecodable(error: CodecError) -> SampleError:
    return SampleError(f"the tokens do not decode: {error}")


def _body_bytes(num_tokens: int, width: int, bits: int) -> int:
    return (num_tokens * width * bits + 7) // 8


def _to_channel_major(symbols: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """(K, D) -> (D, K) differences along K, modulo the alphabet."""
    columns = symbols.T
    moved = columns.copy()
    moved[:, 1:] -= columns[:, :-1]
    return moved & np.uint8(2**bits - 1)


def _from_channel_major(moved: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    sums = np.cumsum(moved, axis=1, dtype=np.uint8)
    return (sums & np.uint8(2**bits - 1)).T


def _to_bytes(symbols: NDArray[np.uint8], bits: int) -> bytes:
    flat = symbols.reshape(-1)
    if bits == 8:
        return flat.tobytes()
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8).tobytes()


def _from_bytes(body: bytes, shape: tuple[int, int], bits: int) -> NDArray[np.uint8]:
    flat = np.frombuffer(body, dtype=np.uint8)
    if bits == 4:
        flat = np.stack([flat & 15, flat >> 4], axis=1).reshape(-1)[: shape[0] * shape[1]]
    return flat.reshape(shape)
