"""Processors of the machine, as far as this process may use them: its affinity, and the share of
time that its control groups give it (Linux).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from driftline_shared.host.groups import group_folders

_ROOT = Path("/")


def num_processors(root: Path = _ROOT) -> int:
    """Threads that can compute here at the same time, at least one.

    A quota of one and a half processors counts as one: a second thread would be stopped for half of
    each period, and the first wait for it.
    """
    # Not every system knows affinities.
    usable = getattr(os, "sched_getaffinity", None)
    num = len(usable(0)) if usable is not None else os.cpu_count() or 1
    return max(1, min([num, *(int(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Processors' worth of time that each limited group allows, inner ones first."""
    for folder in group_folders(root, ""):
        yield from _quota(_words(folder / "cpu.max"))
    for folder in group_folders(root, "cpu"):
        quota, period = (_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        yield from _quota([*quota, *period])


def _quota(words: list[str]) -> Iterator[float]:
    # Without a limit the first word is max (version 2) or -1 (version 1).
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []
