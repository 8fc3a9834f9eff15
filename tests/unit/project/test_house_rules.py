"""Rules of the house that no linter knows: sizes, names, places, free imports."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOTS = ("shared", "cloud", "device", "experiments")
MOST_LINES = 500
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
SOURCES = [path for root in ROOTS for path in sorted((ROOT / root).rglob("*.py"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tracked() -> list[Path]:
    """Text files under version control; none outside a checkout."""
    run = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = [ROOT / name for name in run.stdout.split("\0") if name]
    texts = (".py", ".toml", ".md", ".yml", ".proto", ".sh", ".jsonl", ".json")
    return [path for path in found if path.suffix in texts and path.is_file()]


def machine_paths(text: str) -> list[str]:
    """Paths that exist on one person's machine only."""
    return re.findall(r"(?<![\w.~<])/(?:home|root|Users|work|tmp)/\w[\w./-]*", text)


def effects(source: str) -> list[str]:
    """Statements of a module that do something when it is imported, beyond defining names."""
    found = []
    for node in ast.parse(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call):
            found.append(f"{node.lineno}: {ast.unparse(call)}")
        if isinstance(node, ast.For | ast.While | ast.With):
            found.append(f"{node.lineno}: {type(node).__name__}")
    # Commands and sub-commands are put together by calls on a typer app: that opens nothing.
    return [line for line in found if not re.search(r"app\.add_typer\(", line)]


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_source_file_is_short_and_well_named(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES
    assert not {part.removesuffix(".py") for part in path.parts[-4:]} & FORBIDDEN_NAMES


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_importing_does_nothing(path: Path) -> None:
    assert effects(path.read_text()) == []


@pytest.mark.parametrize("path", tracked(), ids=named)
def test_no_path_of_one_machine(path: Path) -> None:
    assert machine_paths(path.read_text(errors="replace")) == [] or path.name == Path(__file__).name


@pytest.mark.parametrize(
    "source",
    [
        "open('x')",
        "logging.basicConfig()",
        "for name in x:\n    pass",
        "with open('x') as f:\n    pass",
    ],
)
def test_an_effect_is_found(source: str) -> None:
    assert effects(source)


def test_a_machine_path_is_found() -> None:
    assert machine_paths("see /home/somebody/data and /tmp/x.bin") != []
    assert machine_paths("/var/lib/driftline and tests/tmp/x") == []
