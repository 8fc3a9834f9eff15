"""docs/models.md: every command of its shell blocks is run, on the pair of its TOML blocks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from driftline_shared.pair.ready import ready_pairs
from driftline_shared.pair.spec import PairSpec, Section
from driftline_shared.program.cli import build
from tests.fakes.families import FAMILIES
from tests.fakes.tiny_pair import ANSWERS, QUESTIONS, random_image, save_llava

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the document takes for granted: two checkpoints, images with questions."""
    save_llava(tmp_path / "teacher", width=64, layers=2)
    save_llava(tmp_path / "student", width=32, layers=1)
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(4):
        Image.fromarray(random_image(number)).save(tmp_path / "photos" / f"{number}.png")
        row = {"image": f"{number}.png", "question": QUESTIONS[0], "answer": ANSWERS[0]}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "photos" / "source.jsonl").write_text("".join(rows))
    (tmp_path / "my-pair").mkdir()
    (tmp_path / "my-pair" / "pair.toml").write_text("\n".join(blocks("toml")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_document(workplace: Path) -> None:
    program = build()
    for command in commands():
        name, *words = shlex.split(command, comments=True)
        assert name == "driftline"
        result = CliRunner().invoke(program, words)
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
    assert (workplace / "my-pair" / "gate.safetensors").is_file()
    assert (workplace / "my-llava" / "pair.toml").is_file()


def keys(kind: type[Section], before: str = "") -> set[str]:
    """Dotted keys of a table of pair.toml; grid and image are values."""
    found = set()
    for name, field in kind.model_fields.items():
        parts = getattr(field.annotation, "__args__", (field.annotation,))
        tables = [one for one in parts if isinstance(one, type) and issubclass(one, Section)]
        if tables and name not in ("grid", "image"):
            found |= keys(tables[0], f"{before}{name}.")
        else:
            found.add(before + name)
    return found


def test_every_key_of_pair_toml_is_in_the_table_and_conversely() -> None:
    section = TEXT.partition("## All keys of pair.toml")[2].partition("\n## ")[0]
    cells = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    first = {key for cell, _ in cells for key in re.findall(r"`([\w.]+)`", cell)}
    second = {key for _, cell in cells for key in re.findall(r"`(\w+\.prompt)`", cell)}
    assert first | second == keys(PairSpec)


def test_every_family_and_ready_made_file_is_named() -> None:
    section = TEXT.partition("## Families")[2].partition("\n## ")[0]
    for name in [*{fake.MODEL_TYPE for fake in FAMILIES.values()}, *ready_pairs()]:
        assert f"`{name}`" in section, name


@pytest.mark.parametrize("name", ready_pairs())
def test_a_ready_made_file_leaves_revisions_to_fill_in(name: str) -> None:
    spec = ready_pairs()[name]
    assert spec.name == name
    assert spec.teacher.id and spec.student.id
    assert spec.teacher.revision == spec.student.revision == ""
