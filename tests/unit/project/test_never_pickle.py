"""No code of ours can run what it reads: an AST scan of every source root."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOTS = ("proto", "shared", "cloud", "device", "experiments")

FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
    "os.popen",
}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain, else an empty string."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def is_true(call: ast.Call, keyword: str) -> bool:
    """Whether `keyword` is given and is not the literal False."""
    return any(
        argument.arg == keyword
        and not (isinstance(argument.value, ast.Constant) and argument.value.value is False)
        for argument in call.keywords
    )


PINNED_ARCHIVE = "shared/driftline_shared/assembly/packages.py"
"""The one file that may read a torch archive: tensors only, of a file whose digest it pins."""


def pinned_reads(source: str) -> list[ast.Call]:
    """`torch.load(locate(...), ..., weights_only=True)`: `locate` checks the pinned digest."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and dotted(node.func) == "torch.load"
        and isinstance(node.args[0], ast.Call)
        and dotted(node.args[0].func) == "locate"
        and any(
            k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
            for k in node.keywords
        )
    ]


def findings(source: str) -> list[str]:
    """What in `source` could run foreign bytes, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module]
            found += [
                f"{node.lineno}: {module}.{alias.name}"
                for alias in node.names
                if f"{module}.{alias.name}" in FORBIDDEN_CALLS
            ]
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in FORBIDDEN_CALLS or name in FORBIDDEN_NAMES:
                found.append(f"{node.lineno}: {name}")
            for keyword in ("allow_pickle", "trust_remote_code", "shell"):
                if is_true(node, keyword):
                    found.append(f"{node.lineno}: {keyword}")
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [
                f"{node.lineno}: {name}"
                for name in names
                if name.partition(".")[0] in FORBIDDEN_MODULES
            ]
    return found


SOURCES = [
    path
    for root in ROOTS
    for path in sorted((ROOT / root).rglob("*.py"))
    if not path.name.endswith("_pb2.py")  # generated: protobuf's own descriptor building
]


def test_there_is_something_to_scan() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(ROOTS)


def test_source_runs_no_foreign_bytes() -> None:
    pinned = [
        f"{call.lineno}: torch.load" for call in pinned_reads((ROOT / PINNED_ARCHIVE).read_text())
    ]
    found = {str(path.relative_to(ROOT)): findings(path.read_text()) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {PINNED_ARCHIVE: pinned}


def test_only_the_pinned_archive_is_read_and_only_as_tensors() -> None:
    assert len(pinned_reads((ROOT / PINNED_ARCHIVE).read_text())) == 1
    assert pinned_reads("torch.load(path, weights_only=True)") == []
    assert pinned_reads("torch.load(locate(FILE))") == []
    assert pinned_reads("torch.load(locate(FILE), weights_only=False)") == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as quiet",
        "import torch\ntorch.load('weights')",
        "from torch import load",
        "eval('1')",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_scan_finds_it(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "re.compile('x')",
        "from torch import nn",
    ],
)
def test_the_scan_lets_it_pass(source: str) -> None:
    assert findings(source) == []
