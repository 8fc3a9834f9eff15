"""Choosing samples by seed: the held-out share of a round, and older samples to rehearse.

Both rank ids by sha256(seed, id). The choice depends on the *set* of ids and the seed alone,
never on the order in which a database returns them, so a resumed round chooses the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def ranked(ids: Iterable[bytes], seed: int, purpose: str) -> list[bytes]:
    """`ids` in an order that `seed` and `purpose` shuffle; the first n are a uniform sample."""
    prefix = f"{purpose}\0{seed}\0".encode()
    return sorted(set(ids), key=lambda one: hashlib.sha256(prefix + one).digest())


def split_holdout(
    ids: Iterable[bytes], *, share: float, seed: int
) -> tuple[list[bytes], list[bytes]]:
    """(train, held out): about `share` held out; from two ids on, at least one of either."""
    order = ranked(ids, seed, "holdout")
    num_held = min(max(round(share * len(order)), 1 if share > 0 else 0), max(len(order) - 1, 0))
    return order[num_held:], order[:num_held]


def choose_rehearsal(
    by_round: Mapping[str, Iterable[bytes]], *, count: int, seed: int
) -> list[bytes]:
    """At most `count` older sample ids, as evenly over their rounds as the rounds allow.

    Stratified: an old domain that sent few samples keeps its place beside a recent one that sent
    many. Small rounds give all they have; what they leave goes to the others.
    """
    pools = {name: ranked(ids, seed, f"rehearsal\0{name}") for name, ids in by_round.items()}
    quota = _even_quota({name: len(pool) for name, pool in pools.items()}, max(count, 0), seed)
    return [one for name in sorted(pools) for one in pools[name][: quota[name]]]


def _even_quota(sizes: Mapping[str, int], count: int, seed: int) -> dict[str, int]:
    """Share `count` over `sizes`: no two differ by more than one unless one is full."""
    quota = dict.fromkeys(sizes, 0)
    left = min(count, sum(sizes.values()))
    while left > 0:
        hungry = [name for name in sizes if quota[name] < sizes[name]]
        each = left // len(hungry)
        if each == 0:
            # Fewer places than rounds: which rounds get one is drawn by the seed, not by the name.
            order = ranked((name.encode() for name in hungry), seed, "remainder")
            for lucky in order[:left]:
                quota[lucky.decode()] += 1
            return quota
        for name in hungry:
            taken = min(each, sizes[name] - quota[name])
            quota[name] += taken
            left -= taken
    return quota
