"""What fits into a cluster."""

from __future__ import annotations

from driftline_cloud.workers.cluster.resources import fitting


def test_how_many_fit_into_a_node() -> None:
    assert fitting({"num_cpus": 2, "num_gpus": 0}, {"CPU": 7.0}) == 3
    assert fitting({"num_cpus": 1, "num_gpus": 1}, {"CPU": 7.0, "GPU": 2.0}) == 2
    assert fitting({"num_cpus": 1, "num_gpus": 1}, {"CPU": 7.0}) == 0
    assert fitting({"num_cpus": 1}, {}) == 0
