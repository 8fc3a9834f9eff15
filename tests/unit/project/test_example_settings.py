"""The settings files that come with the programs read, and say what they mean to."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.config import load_config as load_cloud
from driftline_device.config import load_config as load_device

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("file", "load", "expected"),
    [
        ("cloud/deploy/cloud.toml", load_cloud, {"listen": "0.0.0.0:7443", "metrics.port": 9464}),
        ("device/deploy/device.toml", load_device, {"pace": 5.0, "log.form": "json"}),
        ("device/deploy/jetson.toml", load_device, {"runtime": "onnx", "frames.every_s": 2.0}),
    ],
)
def test_an_example_reads(file: str, load, expected: dict[str, object]) -> None:
    found = load(ROOT / file, None, {})
    for key, value in expected.items():
        at = found
        for part in key.split("."):
            at = getattr(at, part)
        assert at == value, key
