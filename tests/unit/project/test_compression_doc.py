"""docs/compression.md: its table is the table of methods, and its example runs as it stands."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline_device.config import load_config
from driftline_shared.models.compression import table as methods
from driftline_shared.models.compression.compressed_model import CompressedAnswers, CompressedModel
from driftline_shared.models.compression.compressor import Options
from driftline_shared.models.compression.loading import compressed
from driftline_shared.models.compression.table import METHODS, checked
from driftline_shared.models.loading import load_model
from driftline_shared.program.compressor import CompressorChoice
from tests.fakes.tiny_pair import NUM_TOKENS, PROMPT, random_image, save_llava

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "compression.md").read_text()
NAME = "every_other"
QUESTION = "what shape is it?"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def table() -> dict[str, list[str]]:
    """Name -> the other cells, of the table of methods."""
    section = TEXT.split("## The methods\n")[1].split("\n## ")[0]
    return {
        name: [cell.strip() for cell in cells.split("|")]
        for name, cells in re.findall(r"^\| `(\w+)` \|(.*)\|$", section, flags=re.MULTILINE)
    }


def test_the_table_has_methods_that_there_are() -> None:
    """A method of one's own needs no row."""
    assert list(table()) == sorted(set(table()) & set(METHODS))


def test_a_row_names_what_the_method_is_and_its_options() -> None:
    yes = {True: "yes", False: "no"}
    for name, (*_, trained, images, clips, keep, options, _) in table().items():
        method = METHODS[name]
        own = [key for key in method.options.model_fields if key not in Options.model_fields]
        assert re.findall(r"`(\w+)`", options) == own, name
        assert keep == f"{method.options.model_fields['keep'].default:.3g}", name
        assert (trained, images, clips) == (
            yes[method.trained],
            yes[method.images],
            yes[method.videos],
        ), name


def test_the_settings_are_such_as_a_device_takes(tmp_path: Path) -> None:
    (toml,) = blocks("toml")
    file = tmp_path / "device.toml"
    file.write_text(toml)
    config = load_config(file, None, {})
    assert config.compressor_choice is not None
    assert config.compressor_choice.options == tomllib.loads(toml)["compressor_options"]
    checked(config.compressor, config.compressor_options)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The document's file as a module of the package, and its line in the table, for one test."""
    file, line, _ = blocks("python")
    path = tmp_path / f"{NAME}.py"
    path.write_text(file)
    module_name = f"{methods.__package__}.methods.{NAME}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module_name, module)
    spec.loader.exec_module(module)
    copied = dict(METHODS)
    monkeypatch.setattr(methods, "METHODS", copied)
    monkeypatch.setattr("driftline_shared.models.compression.loading.METHODS", copied)
    exec(line, vars(methods))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_llava(tmp_path / "checkpoint", width=32, layers=2)
    return tmp_path / "checkpoint"


def said_by(model: CompressedModel, image: Any) -> CompressedAnswers:
    return model.compressed_generate(model.look([image], [QUESTION]).batch, 8)


@pytest.mark.usefixtures("example")
def test_the_example_runs_as_it_stands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"folder": folder, "image": random_image(0)}
    exec(blocks("python")[2], names)
    said: CompressedAnswers = names["said"]
    np.testing.assert_array_equal(said.rows[0].survivors, np.arange(1, NUM_TOKENS, 4))
    assert said.generated.texts[0] in capsys.readouterr().out
    # The driver ran as many tokens as the method's schedule says, in every layer.
    short: CompressedModel = names["short"]
    text = said.rows[0].layers[0].queries - NUM_TOKENS // 4
    planned = short.compression.row().schedule(text, NUM_TOKENS)
    assert [layer.queries for layer in planned] == [text + NUM_TOKENS // 4] * 2


@pytest.mark.usefixtures("example")
def test_the_example_changes_nothing_where_all_is_kept(folder: Path) -> None:
    plain = load_model(folder, prompt=PROMPT)
    image = random_image(1)
    whole = compressed(plain, folder, CompressorChoice(name=NAME, options={"keep": 1.0}))
    batch = plain.batch(
        plain.project(plain.encode([image])), torch.arange(NUM_TOKENS)[None], [QUESTION]
    )
    assert said_by(whole, image).generated.tokens == plain.generate(batch, 8).tokens
    torch.testing.assert_close(
        whole.forward(whole.look([image], [QUESTION]).batch).logits,
        plain.forward(batch).logits,
        atol=1e-5,
        rtol=1e-5,
    )


def test_the_example_is_no_method_of_ours() -> None:
    assert NAME not in METHODS
