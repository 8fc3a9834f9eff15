"""Material of a run: tokens do not depend on what was kept, and streams are cut where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftline_cloud.distill.student import Models
from driftline_lab.data.streams import Segment, write_stream
from driftline_lab.data.worlds import EASYVQA
from driftline_lab.experiments.material import prepare
from driftline_lab.experiments.plan import Plan
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.errors import ConfigError, DataError
from tests.fakes.material import random_plan


def plan_of(models: Models, **changes: object) -> Plan:
    return random_plan(
        pair=str(models.pair.dir), **{"segments": ("source", "night"), "tests": 5, **changes}
    )


def test_kept_tokens_are_the_ones_made(models: Models, tmp_path: Path) -> None:
    plan = plan_of(models)
    stores = [ResultStore(tmp_path / name) for name in ("one", "two")]
    first = prepare(plan, models.pair, models.student, stores[0])
    kept = prepare(plan, models.pair, models.student, stores[0])
    fresh = prepare(plan, models.pair, models.student, stores[1])
    assert first.digest == kept.digest == fresh.digest
    assert [len(segment) for segment in first.segments] == [10, 10]
    assert {name: len(rows) for name, rows in first.tests.items()} == {"source": 5, "night": 5}
    assert {row.domain for row in first.segments[1]} == {"night"}
    shape = (models.pair.token_space.grid.num_tokens, models.pair.token_space.width)
    assert first.segments[0][0].values.shape == shape
    for store in stores:
        store.close()


def test_tokens_are_those_of_the_picture_alone(models: Models, tmp_path: Path) -> None:
    """The same pictures beside other ones give the same bits."""
    store, other = ResultStore(tmp_path / "one"), ResultStore(tmp_path / "two")
    few = prepare(plan_of(models, tests=2), models.pair, models.student, store)
    many = prepare(plan_of(models, tests=9), models.pair, models.student, other)
    known = {(row.question, row.truth): row.values for row in many.tests["night"]}
    for row in few.tests["night"]:
        assert np.array_equal(row.values, known[row.question, row.truth])
    store.close()
    other.close()


def test_another_seed_is_another_stream(models: Models, store: ResultStore) -> None:
    found = [
        prepare(plan_of(models, seed=seed), models.pair, models.student, store).digest
        for seed in (0, 1)
    ]
    assert found[0] != found[1]


def test_a_stream_that_ends_early_is_refused(
    models: Models, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path, segments: Sequence[Segment], *, seed: int, num_test: int) -> None:
        short = [replace(each, num_questions=3) for each in segments]
        write_stream(folder, short, seed=seed, num_test=num_test)

    few = replace(EASYVQA, write=write)
    monkeypatch.setattr("driftline_lab.experiments.plan.world_for", lambda *_, **__: few)
    with pytest.raises(DataError, match="segment source has 3 questions, 10 are wanted"):
        prepare(plan_of(models), models.pair, models.student, store)


def test_an_unknown_domain_is_refused(models: Models, store: ResultStore) -> None:
    with pytest.raises(ConfigError, match="dusk"):
        prepare(plan_of(models, segments=("dusk",)), models.pair, models.student, store)
