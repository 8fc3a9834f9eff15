"""The calibration pictures as data of the pair's folder."""

from __future__ import annotations

from pathlib import Path

from transformers import SiglipVisionModel

from driftline_lab.data.easyvqa import Part, image_ids, questions_of, read_picture
from driftline_lab.recipes.exporting import Asked, write_probe, write_source
from driftline_lab.recipes.tiny.token_cache import encode_pictures

NUM_PROBE_PICTURES = 16


def export_source(folder: Path, tower: SiglipVisionModel) -> None:
    """The calibration pictures: tokens (N, V, D) fp16, and their questions as rows."""
    ids = image_ids(Part.CALIBRATION)
    write_source(folder, encode_pictures(tower, map(read_picture, ids)), map(_asked, ids))


def export_probe(folder: Path) -> None:
    """The device's self-check set: the first calibration pictures as PNG, with their questions."""
    ids = image_ids(Part.CALIBRATION)[:NUM_PROBE_PICTURES]
    write_probe(folder, {f"{i:04d}.png": (read_picture(i), _asked(i)) for i in ids})


def _asked(image_id: int) -> Asked:
    return [(example.question, example.answer) for example in questions_of(image_id)]
