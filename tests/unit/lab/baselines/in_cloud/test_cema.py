"""CEMA-style: which answers pass the band, how it moves, and what travels."""

from __future__ import annotations

import pytest

from driftline_lab.baselines.in_cloud.cema import EntropyBand


def test_sure_and_unreliable_answers_stay() -> None:
    band = EntropyBand(least=0.1, most=0.4, batch=100)
    assert [band.admits(entropy) for entropy in (0.05, 0.1, 0.2, 0.4, 0.9)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_the_upper_bound_follows_the_mean_of_batches() -> None:
    band = EntropyBand(least=0.0, most=0.4, batch=2)
    for entropy in (0.2, 0.4):
        band.admits(entropy)
    assert band.most == 0.4  # one batch has nothing to be compared with
    for entropy in (0.1, 0.2):
        band.admits(entropy)
    assert band.most == pytest.approx(0.4 * 0.15 / 0.3)
