"""The words of the Makefile exist, do what they say, and CI runs them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WORDS = ("setup", "demo", "test", "check", "bench", "proto")


def dry_run(word: str) -> str:
    """The commands `make word` would run, each on a line."""
    run = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", word],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("word", WORDS)
def test_word_exists_and_help_names_it(word: str) -> None:
    assert dry_run(word)
    assert re.search(rf"^{word}\s", dry_run_help(), re.MULTILINE)


def dry_run_help() -> str:
    return subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


@pytest.mark.parametrize("word", [word for word in WORDS if word != "setup"])
def test_word_does_its_own_set_up(word: str) -> None:
    commands = dry_run(word)
    assert "-m venv" in commands
    assert "constraints.txt" in commands


@pytest.mark.parametrize(
    ("word", "tool"),
    [
        ("demo", "driftline demo"),
        ("test", "-m pytest"),
        ("check", "ruff check"),
        ("check", "ruff format --check"),
        ("check", "mypy"),
        ("check", "lint-imports"),
        ("check", "check_drift.sh"),
        ("proto", "grpc_tools.protoc"),
        ("bench", "driftline lab bench"),
    ],
)
def test_word_runs_tool(word: str, tool: str) -> None:
    assert tool in dry_run(word)


def test_an_unknown_word_fails() -> None:
    with pytest.raises(AssertionError):
        dry_run("no-such-word")


def test_ci_runs_check_and_test() -> None:
    script = ROOT / ".ci/run"
    assert "make check test" in script.read_text()
    assert script.stat().st_mode & 0o111, "not executable"


def test_torch_has_one_pin_everywhere() -> None:
    pins = {
        path: re.findall(r"torch==(\d+\.\d+\.\d+)", (ROOT / path).read_text())
        for path in ("Makefile", "cloud/Dockerfile", "device/Dockerfile")
    }
    assert all(pins.values()), pins
    assert len({pin for found in pins.values() for pin in found}) == 1, pins
