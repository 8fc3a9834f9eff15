"""The benches of the intake as small runs: real processes, gRPC on loopback."""

from __future__ import annotations

import pytest

from driftline_lab.bench.intake.fleet import Fleet, run_fleet
from driftline_lab.bench.intake.push import PushPlan, run_push
from driftline_lab.bench.intake.status import run_status
from driftline_lab.bench.intake.trust import TrustPlan, run_trust

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


def test_simulated_devices_enrol_check_and_push_without_an_error() -> None:
    fleet = Fleet(
        devices=30,
        processes=2,
        connections=4,
        ramp_s=0.5,
        steady_s=2.0,
        every_s=0.3,
        pushing=4,
        batch=3,
    )
    found = run_fleet(fleet)
    assert found["errors"] == 0, found["errors_by_kind"]
    assert found["enrolled"] == 30
    assert found["samples"] > 0 and found["samples"] % 3 == 0
    assert found["checks_per_s"] > 0 and found["check_ms_p99"] >= found["check_ms_p50"] > 0
    assert found["cloud_running"]


def test_a_status_counts_what_the_bench_filled_in() -> None:
    found = run_status(2_000, runs=2)
    assert (found["samples"], found["waiting"]) == (2_000, 1_000)
    assert found["status_ms_max"] >= found["status_ms"] > 0


def test_a_device_with_a_certificate_is_measured_beside_one_without() -> None:
    found = run_trust(TrustPlan(runs=1, connections=2, checks=5, samples=128))
    for name in ("plain", "certified"):
        assert found[name]["connect_ms"] > 0 and found[name]["samples_per_s"] > 0
    # Certificates of both sides go over the wire, once a connection.
    more = found["certified"]["connect_bytes"] - found["plain"]["connect_bytes"]
    assert 2_000 < more < 20_000
    assert found["certified"]["check_bytes"] < found["plain"]["check_bytes"] + 300
    assert found["ratios"]["check_ms"]["median"] == pytest.approx(
        found["certified"]["check_ms"] / found["plain"]["check_ms"]
    )
