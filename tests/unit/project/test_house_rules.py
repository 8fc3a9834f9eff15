"""Rules of the house that no linter knows: sizes, names, places, free imports."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOTS = ("shared", "cloud", "device", "experiments")
MOST_LINES = 450
MOST_MODULES = 12
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
SOURCES = [path for root in ROOTS for path in sorted((ROOT / root).rglob("*.py"))]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def too_long(path: Path) -> bool:
    return len(path.read_text().splitlines()) > MOST_LINES


def crowded(root: Path) -> list[Path]:
    """Folders with sub-folders of code and more than the allowed number of modules beside them."""
    modules: dict[Path, set[Path]] = {}
    for path in root.rglob("*.py"):
        modules.setdefault(path.parent, set()).add(path)
    above = {parent for folder in modules for parent in folder.parents}
    return [
        folder
        for folder, held in sorted(modules.items())
        if folder in above and len(held - {folder / "__init__.py"}) > MOST_MODULES
    ]


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


def test_source_files_are_short() -> None:
    assert [short(path) for path in SOURCES if too_long(path)] == []


def test_no_name_says_nothing() -> None:
    names = {path: {part.removesuffix(".py") for part in path.parts[-4:]} for path in SOURCES}
    assert [short(path) for path in SOURCES if names[path] & FORBIDDEN_NAMES] == []


def test_folders_with_rooms_hold_few_loose_modules() -> None:
    assert [short(folder) for root in ROOTS for folder in crowded(ROOT / root)] == []


def test_importing_does_nothing() -> None:
    found = {short(path): effects(path.read_text()) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_path_of_one_machine() -> None:
    files = [path for path in tracked() if path.name != Path(__file__).name]
    found = {short(path): machine_paths(path.read_text(errors="replace")) for path in files}
    assert {name: paths for name, paths in found.items() if paths} == {}


def test_a_long_file_and_a_crowded_folder_are_found(tmp_path: Path) -> None:
    room = tmp_path / "package"
    (room / "inner").mkdir(parents=True)
    (room / "inner" / "deep.py").write_text("x = 1\n" * MOST_LINES)
    for number in range(MOST_MODULES):
        (room / f"m{number}.py").touch()
    (room / "__init__.py").touch()
    assert crowded(tmp_path) == []
    assert not too_long(room / "inner" / "deep.py")
    (room / "one_more.py").write_text("x = 1\n" * (MOST_LINES + 1))
    assert crowded(tmp_path) == [room]
    assert too_long(room / "one_more.py")
    (room / "inner" / "deep.py").unlink()
    assert crowded(tmp_path) == []


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
