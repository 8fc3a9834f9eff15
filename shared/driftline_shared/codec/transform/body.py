"""Values of K tokens <-> bytes: the numbers of the transform codec behind a short head.

    4 bytes  the first of the digest of the tables
    1 byte   step: eight an octave above the tables' unit
    varint   C, how many channels are written; all behind them are 0
    ...      K x C numbers by `symbols`, in `ans`

    number = round((value - mean) * analysis / step), a little towards zero
    value  = mean + inverse pyramid of (step * scale) (numbers @ basis)

The sums over channels are of whole numbers below 2^53: exact in float64, whatever order a machine
takes. The rest is the pyramid's, one order each. So all machines decode the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.transform import ans, symbols
from driftline_shared.codec.transform.pyramid import Pyramid, pyramid_of
from driftline_shared.codec.varint import read_varint, write_varint
from driftline_shared.errors import CodecError, Reason, SampleError
from driftline_shared.tokens import Grid, TokenTransform

DIGEST_BYTES = 4
LEAST_BYTES = 24
"""Of a body, for few tokens at few bits: what head and coder need."""
MAX_NUMBERS = 1 << 20
"""Most numbers of one picture: they are read one by one."""
_STRIDE = 3
"""Steps to the second try."""

Floats = NDArray[np.float64]


def most_bytes(num_tokens: int, bits: int) -> int:
    """Most bytes of a body of `num_tokens` tokens at `bits` a token."""
    return max(LEAST_BYTES, num_tokens * bits // 8)


def encode_body(
    values: NDArray[np.float32],
    positions: NDArray[np.integer],
    grid: Grid,
    transform: TokenTransform,
    bits: int,
) -> bytes:
    """(K, D) finite values at (K,) rising positions, by the finest step that fits `bits` a token.

    Coefficients some thousand deviations out saturate, so the coarsest step always fits.
    """
    pyramid = pyramid_of(positions, grid)
    coefficients = pyramid.forward(
        (values.astype(np.float64) - transform.mean) @ analysis(transform)
    )
    far = symbols.step_of(transform.unit, symbols.NUM_STEPS - 8)
    coding = _Coding(np.clip(coefficients, -far, far), pyramid, transform)
    most = most_bytes(len(values), bits)
    step = _finest(coding, most)
    while len(body := coding.body_at(step)) > most:
        step += 1
    return body


def decode_body(
    body: bytes, positions: NDArray[np.integer], grid: Grid, transform: TokenTransform
) -> NDArray[np.float32]:
    """(K, D) float32; raises as `check_body`."""
    step, width, data = check_body(body, len(positions), transform)
    pyramid = pyramid_of(positions, grid)
    numbers = np.zeros((len(positions), len(transform.basis)), dtype=np.int64)
    if width:
        scales = symbols.scales_of(pyramid, transform.log_scales, step)[:, :width]
        numbers[:, :width] = symbols.read(data, scales, transform)
    exact = numbers.astype(np.float64) @ transform.basis.astype(np.float64)
    size = symbols.step_of(transform.unit, step) * transform.scale
    centred = pyramid.inverse(exact * size)
    return (centred + transform.mean.astype(np.float64)).astype(np.float32)


def check_body(body: bytes, num_tokens: int, transform: TokenTransform) -> tuple[int, int, bytes]:
    """(step, channels written, coded numbers) of a body that decodes.

    Raises SampleError for other tables, CodecError for bytes that are no body.
    """
    if len(body) <= DIGEST_BYTES + 1:
        raise CodecError("the values are cut off")
    if body[:DIGEST_BYTES] != transform.digest[:DIGEST_BYTES]:
        raise SampleError(
            f"the tokens were coded with the tables {body[:DIGEST_BYTES].hex()}, the pair here has "
            f"{transform.digest[:DIGEST_BYTES].hex()}",
            reason=Reason.SAMPLE_TABLES_UNKNOWN,
        )
    step = body[DIGEST_BYTES]
    most = min(len(transform.basis), MAX_NUMBERS // num_tokens)
    width, offset = read_varint(body, DIGEST_BYTES + 1, limit=most)
    data = body[offset:]
    right = not data if width == 0 else len(data) >= ans.STATE_BYTES and len(data) % 2 == 0
    if not right:
        raise CodecError(f"{len(data)} bytes of numbers cannot be")
    return step, width, data


@lru_cache(maxsize=8)
def analysis(transform: TokenTransform) -> Floats:
    """(D, D) what a centred token is multiplied by from the right to give its coefficients."""
    rows: Floats = transform.basis.astype(np.float64) * transform.scale
    return np.asarray(np.linalg.inv(rows), dtype=np.float64)


def _finest(coding: _Coding, most: int) -> int:
    """The finest step whose body has about `most` bytes at most, in few tries."""
    low, high = 0, symbols.NUM_STEPS - 1  # below `low` none fits, `high` does
    step, stride = coding.guess(8 * most), _STRIDE
    while low < high:
        if coding.bytes_at(step) <= most:
            high, step = step, step - stride
        else:
            low, step = step + 1, step + stride
        if low > 0 and high < symbols.NUM_STEPS - 1:
            step = (low + high) // 2  # between two that are known
        else:
            stride *= 2
        step = min(max(step, low), high - 1)
    return high


@dataclass(frozen=True, slots=True)
class _Coding:
    """A picture's coefficients, to be written at any step."""

    coefficients: Floats
    pyramid: Pyramid
    transform: TokenTransform

    def guess(self, bits: int) -> int:
        """A step that might take `bits`, from the sizes of the largest coefficients alone."""
        sizes = np.sort(np.abs(self.coefficients).reshape(-1))[::-1]
        # A number of one step and its place cost some six bits.
        last = float(sizes[min(max(bits // 6, 1), sizes.size) - 1])
        return min(symbols.step_index(self.transform.unit, last), symbols.NUM_STEPS - 1)

    def bytes_at(self, step: int) -> float:
        """About how many bytes the body has at `step`; infinite where a number is too large."""
        numbers = self._numbers(step)
        if np.abs(numbers).max(initial=0) >= symbols.MAX_NUMBER:
            return math.inf
        if numbers.shape[1] == 0:
            return DIGEST_BYTES + 2
        bits = symbols.cost_bits(numbers, self._alphabets(numbers, step), self.transform)
        return DIGEST_BYTES + 3 + 2 * math.ceil((bits + 8) / 16)

    def body_at(self, step: int) -> bytes:
        """The body at `step`."""
        numbers = self._numbers(step)
        head = self.transform.digest[:DIGEST_BYTES] + bytes([step])
        head += write_varint(numbers.shape[1])
        if numbers.shape[1] == 0:
            return head
        return head + symbols.write(numbers, self._alphabets(numbers, step), self.transform)

    def _numbers(self, step: int) -> symbols.Numbers:
        """(K, C) whole numbers of steps, of the channels up to the last that is not all 0."""
        numbers = symbols.whole_steps(self.coefficients, symbols.step_of(self.transform.unit, step))
        used = np.flatnonzero(numbers.any(axis=0))
        width = int(used[-1]) + 1 if used.size else 0
        return numbers[:, : min(width, MAX_NUMBERS // len(numbers))]

    def _alphabets(self, numbers: symbols.Numbers, step: int) -> symbols.Numbers:
        scales = symbols.scales_of(self.pyramid, self.transform.log_scales, step)
        return symbols.alphabets_of(numbers, scales[:, : numbers.shape[1]])
