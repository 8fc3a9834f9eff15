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

# The contracts that break (the beginning of each name), and the new files that break them.
VIOLATIONS = [
    ({"Layers"}, {"shared/driftline_shared/bad.py": "from driftline_cloud import workers"}),
    ({"Layers"}, {"device/driftline_device/bad.py": "import driftline_cloud"}),
    (
        {"Protobuf messages"},
        {"experiments/driftline_lab/bad.py": "from driftline_proto.v1 import uplink_pb2"},
    ),
    ({"gRPC only"}, {"cloud/driftline_cloud/rounds/bad.py": "import grpc"}),
    ({"gRPC only"}, {"experiments/driftline_lab/bench/bad.py": "import grpc"}),
    ({"Heavy model packages"}, {"device/driftline_device/spool/bad.py": "import torch"}),
    ({"Cameras"}, {"device/driftline_device/api/bad.py": "import cv2"}),
    ({"MQTT only"}, {"device/driftline_device/daemon/bad.py": "import paho.mqtt.client"}),
    ({"HTTP serving only"}, {"device/driftline_device/bad.py": "import fastapi"}),
    ({"ONNX Runtime"}, {"device/driftline_device/spool/bad.py": "import onnxruntime"}),
    ({"Arrow only"}, {"device/driftline_device/spool/bad.py": "import pyarrow"}),
    ({"OpenTelemetry only"}, {"device/driftline_device/link/bad.py": "import opentelemetry.trace"}),
    ({"fsspec only"}, {"cloud/driftline_cloud/release/bad.py": "import fsspec"}),
    ({"Ray only"}, {"cloud/driftline_cloud/service/bad.py": "import ray"}),
    (
        {"The room of pairs", "Heavy model packages"},
        {"shared/driftline_shared/pair/bad.py": "import torch"},
    ),
    # However indirectly: a stream may be corrupted.
    (
        {"Recipes never see"},
        {"experiments/driftline_lab/recipes/tiny/bad.py": "from driftline_lab.data import streams"},
    ),
    # A circle of two files, and one of two folders whose files make none.
    (
        {"No circles"},
        {
            "shared/driftline_shared/host/bad.py": "from driftline_shared.host import worse",
            "shared/driftline_shared/host/worse.py": "from driftline_shared.host import bad",
        },
    ),
    (
        {"No circles"},
        {
            "shared/driftline_shared/host/bad.py": "from driftline_shared.pair import worse",
            "shared/driftline_shared/host/fine.py": "",
            "shared/driftline_shared/pair/bad.py": "from driftline_shared.host import fine",
            "shared/driftline_shared/pair/worse.py": "",
        },
    ),
]


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
        assert any(name.startswith(start) for starts, _ in VIOLATIONS for start in starts), name


def test_the_tree_keeps_every_contract() -> None:
    status, verdicts = lint_imports(ROOT)
    assert status == 0
    assert set(verdicts.values()) == {"KEPT"}


@pytest.mark.parametrize(("starts", "files"), VIOLATIONS)
def test_a_violation_breaks_its_contracts_and_no_others(
    tree: Path, starts: set[str], files: dict[str, str]
) -> None:
    for place, text in files.items():
        (tree / place).write_text(f"{text}\n")
    try:
        status, verdicts = lint_imports(tree)
    finally:
        for place in files:
            (tree / place).unlink()
    broken = [name for name, verdict in verdicts.items() if verdict == "BROKEN"]
    assert status != 0
    assert {start for start in starts for name in broken if name.startswith(start)} == starts
    assert len(broken) == len(starts)
