"""Clusters of tokens by density peaks (Rodriguez and Laio 2014), without chance."""

from __future__ import annotations

from dataclasses import dataclass

from driftline_shared.models.compression.rows.arrays import (
    Array,
    added,
    array_namespace,
    counted,
    filled,
    largest_first,
    plain,
)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """`centres` (C,) int64: the point each cluster is built round, best first. `member` (n,) int64:
    the cluster of each point, an index into `centres`.
    """

    centres: Array
    member: Array

    def sums(self, points: Array) -> Array:
        """(C, D) sum of each cluster's `points` (n, D)."""
        empty = filled((len(self.centres), points.shape[1]), 0.0, points)
        return added(empty, self.member, points)

    def means(self, points: Array) -> Array:
        """(C, D) mean of each cluster's `points` (n, D)."""
        ones = filled((len(points), 1), 1.0, points)
        return self.sums(points) / self.sums(ones)


def density_peaks(points: Array, num: int, near: int | None = None) -> Clusters:
    """`num` clusters (1 to n) of `points` (n, D), any floating dtype; computed in float32.

    d_ij = |x_i - x_j| / sqrt(D); density rho_i = exp(-mean of d_ij^2 over the `near` points (`num`
    where None; 1 to n) nearest to i, itself among them); delta_i = distance to the nearest denser
    point, for the densest the largest distance of all; centres are the `num` greatest
    rho_i delta_i; every other point joins its nearest centre.

    The DPC-KNN of SparseVLM (arXiv 2410.04417, section 3.4) as its public code has it, with two
    changes: where that adds noise to part equal densities, here the earlier point counts as denser;
    and at `near` = 1 the nearest *other* point is taken, since of the point itself alone all
    densities were equal, and chance chose the centre. The paper assigns by cosine, the code by d.
    """
    count = len(points)
    # Hidden states share a large offset; without it the matrix form of cdist keeps its digits.
    x, xp = plain(points), array_namespace(points)
    x = x - xp.mean(x, axis=0)
    place = counted(count, points)
    if count == 1:
        return Clusters(centres=place, member=place)
    square = xp.sum(x * x, axis=1)
    distance = xp.sqrt(xp.clip(square[:, None] + square - 2 * (x @ x.T), 0.0, None))
    # Two points are equally far from each other, to the last bit.
    distance = xp.maximum(distance, distance.T)
    distance[place, place] = 0.0
    distance = distance / points.shape[1] ** 0.5
    near = num if near is None else near
    itself = place[:, None] == place
    among = xp.where(itself, xp.inf, distance) if near == 1 else distance
    nearest = xp.sort(among, axis=1)[:, :near]
    # rho underflows for far points, its logarithm does not; the order of rho delta is the same.
    log_density = -xp.mean(nearest * nearest, axis=1)
    denser = (log_density[None] > log_density[:, None]) | (
        (log_density[None] == log_density[:, None]) & (place[None] < place[:, None])
    )
    delta = xp.min(xp.where(denser, distance, xp.max(distance)), axis=1)
    centres = largest_first(log_density + _log(delta))[:num]
    member = xp.argmin(distance[:, centres], axis=1)
    # Equal points share a distance of 0: each centre stays in its own cluster, so none is empty.
    member[centres] = counted(num, points)
    return Clusters(centres=centres, member=member)


def _log(x: Array) -> Array:
    """Of 0 it is -inf, which numpy says with a warning and torch without one."""
    xp = array_namespace(x)
    return xp.where(x > 0, xp.log(xp.where(x > 0, x, 1.0)), -xp.inf)
