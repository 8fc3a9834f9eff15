"""Captions of a run: what the student writes for the test rows that ask, at the start and end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from driftline_cloud.distill import passes
from driftline_cloud.distill.student import Models
from driftline_lab.baselines.table import BASELINES
from driftline_lab.data.openmoji.captions import score_captions
from driftline_lab.data.openmoji.questions import CAPTION_QUESTION
from driftline_lab.experiments.captions import captions
from driftline_lab.experiments.material import Material, assemble
from driftline_lab.experiments.result import from_json, to_json
from driftline_lab.experiments.run import run
from driftline_lab.experiments.twin import TwinSession, ask
from driftline_lab.replay.cache.store import ResultStore
from tests.fakes.material import random_material, random_plan

pytest.importorskip("pycocoevalcap")

TEACHER = {"source": 0.5, "night": 0.5}


def captioned(models: Models) -> Material:
    """Random material; every other test row of `night` asks for a caption, none of `source`."""
    found = random_material(models, random_plan(tests=8))
    night = [
        replace(row, question=CAPTION_QUESTION, truth=f"a {row.truth}") if number % 2 else row
        for number, row in enumerate(found.tests["night"])
    ]
    return assemble(found.segments, {**found.tests, "night": night})


def test_the_words_are_those_that_the_device_would_say(models: Models) -> None:
    material, plan = captioned(models), random_plan()
    rows = [row for row in material.tests["night"] if row.question == CAPTION_QUESTION]
    assert len(rows) == 4
    with passes.fixed_threads(1), torch.inference_mode():
        said = [answer.text for answer in ask(TwinSession(models, max_batch=4), models.pair, rows)]
        # A random student is never right: what it says of two pictures is made the truth.
        truths = [said[0], said[1], "a teal circle", "a yes"]
        right = [replace(row, truth=truth) for row, truth in zip(rows, truths, strict=True)]
        again = assemble(material.segments, {**material.tests, "night": right})
        found = captions(models.student, models.pair, again, plan.distil)
    assert found == {"night": score_captions(said, [(truth,) for truth in truths])}
    assert found["night"].name_match >= 0.5


def test_a_run_has_captions_at_its_start_and_its_end_alone(
    models: Models, store: ResultStore
) -> None:
    plan, material = random_plan(), captioned(models)
    teacher = captions(models.teacher, models.pair, material, plan.distil)
    found = run(plan, BASELINES["tent"], models, material, TEACHER, store, teacher_captions=teacher)
    assert [list(row.captions) for row in found.rows] == [["night"], [], ["night"]]
    assert found.first.captions["night"].num_captions == 4
    assert list(found.teacher_captions) == ["night"]
    assert from_json(to_json(found), "x") == found


def test_nothing_is_written_where_nothing_asks(models: Models, store: ResultStore) -> None:
    plan = random_plan()
    material = random_material(models, plan)
    found = run(plan, BASELINES["source-only"], models, material, TEACHER, store)
    assert not any(row.captions for row in found.rows)
    assert captions(models.teacher, models.pair, material, plan.distil) == {}
