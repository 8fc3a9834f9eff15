"""What an update should carry and what it leaves behind (algorithms.md, section 3).

Delta_v  = T - C_v + f E_v           T trained from C_v; E_v what coding lost; f feedback
C_{v+1}  = C_v + decode(bytes)       what devices hold, bit for bit
E_{v+1}  = C_v + Delta_v - C_{v+1}   stays in the cloud (error feedback; Seide 2014, 1-bit SGD)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.update import Adapter

Arrays = dict[str, NDArray[np.float32]]


def delta(base: Adapter, target: Adapter, residual: Adapter, feedback: float = 1.0) -> Arrays:
    """Delta_v by tensor; `residual` may lack tensors (nothing was lost there)."""
    _check_alike(base, target)
    wanted: Arrays = {}
    for name in sorted(base):
        change = np.asarray(target[name] - base[name], dtype=np.float32)
        if name in residual and feedback:
            change = change + np.float32(feedback) * residual[name]
        wanted[name] = change
    return wanted


def residual_after(wanted: Adapter, base: Adapter, packed: Adapter) -> Arrays:
    """E_{v+1} by tensor: what of `wanted` is not in `packed` (C_{v+1})."""
    return {
        name: np.asarray(wanted[name] - (packed[name] - base[name]), dtype=np.float32)
        for name in sorted(base)
    }


def no_residual(base: Adapter) -> Arrays:
    """E of a line on which nothing was lost: zeros."""
    return {name: np.zeros_like(base[name], dtype=np.float32) for name in sorted(base)}


def _check_alike(base: Adapter, target: Adapter) -> None:
    """Both sides of a subtraction are ours: a mismatch is a fault in the program."""
    if set(base) != set(target):
        raise ValueError("base and target do not hold the same tensors")
    for name in base:
        if base[name].shape != target[name].shape:
            raise ValueError(f"tensor {name} changed its shape")
        if not np.isfinite(target[name]).all():
            raise ValueError(f"tensor {name} of the candidate is not finite")
