"""Writes the parts of the pair's folder that are data, and pair.toml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftline_lab.data.openmoji.concepts import Concept, concepts
from driftline_lab.data.openmoji.questions import questions
from driftline_lab.data.openmoji.views import Style, Use, render, view_of
from driftline_lab.drift.base import Picture
from driftline_lab.recipes.exporting import write_probe, write_source
from driftline_lab.recipes.smol.lessons import PROMPT
from driftline_lab.recipes.smol.pictures import encode_pictures
from driftline_shared.assembly.towers.efficientnet_lite import EfficientNetLiteModel

NUM_SOURCE_PICTURES = 320
NUM_PROBE_PICTURES = 12
_SEED = 20_261_121

_SPEC = """# Pretrained parts and what was trained of them: `driftline lab build-pair smol`.
name = "smol"
prompt = {prompt}
max_new_tokens = 12

[teacher]
trained = "teacher.safetensors"

[student]
trained = "student.safetensors"
quantization = "nf4"

[token_space]
digest = ""
grid = {{ rows = 7, cols = 7 }}
image = {{ height = 224, width = 224 }}

[adapter]
rank = 16
alpha = 32.0
norms = true
seed = 0
dropout = 0.1

[distillation]
learning_rate = 1.5e-3
a5 = 6.0
max_steps = 100
trained_share = 0.025
extra_questions = 5
num_source_rows = 640
"""


def export_spec(folder: Path) -> None:
    """pair.toml with the digest still empty."""
    text = _SPEC.format(prompt=json.dumps(PROMPT))
    (folder / "pair.toml").write_text(text, encoding="utf-8")


def export_source(folder: Path, tower: EfficientNetLiteModel) -> None:
    """One source picture each of some concepts: tokens (N, V, D) fp16, and questions as rows."""
    chosen = calibration_concepts()
    tokens = encode_pictures(tower, map(calibration_picture, chosen))
    write_source(folder, tokens, map(questions, chosen))


def export_probe(folder: Path) -> None:
    """The device's self-check set: a few calibration pictures as PNG, with their questions."""
    step = NUM_SOURCE_PICTURES // NUM_PROBE_PICTURES
    chosen = calibration_concepts()[::step][:NUM_PROBE_PICTURES]
    pictures = {f"{each.code}.png": (calibration_picture(each), questions(each)) for each in chosen}
    write_probe(folder, pictures, optimize=True)


def calibration_concepts() -> Sequence[Concept]:
    """A drawn part of all concepts, in the data set's order."""
    order = np.random.default_rng(_SEED).permutation(len(concepts()))[:NUM_SOURCE_PICTURES]
    return [concepts()[i] for i in sorted(order)]


def calibration_picture(concept: Concept) -> Picture:
    """(224, 224, 3) uint8 in the source style; its view number is for calibration alone."""
    return render(concept, Style.SOURCE, view=view_of(Use.CALIBRATION, 0))
