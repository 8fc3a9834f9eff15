"""Examples: positions kept, nothing padded, every index drawn once before any again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.distill.examples import (
    Example,
    IndexSampler,
    Strata,
    by_size,
    keep_some,
    split_source,
)
from driftline_shared.pair.pair import SourceSet


def _example(num_tokens: int, question: str = "what?") -> Example:
    values = np.arange(num_tokens * 2, dtype=np.float32).reshape(num_tokens, 2)
    return Example(values=values, positions=np.arange(num_tokens) * 2, question=question)


@given(sizes=st.lists(st.sampled_from([4, 8, 16]), max_size=40), batch=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_batches_hold_everything_once_with_one_size_each(sizes: list[int], batch: int) -> None:
    examples = [_example(size) for size in sizes]
    batches = by_size(examples, batch)
    assert sorted(i for one in batches for i in one) == list(range(len(sizes)))
    assert all(len({sizes[i] for i in one}) == 1 and len(one) <= batch for one in batches)
    assert len(batches) == sum(-(-sizes.count(size) // batch) for size in set(sizes))


def test_every_index_comes_before_any_comes_again() -> None:
    sampler = IndexSampler(10, np.random.default_rng(0))
    drawn = [i for _ in range(5) for i in sampler.draw(4)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    assert len(IndexSampler(3, np.random.default_rng(0)).draw(8)) == 3
    assert IndexSampler(0, np.random.default_rng(0)).draw(8) == []


def test_kept_tokens_stay_at_their_positions() -> None:
    example = _example(16)
    cut = keep_some(example, 5, np.random.default_rng(1))
    assert cut.num_tokens == 5
    assert (np.diff(cut.positions) > 0).all()
    for value, position in zip(cut.values, cut.positions, strict=True):
        assert (value == example.values[position // 2]).all()
    assert keep_some(example, 16, np.random.default_rng(1)) is example


def test_no_source_picture_is_on_both_sides() -> None:
    rows = tuple((image, f"q{n}", "a") for image in range(20) for n in range(3))
    training, gate = split_source(SourceSet(tokens=np.zeros((20, 1, 1), np.float32), rows=rows))
    assert {row.image for row in training}.isdisjoint(row.image for row in gate)
    assert len(training) + len(gate) == 60
    assert len(gate) == pytest.approx(15)


def test_strata_are_drawn_evenly_however_large_they_are() -> None:
    drawn = [Strata((4, 100), np.random.default_rng(0)).draw(8) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert sum(index < 4 for index in drawn[0]) == 4 and len(set(drawn[0])) == 8
    sampler = Strata((0, 50), np.random.default_rng(1))
    assert sorted(i for _ in range(5) for i in sampler.draw(10)) == list(range(50))
    assert Strata((0, 0), np.random.default_rng(1)).draw(6) == []
    assert Strata((2, 9), np.random.default_rng(1)).draw(0) == []
