"""What a round keeps of work that was cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.distill.examples import plan_labelling
from driftline_cloud.jobs import Distilled, DistillJob, Label
from driftline_cloud.rounds.round import RoundState
from driftline_shared.callbacks import Progress
from driftline_shared.errors import DriftlineError
from driftline_shared.tokens import Sample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import SETTINGS, open_cloud, run_rounds, send


@dataclass(kw_only=True)
class CutOffWorkers(ReckoningWorkers):
    """The first distillation is cut off after it kept its state."""

    found: list[bytes | None] = field(default_factory=list)

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        assert checkpoints is not None and checkpoints.every_s == 10.0
        self.found.append(checkpoints.load(100))
        checkpoints.save(b"the state")
        if len(self.found) == 1:
            raise DriftlineError("the worker was lost")
        return super().distil(job, progress)


def test_a_training_goes_on_from_what_was_kept_and_leaves_nothing(tmp_path: Path) -> None:
    workers, clock = CutOffWorkers(), FakeClock()
    cloud = open_cloud(tmp_path / "state", workers, clock)
    send(cloud, range(40))
    run_rounds(cloud)
    clock.advance(60)
    run_rounds(cloud)
    assert workers.found == [None, b"the state"]
    (round_,) = cloud.ledger.newest(cloud.line.id, limit=8)
    assert round_.state is RoundState.DONE
    kept = {path.name for path in (tmp_path / "state" / "rounds" / round_.id).iterdir()}
    assert kept == {"distilled.safetensors", "packed.safetensors"}


def test_a_round_that_fails_leaves_no_checkpoint(tmp_path: Path) -> None:
    class Failing(ReckoningWorkers):
        def distil(
            self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
        ) -> Distilled:
            if checkpoints is not None:
                checkpoints.save(b"the state")
            raise DriftlineError("the worker was lost")

    workers, clock = Failing(), FakeClock()
    cloud = open_cloud(tmp_path / "state", workers, clock)
    send(cloud, range(40))
    run_rounds(cloud)
    kept = [*(tmp_path / "state" / "rounds").rglob("distilling.checkpoint")]
    assert len(kept) == 1
    for _ in range(3):
        clock.advance(60)
        cloud.coordinator.step()
    assert RoundState.FAILED in {one.state for one in cloud.ledger.newest(cloud.line.id, limit=8)}
    assert not kept[0].exists()


class _KilledError(BaseException):
    """As if the process had ended there."""


@pytest.mark.parametrize("cut_at", [1, 2, 4])
def test_a_labelling_that_is_cut_off_asks_again_for_the_batch_under_way_alone(
    tmp_path: Path, cut_at: int
) -> None:
    asked: list[bytes] = []

    class Watched(ReckoningWorkers):
        def says(self, sample: Sample) -> Label:
            asked.append(sample.id)
            return super().says(sample)

    def kill(what: str) -> None:
        if what == "batch" and len(asked) == 8 * (cut_at - 1) and not killed:
            killed.append(len(asked))
            raise _KilledError

    killed: list[int] = []
    settings = SETTINGS.model_copy(update={"label_chunk_samples": 4096})
    cloud = open_cloud(tmp_path / "state", Watched(hook=kill), FakeClock(), settings=settings)
    send(cloud, range(40))
    with pytest.raises(_KilledError):
        run_rounds(cloud)
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id, limit=8)
    assert round_.state is RoundState.DONE
    assert len(asked) == len(set(asked)) == 40


def test_what_has_a_label_already_moves_no_batch(tmp_path: Path) -> None:
    """The teacher's batches are those that all samples make, less what is known."""
    workers = ReckoningWorkers()
    cloud = open_cloud(tmp_path / "state", workers, FakeClock())
    samples = send(cloud, range(12))
    assert plan_labelling(samples, 5) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    known = {samples[i].id for i in (1, 5, 6, 7, 8, 9)}
    assert plan_labelling(samples, 5, known) == [[0, 2, 3, 4], [10, 11]]
