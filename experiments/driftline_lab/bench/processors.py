"""Processor time of a process, and how busy the machine is, as Linux counts them."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Processor time it has taken, of all its threads, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load_average() -> float:
    """Of the last minute: who else works here is in every number."""
    return round(os.getloadavg()[0], 2)
