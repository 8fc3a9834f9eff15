"""Labels of a run do not depend on what else was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.distill import teacher, trainer
from driftline_cloud.distill.student import Models
from driftline_lab.experiments.workers import KeptLabels
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.callbacks import ignore
from tests.fakes.material import random_plan
from tests.fakes.pair_samples import make_samples


def test_a_sample_is_labelled_alone_and_once(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, settings = make_samples(models.pair, 6), random_plan().distil
    asked: list[int] = []
    prompt = teacher.passes.prompt

    def counted(model, examples):  # type: ignore[no-untyped-def]
        asked.append(len(examples))
        return prompt(model, examples)

    monkeypatch.setattr(teacher.passes, "prompt", counted)
    labels = []
    for name, order in (("one", samples), ("two", samples[::-1])):
        store = ResultStore(tmp_path / name)
        workers = KeptLabels(models, trainer.distil, settings, store)
        found = workers.label(models.pair.dir, order, ignore)
        assert workers.label(models.pair.dir, order, ignore) == found
        labels.append({label.sample_id: label for label in found})
        store.close()
    assert labels[0] == labels[1]
    assert asked == [1] * 12
