"""What runs on every device start must not pay for torch, nor for the cloud's packages."""

from __future__ import annotations

import subprocess
import sys

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


def pulled(rooms: tuple[str, ...]) -> list[str]:
    """`room: package` for each heavy package, of the first of the rooms that imports it."""
    # Every module of a room, not only its __init__: a lazy one would prove nothing.
    code = f"""
import importlib, pkgutil, sys
seen = set()
for name in {rooms!r}:
    room = importlib.import_module(name)
    for found in pkgutil.iter_modules(getattr(room, "__path__", [])):
        importlib.import_module(room.__name__ + "." + found.name)
    for heavy in sorted((set(sys.modules) & set({HEAVY!r})) - seen):
        seen.add(heavy)
        print(name + ": " + heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_imports_pull_nothing_heavy() -> None:
    assert pulled(LIGHT) == []


def test_a_heavy_import_is_found_and_its_room_named() -> None:
    assert pulled(("json", "sqlalchemy.exc")) == ["sqlalchemy.exc: sqlalchemy"]
