"""The conformal gate against its definition, and its promise on exchangeable scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.gate import SCORE_KINDS, Gate, calibrate, p_value
from driftline_shared.errors import ConfigError, PairError

SCORES = st.lists(st.floats(-10, 10), max_size=40)


@given(SCORES, st.floats(-12, 12))
def test_p_value_is_the_share_not_below(calibration: list[float], score: float) -> None:
    literal = (1 + sum(c >= score for c in calibration)) / (len(calibration) + 1)
    assert p_value(np.sort(np.asarray(calibration, np.float64)), score) == literal


@given(SCORES, st.floats(-12, 12), st.floats(0, 5))
def test_a_higher_score_is_never_less_unusual(
    calibration: list[float], score: float, more: float
) -> None:
    rising = np.sort(np.asarray(calibration, np.float64))
    assert p_value(rising, score + more) <= p_value(rising, score)


def test_source_samples_pass_as_often_as_the_quantile_says() -> None:
    rng = np.random.default_rng(0)
    gate = Gate({"entropy": np.sort(rng.gamma(2.0, size=2_000))}, kind="entropy", quantile=0.9)
    fresh = rng.gamma(2.0, size=5_000)
    passed = np.mean([gate.judge({"entropy": s}, {}).uncertain for s in fresh])
    assert 0.08 < passed < 0.12


def test_the_level_itself_counts_as_uncertain() -> None:
    # 1 - 0.9 is a little below 0.1 in binary: the gate must not lose the sample over that.
    gate = Gate({"margin": np.arange(9.0)}, kind="margin", quantile=0.9)
    verdict = gate.judge({"margin": 9.0}, {})
    assert verdict.p_value == 0.1
    assert verdict.uncertain
    assert not gate.judge({"margin": 8.0}, {}).uncertain


def test_only_the_score_asked_for_is_computed() -> None:
    asked: list[str] = []

    def compute(kind: str) -> float:
        asked.append(kind)
        return 1.0

    lazy = {kind: (lambda kind=kind: compute(kind)) for kind in ("ood", "mutual_information")}
    calibration = {kind: np.linspace(0, 1, 11) for kind in SCORE_KINDS}
    given_scores = {"entropy": 0.5, "margin": 0.5}
    Gate(calibration, kind="entropy", quantile=0.9).judge(given_scores, lazy)
    assert asked == []
    Gate(calibration, kind="ood", quantile=0.9).judge(given_scores, lazy)
    assert asked == ["ood"]


def test_an_unknown_kind_and_a_missing_calibration_are_named() -> None:
    with pytest.raises(ConfigError, match="confidence"):
        Gate({"confidence": np.ones(3)}, kind="confidence", quantile=0.9)
    with pytest.raises(PairError, match="ood"):
        Gate({"entropy": np.ones(3)}, kind="ood", quantile=0.9)


def test_calibrate_sorts_by_kind() -> None:
    columns = calibrate([{"entropy": 2.0, "margin": 0.1}, {"entropy": 1.0, "margin": 0.3}])
    assert columns["entropy"].tolist() == [1.0, 2.0]
    assert columns["margin"].tolist() == [0.1, 0.3]
