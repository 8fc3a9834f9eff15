"""The dynamic part of DWC: the smallest (share, quantizer) that keeps what the candidate gained.

Candidates are estimated without coding anything: bytes from the entropy of their masks, loss from
the importance that is dropped or rounded. Those that another one beats on both are pruned, the rest
is sorted by bytes; the smallest is looked at first, the others by halves; only what the search
touches is coded and judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import field_validator

from driftline_cloud.release.delta import delta
from driftline_cloud.release.packer import STEPS, Packed, PackSetting, pack
from driftline_cloud.release.selection import (
    ENTRY_BYTES,
    bits_per_kept,
    importance_of,
    select_share,
)
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.codec.table import QUANTIZERS
from driftline_shared.program.section import Section, setting
from driftline_shared.update import Adapter, adapter_fp16_bytes

_log = structlog.get_logger(__name__)

SHARES = (0.01, 0.02, 0.05, 0.08, 0.10, 0.12, 0.15, 0.25, 0.35, 0.50, 1.00)
"""Shares of weights tried; the paper's grid, with more where updates lie.

On `tiny` 1 to 5 % lose up to half of the gain, and the few held-out samples of one round cannot see
it: hence `least_share`."""

PLACE_BITS, VALUE_BITS, _LOSS = 0.8, 0.7, 0.02
"""Of `STEPS`, measured on `tiny`: share of its place's entropy that a weight's place costs; bits of
its number; share of a kept weight's energy that rounding loses."""

_WHOLE_VALUE_BITS = 3.4
"""A number's bits where all of a tensor's weights are kept, and one bit less where half are: the
step is as small as the smallest that is kept, so the largest take more. Above some 15 % it is more
than `VALUE_BITS`; measured on a round of `tiny` that trains all weights to the end."""

_SMALLEST, _HALF, _LARGEST = 0.0, 0.5, 1.0
"""Where to look next, between the smallest and the largest setting that may still be chosen."""

_MOST_TRIED = 64

_MANIFEST_BYTES = 260
"""What a manifest costs besides its tensors: digests, words, versions."""


class ChooseSettings(Section):
    """What is tried, and what an update may cost."""

    epsilon: float = setting(0.05, "share of the candidate's gain that coding may lose", ge=0, le=1)
    max_fp16_share: float = setting(
        0.10,
        "most bytes of an update, manifest included, per byte of the fp16 adapter",
        gt=0,
        le=16,
    )
    least_share: float = setting(
        0.10,
        "smaller shares are tried only where the budget holds no larger one, or where the round "
        "changed fewer weights",
        ge=0,
        le=1,
    )
    shares: tuple[float, ...] = setting(SHARES, "keep shares tried")
    quantizers: tuple[str, ...] = setting(
        (STEPS,), "tried: `steps`, or codecs that name tensors (`linear3`, `linear4`, ...)"
    )
    block: int = setting(512, "values that share a scale", ge=1, le=1 << 20)
    feedback: float = setting(1.0, "weight of what earlier coding lost", ge=0, le=1)

    @field_validator("shares")
    @classmethod
    def _in_reach(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not 1 <= len(shares) <= _MOST_TRIED or not all(0.0 < share <= 1.0 for share in shares):
            raise ValueError(f"1 to {_MOST_TRIED} shares are needed, above 0 and at most 1")
        return shares

    @field_validator("quantizers")
    @classmethod
    def _known(cls, quantizers: tuple[str, ...]) -> tuple[str, ...]:
        known = (STEPS, *QUANTIZERS)
        unknown = [name for name in quantizers if name not in known]
        if unknown or not quantizers:
            raise ValueError(
                f"{', '.join(unknown) or 'none'}; the quantizers are {', '.join(known)}"
            )
        return quantizers


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdict on a decoded update: `kept_gain` is the share of the candidate's gain.

    `passes`: it may be released; `good_enough`: it also keeps what it should.
    """

    passes: bool
    good_enough: bool
    kept_gain: float


Judge = Callable[[Adapter], Judgement]
Cost = Callable[[Packed], int]
"""Bytes of an update on the wire, manifest included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """`packed` is the smallest good one, or (`good_enough` False) one near the best. Where the
    budget holds none it is the smallest there is, and `passes` is False.

    `num_judged` counts every judgement of the search, with those of what was not chosen.
    """

    packed: Packed
    passes: bool
    good_enough: bool
    kept_gain: float
    num_bytes: int
    budget_bytes: int
    num_judged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A setting with what it should cost. `loss`: share of the weighted energy of the delta."""

    setting: PackSetting
    num_bytes: float
    loss: float


def choose(
    base: Adapter,
    target: Adapter,
    residual: Adapter,
    sqrt_fisher: Adapter,
    *,
    judge: Judge,
    cost: Cost,
    settings: ChooseSettings,
    progress: Progress = ignore,
) -> Choice:
    """The smallest update from `base` (C_v) towards `target` (T) that `judge` finds good enough.

    If none is with the residual of earlier rounds added, T alone is tried: what was lost then may
    not suit what was learned since.
    """
    search = _Search(
        base=base,
        target=target,
        sqrt_fisher=sqrt_fisher,
        judge=judge,
        cost=cost,
        budget_bytes=int(settings.max_fp16_share * adapter_fp16_bytes(base)),
        settings=settings,
        progress=progress,
    )
    search.run(residual, settings.feedback)
    owed = settings.feedback and any(array.any() for array in residual.values())
    if owed and not (search.close and search.close[0].good_enough):
        search.run({}, 0.0)
    progress(1.0)
    if not search.close:
        return search.none_fits()
    best = min(search.close, key=lambda one: (not one.passes, one.num_bytes))
    return replace(best, num_judged=search.num_judged)


@dataclass(kw_only=True, slots=True)
class _Search:
    """Binary search over a frontier, counting what was judged. `close`: what may be the choice of
    it, see `close_to_best`; others are not held, as each has an adapter's bytes twice. `too_large`:
    the smallest that the budget does not hold, and its bytes.
    """

    base: Adapter
    target: Adapter
    sqrt_fisher: Adapter
    judge: Judge
    cost: Cost
    budget_bytes: int
    settings: ChooseSettings
    progress: Progress
    close: Sequence[Choice] = ()
    num_judged: int = 0
    too_large: tuple[Packed, int] | None = None

    def run(self, residual: Adapter, feedback: float) -> None:
        """Look among the settings that keep `least_share`, and among all where none of these fits.

        What a round trained less of than that has no floor: it is the most important of what the
        round learned already, and smaller shares of it lose little.
        """
        wanted = delta(self.base, self.target, residual, feedback)
        estimates = frontier(estimate(wanted, self.sqrt_fisher, self.settings))
        within = [item for item in estimates if item.num_bytes <= 1.05 * self.budget_bytes]
        least = self.settings.least_share
        if changed_share(self.base, self.target) >= least:
            ample = [item for item in within if item.setting.share >= least]
            # The smallest does in most rounds, and with few held-out samples halves miss it when a
            # larger one has bad luck.
            if self._look(ample, [_SMALLEST, _LARGEST], residual, feedback):
                return
            within = [item for item in within if item.setting.share < least]
        self._look(within or estimates[:1], [_LARGEST], residual, feedback)

    def _look(
        self,
        settings: Sequence[Estimate],
        before_halves: list[float],
        residual: Adapter,
        feedback: float,
    ) -> bool:
        """Whether one of them is within the budget. The largest that is comes first, after those
        `before_halves`: if that is not good enough, smaller ones are not either.
        """
        low, high = 0, len(settings)
        fits = False
        while low < high:
            place = before_halves.pop(0) if before_halves else _HALF
            middle = min(low + int(place * (high - low)), high - 1)
            self.progress(1.0 - (high - low) / (len(settings) + 1))
            packed = pack(
                self.base,
                self.target,
                residual,
                self.sqrt_fisher,
                settings[middle].setting,
                feedback=feedback,
            )
            num_bytes = self.cost(packed)
            if num_bytes > self.budget_bytes:
                # Estimates may be off by a little: step down, not halfway.
                high, before_halves = middle, [_LARGEST]
                if self.too_large is None or num_bytes < self.too_large[1]:
                    self.too_large = packed, num_bytes
                continue
            fits = True
            found = self._judge(packed, num_bytes)
            low, high = (low, middle) if found.good_enough else (middle + 1, high)
        return fits

    def none_fits(self) -> Choice:
        """What the search comes to where the budget holds no setting."""
        assert self.too_large is not None, "one setting at least was coded"
        packed, num_bytes = self.too_large
        return Choice(
            packed=packed,
            passes=False,
            good_enough=False,
            kept_gain=0.0,
            num_bytes=num_bytes,
            budget_bytes=self.budget_bytes,
            num_judged=self.num_judged,
        )

    def _judge(self, packed: Packed, num_bytes: int) -> Choice:
        judgement = self.judge(packed.adapter)
        self.num_judged += 1
        _log.info(
            "packing.judged",
            setting=packed.label,
            update_bytes=num_bytes,
            kept_gain=round(judgement.kept_gain, 4),
            good_enough=judgement.good_enough,
        )
        found = Choice(
            packed=packed,
            passes=judgement.passes,
            good_enough=judgement.good_enough,
            kept_gain=judgement.kept_gain,
            num_bytes=num_bytes,
            budget_bytes=self.budget_bytes,
            num_judged=self.num_judged,
        )
        self.close = close_to_best([*self.close, found], self.settings.epsilon)
        return found


def estimate(wanted: Adapter, sqrt_fisher: Adapter, settings: ChooseSettings) -> list[Estimate]:
    """Every setting with its expected bytes and loss; the masks are computed once per share."""
    importance = importance_of(wanted, sqrt_fisher)
    energy = sum(float(np.square(array).sum(dtype=np.float64)) for array in importance.values())
    found = []
    for share in settings.shares:
        masks = select_share(importance, share)
        kept = sum(
            float(np.square(array[masks[name]]).sum(dtype=np.float64))
            for name, array in importance.items()
        )
        dropped = 1.0 - kept / energy if energy > 0 else 0.0
        for quantizer in settings.quantizers:
            bits = sum(_bits(mask, quantizer) for mask in masks.values() if mask.any())
            rounding = _LOSS if quantizer == STEPS else QUANTIZERS[quantizer].loss
            loss = dropped + (1.0 - dropped) * rounding
            setting = PackSetting(share=share, quantizer=quantizer, block=settings.block)
            found.append(Estimate(setting=setting, num_bytes=_MANIFEST_BYTES + bits / 8, loss=loss))
    return found


def changed_share(base: Adapter, target: Adapter) -> float:
    """Of all weights, those that differ, 0..1: few where a round trained few to its end."""
    changed = sum(np.count_nonzero(target[name] != array) for name, array in base.items())
    return changed / max(1, sum(array.size for array in base.values()))


def _bits(mask: NDArray[np.bool_], quantizer: str) -> float:
    """What a tensor with these weights should cost, manifest included."""
    count, share = int(mask.sum()), float(mask.mean())
    if quantizer == STEPS:
        number = max(VALUE_BITS, _WHOLE_VALUE_BITS + math.log2(share))
        return count * (PLACE_BITS * bits_per_kept(share, value_bits=0.0) + number)
    value_bits = QUANTIZERS[quantizer].bits
    return count * bits_per_kept(share, value_bits=value_bits) + ENTRY_BYTES * 8


def frontier(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Those that no other one beats on bytes and loss, by rising bytes (so by falling loss)."""
    kept: list[Estimate] = []
    for item in sorted(estimates, key=lambda item: (item.num_bytes, item.loss)):
        if not kept or item.loss < kept[-1].loss:
            kept.append(item)
    return kept


def close_to_best(judged: Sequence[Choice], epsilon: float) -> Sequence[Choice]:
    """The smallest good one; where none is, those that keep all but `epsilon` of what any keeps.

    Of these the smallest that passes is the choice: more bytes for a gain that few held-out
    samples cannot tell apart buy nothing, and what is left out goes with the next update.
    """
    if good := [one for one in judged if one.good_enough]:
        return [min(good, key=lambda one: one.num_bytes)]
    most = max(_known_gain(one) for one in judged)
    return [one for one in judged if _known_gain(one) >= most - epsilon]


def _known_gain(one: Choice) -> float:
    return one.kept_gain if math.isfinite(one.kept_gain) else -math.inf
