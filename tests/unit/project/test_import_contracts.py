"""The import contracts hold on the tree, and each of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = (
    "proto/driftline_proto",
    "shared/driftline_shared",
    "cloud/driftline_cloud",
    "device/driftline_device",
    "experiments/driftline_lab",
)

# contract name (its beginning) -> (new file, what it holds): exactly that contract must break.
VIOLATIONS = {
    "Layers": ("shared/driftline_shared/bad.py", "from driftline_cloud import workers\n"),
    "Protobuf messages": (
        "experiments/driftline_lab/bad.py",
        "from driftline_proto.v1 import uplink_pb2\n",
    ),
    "gRPC only": ("cloud/driftline_cloud/rounds/bad.py", "import grpc\n"),
    "Heavy model packages": ("device/driftline_device/spool/bad.py", "import torch\n"),
    "Cameras": ("device/driftline_device/api/bad.py", "import cv2\n"),
    "HTTP serving only": ("device/driftline_device/bad.py", "import fastapi\n"),
    "ONNX Runtime": ("device/driftline_device/spool/bad.py", "import onnxruntime\n"),
    "Ray only": ("cloud/driftline_cloud/service/bad.py", "import ray\n"),
}


def contract_names() -> list[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in config["tool"]["importlinter"]["contracts"]]


def lint_imports(tree: Path) -> tuple[int, dict[str, str]]:
    """Exit status of lint-imports on `tree`, and KEPT or BROKEN by contract name."""
    roots = os.pathsep.join(str(tree / package.partition("/")[0]) for package in PACKAGES)
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": roots, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    verdicts = {}
    for line in run.stdout.splitlines():
        for name in contract_names():
            rest = line.removeprefix(name).strip()
            if line.startswith(name) and rest.split(" ")[0] in ("KEPT", "BROKEN"):
                verdicts[name] = rest.split(" ")[0]
    assert set(verdicts) == set(contract_names()), run.stdout + run.stderr
    return run.returncode, verdicts


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources (code only), free to be spoilt."""
    copy = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return copy


def test_every_contract_has_a_violation() -> None:
    for name in contract_names():
        assert sum(name.startswith(start) for start in VIOLATIONS) == 1, name


def test_the_tree_keeps_every_contract() -> None:
    status, verdicts = lint_imports(ROOT)
    assert status == 0
    assert set(verdicts.values()) == {"KEPT"}


@pytest.mark.parametrize("start", VIOLATIONS)
def test_a_violation_breaks_its_contract_and_no_other(tree: Path, start: str) -> None:
    place, text = VIOLATIONS[start]
    bad = tree / place
    assert not bad.exists()
    bad.write_text(text)
    try:
        status, verdicts = lint_imports(tree)
    finally:
        bad.unlink()
    broken = [name for name, verdict in verdicts.items() if verdict == "BROKEN"]
    assert status != 0
    assert len(broken) == 1
    assert broken[0].startswith(start)


def test_the_device_may_not_know_the_cloud(tree: Path) -> None:
    bad = tree / "device/driftline_device/bad.py"
    bad.write_text("import driftline_cloud\n")
    try:
        status, verdicts = lint_imports(tree)
    finally:
        bad.unlink()
    assert status != 0
    assert next(v for name, v in verdicts.items() if name.startswith("Layers")) == "BROKEN"
