"""What a round keeps of work that was cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_cloud.rounds.round import RoundState
from driftline_shared.callbacks import Progress
from driftline_shared.errors import DriftlineError
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, run_rounds, send


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
