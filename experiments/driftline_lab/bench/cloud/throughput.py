"""How fast a cloud's machine works on a pair: samples labelled and distilled per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import load_models
from driftline_cloud.distill.teacher import label
from driftline_cloud.distill.trainer import distil
from driftline_cloud.jobs import DistillJob
from driftline_lab.data.source_samples import samples_of
from driftline_shared.pair.pair import load_pair

RUNS = 3
STEPS = 10


def run_throughput(
    pair_name: str, device: str, num_samples: int, share: float = 0.5
) -> dict[str, Any]:
    """Medians of `RUNS` runs over samples cut from the pair's own source set.

    A distilled sample is one row of one step; what is not a step (watching the teacher and the old
    student) is timed with `STEPS` and with twice as many, and drops out of the difference.
    """
    pair = load_pair(pair_name)
    models = load_models(pair.dir, device)
    samples = samples_of(pair, num_samples, share)
    settings = DistilSettings(confidence_floor=0.0)
    labels = label(models.teacher, pair, samples, settings, lambda _: None)

    def trained(steps: int) -> Callable[[], object]:
        values: dict[str, object] = {
            "min_steps": steps,
            "max_steps": steps,
            "confidence_floor": 0.0,
            "extra_questions": 0,
        }
        job = DistillJob(
            pair_dir=pair.dir,
            seed=0,
            start=models.initial,
            samples=samples,
            labels=labels,
            settings=values,
        )
        return lambda: distil(job, models, lambda _: None)

    work = {
        "label": lambda: label(models.teacher, pair, samples, settings, lambda _: None),
        "short": trained(STEPS),
        "long": trained(2 * STEPS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in track(range(RUNS), description="timing", console=Console(stderr=True)):
        for name, step in work.items():
            seconds[name].append(_timed(step, device))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    step_s = (medians["long"] - medians["short"]) / STEPS
    rows = min(settings.batch_size, num_samples) + settings.memory_batch_size
    return {
        "pair": pair.name,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "num_samples": num_samples,
        "token_share": share,
        "labelled_per_s": num_samples / medians["label"],
        "step_s": step_s,
        "distilled_rows_per_s": rows / step_s,
    }


def _timed(step: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start
