"""Processors of the machine, as far as this process may use them: its affinity, and the share of
time that its control groups give it (Linux).
"""

from __future__ import annotations

import os
import time
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


def busy_share(seconds: float = 0.25, root: Path = _ROOT) -> float | None:
    """Share of all processors' time in the next `seconds` that was not idle, 0..1; None where the
    system does not say. The caller sleeps meanwhile, so this is the work of others.
    """
    before = _times(root)
    time.sleep(seconds)
    after = _times(root)
    if before is None or after is None or after[1] <= before[1]:
        return None
    idle, whole = after[0] - before[0], after[1] - before[1]
    return min(1.0, max(0.0, 1.0 - idle / whole))


def processor_name(root: Path = _ROOT) -> str:
    """What the processor is called; empty where the system does not say."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    rows = (line.partition(":") for line in lines)
    named = {key.strip().lower(): value.strip() for key, _, value in rows if value.strip()}
    parts = ("cpu implementer", "cpu part")
    # x86 says a name; ARM says a maker and a part, and on some boards the model of the board.
    return named.get("model name") or " ".join(
        named[key] for key in ("model", "hardware", *parts) if key in named
    )


def _times(root: Path) -> tuple[int, int] | None:
    """(idle, all) ticks of all processors since the start of the machine."""
    words = _words(root / "proc/stat")[1:9]
    if len(words) < 5 or not all(word.isdecimal() for word in words):
        return None
    ticks = [int(word) for word in words]
    return ticks[3] + ticks[4], sum(ticks)


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
