"""A change of steps as a layer that devices of before could read: the same values, more bytes."""

from __future__ import annotations

import numpy as np

from driftline_shared.codec.digits import pack_digits
from driftline_shared.codec.positions import encode_positions
from driftline_shared.codec.steps.body import Change, step_of
from driftline_shared.codec.steps.matrix import TOP
from driftline_shared.codec.varint import write_varint

_BLOCK = 4096


def as_layer(change: Change) -> tuple[str, bytes]:
    """(codec, bytes), see `codec.table`: every scale is the step, every level a number."""
    numbers = change.numbers.reshape(-1)
    kept = np.flatnonzero(numbers).astype(np.int64)
    kind, places = encode_positions(kept, numbers.size)
    scales = np.full(-(-kept.size // _BLOCK), step_of(change.code)).astype("<f2").tobytes()
    levels = pack_digits((numbers[kept] + TOP).astype(np.uint8), 2 * TOP + 1)
    head = bytes([kind]) + write_varint(kept.size)
    return f"sparse:linear8/{_BLOCK}", head + places + scales + levels
