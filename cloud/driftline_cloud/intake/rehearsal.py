"""Choosing samples by seed: the held-out share of a round, and older samples to rehearse.

Both rank places by sha256(seed, place): a sample counts by its place in the order of arrival, which
the database keeps as `sequence`. Ids are random, so a choice by id would differ between two runs
that were sent the very same samples; a choice by place does not, and a resumed round chooses the
same.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence


def ranked(ids: Sequence[bytes], seed: int, purpose: str) -> list[bytes]:
    """`ids` in an order that `seed` and `purpose` shuffle, by place; the first n are a uniform
    sample.
    """
    return [ids[place] for place in _shuffled(len(ids), seed, purpose)]


def split_holdout(
    ids: Sequence[bytes],
    *,
    share: float,
    seed: int,
    devices: Mapping[bytes, str] | None = None,
) -> tuple[list[bytes], list[bytes]]:
    """(train, held out) of `ids` in order of arrival: about `share` held out, as evenly over
    `devices` (by id; None: all are of one) as they allow that keep half of their own to train on.

    From two ids on, at least one of either.
    """
    order = ranked(ids, seed, "holdout")
    num_held = min(max(round(share * len(order)), 1 if share > 0 else 0), max(len(order) - 1, 0))
    # A device is named by the place of its first sample: names are random, places are not.
    first: dict[str, str] = {}
    for place, one in enumerate(ids):
        first.setdefault(_device(devices, one), f"{place:012d}")
    owner = {one: first[_device(devices, one)] for one in ids}
    sizes = Counter(owner.values())
    most = {name: math.ceil(max(0.5, share) * count) for name, count in sizes.items()}
    left = even_quota(most, num_held, seed)
    train: list[bytes] = []
    held: list[bytes] = []
    for one in order:
        to = held if left[owner[one]] > 0 and len(held) < num_held else train
        to.append(one)
        left[owner[one]] -= to is held
    return train, held


def _device(devices: Mapping[bytes, str] | None, one: bytes) -> str:
    return "" if devices is None else devices[one]


def set_apart(
    by_round: Mapping[str, Sequence[bytes]], rejected: Sequence[str]
) -> tuple[list[bytes], dict[str, Sequence[bytes]]]:
    """(ids of the `rejected` rounds in the order these are named, the other rounds' ids).

    What no version has learnt yet is not rehearsed but learnt, and judged by, again.
    """
    again = [one for name in rejected for one in by_round.get(name, ())]
    return again, {name: ids for name, ids in by_round.items() if name not in rejected}


def choose_rehearsal(
    by_round: Mapping[str, Sequence[bytes]], *, count: int, seed: int
) -> list[bytes]:
    """At most `count` older sample ids, as evenly over their rounds as the rounds allow.

    `by_round`: ids in order of arrival. Stratified: an old domain that sent few samples keeps its
    place beside a recent one that sent many. Small rounds give all they have; what they leave goes
    to the others.
    """
    pools = {name: ranked(ids, seed, f"rehearsal\0{name}") for name, ids in by_round.items()}
    quota = even_quota({name: len(pool) for name, pool in pools.items()}, max(count, 0), seed)
    return [one for name in sorted(pools) for one in pools[name][: quota[name]]]


def even_quota(sizes: Mapping[str, int], count: int, seed: int) -> dict[str, int]:
    """Share `count` over `sizes`: no two differ by more than one unless one is full."""
    quota = dict.fromkeys(sorted(sizes), 0)
    left = min(count, sum(sizes.values()))
    while left > 0:
        hungry = [name for name in quota if quota[name] < sizes[name]]
        each = left // len(hungry)
        if each == 0:
            # Fewer places than rounds: which rounds get one is drawn by the seed.
            for lucky in _shuffled(len(hungry), seed, "remainder")[:left]:
                quota[hungry[lucky]] += 1
            return quota
        for name in hungry:
            taken = min(each, sizes[name] - quota[name])
            quota[name] += taken
            left -= taken
    return quota


def _shuffled(count: int, seed: int, purpose: str) -> list[int]:
    """0 .. count - 1 in an order that follows from `seed` and `purpose`."""
    prefix = f"{purpose}\0{seed}\0"
    return sorted(
        range(count), key=lambda place: hashlib.sha256(f"{prefix}{place}".encode()).digest()
    )
