"""The contact sheet: one PNG, every style of every thing it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.views import PICTURE_SIZE, STYLES, Use, render, view_of


def test_the_command_writes_a_sheet_of_test_views(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    done = CliRunner().invoke(app, ["show-openmoji", str(out), "--concepts", "2", "--seed", "7"])
    assert done.exit_code == 0, done.output
    with Image.open(out) as image:
        sheet = np.asarray(image.convert("RGB"))
    assert sheet.shape[1] == 2 * len(STYLES) * PICTURE_SIZE
    first = sheet[-PICTURE_SIZE:, :PICTURE_SIZE]
    shown = [
        concept
        for index in np.random.default_rng(7).permutation(len(concepts()))[:2]
        if np.array_equal(
            first, render(concept := concepts()[index], STYLES[0], view=view_of(Use.TEST, 7))
        )
    ]
    assert len(shown) == 1
