"""How labelling on Ray grows with labellers: a simulated teacher that sleeps, and the real one."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import Label
from driftline_cloud.workers.local import LocalWorkers
from driftline_cloud.workers.ray import RayWorkers
from driftline_lab.bench.cloud.sleeping_labeller import SleepingLabeller, simulated
from driftline_lab.data.source_samples import samples_of
from driftline_shared.callbacks import ignore
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RayPlan:
    """What is measured. `sample_s`: seconds that the simulated teacher sleeps for a sample."""

    pair: str = "tiny"
    labellers: tuple[int, ...] = (1, 2, 4, 8)
    num_samples: int = 512
    batch_size: int = 16
    sample_s: float = 0.02
    rounds: int = 3
    real_labellers: tuple[int, ...] = (1, 2)
    real_samples: int = 512
    real_rounds: int = 3


class CountedWorkers(RayWorkers):
    """Ray's workers, whose number of labellers changes."""

    def use(self, num_labellers: int) -> None:
        """From the next call on."""
        self._num_labellers = num_labellers


class SleepingWorkers(CountedWorkers):
    """Their labellers sleep, many of them on few cores."""

    labeller = SleepingLabeller

    def _labeller_resources(self) -> dict[str, float]:
        return {"num_cpus": 0.1}


def run_ray_labelling(plan: RayPlan, *, simulated_one: bool, real_one: bool) -> dict[str, Any]:
    """Rates by number of labellers, alternating; the rounds' medians, and what a sample costs
    beyond the teacher's own time.
    """
    found: dict[str, Any] = {}
    if simulated_one:
        found["simulated"] = _simulated(plan)
    if real_one:
        found["real"] = _real(plan)
    return found


def _simulated(plan: RayPlan) -> dict[str, Any]:
    pair = load_pair(plan.pair)
    samples = samples_of(pair, plan.num_samples)
    settings = DistilSettings(threads=1, label_batch_size=plan.batch_size)
    workers = SleepingWorkers(settings=settings, device=f"sleep:{plan.sample_s}")
    try:
        rows = _measured(workers, pair.dir, samples, plan.labellers, plan.rounds)
    finally:
        workers.close()
    ideal_s = plan.sample_s * plan.num_samples
    for row in rows:
        row["efficiency"] = ideal_s / row["labellers"] / row["seconds"]
        row["overhead_ms_per_sample"] = (
            1e3 * (row["seconds"] * row["labellers"] - ideal_s) / plan.num_samples
        )
    expected = _digest([simulated(sample) for sample in samples])
    return {
        "sample_s": plan.sample_s,
        "batch_size": plan.batch_size,
        "rows": rows,
        "digests_equal": {row["digest"] for row in rows} == {expected},
    }


def _real(plan: RayPlan) -> dict[str, Any]:
    pair = load_pair(plan.pair)
    samples = samples_of(pair, plan.real_samples)
    settings = DistilSettings(threads=1)
    local = LocalWorkers(settings=settings)
    local.load(pair.dir)
    started = time.perf_counter()
    expected = _digest(local.label(pair.dir, samples, ignore))
    local_s = time.perf_counter() - started
    local.close()
    workers = CountedWorkers(settings=settings)
    try:
        rows = _measured(workers, pair.dir, samples, plan.real_labellers, plan.real_rounds)
    finally:
        workers.close()
    return {
        "local_seconds": local_s,
        "rows": rows,
        "speed_up": rows[0]["seconds"] / rows[-1]["seconds"],
        "digests_equal": {row["digest"] for row in rows} == {expected},
    }


def _measured(
    workers: CountedWorkers,
    pair_dir: Path,
    samples: Sequence[Sample],
    numbers: Sequence[int],
    rounds: int,
) -> list[dict[str, Any]]:
    """One row a number of labellers; all are up and warm before any time is taken."""
    workers.use(max(numbers))
    started = time.perf_counter()
    workers.label(pair_dir, samples, ignore)
    cold_s = time.perf_counter() - started
    while len(workers.labelling_pids()) < max(numbers):
        workers.label(pair_dir, samples, ignore)
    times: dict[int, list[float]] = {number: [] for number in numbers}
    digests: dict[int, set[str]] = {number: set() for number in numbers}
    for _ in range(rounds):
        for number in numbers:
            workers.use(number)
            seconds, digest = _timed(lambda: workers.label(pair_dir, samples, ignore))
            times[number].append(seconds)
            digests[number].add(digest)
            _log.info("bench.labelled", labellers=number, seconds=round(seconds, 2))
    rows = []
    for number in numbers:
        (digest,) = digests[number]
        seconds = statistics.median(times[number])
        rows.append(
            {
                "labellers": number,
                "seconds": seconds,
                "all_seconds": times[number],
                "labels_per_s": len(samples) / seconds,
                "cold_seconds": cold_s,
                "digest": digest,
            }
        )
    return rows


def _timed(work: Callable[[], list[Label]]) -> tuple[float, str]:
    started = time.perf_counter()
    labels = work()
    return time.perf_counter() - started, _digest(labels)


def _digest(labels: Sequence[Label]) -> str:
    digest = hashlib.sha256()
    for label in labels:
        digest.update(repr((label.sample_id, label.text, label.tokens, label.confidence)).encode())
    return digest.hexdigest()
