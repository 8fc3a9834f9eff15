"""A P(IK) head: its numbers, what it makes of an answer, and its bytes.

    P(wrong) = 1 / (1 + exp(-(w . [h, log entropy, log margin] + b)))

h: output of the last decoder layer, before the final norm, at the last place of the prompt, from
the pass that answers anyway. `margin` is 1 - mean(top1 - top2), as everywhere: higher = less sure.

Bytes, little-endian: "PIK", format u8, crc32 of what follows u32, version u32, num_source u16,
number of weights u16, bias f32, the weights as f16, the quantiles as f16.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftline_shared.bounds import MAX_HEAD_BYTES
from driftline_shared.errors import PairError, Reason, UpdateError
from driftline_shared.host.durable import write_atomic

Floats = NDArray[np.float64]

HEAD_FILE = "p_ik.head"
"""Name of version 0's head in a pair folder."""

P_IK = "p_ik"
"""Name of the score: 1 - P(IK), 0..1."""

NUM_SCALARS = 2
"""Numbers beside the state: log entropy, log margin."""

MAX_SOURCE = 0xFFFF

LEVELS = (
    *(0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15),
    *(0.175, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    *(0.95, 0.99),
)
"""Shares of source answers above each stored quantile: dense where gates stand."""

_FORMAT = 1
_MAGIC = b"PIK"
_START = struct.Struct("<3sBI")
_NUMBERS = struct.Struct("<IHHf")
_FLOOR = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class IkScore:
    """What a head says of one answer. `score`: P(wrong), 0..1. `p_value`: conformal, against the
    head's own source scores. `version`: adapter version that the head was fitted for.
    """

    score: float
    p_value: float
    version: int


@dataclass(frozen=True, kw_only=True, eq=False)
class IkHead:
    """`weights` (D + 2,) and `quantiles` (len(LEVELS),), falling, are what float16 holds;
    `num_source`: source answers that the quantiles are of; `version`: of the adapter it is for.
    """

    weights: Floats
    bias: float
    quantiles: Floats
    num_source: int
    version: int

    @property
    def width(self) -> int:
        """D, of the hidden states."""
        return len(self.weights) - NUM_SCALARS

    @cached_property
    def calibration(self) -> Floats:
        """(num_source,) rising source scores, 0..1, between the stored ones interpolated."""
        ranks = np.arange(1, self.num_source + 1) / (self.num_source + 1)
        levels = 1.0 - np.asarray(LEVELS)
        return sigmoid(np.interp(ranks, levels[::-1], self.quantiles[::-1]))

    def judge(self, state: NDArray[np.float32], entropy: float, margin: float) -> IkScore:
        """`state` (D,). A state that is not finite gives a score that is not."""
        row = features(state[None], np.asarray([entropy]), np.asarray([margin]))
        score = float(sigmoid(row @ self.weights + self.bias)[0])
        above = self.num_source - int(np.searchsorted(self.calibration, score, side="left"))
        return IkScore(
            score=score, p_value=(1 + above) / (self.num_source + 1), version=self.version
        )


def features(states: NDArray[np.float32], entropy: Floats, margin: Floats) -> Floats:
    """(N, D), (N,), (N,) -> (N, D + 2) float64: what a head reads of N answers."""
    with np.errstate(invalid="ignore"):
        scalars = np.stack([np.maximum(entropy, _FLOOR), np.maximum(margin, _FLOOR)], axis=1)
        return np.concatenate([states.astype(np.float64), np.log(scalars)], axis=1)


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    with np.errstate(invalid="ignore"):
        shrunk = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1.0 / (1.0 + shrunk), shrunk / (1.0 + shrunk))


def head_to_bytes(head: IkHead) -> bytes:
    """14 + 2 (D + 2 + len(LEVELS)) bytes, and 6 to tell what they are and that they are whole."""
    body = (
        _NUMBERS.pack(head.version, head.num_source, len(head.weights), head.bias)
        + np.asarray(head.weights, dtype="<f2").tobytes()
        + np.asarray(head.quantiles, dtype="<f2").tobytes()
    )
    return _START.pack(_MAGIC, _FORMAT, zlib.crc32(body)) + body


def head_from_bytes(data: bytes) -> IkHead:
    """What `head_to_bytes` was given. Raises UpdateError (update_corrupt) for anything else."""
    if not _START.size + _NUMBERS.size <= len(data) <= MAX_HEAD_BYTES:
        raise _corrupt(f"it has {len(data)} bytes")
    magic, format_, crc32 = _START.unpack_from(data)
    if magic != _MAGIC or format_ != _FORMAT:
        raise _corrupt("it is of another format")
    body = data[_START.size :]
    if zlib.crc32(body) != crc32:
        raise _corrupt("its crc32 differs")
    version, num_source, num_weights, bias = _NUMBERS.unpack_from(body)
    numbers = np.frombuffer(body, dtype="<f2", offset=_NUMBERS.size) if len(body) % 2 == 0 else ()
    if len(numbers) != num_weights + len(LEVELS) or num_weights <= NUM_SCALARS or not num_source:
        raise _corrupt("its counts do not fit its bytes")
    values = np.asarray(numbers, dtype=np.float64)
    if not (math.isfinite(bias) and np.isfinite(values).all()):
        raise _corrupt("a number in it is not finite")
    quantiles = values[num_weights:]
    if (np.diff(quantiles) > 0).any():
        raise _corrupt("its quantiles do not fall")
    return IkHead(
        weights=values[:num_weights],
        bias=bias,
        quantiles=quantiles,
        num_source=num_source,
        version=version,
    )


def read_head(folder: Path) -> IkHead | None:
    """Version 0's head in a pair folder; None where there is none. Raises PairError."""
    path = folder / HEAD_FILE
    try:
        with path.open("rb") as file:
            return head_from_bytes(file.read(MAX_HEAD_BYTES + 1))
    except FileNotFoundError:
        return None
    except (OSError, UpdateError) as error:
        raise PairError(
            f"{path} cannot be read: {error}; run `driftline models fit-p-ik` again"
        ) from error


def write_head(folder: Path, head: IkHead) -> int:
    """Write version 0's head into a pair folder; its bytes."""
    data = head_to_bytes(head)
    write_atomic(folder / HEAD_FILE, data)
    return len(data)


def _corrupt(why: str) -> UpdateError:
    return UpdateError(f"the P(IK) head does not decode: {why}", reason=Reason.UPDATE_CORRUPT)
