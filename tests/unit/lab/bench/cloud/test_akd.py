"""One round by the bench, with `tiny`: the candidate, and what devices would hold of it."""

from __future__ import annotations

import pytest

from driftline_lab.bench.cloud.akd import Plan, run_akd
from driftline_lab.data.worlds import world_named


@pytest.mark.slow
def test_a_candidate_is_tested_whole_and_as_it_is_coded() -> None:
    plan = Plan(
        world=world_named(None, pair="tiny"),
        domain="night",
        num_questions=32,
        rounds=1,
        share=0.5,
        sample_share=0.5,
        seed=100,
        final=False,
        num_test=24,
        packed=(0.5, 0.05),
    )
    steps = ("max_steps=6", "num_source_rows=32", "gate_source_rows=16")
    (row,) = run_akd("tiny", [plan], steps)["rows"]
    large, small = row["packed"]
    assert (large["share"], small["share"]) == (0.5, 0.05)
    assert 0 < small["bytes"] < large["bytes"] / 3
    for coded in (large, small):
        assert 0.3 < coded["after"] <= 1 and 0.8 < coded["source_after"] <= 1
    assert row["numbers"]["num_steps"] == 6
