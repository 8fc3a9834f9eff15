"""Clusters by density peaks against the steps written out."""

from __future__ import annotations

import math

import pytest
import torch

from driftline_shared.models.compression.clustering import density_peaks
from tests.unit.shared.models.compression.density_peaks_by_loops import density_peaks_by_loops


@pytest.mark.parametrize("near", [None, 1, 3])
@pytest.mark.parametrize(("count", "num"), [(1, 1), (2, 1), (2, 2), (7, 1), (9, 3), (31, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_steps_written_out(count: int, num: int, seed: int, near: int | None) -> None:
    points = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + 5.0
    near = near and min(near, count)
    clusters = density_peaks(points, num, near)
    centres, member = density_peaks_by_loops(points.double().tolist(), num, near)
    assert clusters.centres.tolist() == centres
    assert clusters.member.tolist() == member
    for cluster in range(num):
        own = points[clusters.member == cluster]
        torch.testing.assert_close(clusters.means(points)[cluster], own.mean(dim=0))
        torch.testing.assert_close(clusters.sums(points)[cluster], own.sum(dim=0))


def test_equal_points_make_no_empty_cluster() -> None:
    points = torch.ones(6, 3)
    clusters = density_peaks(points, 3)
    assert len(set(clusters.member.tolist())) == 3
    assert torch.equal(clusters.means(points), torch.ones(3, 3))


def test_far_points_keep_their_order_though_their_density_underflows() -> None:
    points = torch.tensor([[0.0], [1.0], [1.9], [40.0], [41.5]]) * 100
    assert math.exp(-(100.0**2)) == 0.0
    assert density_peaks(points, 2).centres.tolist()[0] == 1


def test_means_carry_gradients() -> None:
    points = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(density_peaks(points, 2).means(points).sum(), points)
    assert bool((gradient > 0).all())


def test_a_point_is_its_own_neighbour_among_several_clusters() -> None:
    """The densest is the pair at 9; by the two nearest *others* it would be the three round 1."""
    points = torch.tensor([[0.0], [1.0], [2.0], [9.0], [9.5]])
    assert density_peaks(points, 2).centres.tolist() == [3, 0]
