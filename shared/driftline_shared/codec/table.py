"""Codec names of update tensors, and the one table that says what each means.

    tensor = layer *( "+" layer )                 layers apply one after the other (merged updates)
    layer  = "exact" / [ "sparse:" ] value        exact: replaces changed weights bit for bit
    value  = "fp32" / "fp16" / quantizer [ "/" block ]
    quantizer = "linear8" / "linear4" / "linear3" / "linear2" / "nf4"

A layer that is not exact is added to the base (a delta) or replaces it (a full update, one
layer). With several layers each but the last is preceded by its length as a varint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.base import ValueCodec
from driftline_shared.codec.blockwise import DEFAULT_BLOCK, NF4_LEVELS, Blockwise, linear_levels
from driftline_shared.codec.dense import Dense
from driftline_shared.codec.sparse import decode_sparse, encode_sparse
from driftline_shared.codec.varint import read_varint, write_varint
from driftline_shared.errors import CodecError

MAX_LAYERS = 16
MAX_NAME_CHARS = 128
EXACT = "exact"
_SPARSE = "sparse:"
_QUANTIZER = re.compile(r"([a-z0-9]{1,16})(?:/([1-9][0-9]{0,5}))?")

DENSE: dict[str, ValueCodec] = {"fp32": Dense(width=4), "fp16": Dense(width=2)}


@dataclass(frozen=True, slots=True)
class Quantizer:
    """`levels`: what a value is rounded to. `bits`: of a kept value after entropy coding; `loss`:
    share of a kept value's energy that rounding loses; both measured on normal deltas.
    """

    levels: tuple[float, ...]
    bits: float
    loss: float


QUANTIZERS: dict[str, Quantizer] = {
    "linear8": Quantizer(linear_levels(8), bits=7.2, loss=1e-4),
    "linear4": Quantizer(linear_levels(4), bits=3.2, loss=0.012),
    "linear3": Quantizer(linear_levels(3), bits=2.2, loss=0.05),
    "linear2": Quantizer(linear_levels(2), bits=1.0, loss=0.17),
    "nf4": Quantizer(NF4_LEVELS, bits=3.9, loss=0.01),
}


def value_codec(name: str) -> ValueCodec:
    """The codec called `name` (a `value` in the grammar above); CodecError if there is none."""
    if name in DENSE:
        return DENSE[name]
    match = _QUANTIZER.fullmatch(name)
    if match is None or match[1] not in QUANTIZERS:
        raise CodecError(f"unknown codec {name[:40]!r}")
    return Blockwise(levels=QUANTIZERS[match[1]].levels, block=int(match[2] or DEFAULT_BLOCK))


def layers_of(codec: str) -> list[str]:
    """The layers of a tensor codec; CodecError if they are too many."""
    if len(codec) > MAX_NAME_CHARS:
        raise CodecError("a codec name is too long")
    layers = codec.split("+")
    if len(layers) > MAX_LAYERS:
        raise CodecError(f"{len(layers)} layers, at most {MAX_LAYERS} are possible")
    return layers


def max_coded_bytes(size: int) -> int:
    """More bytes than any single layer of `size` weights can need."""
    return 64 + 8 * size


def encode_layer(
    layer: str, values: NDArray[np.float32], weights: NDArray[np.float32] | None = None
) -> bytes:
    """`values`: (N,) float32 to add; a sparse layer keeps those that are not zero."""
    if not layer.startswith(_SPARSE):
        return value_codec(layer).encode(values, weights)
    kept = np.flatnonzero(values).astype(np.int64)
    codec = value_codec(layer.removeprefix(_SPARSE))
    return encode_sparse(
        kept, values[kept], values.size, codec, None if weights is None else weights[kept]
    )


def encode_exact(base: NDArray[np.float32], target: NDArray[np.float32]) -> bytes:
    """What makes (N,) `base` into (N,) `target`, every bit of it."""
    changed = base.view(np.uint32) != target.view(np.uint32)
    kept = np.flatnonzero(changed).astype(np.int64)
    return encode_sparse(kept, target[kept], target.size, DENSE["fp32"])


def decode_values(layer: str, data: bytes, size: int) -> NDArray[np.float32]:
    """(size,) float32 of a layer that is not exact."""
    if not layer.startswith(_SPARSE):
        return value_codec(layer).decode(data, size)
    kept, some = decode_sparse(data, size, value_codec(layer.removeprefix(_SPARSE)))
    values = np.zeros(size, dtype=np.float32)
    values[kept] = some
    return values


def apply_tensor(codec: str, data: bytes, base: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) float32: `base` (N,) with every layer applied, each in one float32 step per weight."""
    layers = layers_of(codec)
    values, offset = base, 0
    for index, layer in enumerate(layers):
        end = len(data)
        if index < len(layers) - 1:
            length, offset = read_varint(data, offset, limit=len(data))
            end = offset + length
            if end > len(data):
                raise CodecError("a layer is cut off")
        values = _apply_layer(layer, data[offset:end], values)
        offset = end
    return values


def join_layers(layers: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """(codec, bytes) of a tensor to which each of `layers` (codec, bytes) is applied in turn.

    The last layer's length is known from the tensor's, the others' are written.
    """
    flat = [single for codec, data in layers for single in _split_layers(codec, data)]
    coded = b"".join(write_varint(len(data)) + data for _, data in flat[:-1]) + flat[-1][1]
    return "+".join(codec for codec, _ in flat), coded


def _apply_layer(layer: str, data: bytes, base: NDArray[np.float32]) -> NDArray[np.float32]:
    if layer == EXACT:
        kept, new = decode_sparse(data, base.size, DENSE["fp32"])
        values = base.copy()
        values[kept] = new
        return values
    if layer.startswith(_SPARSE):
        kept, new = decode_sparse(data, base.size, value_codec(layer.removeprefix(_SPARSE)))
        values = base.copy()
        values[kept] += new
        return values
    return base + decode_values(layer, data, base.size)


def _split_layers(codec: str, data: bytes) -> list[tuple[str, bytes]]:
    names, pieces, offset = codec.split("+"), [], 0
    for name in names[:-1]:
        length, offset = read_varint(data, offset, limit=len(data))
        pieces.append((name, data[offset : offset + length]))
        offset += length
    return [*pieces, (names[-1], data[offset:])]
