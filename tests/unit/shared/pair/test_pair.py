"""A pair is whole or says what it lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from driftline_shared.errors import PairError
from driftline_shared.models.cli import app
from driftline_shared.pair.pair import load_pair, token_space_digest
from driftline_shared.pair.shipped import shipped_pairs


def test_the_shipped_pairs_are_whole() -> None:
    assert "tiny" in shipped_pairs()
    for name in shipped_pairs():
        result = CliRunner().invoke(app, ["check", name])
        assert result.exit_code == 0, result.output


def test_another_preparation_of_images_is_another_token_space(copy: Path) -> None:
    before = token_space_digest(copy / "student")
    path = copy / "student" / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert token_space_digest(copy / "student") != before


def test_the_processor_file_that_is_read_is_the_one_that_counts(copy: Path) -> None:
    student, before = copy / "student", token_space_digest(copy / "student")
    own = json.loads((student / "preprocessor_config.json").read_text())
    newer = student / "processor_config.json"
    newer.write_text(json.dumps({"processor_class": "LlavaProcessor", "image_processor": own}))
    assert token_space_digest(student) == before
    newer.write_text(json.dumps({"image_processor": own | {"image_mean": [0.1, 0.2, 0.3]}}))
    assert token_space_digest(student) != before
    newer.write_text(json.dumps({"processor_class": "LlavaProcessor"}))
    assert token_space_digest(student) == before


def test_what_changes_no_token_changes_no_token_space(copy: Path) -> None:
    student, before = copy / "student", token_space_digest(copy / "student")
    file = student / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt", "made_by": "somebody else"})
    shutil.copy(file, student / "consolidated.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        table = json.loads((student / name).read_text())
        (student / name).write_text(json.dumps(table | {"_name_or_path": "x"}, indent=7))
    assert token_space_digest(student) == before


def test_the_base_model_names_weights_and_quantization(copy: Path) -> None:
    before = load_pair(copy).base_model
    spec = copy / "pair.toml"
    spec.write_text(spec.read_text().replace('"nf4"', '"int8"'))
    assert load_pair(copy).base_model != before


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda d: (d / "pair.toml").write_text("name = ["), "pair.toml"),
        (lambda d: (d / "token_space.safetensors").write_bytes(b"\xff" * 40), "token_space"),
        (lambda d: (d / "token_space.safetensors").unlink(), "token_space"),
        (lambda d: shutil.rmtree(d / "teacher"), "teacher"),
    ],
)
def test_what_is_missing_or_broken_is_named(copy: Path, damage, told: str) -> None:
    damage(copy)
    with pytest.raises(PairError, match=told):
        load_pair(copy)
