"""The benches of the intake as small runs: real processes, gRPC on loopback."""

from __future__ import annotations

import pytest

from driftline_lab.bench.intake.push import PushPlan, run_push

pytestmark = pytest.mark.integration


def test_a_cloud_and_a_bare_server_store_the_same_samples() -> None:
    plan = PushPlan(waiting=(120,), devices=2, samples=200, batch=30, window=2, runs=1)
    (row,) = run_push(plan)["rows"]
    assert row["waiting"] == 120
    # The run fails unless each stores every sample.
    assert row["ratio"] == pytest.approx(
        row["cloud"]["samples_per_s"] / row["bare"]["samples_per_s"]
    )
    assert row["cloud"]["ack_ms_p99"] >= row["cloud"]["ack_ms_p50"] > 0
