"""`driftline lab tables`: wrong words are told before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.experiments.tables.listed import TABLES


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "speed"], "there are accuracy"),
        (["--seeds", "0,x"], "0,1,2"),
        (["--seeds", "-1"], "0 or more"),
        (["--seeds", ","], "no comma-separated list"),
        (["--seeds", "0,1,0"], "0 is named twice"),
        (["--out", __file__], "cannot be written"),
        (["--baselines", "tent,best"], "there are driftline, source-only"),
        (["--baselines", ","], "no comma-separated list of names"),
        (["--questions", "0"], "--questions"),
    ],
)
def test_a_wrong_word_ends_with_two(tmp_path: Path, words: list[str], said: str) -> None:
    found = CliRunner().invoke(
        app, ["tables", "--out", str(tmp_path), "--cache", str(tmp_path / "cache"), *words]
    )
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())


def test_help_names_every_table() -> None:
    said = " ".join(CliRunner().invoke(app, ["tables", "--help"]).output.split())
    assert all(f"{name}," in said or f"{name}." in said for name in TABLES)


def test_json_says_what_was_made_and_then_what_was_there(tmp_path: Path) -> None:
    words = ["tables", "--quick", "--only", "captions", "--json", "--out", str(tmp_path)]
    words += ["--cache", str(tmp_path / "cache")]
    for made in (True, False):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
        document = json.loads(found.stdout.splitlines()[-1])
        assert document == {"out": str(tmp_path), "made": {"captions": made}, "failed": {}}


def test_a_list_says_what_each_table_needs_and_makes_nothing(tmp_path: Path) -> None:
    words = ["tables", "--list", "--only", "accuracy", "--only", "gate-scores", "--seeds", "0,1"]
    words += ["--baselines", "tent", "--out", str(tmp_path / "out")]
    words += ["--cache", str(tmp_path / "cache")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert [line.split() for line in found.stdout.splitlines()] == [
        ["accuracy", "4", "runs,", "0", "there;", "not", "made"],
        ["gate-scores", "0", "runs,", "0", "there;", "not", "made;", "no", "runs", "needed"],
        ["all", "4", "runs,", "0", "there;", "not", "made"],
    ]
    (first, *_) = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert first["runs"] == 4 and not first["made"]
    assert not (tmp_path / "out").exists()
