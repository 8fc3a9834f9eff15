"""The bench of unseen drift: intervals over pictures, families counted, a row of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline_lab.bench.corruptions import interval, run_corruptions
from driftline_lab.drift.corruptions import DEVELOPMENT
from driftline_shared.errors import ConfigError


def test_an_interval_draws_pictures_not_questions() -> None:
    rng = np.random.default_rng(0)
    asked = rng.integers(6, 12, 400)
    # All questions of a picture are right, or none is: ten answers say no more than one.
    right = np.where(rng.random(400) < 0.8, asked, 0)
    found = interval(right, asked)
    draws = rng.integers(400, size=(4000, 400))
    shares = right[draws].sum(axis=1) / asked[draws].sum(axis=1)
    assert found["share"] == pytest.approx(right.sum() / asked.sum())
    assert found["error"] == pytest.approx(1.96 * shares.std(), rel=0.06)
    assert found["error"] > 1.8 * 1.96 * np.sqrt(0.8 * 0.2 / asked.sum())


def test_the_interval_of_a_paired_difference_may_be_narrow() -> None:
    asked = np.full(50, 10)
    assert interval(np.full(50, 1), asked) == pytest.approx({"share": 0.1, "error": 0.0})


def test_rows_of_families_and_of_known_domains_are_counted_apart(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"severities": [5], "families": ["contrast", "speckle_noise"]}
    found = run_corruptions(2, **asked, work=tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) == 3 * len(found["rows"])
    assert run_corruptions(2, **asked, work=tmp_path) == found
    assert {path.name for path in tmp_path.iterdir()} == kept
    names = [row["domain"] for row in found["rows"]]
    assert names[0] == "source"
    assert names[-2:] == ["corrupt-contrast-5", "corrupt-speckle_noise-5"]
    counts = found["by_severity"]["5"]
    assert (counts["families"], counts["judged"], counts["common"]) == (2, 1, 1)
    assert "speckle_noise" in DEVELOPMENT
    for row in found["rows"]:
        gap = row["teacher"]["share"] - row["student"]["share"]
        assert row["gap"]["share"] == pytest.approx(gap)


def test_a_severity_without_domains_is_refused() -> None:
    with pytest.raises(ConfigError, match="3, 5"):
        run_corruptions(2, severities=[1])
