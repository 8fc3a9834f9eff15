"""Calibration views as data of the pair's folder."""

from __future__ import annotations

from pathlib import Path

from transformers import SiglipVisionModel

from driftline_lab.data.boards.domains import SOURCE
from driftline_lab.data.boards.questions import ONE_SQUARE
from driftline_lab.data.boards.views import Use, asked_of, view, view_of
from driftline_lab.drift.base import Picture
from driftline_lab.recipes.boards.token_cache import read_boards
from driftline_lab.recipes.exporting import Asked, write_probe, write_source

NUM_SOURCE_VIEWS = 80
SOURCE_QUESTIONS = 8
NUM_PROBE_VIEWS = 16
PROBE_QUESTIONS = 4
PROBE_SET = "kaneo"
"""The set whose licence (CC BY 4.0) asks least of those who pass the pictures on."""


def export_source(folder: Path, tower: SiglipVisionModel) -> None:
    """The first calibration views of the source: tokens (N, V, D) fp16, and their questions."""
    numbers = [view_of(Use.CALIBRATION, i) for i in range(NUM_SOURCE_VIEWS)]
    boards = read_boards(tower, SOURCE, numbers)
    asked = (asked_of(SOURCE, number, SOURCE_QUESTIONS) for number in numbers)
    write_source(
        folder, boards.tokens, ([(one.question, one.answer) for one in rows] for rows in asked)
    )


def export_probe(folder: Path) -> None:
    """The device's self-check set: other calibration views, drawn with `PROBE_SET`, asked about
    single squares, which the student answers well.
    """
    found: dict[str, tuple[Picture, Asked]] = {}
    number = NUM_SOURCE_VIEWS
    while len(found) < NUM_PROBE_VIEWS:
        shown = view(SOURCE, view_of(Use.CALIBRATION, number))
        asked = asked_of(SOURCE, view_of(Use.CALIBRATION, number), 4 * PROBE_QUESTIONS)
        pairs = [(one.question, one.answer) for one in asked if one.kind in ONE_SQUARE]
        if shown.piece_set == PROBE_SET:
            found[f"{number:04d}.png"] = (shown.picture, pairs[:PROBE_QUESTIONS])
        number += 1
    write_probe(folder, found, optimize=True)
