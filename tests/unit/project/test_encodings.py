"""Text is UTF-8 whatever the locale, and its lines end at \\n alone: an AST scan of every root."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [
    path
    for root in ("shared", "cloud", "device", "experiments")
    for path in sorted((ROOT / root).rglob("*.py"))
]
TEXTS = {"read_text", "write_text"}
OPENERS = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile"}
"""Of these, the builtin and those whose mode says that they are files."""
ARCHIVES = {"tarfile.open", "zipfile.open"}


def mode_of(call: ast.Call) -> str | None:
    """The mode that a call that opens a file gives; None where it gives none that is seen."""
    given = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    words = [n.value for n in given if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return next((word for word in words if word and set(word) <= set("rwxabt+")), None)


def name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def findings(source: str) -> list[str]:
    """Calls that read or write text in the locale's encoding, or take other signs for line ends."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, said = name_of(node), {keyword.arg for keyword in node.keywords}
        text = f"{node.lineno}: {ast.unparse(node)}"
        is_text = name in TEXTS or (
            name in OPENERS
            and ast.unparse(node.func) not in ARCHIVES
            and ((mode := mode_of(node)) is not None or ast.unparse(node.func) == "open")
            and "b" not in (mode or "")
        )
        if is_text and not said & {"encoding", None}:
            found.append(text)
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name == "splitlines" and isinstance(inner, ast.Call) and name_of(inner) in TEXTS:
            found.append(text)
    return found


def test_files_are_utf_8_and_lines_end_at_n() -> None:
    found = {
        str(path.relative_to(ROOT)): findings(path.read_text(encoding="utf-8")) for path in SOURCES
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "path.read_text()",
        "path.read_text(errors='replace')",
        "path.write_text(text)",
        "open(path)",
        "open(path, 'w')",
        "path.open('a')",
        "path.open(mode='r')",
        "os.fdopen(descriptor, 'w')",
        "path.read_text(encoding='utf-8').splitlines()",
    ],
)
def test_the_scan_finds_it(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "path.read_text(encoding='utf-8')",
        "open(path, 'rb')",
        "path.open('wb')",
        "Image.open(path)",
        "os.open(path, os.O_RDONLY)",
        "server.open('127.0.0.1:0')",
        "path.read_text(encoding='utf-8').split('\\n')",
        "text.splitlines()",
    ],
)
def test_the_scan_lets_it_pass(source: str) -> None:
    assert findings(source) == []
