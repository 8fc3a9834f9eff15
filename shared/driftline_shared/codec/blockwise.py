"""Blockwise quantization: one fp16 scale per block, a small codebook of levels, digits per byte.

    value = level[symbol] * scale      one float32 product, so every machine decodes the same bits

Levels are linear (symmetric, zero included) or NF4, the quantiles of a normal distribution (QLoRA,
arXiv 2305.14314, appendix E). Without weights a block's scale is its absolute maximum over the top
level, which bounds each error by half a level; with weights it minimises
sum w (v - level * scale)^2,  which at two or three bits gives up the largest values for the many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.digits import pack_digits, packed_bytes, unpack_digits
from driftline_shared.errors import CodecError

DEFAULT_BLOCK = 64

NF4_LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip

_RATIOS = (1.0, 0.85, 0.7, 0.58, 0.48, 0.4, 0.33)
"""Scales tried, as a share of the absolute maximum's."""
_FP16_MAX = float(np.finfo(np.float16).max)


def linear_levels(bits: int) -> tuple[float, ...]:
    """Whole numbers from -(2**(bits-1) - 1) up: zero is a level, so nothing stays nothing."""
    top = 2 ** (bits - 1) - 1
    return tuple(float(level) for level in range(-top, top + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Blockwise:
    """`levels`: rising codebook. `block`: values that share one scale."""

    levels: tuple[float, ...]
    block: int = DEFAULT_BLOCK

    def coded_bytes(self, size: int) -> int:
        return 2 * self._num_blocks(size) + packed_bytes(size, len(self.levels))

    def encode(
        self, values: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> bytes:
        rows = self._rows(values)  # (blocks, block)
        scales = _to_fp16(
            np.abs(rows).max(axis=1, initial=0.0) / np.float32(self.levels[-1]), up=True
        )
        if weights is not None:
            scales = self._best_scales(rows, self._rows(weights), scales)
        symbols = self._nearest(rows, scales).reshape(-1)[: values.size]
        # Bytes of one kind side by side: high bytes of scales repeat, low ones do not.
        return scales.astype("<f2").tobytes() + pack_digits(symbols, len(self.levels))

    def decode(self, data: bytes, size: int) -> NDArray[np.float32]:
        if len(data) != self.coded_bytes(size):
            raise CodecError("quantized values have the wrong length")
        split = 2 * self._num_blocks(size)
        scales = np.frombuffer(data[:split], dtype="<f2").astype(np.float32)
        if not np.isfinite(scales).all():
            raise CodecError("a scale is not finite")
        symbols = unpack_digits(data[split:], size, len(self.levels))
        levels = np.asarray(self.levels, dtype=np.float32)[symbols]
        return levels * np.repeat(scales, self.block)[:size]

    def _num_blocks(self, size: int) -> int:
        return -(-size // self.block)

    def _rows(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.zeros(self._num_blocks(values.size) * self.block, dtype=np.float32)
        rows[: values.size] = values
        return rows.reshape(-1, self.block)

    def _nearest(self, rows: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(blocks, block) uint8: index of the level nearest to value / scale."""
        safe = np.where(scales > 0, scales, np.float32(1.0))[:, None]
        levels = np.asarray(self.levels, dtype=np.float32)
        middles = (levels[1:] + levels[:-1]) / 2
        return np.searchsorted(middles, rows / safe).astype(np.uint8)

    def _best_scales(
        self,
        rows: NDArray[np.float32],
        weights: NDArray[np.float32],
        start: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """(blocks,) float32: the best of a few scales, each refined once by least squares."""
        levels = np.asarray(self.levels, dtype=np.float32)
        best, best_cost = start, np.full(start.shape, np.inf)
        for ratio in _RATIOS:
            level = levels[self._nearest(rows, start * np.float32(ratio))]
            energy = (weights * level * level).sum(axis=1)
            fitted = (weights * rows * level).sum(axis=1) / np.where(energy > 0, energy, 1.0)
            scales = _to_fp16(np.where(energy > 0, fitted, start), up=False)
            wrong = rows - levels[self._nearest(rows, scales)] * scales[:, None]
            cost = (weights * wrong * wrong).sum(axis=1, dtype=np.float64)
            better = cost < best_cost
            best, best_cost = np.where(better, scales, best), np.where(better, cost, best_cost)
        return best


def _to_fp16(scales: NDArray[np.float32], *, up: bool) -> NDArray[np.float32]:
    """The fp16 value near each scale, as float32; never below it when `up`, never infinite."""
    near = np.clip(scales, 0.0, _FP16_MAX).astype(np.float16)
    if up:
        low = near.astype(np.float32) < scales
        near = np.where(low, np.nextafter(near, np.float16(_FP16_MAX)), near)
    return near.astype(np.float32)
