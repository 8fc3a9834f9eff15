"""The gate's verdicts: each limit rejects on its own, and says why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from driftline_cloud.distill.gate.rule import (
    Difference,
    GateLimits,
    gain_score,
    judge,
    judge_packed,
)
from driftline_cloud.jobs import GateScores, Marks
from tests.fakes.cloud import make_scores

BASE = make_scores(0.60, 0.55)
BETTER = make_scores(0.75, 0.70)


def test_a_better_candidate_passes_and_the_numbers_are_all_there() -> None:
    verdict = judge(BETTER, BASE)
    assert verdict.accepted
    assert "0.600 to 0.750" in verdict.reason
    assert verdict.numbers["candidate_agreement"] == pytest.approx(0.75)
    assert verdict.numbers["base_source_accuracy"] == pytest.approx(0.95)
    assert verdict.numbers["sure_of_gain"] > 0.99


@pytest.mark.parametrize(
    ("candidate", "word"),
    [
        (make_scores(0.5, 0.5), "better with probability"),
        (make_scores(0.75, 0.7, source=0.85), "source accuracy went from 0.950 to 0.850"),
        (make_scores(0.75, 0.7, rehearsal=0.7), "agreement on earlier samples"),
        (make_scores(0.75, 0.7, num_steps=4.0), "steps"),
        (make_scores(0.75, 0.7, finite=False), "NaN"),
    ],
)
def test_each_limit_rejects_alone(candidate: GateScores, word: str) -> None:
    verdict = judge(candidate, BASE)
    assert not verdict.accepted
    assert word in verdict.reason and ";" not in verdict.reason


def test_without_a_held_out_sample_nothing_passes() -> None:
    none = make_scores(num_holdout=0)
    assert "held-out" in judge(none, none).reason


def test_source_counts_against_version_0_not_against_the_version_in_use() -> None:
    origin = make_scores(0.3, source=0.95)
    in_use = make_scores(0.6, source=0.945)
    candidate = make_scores(0.75, source=0.936)
    assert judge(candidate, in_use).accepted
    verdict = judge(candidate, in_use, origin)
    assert not verdict.accepted and "0.950 to 0.936" in verdict.reason


def test_one_fallen_answer_of_many_that_rose_in_probability_is_no_harm() -> None:
    # Of 27 held-out samples one answer falls while all others become surer.
    right = np.r_[np.ones(20), np.zeros(7)]
    fallen = right.copy()
    fallen[0] = 0.0
    surer = np.linspace(0.3, 0.9, 27)
    base, candidate = (
        replace(BASE, holdout=Marks(right=tuple(r), probability=tuple(p)))
        for r, p in ((right, surer - 0.1), (fallen, surer))
    )
    assert judge(candidate, base).accepted


def test_a_difference_is_surer_with_more_samples_and_never_certain() -> None:
    few, many = (
        Difference.of(make_scores(0.62, num_holdout=n).holdout, make_scores(num_holdout=n).holdout)
        for n in (5, 200)
    )
    assert 0.5 < few.sure_above(0.0) < many.sure_above(0.0)
    same = Difference.of(BASE.holdout, BASE.holdout)
    assert same.sure_above(0.0) == 0.5 and same.error > 0
    with pytest.raises(ValueError, match="100 samples"):
        Difference.of(BASE.holdout, make_scores(num_holdout=5).holdout)


def test_pairs_tell_more_than_two_means() -> None:
    """A rise of each sample by a little is seen through a spread between samples ten times that."""
    rng = np.random.default_rng(3)
    old = rng.uniform(0.1, 0.8, 30)
    new = old + 0.03
    zeros = tuple(np.zeros(30))
    difference = Difference.of(
        Marks(right=zeros, probability=tuple(new)), Marks(right=zeros, probability=tuple(old))
    )
    assert difference.mean == pytest.approx(0.015)
    assert difference.sure_above(0.0) > 0.97


def test_a_packing_must_keep_the_gain() -> None:
    kept = judge_packed(make_scores(0.745, 0.695), BETTER, BASE, keep_gain=0.95)
    assert kept.accepted and kept.numbers["kept_gain"] == pytest.approx(0.145 / 0.15)
    lost = judge_packed(make_scores(0.70, 0.65), BETTER, BASE, keep_gain=0.95)
    assert not lost.accepted and "keeps 0.667" in lost.reason


def _fallen(scores: GateScores, fall: float) -> GateScores:
    """Held-out probabilities lower by `fall` in the mean, each by its own amount."""
    spread = np.linspace(-0.15, 0.15, scores.holdout.num)
    moved = tuple(np.asarray(scores.holdout.probability) - fall + spread)
    return replace(scores, holdout=replace(scores.holdout, probability=moved))


def test_a_packing_is_refused_by_a_likely_loss_not_by_chance() -> None:
    """Chance makes thirty samples seem to lose a little; a third of the gain it does not."""
    few = make_scores(0.75, 0.70, num_holdout=30)
    base = make_scores(0.60, 0.55, num_holdout=30)
    verdict = judge_packed(_fallen(few, 0.018), few, base, keep_gain=0.95)
    assert verdict.numbers["kept_gain"] == pytest.approx(0.94)
    assert verdict.accepted, verdict.reason
    cut = _fallen(few, 0.1)
    verdict = judge_packed(cut, few, base, keep_gain=0.95)
    assert not verdict.accepted and "too little with probability" in verdict.reason
    assert judge_packed(cut, few, base, None, GateLimits(sure_of_cut=1.0)).accepted


def test_a_fall_of_source_stops_an_update_as_it_stops_a_candidate() -> None:
    """Both may go a shorter step instead."""
    falls = make_scores(0.75, 0.70, source=0.9393)
    verdict = judge(falls, BASE)
    assert 0.7 < verdict.numbers["sure_of_source_fall"] < 0.9
    assert not verdict.accepted and verdict.forgets
    packed = judge_packed(falls, falls, BASE)
    assert not packed.accepted and packed.forgets


def test_an_open_gate_lets_through_what_is_finite() -> None:
    limits = GateLimits(
        sure_of_gain=0.0, sure_of_harm=1.0, sure_of_source_harm=1.0, max_step_ratio=100.0
    )
    assert judge(
        make_scores(0.1, source=0.1, rehearsal=0.1, num_steps=9), BASE, None, limits
    ).accepted


def test_numbers_of_a_broken_candidate_stay_finite() -> None:
    broken = make_scores(0.75, math.nan, finite=False)
    assert all(math.isfinite(value) for value in judge(broken, BASE).numbers.values())


@pytest.mark.parametrize(
    ("candidate", "base"),
    [(make_scores(0.75, math.nan), BASE), (BETTER, make_scores(0.60, math.nan))],
)
def test_what_is_no_number_is_never_better(candidate: GateScores, base: GateScores) -> None:
    verdict = judge(candidate, base)
    assert not verdict.accepted
    assert "not a number" in verdict.reason
    assert all(math.isfinite(value) for value in verdict.numbers.values())


def test_gain_score_is_continuous_and_never_prefers_a_broken_adapter() -> None:
    assert gain_score(BETTER) > gain_score(BASE)
    assert gain_score(replace(BETTER, finite=False)) == -math.inf


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match="source_fall"):
        GateLimits(source_fall=2.0)
    with pytest.raises(ValidationError, match="max_step_ratio"):
        GateLimits(max_step_ratio=0.5)
