"""Memory of a process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(pid: int) -> int:
    """What of it is in memory now."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most that ever was."""
    return _status(pid, "VmHWM")


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("\n"):
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no {key}")
