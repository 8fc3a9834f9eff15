"""Builds `shim.c`, where this machine has a C compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from driftline_lab.chaos.disk.control import CONTROL, ROOT
from driftline_shared.errors import DriftlineError

_BUILD_S = 120.0


def build_shim(folder: Path) -> Path | None:
    """The library, in `folder`; None where there is no compiler, or no Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    words = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(
        [*words, "-lpthread"], capture_output=True, text=True, timeout=_BUILD_S, check=False
    )
    if done.returncode:
        raise DriftlineError(f"{source.name} does not compile: {done.stderr[-500:]}")
    return library


def shim_environment(library: Path | None, *, control: Path, root: Path) -> dict[str, str]:
    """Variables of a program whose disk below `root` takes orders from `control`."""
    found = {CONTROL: str(control), ROOT: str(root.resolve())}
    if library is not None:
        found["LD_PRELOAD"] = str(library)
    return found
