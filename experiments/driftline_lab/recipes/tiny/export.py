"""Writes the parts of a pair folder that are data: source tokens, their questions, probe set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from transformers import SiglipVisionModel

from driftline_lab.data.easyvqa import Part, image_ids, questions_of, read_picture
from driftline_lab.recipes.tiny.token_cache import encode_pictures

NUM_PROBE_PICTURES = 16


def export_source(folder: Path, tower: SiglipVisionModel) -> None:
    """The calibration pictures: tokens (N, V, D) fp16, and their questions as rows."""
    ids = image_ids(Part.CALIBRATION)
    tokens = encode_pictures(tower, (read_picture(i) for i in ids))
    save_file({"tokens": np.ascontiguousarray(tokens)}, folder / "source.safetensors")
    rows: Iterator[Mapping[str, str | int]] = (
        {"image": row, "question": example.question, "answer": example.answer}
        for row, image_id in enumerate(ids)
        for example in questions_of(image_id)
    )
    _write_rows(folder / "source.jsonl", rows)


def export_probe(folder: Path) -> None:
    """The device's self-check set: the first calibration pictures as PNG, with their questions."""
    probe = folder / "probe"
    probe.mkdir(parents=True, exist_ok=True)
    rows = []
    for image_id in image_ids(Part.CALIBRATION)[:NUM_PROBE_PICTURES]:
        name = f"{image_id:04d}.png"
        Image.fromarray(read_picture(image_id)).save(probe / name)
        for example in questions_of(image_id):
            rows.append({"image": name, "question": example.question, "answer": example.answer})
    _write_rows(probe / "probe.jsonl", rows)


def _write_rows(path: Path, rows: Iterable[Mapping[str, str | int]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
