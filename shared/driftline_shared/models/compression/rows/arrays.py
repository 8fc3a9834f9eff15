"""Arrays that methods compute with: torch tensors beside a checkpoint, numpy beside an export.

A method written with these and the array API standard (array_api_compat) runs on both as it is,
differentiable where the tensors are. `xp` is the namespace of a method's arrays:

    xp = array_namespace(row.states);   xp.argsort(scores, descending=True, stable=True)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, to_device
from numpy.typing import NDArray

Array = Any
"""A torch tensor or a numpy array."""


def plain(x: Array) -> Array:
    """In float32, and without gradient."""
    x = x.detach() if hasattr(x, "detach") else x
    xp = array_namespace(x)
    return xp.astype(x, xp.float32, copy=False)


def counted(num: int, like: Array) -> Array:
    """(num,) int64 0, 1, 2, .., where `like` is."""
    xp = array_namespace(like)
    return xp.arange(num, dtype=xp.int64, device=device(like))


def filled(shape: int | tuple[int, ...], value: Any, like: Array, dtype: Any = None) -> Array:
    """Of one value, by default in the type of `like`, where that is."""
    xp = array_namespace(like)
    return xp.full(shape, value, dtype=dtype or like.dtype, device=device(like))


def beside(values: NDArray[Any], like: Array) -> Array:
    """The same values as an array where `like` is."""
    return array_namespace(like).asarray(values, device=device(like))


def with_rows(x: Array, places: Array, values: Array) -> Array:
    """A copy of `x` (n, ...) with `values` (m, ...) at `places` (m,)."""
    if hasattr(x, "index_copy"):
        return x.index_copy(0, places, values)
    copied = x.copy()
    copied[places] = values
    return copied


def added(x: Array, places: Array, values: Array) -> Array:
    """A copy of `x` (n, ...) to which `values` (m, ...) are added at `places` (m,), some of them
    perhaps equal.
    """
    if hasattr(x, "index_add"):
        return x.index_add(0, places, values)
    copied = x.copy()
    np.add.at(copied, places, values)
    return copied


def smallest(values: Array, groups: Array, num: int) -> Array:
    """(num,): the smallest of the `values` (n,) int64 of each of the `groups` (n,), none empty."""
    largest = array_namespace(values).max(values)
    if hasattr(values, "scatter_reduce"):
        return filled(num, int(largest), values).scatter_reduce(0, groups, values, "amin")
    least = np.full(num, largest, dtype=values.dtype)
    np.minimum.at(least, groups, values)
    return least


def found(mask: Array) -> Array:
    """(m,) int64 rising: where `mask` (n,) is true."""
    return array_namespace(mask).nonzero(mask)[0]


def mask_of(places: Array, num: int) -> Array:
    """(num,) bool: true at `places`."""
    xp = array_namespace(places)
    mask = xp.zeros(num, dtype=xp.bool, device=device(places))
    mask[places] = True
    return mask


def largest_first(values: Array) -> Array:
    """(n,) indices by falling value, of equal ones the first first."""
    return array_namespace(values).argsort(values, descending=True, stable=True)


def ranked(values: Array, tolerance: float) -> Array:
    """(n,) int64 rising with finite `values` (n,). Those that are no further than `tolerance` from
    the next one have one rank: what differs by rounding alone is equal, on any machine. A grid that
    values are rounded to would have edges, and equal ones fall to both sides of them.
    """
    xp = array_namespace(values)
    order = xp.argsort(values, stable=True)
    rising = values[order]
    apart = xp.astype(rising[1:] - rising[:-1] > tolerance, xp.int64)
    ranks = xp.concat([filled(min(len(values), 1), 0, order), xp.cumulative_sum(apart)])
    return with_rows(filled(len(values), 0, order), order, ranks)


def first_largest(values: Array, tolerance: float) -> Array:
    """(...,) int64: along the last axis the first of the values (..., n) that are no further than
    `tolerance` from the largest.
    """
    xp = array_namespace(values)
    near = values >= xp.max(values, axis=-1, keepdims=True) - tolerance
    return xp.argmax(xp.astype(near, xp.int64), axis=-1)


def bincount(member: Array, num: int) -> Array:
    """(num,) int64: how often each of 0 .. num - 1 is in `member` (n,) int64."""
    return added(filled(num, 0, member), member, filled(len(member), 1, member))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    xp = array_namespace(x)
    raised = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return raised / xp.sum(raised, axis=-1, keepdims=True)


def unit(x: Array) -> Array:
    """`x` (..., d) of length 1, as torch's `normalize` does it."""
    xp = array_namespace(x)
    length = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))
    return x / xp.clip(length, 1e-12, None)


__all__ = [
    "Array",
    "added",
    "array_namespace",
    "beside",
    "bincount",
    "counted",
    "device",
    "filled",
    "first_largest",
    "found",
    "largest_first",
    "mask_of",
    "plain",
    "ranked",
    "smallest",
    "softmax",
    "to_device",
    "unit",
    "with_rows",
]
