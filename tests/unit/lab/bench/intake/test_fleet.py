"""How a fleet is shared out over processes, and what is made of what they saw."""

from __future__ import annotations

import pytest

from driftline_lab.bench.intake.fleet import Fleet, drift, shared_out, told


def test_every_device_lives_in_one_process() -> None:
    fleet = Fleet(devices=10, processes=3, connections=7, pushing=4)
    plans = list(shared_out(fleet, "127.0.0.1:1"))
    numbers = [plan.first + number for plan in plans for number in range(plan.devices)]
    assert numbers == list(range(10))
    assert sum(plan.pushing for plan in plans) == 4
    assert sum(plan.connections for plan in plans) == 7


def test_what_processes_saw_is_put_together() -> None:
    one = {"enrol_ms": [1.0], "check_ms": [1.0, 2.0], "push_ms": [], "samples": 4}
    other = {"enrol_ms": [3.0], "check_ms": [9.0], "push_ms": [], "samples": 8}
    seen = [{**one, "errors": {"a": 1}}, {**other, "errors": {"a": 2}}]
    found = told(seen, Fleet(steady_s=2.0))
    assert (found["enrolled"], found["samples"], found["errors"]) == (2, 12, 3)
    assert found["errors_by_kind"] == {"a": 3}
    assert found["checks_per_s"] == 1.5
    assert (found["check_ms_p50"], found["check_ms_p99"], found["check_ms_max"]) == (2.0, 9.0, 9.0)
    assert found["push_ms_p99"] is None


def test_drift_is_of_the_line_through_all_values() -> None:
    assert drift([100, 110, 120]) == pytest.approx(0.2)
    assert drift([100, 120, 100]) == pytest.approx(0.0)
    assert drift([100]) == 0.0
