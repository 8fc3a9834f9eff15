"""Writes the parts of the pair's folder that are data, and pair.toml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from driftline_lab.data.openmoji.concepts import Concept, concepts
from driftline_lab.data.openmoji.questions import questions
from driftline_lab.data.openmoji.views import Style, Use, render, view_of
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
"""


def export_spec(folder: Path) -> None:
    """pair.toml with the digest still empty."""
    text = _SPEC.format(prompt=json.dumps(PROMPT))
    (folder / "pair.toml").write_text(text, encoding="utf-8")


def export_source(folder: Path, tower: EfficientNetLiteModel) -> None:
    """One source picture each of some concepts: tokens (N, V, D) fp16, and questions as rows."""
    chosen = calibration_concepts()
    tokens = encode_pictures(tower, (calibration_picture(concept) for concept in chosen))
    save_file({"tokens": np.ascontiguousarray(tokens)}, folder / "source.safetensors")
    rows: list[Mapping[str, str | int]] = [
        {"image": row, "question": question, "answer": answer}
        for row, concept in enumerate(chosen)
        for question, answer in questions(concept)
    ]
    _write_rows(folder / "source.jsonl", rows)


def export_probe(folder: Path) -> None:
    """The device's self-check set: a few calibration pictures as PNG, with their questions."""
    probe = folder / "probe"
    probe.mkdir(parents=True, exist_ok=True)
    rows = []
    step = NUM_SOURCE_PICTURES // NUM_PROBE_PICTURES
    for concept in calibration_concepts()[::step][:NUM_PROBE_PICTURES]:
        name = f"{concept.code}.png"
        Image.fromarray(calibration_picture(concept)).save(probe / name, optimize=True)
        rows += [{"image": name, "question": q, "answer": a} for q, a in questions(concept)]
    _write_rows(probe / "probe.jsonl", rows)


def calibration_concepts() -> Sequence[Concept]:
    """A drawn part of all concepts, in the data set's order."""
    order = np.random.default_rng(_SEED).permutation(len(concepts()))[:NUM_SOURCE_PICTURES]
    return [concepts()[i] for i in sorted(order)]


def calibration_picture(concept: Concept) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(224, 224, 3) uint8 in the source style; its view number is for calibration alone."""
    return render(concept, Style.SOURCE, view=view_of(Use.CALIBRATION, 0))


def _write_rows(path: Path, rows: Iterable[Mapping[str, str | int]]) -> None:
    lines = (json.dumps(dict(row), ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
