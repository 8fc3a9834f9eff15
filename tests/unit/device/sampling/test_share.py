"""The share limit: never exceeded, and spent on the most uncertain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.share import ShareLimit


def run(limit: ShareLimit, scores: list[float], *, greedy: bool = False) -> list[int]:
    """Indices sent when everything above the bar (or, greedily, everything) wants to go."""
    sent = []
    for index, score in enumerate(scores):
        worth = limit.see(score)
        if (worth or greedy) and limit.allows:
            limit.spend()
            sent.append(index)
        assert limit.num_sent <= limit.share * limit.num_seen
    return sent


@given(
    st.floats(0, 1),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), max_size=300),
    st.booleans(),
)
def test_the_share_is_never_exceeded(share: float, scores: list[float], greedy: bool) -> None:
    run(ShareLimit(share, window=32), scores, greedy=greedy)


@given(st.floats(0.01, 0.9), st.integers(0, 400), st.integers(1, 200), st.integers(0, 5))
def test_a_quiet_stretch_pays_for_a_bounded_burst_only(
    share: float, quiet: int, loud: int, seed: int
) -> None:
    limit = ShareLimit(share, window=32)
    for _ in range(quiet):
        limit.see(0.0)
    rng = np.random.default_rng(seed)
    sent = run(limit, list(rng.random(loud) + 1.0), greedy=True)
    assert len(sent) <= share * loud + max(1.0, share * 32) + 5


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_a_steady_stream_spends_the_share_on_the_top(share: float) -> None:
    scores = list(np.random.default_rng(0).random(4_000))
    sent = run(ShareLimit(share), scores)
    assert 0.9 * share <= len(sent) / len(scores) <= share
    best = set(np.argsort(scores)[-int(share * len(scores)) :].tolist())
    hits = len(best & set(sent)) / len(sent)
    assert hits > 0.8  # a coin with this share would give `share`


def test_drift_after_quiet_keeps_picking_the_top() -> None:
    rng = np.random.default_rng(1)
    scores = [*rng.normal(0, 1, 1_000), *rng.normal(4, 1, 1_000)]
    limit = ShareLimit(0.3)
    sent = run(limit, scores)
    drifted = [i for i in sent if i >= 1_500]  # the window knows the new scores by then
    cut = np.quantile(scores[1_000:], 0.6)
    assert np.mean([scores[i] >= cut for i in drifted]) > 0.95


def test_equal_scores_still_spend_the_share() -> None:
    sent = run(ShareLimit(0.3), [1.0] * 2_000)
    assert 0.25 * 2_000 < len(sent) <= 0.3 * 2_000


def test_share_one_lets_everything_pass_and_zero_nothing() -> None:
    assert len(run(ShareLimit(1.0), [0.0, 5.0, 1.0] * 50)) == 150
    assert run(ShareLimit(0.0), [1.0] * 50, greedy=True) == []


def test_spending_without_leave_is_a_fault() -> None:
    with pytest.raises(ValueError, match="no sample"):
        ShareLimit(0.5).spend()
