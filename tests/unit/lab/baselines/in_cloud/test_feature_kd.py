"""FitNets: the hint loss and the falling weight of the second stage."""

from __future__ import annotations

import pytest
import torch

from driftline_lab.baselines.in_cloud.feature_kd import hint, weight


def test_the_hint_is_half_the_mean_square_in_units_of_the_teacher() -> None:
    ours, theirs = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])
    assert float(hint(ours, theirs, 2.0)) == pytest.approx(0.5 * (1.0 + 0.0) / 2)


def test_no_gradient_reaches_the_teacher() -> None:
    ours = torch.ones(1, 2, requires_grad=True)
    theirs = torch.zeros(1, 2, requires_grad=True)
    hint(ours, theirs, 1.0).backward()
    assert theirs.grad is None and ours.grad is not None


def test_the_weight_falls_from_four_to_one_over_the_second_half() -> None:
    assert weight(0.5) == 4.0
    assert weight(0.75) == 2.5
    assert weight(1.0) == 1.0
