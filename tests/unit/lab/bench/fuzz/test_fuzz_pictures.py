"""Mutated pictures of all formats, a short run; and the bench sees what escapes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from driftline_lab.bench.fuzz.mutations import mutated
from driftline_lab.bench.fuzz.run import run_fuzz
from driftline_lab.bench.fuzz.samples import good_pictures


def test_no_mutated_picture_escapes() -> None:
    result = run_fuzz(300, seed=7)
    assert result["num_escapes"] == 0
    assert (result["stderr_bytes"], result["warnings"]) == (0, [])
    assert result["file"]["num_read"] > 20 and result["file"]["num_refused"] > 100
    assert result["file"]["num_read"] == result["api"]["num_read"]


def test_what_escapes_is_counted_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("of a decoder")

    monkeypatch.setattr("driftline_lab.bench.fuzz.run.read_image", fail)
    result = run_fuzz(5, seed=0, keep=tmp_path / "kept")
    assert result["num_escapes"] == 5
    assert result["file"]["num_escapes"] == 5 and result["api"]["num_escapes"] == 0
    assert list((tmp_path / "kept").iterdir())


def test_every_format_that_is_read_is_among_the_good_pictures() -> None:
    forms = {name.split()[0] for name in good_pictures()}
    assert forms >= {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "MPO", "EPS"}


def test_the_same_seed_breaks_in_the_same_way() -> None:
    data = bytes(range(200))
    first, second = (mutated(data, [data], random.Random(3)) for _ in range(2))
    assert first == second != data
