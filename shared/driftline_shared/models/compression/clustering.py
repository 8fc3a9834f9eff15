"""Clusters of tokens by density peaks (Rodriguez and Laio 2014), without chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """`centres` (C,) int64: the point each cluster is built round, best first. `member` (n,) int64:
    the cluster of each point, an index into `centres`.
    """

    centres: Tensor
    member: Tensor

    def sums(self, points: Tensor) -> Tensor:
        """(C, D) sum of each cluster's `points` (n, D)."""
        empty = points.new_zeros(len(self.centres), points.shape[1])
        return empty.index_add(0, self.member, points)

    def means(self, points: Tensor) -> Tensor:
        """(C, D) mean of each cluster's `points` (n, D)."""
        sizes = torch.bincount(self.member, minlength=len(self.centres))
        return self.sums(points) / sizes[:, None].to(points.dtype)


def density_peaks(points: Tensor, num: int, near: int | None = None) -> Clusters:
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
    x = points.detach().float()
    x = x - x.mean(dim=0)
    distance = torch.cdist(x, x).fill_diagonal_(0.0) / points.shape[1] ** 0.5
    if count == 1:
        whole = torch.zeros(count, dtype=torch.int64, device=points.device)
        return Clusters(centres=whole.clone(), member=whole)
    near = num if near is None else near
    among = distance if near > 1 else distance.clone().fill_diagonal_(torch.inf)
    nearest = among.topk(near, dim=1, largest=False).values
    # rho underflows for far points, its logarithm does not; the order of rho delta is the same.
    log_density = -nearest.square().mean(dim=1)
    place = torch.arange(count, device=points.device)
    denser = (log_density[None] > log_density[:, None]) | (
        (log_density[None] == log_density[:, None]) & (place[None] < place[:, None])
    )
    delta = distance.where(denser, distance.max()).amin(dim=1)
    centres = (log_density + delta.log()).argsort(descending=True, stable=True)[:num]
    member = distance[:, centres].argmin(dim=1)
    # Equal points share a distance of 0: each centre stays in its own cluster, so none is empty.
    member[centres] = torch.arange(num, device=points.device)
    return Clusters(centres=centres, member=member)
