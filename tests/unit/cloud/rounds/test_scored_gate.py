"""The gate of a round asks the workers once per adapter, and judges what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.rounds.scored_gate import ScoredGate
from driftline_shared.callbacks import Progress
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter
from tests.fakes.cloud import make_scores

JOB = ScoreJob(pair_dir=Path("p"), holdout=(), labels=())


class _Counting:
    """Scores an adapter by the number it holds, and counts how many it was given."""

    def __init__(self) -> None:
        self.num_scored = 0

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        self.num_scored += len(adapters)
        values = [float(adapter["w"][0]) for adapter in adapters]
        return [make_scores(value) for value in values]

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        raise NotImplementedError

    def distil(self, job: DistillJob, progress: Progress) -> Distilled:
        raise NotImplementedError

    def close(self) -> None:
        pass


def _adapter(value: float) -> Adapter:
    return {"w": np.array([value], dtype=np.float32)}


def test_each_adapter_is_scored_once() -> None:
    workers = _Counting()
    gate = ScoredGate(workers, JOB, origin=_adapter(0.5))
    assert gate.judge(_adapter(0.8), _adapter(0.5)).accepted
    assert not gate.judge(_adapter(0.4), _adapter(0.5)).accepted
    assert gate.nearly(_adapter(0.79), _adapter(0.8), _adapter(0.5)).accepted
    assert workers.num_scored == 4


def test_a_packed_update_must_keep_the_gain() -> None:
    gate = ScoredGate(_Counting(), JOB, origin=_adapter(0.5))
    verdict = gate.nearly(_adapter(0.75), _adapter(0.8), _adapter(0.5))
    assert not verdict.accepted
    assert "keeps 0.833" in verdict.reason
    assert round(verdict.numbers["kept_gain"], 3) == 0.833
    # Passing on gain alone is not enough: the gate's own limits hold for it too.
    assert not gate.nearly(_adapter(0.4), _adapter(0.4), _adapter(0.5)).accepted
