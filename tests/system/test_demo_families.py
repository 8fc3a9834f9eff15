"""`driftline demo` on a random checkpoint of every family: uplink, round, update, swap.

The answers mean nothing, so the gate and the device's self-check are opened wide.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_lab.demo.cli import app
from driftline_shared.pair.pair import load_pair
from tests.fakes.families import FAMILIES
from tests.fakes.family_pair import make_family_pair

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

CLOUD = (
    "gate.sure_of_gain=0.0",
    "gate.sure_of_harm=1.0",
    "gate.sure_of_source_harm=1.0",
    "gate.max_step_ratio=100.0",
    "rounds.trigger.round_samples=16",
    "distil.min_steps=4",
    "distil.max_steps=4",
    "distil.confidence_floor=0.0",
    "distil.threads=1",
    "sampling.gate_quantile=0.0",
)
DEVICE = (
    "probe.latency_ratio=1000.0",
    "probe.agreement_tolerance=1.0",
)

IMAGES = [
    name
    for name, fake in FAMILIES.items()
    if fake.CANVAS is None or fake.CANVAS.frames == 1  # the demo's worlds are pictures
]


@pytest.mark.parametrize("family", IMAGES)
def test_the_demo_runs_end_to_end(tmp_path: Path, family: str) -> None:
    folder = make_family_pair(tmp_path / "pair", family)
    arguments = ["--pair", str(folder), "--segments", "night", "--questions", "40", "--tests", "4"]
    arguments += ["--uplink-share", "0.6", "--keep-state", str(tmp_path / "state")]
    arguments += ["--json", str(tmp_path / "result.json")]
    for setting in CLOUD:
        arguments += ["--set-cloud", setting]
    # Of the families, the device runs an export of this one, made by the demo.
    runtime = "onnx" if family == "llava" else "torch"
    for setting in (*DEVICE, f"runtime={runtime}"):
        arguments += ["--set-device", setting]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output + _log(tmp_path, "cloud") + _log(tmp_path, "device")
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["pair"] == load_pair(folder).name
    assert told["uplink"]["sent"] >= 16, "samples went up"
    assert told["rounds"] >= 1, _log(tmp_path, "cloud")
    assert told["downlink"]["updates"] >= 1, _log(tmp_path, "device")
    assert told["downlink"]["bytes_per_update"] > 0


def _log(folder: Path, name: str) -> str:
    path = folder / "state" / f"{name}.log"
    return path.read_text()[-3000:] if path.is_file() else ""
