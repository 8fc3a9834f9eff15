"""The candidate is the mean of a training's last weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from driftline_cloud.distill.averaging import RunningMean
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.trainer import first_averaged


def test_the_mean_counts_each_moment_once() -> None:
    weight = nn.Parameter(torch.zeros(3))
    mean = RunningMean({"w": weight})
    for value in (1.0, 2.0, 6.0):
        weight.data.fill_(value)
        mean.take()
    mean.put()
    assert weight.tolist() == pytest.approx([3.0] * 3)


def test_without_a_moment_the_weights_stay() -> None:
    weight = nn.Parameter(torch.ones(3))
    RunningMean({"w": weight}).put()
    assert weight.tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("share", "subset_step", "first"),
    [
        (0.4, -1, 60),
        (0.4, 50, 60),
        (0.4, 80, 80),
        (0.0, 50, 100),
        (1.0, -1, 0),
        (1.0, 50, 50),
        (1.0, 100, 0),
    ],
)
def test_it_begins_no_sooner_than_the_last_choice_of_weights(
    share: float, subset_step: int, first: int
) -> None:
    settings = DistilSettings(averaged_share=share)
    assert first_averaged(100, subset_step, settings) == first
