"""How fast a cloud takes samples, beside a bare server that stores the same bytes as durably.

The two are started in turn on fresh copies of the same databases, and the same devices push the
same batches to each. A run's ratio is of the two runs beside each other, so that what else the
machine does bears on both.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from driftline_lab.bench.intake.filling import fill_bare, fill_cloud
from driftline_lab.bench.intake.quantiles import quantile
from driftline_lab.bench.intake.servers import bare, serving
from driftline_lab.bench.processors import cpu_seconds, load_average
from driftline_lab.peers.material import Material
from driftline_lab.peers.pushing import Pushed, batches_of, enrol, push
from driftline_shared.errors import DriftlineError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class PushPlan:
    """What is measured. `waiting`: samples that wait beforehand; `batch`: samples of a batch,
    `window`: batches of a device that are under way.
    """

    pair: str = "tiny"
    codec: str = "auto"
    waiting: tuple[int, ...] = (0, 100_000)
    devices: int = 8
    samples: int = 16_384
    batch: int = 64
    window: int = 4
    runs: int = 5


def run_push(plan: PushPlan) -> dict[str, Any]:
    """A row for each number of waiting samples: medians of the rates, and of the runs' ratios with
    their extremes.
    """
    material, load = Material(pair=plan.pair, codec=plan.codec), load_average()
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(plan, material, waiting, Path(folder)) for waiting in plan.waiting]
    return {
        "pair": plan.pair,
        "codec": material.kinds[0].sample.tokens.codec,
        "bytes_per_sample": statistics.fmean(len(kind.body) for kind in material.kinds),
        "devices": plan.devices,
        "samples": plan.samples,
        "batch": plan.batch,
        "window": plan.window,
        "load_average": load,
        "rows": rows,
    }


def _row(plan: PushPlan, material: Material, waiting: int, folder: Path) -> dict[str, Any]:
    kept = folder / f"kept-{waiting}"
    fill_cloud(kept / "cloud", material, waiting)
    fill_bare(kept / "bare", material, waiting)
    names = [f"device-{number}" for number in range(plan.devices)]
    runs: dict[str, list[Run]] = {"bare": [], "cloud": []}
    for number in range(plan.runs):
        batches = _batches(plan, material, names, seed=1_000 + number)
        for name in ("bare", "cloud") if number % 2 else ("cloud", "bare"):
            state = folder / "now"
            shutil.copytree(kept / name, state)
            starting = serving(state, plan.pair, folder) if name == "cloud" else bare(state, folder)
            with starting as (address, server):
                if name == "cloud":
                    enrol(address, [material.enrolment(one) for one in names])
                before_s = cpu_seconds(server.process.pid)
                pushed = push(address, batches, window=plan.window)
                cpu_s = cpu_seconds(server.process.pid) - before_s
            shutil.rmtree(state)
            runs[name].append(_run(pushed, cpu_s))
        _log.info(
            "bench.pushed",
            waiting=waiting,
            run=number,
            **{name: round(values[-1].samples_per_s) for name, values in runs.items()},
        )
    shutil.rmtree(kept)
    return {"waiting": waiting, **summary(runs)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measurement of one server. `cpu_s`: of its process, for one sample."""

    samples_per_s: float
    ack_s: tuple[float, ...]
    cpu_s: float


def summary(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Medians over the runs of `bare` and of `cloud`; `ratio`: of their rates, cloud over bare, run
    by run.
    """
    pairs = zip(runs["cloud"], runs["bare"], strict=True)
    ratios = [cloud.samples_per_s / bare.samples_per_s for cloud, bare in pairs]
    found: dict[str, Any] = {}
    for name, values in runs.items():
        ack_s = [one for run in values for one in run.ack_s]
        found[name] = {
            "samples_per_s": statistics.median(run.samples_per_s for run in values),
            "all_samples_per_s": [run.samples_per_s for run in values],
            "cpu_us_per_sample": 1e6 * statistics.median(run.cpu_s for run in values),
            "ack_ms_p50": 1e3 * quantile(ack_s, 0.5),
            "ack_ms_p99": 1e3 * quantile(ack_s, 0.99),
        }
    return {
        **found,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def _run(pushed: Pushed, cpu_s: float) -> Run:
    """DriftlineError unless every sample was stored."""
    if set(pushed.verdicts) != {"stored"}:
        raise DriftlineError(
            f"not every sample was stored: {dict(pushed.verdicts)}",
            fix="Fewer samples of a device: a cloud has quotas (`quota` among its settings).",
        )
    num_samples = pushed.verdicts["stored"]
    return Run(
        samples_per_s=num_samples / pushed.seconds, ack_s=pushed.ack_s, cpu_s=cpu_s / num_samples
    )


def _batches(
    plan: PushPlan, material: Material, names: Sequence[str], seed: int
) -> list[tuple[bytes, ...]]:
    bodies = [sample.body for sample in material.samples(plan.samples, seed)]
    space = material.line.token_space.digest
    return [
        batches_of(name, space, bodies[place :: len(names)], plan.batch)
        for place, name in enumerate(names)
    ]
