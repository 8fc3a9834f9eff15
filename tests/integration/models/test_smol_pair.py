"""The shipped pair `smol`, assembled from its packages: names what it sees, and is whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from driftline_lab.data.openmoji.concepts import Concept, concepts
from driftline_lab.data.openmoji.questions import NAME_QUESTION
from driftline_lab.data.openmoji.views import Style, Use, render, view_of
from driftline_shared.models.loading import load_student, load_teacher
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair, load_pair, token_space_digest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ASKED = concepts()[::30]
"""A dozen things of all groups."""


@pytest.fixture(scope="module")
def pair() -> Pair:
    return load_pair("smol")


def named(model: MultimodalModel, concept: Concept, style: Style, pair: Pair) -> bool:
    """Whether the model gives the name of a picture that no training saw."""
    picture = render(concept, style, view=view_of(Use.TEST, 100))
    projected = model.project(model.encode([picture]))
    batch = model.batch(projected, torch.arange(model.num_tokens)[None], [NAME_QUESTION])
    return model.generate(batch, pair.max_new_tokens).texts == [concept.name]


def test_both_sides_have_the_tower_that_the_pair_names(pair: Pair) -> None:
    for side in (pair.teacher_dir, pair.student_dir):
        assert token_space_digest(side) == pair.token_space.digest


def test_a_fresh_process_finds_it_whole() -> None:
    """Nothing imported before has told transformers of the tower."""
    command = [
        sys.executable,
        "-m",
        "driftline_shared.program.cli",
        "models",
        "check",
        "smol",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["whole"] is True
    assert done.stderr == ""


def test_the_student_names_colour_and_the_teacher_line_art(pair: Pair) -> None:
    student = load_student(pair)
    right = [named(student, concept, Style.SOURCE, pair) for concept in ASKED]
    assert sum(right) >= len(ASKED) - 2, "98 % of the source in NF4, says the card"
    del student
    teacher = load_teacher(pair)
    right = [named(teacher, concept, Style.LINEART, pair) for concept in ASKED]
    assert sum(right) >= len(ASKED) - 2, "96 % of line art, says the card"


def test_source_gate_and_probe_are_there(pair: Pair) -> None:
    source = pair.source_set()
    assert source.tokens.shape == (320, 49, 432)
    assert {image for image, _, _ in source.rows} == set(range(320))
    assert set(pair.gate) == {"entropy", "margin", "mutual_information", "ood"}
    assert {item.image.shape for item in pair.probe_set()} == {(224, 224, 3)}
