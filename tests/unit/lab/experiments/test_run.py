"""One run: its rows, its gate, and the twin in the device's place."""

from __future__ import annotations

import numpy as np
import torch

from driftline_cloud.distill.student import Models
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.line import REJECTED, RELEASED
from driftline_lab.experiments.material import Asked
from driftline_lab.experiments.run import run
from driftline_lab.experiments.twin import TwinSession, accuracy, ask
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.exact_match import is_correct
from driftline_shared.update import adapter_digest
from tests.fakes.material import random_material, random_plan

TEACHER = {"source": 0.5, "night": 0.5}


def test_rounds_come_by_number_of_samples_and_segments_end(
    models: Models, store: ResultStore
) -> None:
    plan = random_plan()
    found = run(plan, BASELINES["driftline"], models, random_material(models, plan), TEACHER, store)
    assert [row.kind for row in found.rows if row.kind != "round"] == [
        "start",
        "segment",
        "segment",
    ]
    assert [row.seen for row in found.segment_ends] == [10, 20]
    assert found.last.sent // plan.round_samples == found.last.round == len(found.rounds)
    assert all(row.samples == plan.round_samples for row in found.rounds)
    assert found.last.steps == 2 * len(found.rounds)
    assert {row.state for row in found.rounds} == {RELEASED}
    assert sorted(found.last.accuracy) == ["night", "source"]
    assert {"label", "learn", "gate", "pack", "test", "all"} <= found.seconds.keys()


def test_a_candidate_that_the_gate_refuses_reaches_no_device(
    models: Models, store: ResultStore
) -> None:
    plan = random_plan(gate={"sure_of_gain": 1.0})
    material = random_material(models, plan)
    found = run(plan, BASELINES["driftline"], models, material, TEACHER, store)
    assert {row.state for row in found.rounds} == {REJECTED}
    assert all("1.000 is asked" in row.reason for row in found.rounds)
    assert found.last.digest == adapter_digest(models.initial).hex()
    assert found.last.bytes_down == 0
    # A published learner has no gate and releases all the same.
    ungated = run(plan, BASELINES["pseudo-label"], models, material, TEACHER, store)
    assert {row.state for row in ungated.rounds} == {RELEASED}


def test_the_twin_is_left_at_version_zero(models: Models, store: ResultStore) -> None:
    from driftline_shared.models.adapters import slots

    plan = random_plan()
    run(plan, BASELINES["tent"], models, random_material(models, plan), TEACHER, store)
    held = slots.read(models.student.model)
    assert all(np.array_equal(held[name], models.initial[name]) for name in held)


def test_accuracy_without_generating_is_that_of_generated_answers(models: Models) -> None:
    plan = random_plan()
    rows = list(random_material(models, plan).segments[0])
    session = TwinSession(models, max_batch=4)
    said = ask(session, models.pair, rows)
    # A random student is never right: take half of its own answers as the truth.
    rows = [
        Asked(
            question=row.question,
            truth=answer.text if number % 2 and answer.ended else row.truth,
            domain=row.domain,
            values=row.values,
        )
        for number, (row, answer) in enumerate(zip(rows, said, strict=True))
    ]
    with torch.inference_mode():
        share = np.mean([is_correct(a.text, r.truth) for a, r in zip(said, rows, strict=True)])
    same_ids = [
        tuple(models.student.answer_ids(r.truth)) == a.step_ids
        for a, r in zip(said, rows, strict=True)
    ]
    found = accuracy(models.student, rows, plan.distil)
    assert found == np.mean(same_ids)
    assert found <= share
