"""What runs on every device start must not pay for torch, nor for the cloud's packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "ray", "sqlalchemy", "scipy", "cv2")

LIGHT = (
    "driftline_device.sampling.sampler",
    "driftline_device.spool",
    "driftline_device.link",
    "driftline_device.sources",
    "driftline_device.cli",
    "driftline_device.program.service",
    "driftline_device.runtime.onnx.prepare",
    "driftline_device.runtime.onnx",
)


@pytest.mark.parametrize("room", LIGHT)
def test_import_pulls_nothing_heavy(room: str) -> None:
    # Every module of the room, not only its __init__: a lazy one would prove nothing.
    code = f"""
import importlib, pkgutil, sys
room = importlib.import_module({room!r})
for found in pkgutil.iter_modules(getattr(room, "__path__", [])):
    importlib.import_module(room.__name__ + "." + found.name)
print(*sorted(set(sys.modules) & set({HEAVY!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
