"""The gate of a round asks the workers once per adapter, and judges what they say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.rounds.scored_gate import ScoredGate, along
from driftline_cloud.workers.workers import Keep
from driftline_shared.callbacks import Progress, ignore
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

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        raise NotImplementedError

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        raise NotImplementedError

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
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


class _Forgetful(_Counting):
    """The further an adapter goes, the more it knows and the less of the source."""

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        self.num_scored += len(adapters)
        values = [float(adapter["w"][0]) for adapter in adapters]
        return [make_scores(0.5 + value / 4, source=0.95 - 0.06 * value**2) for value in values]


def test_a_candidate_that_forgets_too_much_goes_part_of_the_way() -> None:
    workers = _Forgetful()
    gate = ScoredGate(workers, JOB, origin=_adapter(0.0))
    share, verdict = gate.longest_step(_adapter(1.0), _adapter(0.0))
    assert share == 0.4 and verdict.accepted and verdict.reason.startswith("40% of the way")
    assert gate.judge(along(_adapter(0.0), _adapter(1.0), share), _adapter(0.0)).accepted
    assert workers.num_scored == 5  # base, candidate and three points, each once
    assert gate.longest_step(_adapter(0.3), _adapter(0.0))[0] == 1.0


def test_one_that_forgets_all_along_or_gains_nothing_is_refused_as_it_is() -> None:
    gate = ScoredGate(_Forgetful(), JOB, origin=_adapter(0.0))
    share, verdict = gate.longest_step(_adapter(4.0), _adapter(0.0))
    assert share == 1.0 and not verdict.accepted and "source accuracy" in verdict.reason
    share, verdict = gate.longest_step(_adapter(-0.5), _adapter(0.0))
    assert share == 1.0 and not verdict.accepted and "better with probability" in verdict.reason


def test_all_the_way_is_the_candidate_bit_for_bit() -> None:
    candidate = _adapter(0.1)
    assert along(_adapter(0.7), candidate, 1.0) is candidate
