"""Devices whose worlds drift apart, and workers for whom each drift asks for another adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Marks, ScoreJob
from driftline_shared.callbacks import Progress
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.tokens import Sample, TokenSpace, VisualTokens
from driftline_shared.update import Adapter
from tests.fakes.cloud import GRID, WIDTH, ReckoningWorkers, make_sample, make_scores, start_adapter

SHIFTS = {"night": -0.6, "sketch": 0.6}
"""Where the tokens of a drift lie."""


def drifted_sample(number: int, space: TokenSpace, drift: str) -> Sample:
    """A sound sample of a drift whose id follows from `number`; its question names the drift."""
    rng = np.random.default_rng([number, 1])
    values = np.clip(rng.normal(SHIFTS[drift], 0.2, (5, WIDTH)), -1.0, 1.0).astype(np.float32)
    tokens = VisualTokens(
        values=values,
        positions=np.sort(rng.permutation(GRID.num_tokens)[:5]).astype(np.int32),
        grid=GRID,
    )
    plain = make_sample(number, space, question=f"{drift}?")
    return replace(plain, tokens=encode_tokens(tokens, space, "int8"))


@dataclass(kw_only=True)
class DriftingWorkers(ReckoningWorkers):
    """Each drift has a goal of its own: to learn several together is to learn their mean."""

    gain: float = 0.9

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        plain = super().distil(job, progress, checkpoints)
        goals = [_goal(sample) for sample in job.samples]
        adapter = {
            name: (
                array + self.gain * (np.mean([goal[name] for goal in goals], axis=0) - array)
            ).astype(np.float32)
            for name, array in job.start.items()
        }
        return replace(plain, adapter=adapter, numbers={"num_steps": 40.0})

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        self.hook("score")
        return [_scores(adapter, job) for adapter in adapters]


def _goal(sample: Sample) -> Adapter:
    rng = np.random.default_rng(sorted(SHIFTS).index(sample.question.rstrip("?")))
    return {n: a + rng.normal(0, 0.1, a.shape) for n, a in start_adapter().items()}


def _scores(adapter: Adapter, job: ScoreJob) -> GateScores:
    near = tuple(_near(adapter, _goal(sample)) for sample in job.holdout)
    plain = make_scores(num_holdout=0, rehearsal=0.9, num_rehearsal=len(job.rehearsal))
    return replace(plain, holdout=Marks(right=near, probability=near))


def _near(adapter: Adapter, goal: Adapter) -> float:
    error = sum(float(np.square(adapter[name] - goal[name]).sum()) for name in goal)
    size = sum(float(np.square(start_adapter()[name] - goal[name]).sum()) for name in goal)
    return 0.5 + float(np.clip(1.0 - error / size, -1.0, 1.0)) / 2.0
