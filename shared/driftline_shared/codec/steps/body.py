"""All changes between two adapters as one body of bytes, with nothing said that both sides know.

    value = number * step        one exact float32 product: numbers have 7 bits, steps 4

Both sides hold the adapter, so names, shapes and order are known. In name order, a tensor is one
decision (anything at all?), its step (8 bits), its numbers as a matrix, the shorter side first.

A blob is `varint number of layers`, then each layer as `varint length, body`; layers are added one
after the other, so the changes of several versions are their bodies in a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.steps.counts import Counts, even
from driftline_shared.codec.steps.lanes import Coder, Ints, Reader, Writer
from driftline_shared.codec.steps.matrix import TOP, MatrixModel
from driftline_shared.codec.varint import read_varint, write_varint
from driftline_shared.errors import CodecError

MAX_BODIES = 16
Shapes = Mapping[str, tuple[int, ...]]
Scalar = TypeVar("Scalar", bound=np.generic)

_STEP_BITS = 8
_MANY_WEIGHTS = 1 << 18
_FIXED_BYTES = 4_096
"""Lanes, and what each tensor says before its numbers."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a tensor: `numbers` (its shape), at most 127, times `step_of(code)`."""

    numbers: Ints
    code: int

    @property
    def values(self) -> NDArray[np.float32]:
        """What is added to the weights, in their shape."""
        return self.numbers.astype(np.float32) * step_of(self.code)

    def added_to(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """`weights` with the change; where the number is 0 the same bits, those of -0.0 too."""
        return np.where(self.numbers != 0, weights + self.values, weights)


def step_of(code: int) -> np.float32:
    """The step of `code` (0..255): (8 + code mod 8) / 8 * 2^(code // 8 - 20); exact in fp16."""
    return np.float32((8 + code % 8) / 8 * 2.0 ** (code // 8 - 20))


def as_matrix(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A view of `array` as (rows, columns), rows the fewer: how its numbers are coded."""
    if array.ndim < 2:
        return array.reshape(1, -1)
    matrix = array.reshape(array.shape[0], -1)
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def encode_body(changes: Mapping[str, Change], shapes: Shapes) -> bytes:
    """`changes` of some tensors of an adapter of `shapes`."""
    writer = Writer()
    _code(writer, shapes, changes)
    return writer.finish(_lanes_log(shapes))


def decode_body(data: bytes, shapes: Shapes) -> dict[str, Change]:
    """The changes that are not all zero; CodecError if `data` cannot be read.

    What is allocated is bounded by `shapes`: a longer body than they can need is not looked at.
    """
    if len(data) > max_body_bytes(shapes):
        raise CodecError(
            f"packed steps of {len(data)} bytes, at most {max_body_bytes(shapes)} are needed"
        )
    reader = Reader(data, _lanes_log(shapes))
    found = _code(reader, shapes, None)
    reader.end()
    return found


def max_body_bytes(shapes: Shapes) -> int:
    """What no body of an adapter of `shapes` exceeds: a number takes far less than four bytes."""
    return _FIXED_BYTES + 4 * _num_weights(shapes)


def _lanes_log(shapes: Shapes) -> int:
    """Log2 of the lanes: both sides know it, so nobody can ask for few and make reading slow."""
    return 6 if _num_weights(shapes) >= _MANY_WEIGHTS else 4


def _num_weights(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def join_bodies(bodies: Sequence[bytes]) -> bytes:
    """The blob of `bodies`, applied in turn."""
    return write_varint(len(bodies)) + b"".join(write_varint(len(body)) + body for body in bodies)


def split_bodies(blob: bytes) -> list[bytes]:
    """The bodies in `blob`; CodecError if it cannot be read."""
    count, offset = read_varint(blob, 0, limit=MAX_BODIES)
    bodies = []
    for _ in range(count):
        size, offset = read_varint(blob, offset, limit=len(blob) - offset)
        if offset + size > len(blob):
            raise CodecError("packed steps are cut off")
        bodies.append(blob[offset : offset + size])
        offset += size
    if not bodies or offset != len(blob):
        raise CodecError("packed steps do not end where they should")
    return bodies


def _code(coder: Coder, shapes: Shapes, changes: Mapping[str, Change] | None) -> dict[str, Change]:
    model, present = MatrixModel(), Counts([3277], 2)
    found: dict[str, Change] = {}
    for name in sorted(shapes):
        change = None if changes is None else changes.get(name)
        there = None if changes is None else change is not None and bool(change.numbers.any())
        if not present.one(coder, 0, there):
            continue
        # A template of the numbers' places: both sides see them as the same matrix.
        numbers = np.zeros(shapes[name], dtype=np.int64)
        matrix = as_matrix(numbers)
        given = None if change is None else as_matrix(_checked(change.numbers, numbers.shape))
        code = _code_step(coder, None if change is None else change.code)
        rows, columns = matrix.shape
        matrix[...] = model.code(coder, rows, columns, given)
        found[name] = Change(numbers=numbers, code=code)
    return found


def _code_step(coder: Coder, code: int | None) -> int:
    bits = (
        None if code is None else np.array([code >> i & 1 for i in range(_STEP_BITS)], dtype=bool)
    )
    return sum(int(bit) << i for i, bit in enumerate(even(coder, bits, _STEP_BITS)))


def _checked(numbers: Ints, shape: tuple[int, ...]) -> Ints:
    """Ours to get right: a fault here is one in the program."""
    if numbers.shape != shape or int(np.abs(numbers).max()) > TOP:
        raise ValueError("numbers do not fit their tensor")
    return numbers
