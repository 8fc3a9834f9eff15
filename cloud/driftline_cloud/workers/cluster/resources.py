"""What a cluster has, and making room in it: whoever waits warm gives way to whoever works."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

NAMES = {"num_cpus": "CPU", "num_gpus": "GPU"}
"""What actors ask for, as the cluster counts it."""

FREED_S = 10.0
"""For a cluster to count what an actor gave back that was ended."""

POLL_S = 0.1


def cpus_for(threads: int) -> int:
    """CPUs of a worker with so many threads: one each, but no more than any node has."""
    return max(1, min(threads, max((int(node.get("CPU", 0)) for node in _nodes()), default=1)))


def slots(resources: Mapping[str, float]) -> int:
    """How many actors with these resources fit into the cluster when nothing else is in it; at
    least one, which then waits for a node.
    """
    return max(1, sum(fitting(resources, node) for node in _nodes()))


def fitting(resources: Mapping[str, float], node: Mapping[str, float]) -> int:
    """How many fit into one node."""
    wanted = {NAMES[name]: amount for name, amount in resources.items() if amount}
    return min((int(node.get(name, 0) // amount) for name, amount in wanted.items()), default=0)


def make_room(resources: Mapping[str, float], ways: Sequence[Callable[[], None]]) -> None:
    """End what is only kept warm, one after another, until the resources are free. Where they are
    not even then, others have them, and Ray waits for these.
    """
    for way in ways:
        if _is_free(resources):
            return
        way()
        until = time.monotonic() + FREED_S
        before = _available()
        while not _is_free(resources) and _available() == before and time.monotonic() < until:
            time.sleep(POLL_S)


def _is_free(resources: Mapping[str, float]) -> bool:
    return fitting(resources, _available()) > 0


def _available() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.available_resources()
    return {name: found.get(name, 0) for name in NAMES.values()}


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
