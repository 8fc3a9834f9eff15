"""Processors of the machine, as far as this process may use them."""

from __future__ import annotations

import os


def num_processors() -> int:
    """How many processors this process may run on: its affinity, not what the machine has."""
    # Not every system knows affinities.
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1
