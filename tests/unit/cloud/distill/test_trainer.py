"""Distillation on a random pair: same job same bytes, every term counts, no NaN comes out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from driftline_cloud.distill import teacher
from driftline_cloud.distill.gate.scoring import score
from driftline_cloud.distill.losses.alignment import ridge_fit
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.distill.trainer import ASKING_SHARE, distil, rate_share
from driftline_cloud.jobs import DistillJob, ScoreJob
from driftline_shared.callbacks import ignore
from driftline_shared.models.adapters import slots
from driftline_shared.pair.spec import DistillationSpec
from driftline_shared.update import adapter_digest
from tests.fakes.pair_samples import make_job, make_samples

FAST: dict[str, object] = {
    "threads": 1,
    "min_steps": 4,
    "max_steps": 4,
    "batch_size": 8,
    "memory_batch_size": 8,
    "num_source_rows": 16,
    "confidence_floor": 0.0,
}


@pytest.fixture(scope="module")
def job(loaded: Models) -> DistillJob:
    """Of what is rehearsed the student knows the answers already."""
    older = make_samples(loaded.pair, 6, kept=16, seed=9)
    slots.write(loaded.student.model, loaded.initial)
    settings = DistilSettings(threads=1)
    known = teacher.label(loaded.student, loaded.pair, older, settings, ignore)
    job = make_job(loaded, FAST, make_samples(loaded.pair, 24), older, seed=7)
    return replace(job, rehearsal_labels=known)


def test_same_job_same_bytes_whatever_was_drawn_before(models: Models, job: DistillJob) -> None:
    first = distil(job, models, ignore)
    torch.rand(3)
    second = distil(job, models, ignore)
    assert adapter_digest(first.adapter) == adapter_digest(second.adapter)
    assert adapter_digest(first.importance) == adapter_digest(second.importance)
    assert first.numbers == second.numbers
    assert adapter_digest(first.adapter) != adapter_digest(job.start)
    other = distil(replace(job, seed=8), models, ignore)
    assert adapter_digest(other.adapter) != adapter_digest(first.adapter)


def test_a_pair_is_learnt_with_its_own_settings(models: Models, job: DistillJob) -> None:
    def learnt(models: Models, **settings: object) -> bytes:
        changed = replace(job, settings={**job.settings, **settings})
        return adapter_digest(distil(changed, models, ignore).adapter)

    spec = models.pair.spec
    named = spec.model_copy(update={"distillation": DistillationSpec(learning_rate=1e-4)})
    slow = replace(models, pair=replace(models.pair, spec=named))
    assert learnt(slow) == learnt(models, learning_rate=1e-4)
    assert learnt(slow) != learnt(models)
    assert learnt(slow, learning_rate=2.5e-3) == learnt(models)


def test_numbers_say_what_was_used(models: Models, job: DistillJob) -> None:
    shares: list[float] = []
    numbers = distil(job, models, shares.append).numbers
    asking = [share for share in shares if share < ASKING_SHARE]
    assert asking, "further questions of a large teacher take minutes: they are told, too"
    assert shares == sorted(shares)
    steps = [ASKING_SHARE + (1 - ASKING_SHARE) * step / 4 for step in (1, 2, 3, 4)]
    assert shares[-4:] == pytest.approx(steps)
    assert numbers["num_samples"] == 24 and numbers["num_dropped"] == 0
    assert numbers["num_rehearsal"] == 6 and numbers["num_source"] == 16
    assert numbers["num_steps"] == 4 and numbers["finite"] == 1
    assert {f"last_a{i}" for i in range(1, 6)} <= numbers.keys()


def test_training_moves_the_student_towards_the_teacher(models: Models, job: DistillJob) -> None:
    length: dict[str, object] = {"max_steps": 60, "min_steps": 60, "learning_rate": 2e-2}
    settings = {**FAST, **length, "a5": 0.0, "num_source_rows": 0, "trained_share": 1.0}
    found = distil(replace(job, settings=settings), models, ignore)
    gate = ScoreJob(pair_dir=job.pair_dir, holdout=job.samples, labels=job.labels, settings=FAST)
    before, after = score(gate, [job.start, found.adapter], models)
    assert after.holdout.share > before.holdout.share + 0.2
    assert after.holdout.mean_probability > before.holdout.mean_probability
    assert found.numbers["last_a1"] < found.numbers["first_a1"]


def test_late_training_leaves_all_but_the_chosen_weights_at_the_start(
    models: Models, job: DistillJob
) -> None:
    num_weights = sum(array.size for array in job.start.values())

    def share_changed(trained_share: float, **further: object) -> float:
        settings = {**FAST, "trained_share": trained_share, "dense_share": 0.5, **further}
        found = distil(replace(job, settings=settings), models, ignore).adapter
        return sum(int((found[n] != job.start[n]).sum()) for n in found) / num_weights

    assert 0.05 < share_changed(0.1) <= 0.101
    assert 0.05 < share_changed(0.1, weight_decay=0.01) <= 0.101
    assert 0.05 < share_changed(0.1, dense_share=0.0) <= 0.101, "the first step is dense"
    assert share_changed(1.0) > 0.5


@pytest.mark.parametrize("term", ["a1", "a2", "a3", "a4", "a5"])
def test_each_term_alone_changes_the_adapter_and_off_it_is_gone(
    models: Models, job: DistillJob, term: str
) -> None:
    off: dict[str, object] = dict.fromkeys(("a1", "a2", "a3", "a4", "a5"), 0.0)
    alone = distil(replace(job, settings={**FAST, **off, term: 1.0}), models, ignore)
    names = {n for n in alone.numbers if n.startswith("last_a")}
    assert names == {f"last_{term}"}
    moved = adapter_digest(alone.adapter) != adapter_digest(job.start)
    # The first divergence from oneself is 0 and so is its gradient: a5 alone has nothing to mend.
    assert moved or term == "a5"


def test_what_the_student_never_knew_is_not_held(models: Models, job: DistillJob) -> None:
    unknown = [replace(label, tokens=(5, 6, 7)) for label in job.rehearsal_labels]
    settings: dict[str, object] = {**FAST, "num_source_rows": 0}
    held = distil(replace(job, settings=settings), models, ignore)
    free = distil(replace(job, rehearsal_labels=unknown, settings=settings), models, ignore)
    assert "last_a5" in held.numbers and "last_a5" not in free.numbers


def test_importance_follows_the_gradients(models: Models, job: DistillJob) -> None:
    found = distil(job, models, ignore)
    assert found.importance.keys() == found.adapter.keys()
    for name, array in found.importance.items():
        assert array.shape == found.adapter[name].shape
        assert array.dtype == np.float32 and (array >= 0).all() and np.isfinite(array).all()
    assert max(float(array.max()) for array in found.importance.values()) > 0


def test_labels_the_teacher_doubted_are_dropped_and_counted(
    models: Models, job: DistillJob
) -> None:
    confidences = [0.9 if i < 10 else 0.1 for i in range(24)]
    labels = [
        replace(label, confidence=c) for label, c in zip(job.labels, confidences, strict=True)
    ]
    found = distil(
        replace(job, labels=labels, settings={**FAST, "confidence_floor": 0.5}), models, ignore
    )
    assert found.numbers["num_samples"] == 10 and found.numbers["num_dropped"] == 14


def test_without_a_usable_sample_nothing_changes(models: Models, job: DistillJob) -> None:
    found = distil(replace(job, samples=(), labels=()), models, ignore)
    assert adapter_digest(found.adapter) == adapter_digest(job.start)
    assert found.numbers["num_steps"] == 0


def test_a_training_that_breaks_gives_back_the_start(models: Models, job: DistillJob) -> None:
    start = {name: array.copy() for name, array in job.start.items()}
    name = next(name for name in start if name.endswith("layernorm"))
    start[name][0] = np.inf
    found = distil(replace(job, start=start), models, ignore)
    assert found.numbers["finite"] == 0
    assert adapter_digest(found.adapter) == adapter_digest(start)


def test_what_does_not_fit_the_cache_is_computed_again(models: Models, job: DistillJob) -> None:
    small = distil(replace(job, settings={**FAST, "cache_bytes": 0}), models, ignore)
    large = distil(job, models, ignore)
    assert small.numbers["last_loss"] == pytest.approx(large.numbers["last_loss"], rel=1e-3)


def test_a_cut_off_training_leaves_the_models_usable(models: Models, job: DistillJob) -> None:
    def cut(_share: float) -> None:
        raise KeyboardInterrupt

    expected = adapter_digest(distil(job, models, ignore).adapter)
    with pytest.raises(KeyboardInterrupt):
        distil(job, models, cut)
    assert not any(p.requires_grad for p in models.student.model.parameters())
    assert adapter_digest(distil(job, models, ignore).adapter) == expected


def test_the_rate_warms_up_and_falls() -> None:
    settings = DistilSettings(warmup_share=0.1, final_share=0.05)
    rates = [rate_share(step, 100, settings) for step in range(100)]
    assert rates[:10] == sorted(rates[:10]) and 0 < rates[0] < 0.2
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == pytest.approx(1.0) and rates[-1] == pytest.approx(0.05, abs=0.01)


def test_ridge_fit_finds_the_map_it_was_given() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=generator)
    weight, bias = torch.randn(6, 4, generator=generator), torch.randn(4, generator=generator)
    found, at = ridge_fit(x, x @ weight + bias)
    torch.testing.assert_close(found, weight, atol=0.01, rtol=0.01)
    torch.testing.assert_close(at, bias, atol=0.01, rtol=0.01)
