"""Memory of the machine, as far as its control groups let a program have it (Linux)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from driftline_shared.host.groups import group_folders

_ROOT = Path("/")
_FILES = {
    # of a group: its limit, its use, and the part of the use that is given back when needed
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By the controllers of a line of /proc/self/cgroup: version 2 names none, version 1 has its own
hierarchy for memory."""


def available_bytes(root: Path = _ROOT) -> int | None:
    """Bytes that a program can still get here; None where the system does not say."""
    free = [max(0, limit - used) for limit, used in _groups(root)]
    return min(free + _meminfo(root, "MemAvailable"), default=None)


def total_bytes(root: Path = _ROOT) -> int | None:
    """Bytes that programs can have here at most; None where the system does not say."""
    limits = [limit for limit, _ in _groups(root)]
    return min(limits + _meminfo(root, "MemTotal"), default=None)


def give_back_free() -> None:
    """Let the system have what this process freed; without effect where its library cannot.

    Threads of glibc keep what they freed, each for itself: a peak in every thread adds up.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None


def _meminfo(root: Path, name: str) -> list[int]:
    try:
        return [_fields(root / "proc/meminfo")[f"{name}:"] << 10]
    except (OSError, ValueError, KeyError):
        return []


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each limited group that this process is in, inner ones first."""
    for controller, files in _FILES.items():
        for group in group_folders(root, controller):
            yield from _limited(group, *files)


def _limited(group: Path, limit: str, used: str, reclaimable: str) -> Iterator[tuple[int, int]]:
    try:
        most = _text(group / limit).strip()
        if most.isdecimal():  # without a limit it is the word max
            cache = _fields(group / "memory.stat").get(reclaimable, 0)
            yield int(most), int(_text(group / used)) - cache
    except (OSError, ValueError):
        return


def _fields(path: Path) -> dict[str, int]:
    rows = (line.split() for line in _text(path).split("\n"))
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")
