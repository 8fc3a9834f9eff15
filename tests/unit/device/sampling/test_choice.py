"""Which tokens leave: the best, the evenly drawn, and how many of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.choice import TokenChoice, num_kept, rung, top_positions


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), min_size=1, max_size=30),
    st.integers(0, 30),
)
def test_top_positions_is_the_literal_choice(scores: list[float], count: int) -> None:
    positions = np.arange(len(scores), dtype=np.int32) * 3
    kept = top_positions(np.asarray(scores), positions, count)
    ranked = [-np.inf if np.isnan(s) else s for s in scores]
    literal = sorted(range(len(scores)), key=lambda i: (-ranked[i], i))[:count]
    assert kept.tolist() == sorted(int(positions[i]) for i in literal)
    assert kept.dtype == np.int32


def test_share_rounds_and_keeps_one_at_least() -> None:
    assert num_kept(64, 0.5) == 32
    assert num_kept(5, 0.5) == 3
    assert num_kept(64, 0.001) == 1
    assert num_kept(64, 1.0) == 64


def test_rungs_are_few_and_never_below() -> None:
    rungs = [rung(count) for count in range(1, 65)]
    assert sorted(set(rungs)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert all(count <= found for count, found in enumerate(rungs, 1))


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.0, 1.0),
    st.integers(0, 20),
)
def test_a_mixed_choice_has_the_best_and_no_token_twice(
    num_tokens: int, count: int, spread: float, seed: int
) -> None:
    count = min(count, num_tokens)
    rng = np.random.default_rng(seed)
    scores, lots = rng.random(num_tokens), rng.random(num_tokens)
    places = np.arange(num_tokens, dtype=np.int32) * 2
    choice = TokenChoice(share=1.0, spread=spread)
    kept = choice.positions(scores, places, count, lots)
    assert len(set(kept.tolist())) == count
    assert kept.tolist() == sorted(kept.tolist())
    by_score = count - int(np.floor(spread * count + 0.5))
    assert set(top_positions(scores, places, by_score)) <= set(kept)


def test_what_is_drawn_lies_all_over_the_image() -> None:
    rng = np.random.default_rng(0)
    scores = np.zeros(64)
    scores[:16] = 1.0  # the score sees the upper rows only
    places = np.arange(64, dtype=np.int32)
    choice = TokenChoice(share=0.5, spread=0.5)
    kept = choice.positions(scores, places, 32, rng.random(64))
    assert [int(((16 * k <= kept) & (kept < 16 * (k + 1))).sum()) for k in range(1, 4)] == [5, 6, 5]
    # Another draw is another choice; the same lots are the same one.
    lots = rng.random(64)
    again = choice.positions(scores, places, 32, lots)
    assert again.tolist() != kept.tolist()
    assert again.tolist() == choice.positions(scores, places, 32, lots).tolist()


def test_without_a_spread_the_best_leave() -> None:
    scores, places = np.arange(8.0), np.arange(8, dtype=np.int32)
    choice = TokenChoice(share=0.5)
    assert not choice.draws
    assert choice.positions(scores, places, 4).tolist() == [4, 5, 6, 7]
    assert TokenChoice(share=0.5, spread=1.0).draws


@pytest.mark.parametrize(
    ("scores", "mass", "floor", "count"),
    [
        ([9.0, 0.1, 0.1, 0.1] * 4, 0.0, 0.0, 8),  # off: half of 16
        ([9.0] + [0.1] * 15, 0.9, 0.0, 1),
        ([9.0, 9.0, 9.0] + [0.1] * 13, 0.9, 0.0, 3),
        ([1.0] * 16, 0.25, 0.0, 4),
        ([1.0] * 16, 0.3, 0.0, 6),  # five, and the next rung
        ([1.0] * 16, 1.0, 0.0, 8),  # never more than the share
        ([9.0] + [0.1] * 15, 0.9, 0.25, 4),  # never fewer than the floor
        ([9.0] + [0.1] * 15, 0.9, 1.0, 8),  # and the share wins over it
        ([0.0] * 16, 0.5, 0.0, 1),
        ([float("nan")] * 16, 0.5, 0.0, 1),
    ],
)
def test_as_many_leave_as_hold_the_mass(
    scores: list[float], mass: float, floor: float, count: int
) -> None:
    choice = TokenChoice(share=0.5, mass=mass, floor=floor)
    assert choice.count(np.asarray(scores, np.float32)) == count
