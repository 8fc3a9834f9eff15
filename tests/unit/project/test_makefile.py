"""The words of the Makefile exist, do what they say, and CI runs them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = {
    "demo": ["driftline demo"],
    "test": ['pytest --dist worksteal --durations=15 -n 2 -m "not (slow or system or gpu)"'],
    "test-slow": ['pytest --dist worksteal --durations=15 -n 3 -m "slow or system or gpu"'],
    "coverage": ["coverage run -m pytest", "--fail-under 95", "--fail-under 90"],
    "check": ["ruff check", "ruff format --check", "mypy", "lint-imports", "check_drift.sh"],
    "proto": ["grpc_tools.protoc"],
    "bench": ["driftline lab bench"],
    "sbom": ["cyclonedx-py environment"],
    "audit": ["pip-audit"],
}


def make(*words: str) -> str:
    """What `make` prints; with `--dry-run` the commands it would run."""
    run = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_help_names_every_word() -> None:
    assert {line.split()[0] for line in make("help").splitlines()} >= {"setup", "clean", *TOOLS}


@pytest.mark.parametrize("word", TOOLS)
def test_word_sets_up_and_runs_its_tools(word: str) -> None:
    commands = make("--dry-run", "--always-make", word)
    for tool in ("-m venv", "constraints.txt", *TOOLS[word]):
        assert tool in commands


def test_an_unknown_word_fails() -> None:
    with pytest.raises(AssertionError):
        make("--dry-run", "no-such-word")


def test_ci_runs_every_check_and_test() -> None:
    script = ROOT / ".ci/run"
    assert "make check test test-slow" in script.read_text()
    assert script.stat().st_mode & 0o111, "not executable"


def test_torch_has_one_pin_everywhere() -> None:
    pins = {
        path: re.findall(r"torch==(\d+\.\d+\.\d+)", (ROOT / path).read_text())
        for path in ("Makefile", "cloud/Dockerfile", "device/Dockerfile")
    }
    assert all(pins.values()), pins
    assert len({pin for found in pins.values() for pin in found}) == 1, pins
