"""A contact sheet: things in every style with their names, for people to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from driftline_lab.data.openmoji.concepts import concepts, role_of
from driftline_lab.data.openmoji.views import PICTURE_SIZE, STYLES, Use, render, view_of

_CAPTION = 18
_PER_ROW = 3


def write_sheet(out: Path, *, num_concepts: int = 24, seed: int = 0) -> None:
    """Write a PNG of `num_concepts` things drawn by `seed`, in Unicode's order, as test views."""
    order = np.random.default_rng(seed).permutation(len(concepts()))[:num_concepts]
    chosen = [concepts()[index] for index in sorted(order)]
    width, height = PICTURE_SIZE * len(STYLES), PICTURE_SIZE + _CAPTION
    rows = -(-len(chosen) // _PER_ROW)
    sheet = Image.new("RGB", (width * min(_PER_ROW, len(chosen)), height * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for number, concept in enumerate(chosen):
        left, top = width * (number % _PER_ROW), height * (number // _PER_ROW)
        label = f"{concept.name} ({concept.group}, {role_of(concept)})"
        pen.text((left + 4, top + 3), label, fill="black")
        for column, style in enumerate(STYLES):
            picture = Image.fromarray(render(concept, style, view=view_of(Use.TEST, seed)))
            sheet.paste(picture, (left + PICTURE_SIZE * column, top + _CAPTION))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, format="PNG")
