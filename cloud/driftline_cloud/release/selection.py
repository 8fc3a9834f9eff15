"""Which weights an update carries: water-filling of importance over all tensors.

    importance_i = |delta_i| * sqrt(F_i)        F: Fisher diagonal (Adam's second moment)

Weights of one update cost nearly the same bytes each, so the last byte buys the same importance
everywhere exactly when one threshold holds for all tensors. A tensor whose chosen weights are worth
less together than its manifest entry would buy elsewhere is left out; its share goes to others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from driftline_shared.update import Adapter

Mask = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[np.float32]]

ENTRY_BYTES = 65
"""What a tensor costs in the manifest, about: name, shape, codec, offset, length, digest."""


def importance_of(delta: Arrays, sqrt_fisher: Adapter) -> dict[str, NDArray[np.float32]]:
    """|delta| * sqrt(F) by tensor; where there is no estimate, the mean of the others holds."""
    known = [float(np.mean(np.abs(sqrt_fisher[name]))) for name in delta if name in sqrt_fisher]
    usual = np.float32(np.mean(known) if known and max(known) > 0 else 1.0)
    return {
        name: np.abs(change) * (np.abs(sqrt_fisher[name]) if name in sqrt_fisher else usual)
        for name, change in delta.items()
    }


def select_share(importance: Arrays, share: float) -> dict[str, Mask]:
    """The most important `share` (0..1) of all weights, by tensor; a zero is never chosen."""
    total = sum(array.size for array in importance.values())
    wanted = min(total, max(1, round(share * total)))
    entry_weights = ENTRY_BYTES * 8 / bits_per_kept(wanted / total, value_bits=1.5)
    names = sorted(importance)
    while True:
        masks = _most_important({name: importance[name] for name in names}, wanted)
        floor = min(
            (float(importance[name][mask].min()) for name, mask in masks.items()), default=0
        )
        worth = {name: float(importance[name][mask].sum()) for name, mask in masks.items()}
        paying = [name for name in masks if worth[name] > floor * entry_weights]
        if len(paying) == len(masks) or not paying:
            break
        names = paying
    return {
        name: masks.get(name, np.zeros(importance[name].shape, dtype=np.bool_))
        for name in sorted(importance)
    }


def bits_per_kept(share: float, *, value_bits: float) -> float:
    """Bits that one kept weight costs at `share`: its place, H(share) / share, and its value."""
    if share >= 1.0:
        return value_bits
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    return entropy / share + value_bits


def _most_important(importance: Arrays, wanted: int) -> dict[str, Mask]:
    """`wanted` weights by one threshold (fewer if the others are zero); only tensors with any."""
    everything = np.concatenate([array.reshape(-1) for array in importance.values()])
    wanted = min(wanted, everything.size)
    cut = everything.size - wanted
    threshold = float(np.partition(everything, cut)[cut])
    left = wanted - int((everything > max(threshold, 0.0)).sum())
    masks: dict[str, Mask] = {}
    for name, array in importance.items():
        mask = array > max(threshold, 0.0)
        if threshold > 0 and left > 0:  # ties at the threshold: the first ones, no more than fit
            ties = np.flatnonzero(array == threshold)[:left]
            mask.reshape(-1)[ties] = True
            left -= ties.size
        if mask.any():
            masks[name] = mask
    return masks
