"""What the whole numbers of a picture cost, written and read: a probability for each from what was
written before it.

Numbers are coded node by node (coarse to fine), channel by channel (of falling variance). Each is a
magnitude with a sign; its alphabet is looked up by three small numbers:

    scale       how many half octaves the calibration set's deviation at this level and channel,
                times the root of the node's weight, lies above the step
    neighbours  the sum of the magnitudes of the 8 channels before it in the same node
    earlier     2 |node before| + |node before that|, in the same channel

Only whole numbers and float64 results that are exact, so every machine finds the same alphabets.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.transform import ans
from driftline_shared.codec.transform.pyramid import Pyramid
from driftline_shared.tokens import TokenTransform

NUM_SCALES = 24
NUM_MAGNITUDES = 16
"""The last stands for itself and all above, which are written out."""
TOP = NUM_MAGNITUDES - 1
_EIGHTHS_A_SCALE = 4
_LOWEST = -48
"""Eighths of an octave above the step at which the scales begin."""

_TOWARDS_ZERO = 0.1
"""Of a step: numbers that are rounded up less often cost fewer bits for the same error."""

_WINDOW = 8
_MOST = 6
"""Magnitudes count up to here where they predict others."""
_NEIGHBOUR_BOUNDS = (1, 2, 3, 5, 8, 12, 18)
_EARLIER_BOUNDS = (1, 3, 6)
NUM_NEIGHBOURS = len(_NEIGHBOUR_BOUNDS) + 1
NUM_EARLIER = len(_EARLIER_BOUNDS) + 1
ALPHABETS = (NUM_SCALES, NUM_NEIGHBOURS, NUM_EARLIER)

NUM_STEPS = 256
_LENGTH_BITS = 4
MAX_NUMBER = TOP + (1 << ans.PRECISION) - 2
"""Largest magnitude: the rest above TOP has at most 15 bits."""

Numbers = NDArray[np.int64]

_NEIGHBOUR_OF = np.searchsorted(_NEIGHBOUR_BOUNDS, np.arange(_WINDOW * _MOST + 1), side="right")
_EARLIER_OF = np.searchsorted(_EARLIER_BOUNDS, np.arange(3 * _MOST + 1), side="right")


@dataclass(frozen=True, slots=True)
class _Alphabets:
    """`starts`, `frequencies`: (A, 31) by signed number; `bits`: (A, 16) by magnitude, sign and the
    rest of large ones not counted. `edges`: starts of each alphabet, for looking up.
    """

    starts: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    bits: NDArray[np.float32]
    edges: list[list[int]]


def step_of(unit: float, index: int) -> float:
    """Step number `index` of the ladder: eight an octave, evenly within it, exact in float64."""
    return unit * (8 + index % 8) / 8 * 2.0 ** (index // 8)


def step_index(unit: float, step: float) -> int:
    """The step of the ladder that is nearest below `step`, or the first."""
    mantissa, exponent = np.frexp(max(step / unit, 1.0))
    return int(8 * (exponent - 1) + np.floor((2 * mantissa - 1) * 8))


def whole_steps(coefficients: NDArray[np.float64], step: float) -> Numbers:
    """(K, D) whole numbers of steps, rounded a little towards zero."""
    sizes = np.floor(np.abs(coefficients) / step + (0.5 - _TOWARDS_ZERO))
    numbers: Numbers = (np.sign(coefficients) * np.minimum(sizes, MAX_NUMBER)).astype(np.int64)
    return numbers


def scales_of(pyramid: Pyramid, log_scales: NDArray[np.int16], step: int) -> Numbers:
    """(K, D) which scale each number's alphabet is of; `log_scales` (L, D) as in the tables."""
    # Levels are matched from the finest: a clip of more frames has more coarse ones.
    rows = len(log_scales)
    matched = np.clip(pyramid.level + rows - pyramid.num_levels, min(1, rows - 1), rows - 1)
    logs = log_scales[np.where(pyramid.level > 0, matched, 0)].astype(np.int64)
    above = logs + log_weight(pyramid.weight)[:, None] - step - _LOWEST
    scales: Numbers = np.clip(above // _EIGHTHS_A_SCALE, 0, NUM_SCALES - 1)
    return scales


def log_weight(weight: NDArray[np.int64]) -> Numbers:
    """(K,) eighths of octaves of the square roots of whole numbers, by a line in each octave."""
    mantissa, exponent = np.frexp(weight.astype(np.float64))
    return (8 * (exponent.astype(np.int64) - 1) + ((2 * mantissa - 1) * 8).astype(np.int64)) // 2


def alphabets_of(numbers: Numbers, scales: Numbers) -> Numbers:
    """(K, C) which alphabet each of the (K, C) `numbers` is written with."""
    small = np.minimum(np.abs(numbers), _MOST)
    count, width = small.shape
    sums = np.zeros((count, width + 1), dtype=np.int64)
    np.cumsum(small, axis=1, out=sums[:, 1:])
    behind = np.maximum(np.arange(width) - _WINDOW, 0)
    neighbours = sums[:, :width] - sums[:, behind]
    earlier = np.zeros_like(small)
    earlier[1:] += 2 * small[:-1]
    earlier[2:] += small[:-2]
    near = scales * NUM_NEIGHBOURS + _NEIGHBOUR_OF[neighbours]
    alphabets: Numbers = near * NUM_EARLIER + _EARLIER_OF[earlier]
    return alphabets


def cost_bits(numbers: Numbers, alphabets: Numbers, transform: TokenTransform) -> float:
    """About how many bits `write` takes."""
    sizes = np.abs(numbers)
    bits = float(_tables(transform).bits[alphabets, np.minimum(sizes, TOP)].sum(dtype=np.float64))
    large = sizes[sizes >= TOP] - TOP + 1
    return bits + float(np.count_nonzero(sizes)) + float((4 + np.log2(large)).sum())


def write(numbers: Numbers, alphabets: Numbers, transform: TokenTransform) -> bytes:
    """(K, C) whole numbers within `MAX_NUMBER` as bytes."""
    tables = _tables(transform)
    flat, which = numbers.reshape(-1), alphabets.reshape(-1)
    symbols = np.clip(flat, -TOP, TOP) + TOP
    starts = tables.starts[which, symbols].tolist()
    frequencies = tables.frequencies[which, symbols].tolist()
    for place in reversed(np.flatnonzero(np.abs(flat) >= TOP).tolist()):
        pieces = _rest(abs(int(flat[place])) - TOP)
        starts[place + 1 : place + 1] = [start for start, _ in pieces]
        frequencies[place + 1 : place + 1] = [frequency for _, frequency in pieces]
    return ans.encode(starts, frequencies)


def read(data: bytes, scales: Numbers, transform: TokenTransform) -> Numbers:
    """(K, C) whole numbers for (K, C) `scales`; any bytes give some."""
    edges = _tables(transform).edges
    near, earlier_of = _NEIGHBOUR_OF.tolist(), _EARLIER_OF.tolist()
    reader = ans.Reader(data)
    width = scales.shape[1]
    one, two = [0] * width, [0] * width
    found = []
    for row in (scales * NUM_NEIGHBOURS).tolist():
        small, numbers, window = [0] * _WINDOW, [], 0
        for channel, scale in enumerate(row):
            earlier = earlier_of[2 * one[channel] + two[channel]]
            edge = edges[(scale + near[window]) * NUM_EARLIER + earlier]
            slot = reader.slot()
            symbol = TOP if edge[TOP] <= slot < edge[TOP + 1] else bisect_right(edge, slot) - 1
            reader.take(edge[symbol], edge[symbol + 1] - edge[symbol])
            number = symbol - TOP
            size = abs(number)
            if size == TOP:
                size += _read_rest(reader)
                number = size if number > 0 else -size
            numbers.append(number)
            size = min(size, _MOST)
            window += size - small[channel]
            small.append(size)
        found.append(numbers)
        one, two = small[_WINDOW:], one
    return np.asarray(found, dtype=np.int64).reshape(scales.shape)


def _rest(above: int) -> list[tuple[int, int]]:
    """What is above TOP: how many bits above + 1 has, then those below its highest."""
    length = (above + 1).bit_length()
    pieces = [ans.number(length - 1, _LENGTH_BITS)]
    if length > 1:
        pieces.append(ans.number(above + 1 - (1 << (length - 1)), length - 1))
    return pieces


def _read_rest(reader: ans.Reader) -> int:
    bits = reader.number(_LENGTH_BITS)
    if bits == 0:
        return 0
    return (1 << bits) + reader.number(bits) - 1


@lru_cache(maxsize=8)
def _tables(transform: TokenTransform) -> _Alphabets:
    by_size = transform.frequencies.reshape(-1, NUM_MAGNITUDES).astype(np.int64)
    halves = by_size[:, 1:] // 2
    frequencies = np.concatenate([halves[:, ::-1], by_size[:, :1], halves], axis=1)
    edges = np.concatenate(
        [np.zeros((len(by_size), 1), dtype=np.int64), np.cumsum(frequencies, axis=1)], axis=1
    )
    return _Alphabets(
        starts=edges[:, :-1],
        frequencies=frequencies,
        bits=(ans.PRECISION - np.log2(by_size)).astype(np.float32),
        edges=edges.tolist(),
    )
