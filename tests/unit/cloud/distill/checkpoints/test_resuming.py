"""A training that is cut off goes on from its checkpoint to the very bytes of one that was not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.distill import trainer
from driftline_cloud.distill.checkpoints.form import from_bytes, to_bytes
from driftline_cloud.distill.checkpoints.kept import StoredCheckpoints
from driftline_cloud.distill.student import Models
from driftline_cloud.distill.trainer import ASKING_SHARE, distil
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_shared.callbacks import ignore
from driftline_shared.update import adapter_digest
from tests.fakes.pair_samples import make_job, make_samples

SETTINGS: dict[str, object] = {
    "threads": 1,
    "min_steps": 8,
    "max_steps": 8,
    "batch_size": 5,
    "memory_batch_size": 6,
    "num_source_rows": 12,
    "confidence_floor": 0.0,
    "dense_share": 0.5,
    "averaged_share": 0.3,
}


class _CutOffError(Exception):
    pass


@dataclass
class InMemory:
    """Keeps after each step."""

    content: bytes | None = None
    num_loaded: int = 0
    every_s: float = 0.0

    def load(self, most_bytes: int) -> bytes | None:
        self.num_loaded += 1
        assert self.content is None or len(self.content) <= most_bytes
        return self.content

    def save(self, content: bytes) -> None:
        self.content = content


@pytest.fixture(scope="module")
def job(loaded: Models) -> DistillJob:
    older = make_samples(loaded.pair, 4, kept=16, seed=9)
    return make_job(loaded, SETTINGS, make_samples(loaded.pair, 12), older, seed=7)


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftline_cloud.distill.checkpoints.newest.LEAST_TIMES", 0)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which steps are made."""
    made: list[int] = []
    real = trainer.rate_share

    def rate_share(step: int, *others: object) -> float:
        made.append(step)
        return real(step, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "rate_share", rate_share)
    return made


def cut_after(step: int) -> Callable[[float], None]:
    def progress(share: float) -> None:
        of_steps = (share - ASKING_SHARE) / (1 - ASKING_SHARE)
        if round(of_steps * 8) == step:
            raise _CutOffError

    return progress


def same(one: Distilled, other: Distilled) -> bool:
    return (
        adapter_digest(one.adapter) == adapter_digest(other.adapter)
        and adapter_digest(one.importance) == adapter_digest(other.importance)
        and one.numbers == other.numbers
    )


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("step", [1, 4, 5, 6, 8])
def test_cut_off_after_any_step_the_candidate_is_the_same(
    models: Models, job: DistillJob, steps: list[int], step: int
) -> None:
    """4 is where the weights that train on are chosen, 6 where the mean begins."""
    whole = distil(job, models, ignore)
    kept = InMemory()
    with pytest.raises(_CutOffError):
        distil(job, models, cut_after(step), kept)
    steps.clear()
    again = distil(job, models, ignore, kept)
    assert steps == list(range(step, 8))
    assert same(again, whole)


@pytest.mark.usefixtures("each_step")
def test_what_was_asked_further_is_not_asked_again(
    models: Models, job: DistillJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, kept = distil(job, models, ignore), InMemory()
    with pytest.raises(_CutOffError):
        distil(job, models, cut_after(2), kept)
    assert whole.numbers["num_extra"] > 0
    monkeypatch.setattr(trainer, "ask_more", None)
    assert same(distil(job, models, ignore, kept), whole)


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("spoil", ["other seed", "other settings", "other label", "cut", "bit"])
def test_a_checkpoint_of_another_job_or_a_damaged_one_is_ignored(
    models: Models, job: DistillJob, steps: list[int], spoil: str
) -> None:
    kept = InMemory()
    with pytest.raises(_CutOffError):
        distil(job, models, cut_after(3), kept)
    assert kept.content is not None
    if spoil == "cut":
        kept.content = kept.content[:-7]
    elif spoil == "bit":
        kept.content = kept.content[:-9] + bytes([kept.content[-9] ^ 1]) + kept.content[-8:]
    label = replace(job.labels[0], confidence=0.123)
    job = {
        "other seed": replace(job, seed=8),
        "other settings": replace(job, settings={**SETTINGS, "learning_rate": 1e-3}),
        "other label": replace(job, labels=[label, *job.labels[1:]]),
    }.get(spoil, job)
    whole = distil(job, models, ignore)
    steps.clear()
    assert same(distil(job, models, ignore, kept), whole)
    assert steps == list(range(8))


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("change", ["shape", "missing", "state", "step"])
def test_a_checkpoint_that_does_not_fit_changes_nothing(
    models: Models, job: DistillJob, change: str
) -> None:
    kept = InMemory()
    with pytest.raises(_CutOffError):
        distil(job, models, cut_after(3), kept)
    assert kept.content is not None
    found = from_bytes(kept.content)
    state, arrays = dict(found.state), dict(found.arrays)
    name = next(one for one in arrays if one.startswith("exp_avg_sq."))
    if change == "shape":
        arrays[name] = np.zeros(3, dtype=np.float32)
    elif change == "missing":
        del arrays[name]
    elif change == "state":
        state["memory"] = state["memory"][:-1]
    else:
        state["step"] = 9
    kept.content = to_bytes(replace(found, state=state, arrays=arrays))
    assert same(distil(job, models, ignore, kept), distil(job, models, ignore))


def test_a_file_is_whole_bounded_and_dropped(tmp_path: Path) -> None:
    file = StoredCheckpoints(store=FolderStore(tmp_path / "round"), key="one", every_s=1.0)
    assert file.load(10) is None
    file.save(b"12345")
    assert file.load(5) == b"12345"
    assert file.load(4) is None
    file.drop()
    file.drop()
    assert list((tmp_path / "round").iterdir()) == []


def test_want_of_room_costs_the_checkpoint_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    file = StoredCheckpoints(store=FolderStore(tmp_path / "taken"), key="one", every_s=1.0)
    file.save(b"12345")
    assert file.load(10) is None


def test_a_slow_place_is_written_to_seldom(models: Models, job: DistillJob) -> None:
    saved: list[bytes] = []

    class Slow(InMemory):
        def save(self, content: bytes) -> None:
            time.sleep(0.2)
            saved.append(content)

    distil(job, models, ignore, Slow())
    assert [from_bytes(content).state["step"] for content in saved] == [1]
