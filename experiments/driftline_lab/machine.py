"""The conditions of a number: machine and versions, as every result states them."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("driftline", "torch", "transformers", "peft", "bitsandbytes", "grpcio", "ray", "numpy")
COMPARED = ("onnxruntime", "onnxruntime-genai", "llama-cpp-python")
"""Named where they are installed."""


def conditions() -> dict[str, object]:
    """Processor, cores, memory in bytes, Python and package versions; no name of a machine."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    packages |= {name: version for name in COMPARED if (version := _installed(name))}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": packages,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, where they are installed."""
    found = {name: _installed(name) for name in (*PACKAGES, *COMPARED)}
    installed = {name: version for name, version in found.items() if version}
    return {"python": platform.python_version(), **installed}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
