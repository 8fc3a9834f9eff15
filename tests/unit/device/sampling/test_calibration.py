"""Calibration writes the gate that the device then reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.sampling.calibration import few_questions_an_image
from driftline_device.sampling.gate import SCORE_KINDS
from driftline_shared.errors import PairError
from driftline_shared.pair.pair import load_pair
from tests.fakes.tiny_pair import make_tiny_pair


def test_every_score_kind_is_calibrated_on_the_source_set(tmp_path: Path) -> None:
    folder = make_tiny_pair(tmp_path / "pair", num_images=3)
    (folder / "gate.safetensors").unlink()
    result = CliRunner().invoke(app, ["calibrate", "--pair", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert done["num_questions"] == 6
    assert done["num_probe"] == 3
    gate = load_pair(folder).gate
    assert set(gate) == set(SCORE_KINDS) - {"p_ik"}
    assert all(len(scores) == 6 and np.isfinite(scores).all() for scores in gate.values())


def test_a_source_set_without_questions_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_pair(tmp_path / "pair", num_images=2)
    (folder / "source.jsonl").write_text("")
    result = CliRunner().invoke(app, ["calibrate", "--pair", str(folder)])
    assert isinstance(result.exception, PairError)
    assert "no question" in str(result.exception)


def test_a_few_questions_of_each_image_are_taken_over_its_list() -> None:
    rows = [(image, f"{image}-{number}?", "a") for image in (0, 1) for number in range(4)]
    assert few_questions_an_image(rows) == [(0, "0-0?"), (0, "0-2?"), (1, "1-0?"), (1, "1-2?")]
