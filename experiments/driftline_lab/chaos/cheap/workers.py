"""What works for a cloud of the cheap pair: the `Workers` protocol, deterministic.

Each distillation raises `level` by the same step, and an adapter is scored by its level alone, so
every round passes the gate, however many there were. On order the next candidate harms: the gate
does not see that, a device's probe does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, Marks, ScoreJob
from driftline_cloud.service.assembly import Makers
from driftline_cloud.workers.workers import Keep
from driftline_lab.chaos.cheap.pair import first_adapter
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

HARM = "harm-next"
"""A file of this name in the folder of orders makes the next candidate harm."""

_STEP, _NOISE, _BATCH = 0.5, 0.01, 8
_NUM_SOURCE, _GAIN = 64, 0.4


class CheapWorkers:
    """Results follow from the job, and from whether `orders` has the file `HARM`."""

    def __init__(self, orders: Path) -> None:
        self._orders = orders

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """See `Workers`."""
        asked = [one for one in samples if one.id not in known]
        found: list[Label] = []
        for start in range(0, len(asked), _BATCH):
            some = [_label(one) for one in asked[start : start + _BATCH]]
            keep(some)
            found += some
        progress(1.0)
        return found

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        """See `Workers`."""
        ids = [sample.id.hex() for sample in (*job.samples, *job.rehearsal)]
        seen = hashlib.sha256(json.dumps([job.seed, ids]).encode()).digest()
        rng = np.random.default_rng(list(seen))
        order = self._orders / HARM
        harm = float(order.exists())
        order.unlink(missing_ok=True)
        noise = {name: rng.normal(0, _NOISE, one.shape) for name, one in job.start.items()}
        level = float(job.start["level"].mean()) + _STEP
        adapter = {
            "level": (level + noise["level"]).astype(np.float32),
            "harm": (harm + noise["harm"]).astype(np.float32),
        }
        # What harms is moved far, so that no packing leaves it out.
        importance = {name: np.ones(one.shape, np.float32) for name, one in job.start.items()}
        progress(1.0)
        return Distilled(adapter=adapter, importance=importance, numbers={"loss": 0.5})

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """See `Workers`."""
        return [
            GateScores(
                # Differences count: a mark above one is no matter, and a run has no end.
                holdout=_marks(_GAIN * float(adapter["level"].mean()), len(job.holdout)),
                source=_marks(0.9, _NUM_SOURCE),
                rehearsal=_marks(0.8, len(job.rehearsal)),
                num_steps=2.0,
            )
            for adapter in adapters
        ]

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """See `Workers`."""
        return b""

    def close(self) -> None:
        """Nothing is held."""


def cheap_makers(orders: Path) -> Makers:
    """What assembles a cloud of the cheap pair."""
    workers = CheapWorkers(orders)
    return Makers(
        pair=load_pair,
        workers=lambda _config: workers,
        initial=lambda _pair: first_adapter(),
        teacher=lambda _pair: "cheap",
        answering=lambda _config: workers,
    )


def _label(sample: Sample) -> Label:
    return Label(
        sample_id=sample.id, text=sample.id.hex()[:4], tokens=(sample.id[0], 1), confidence=0.9
    )


def _marks(share: float, num: int) -> Marks:
    return Marks(right=(share,) * num, probability=(share,) * num)
