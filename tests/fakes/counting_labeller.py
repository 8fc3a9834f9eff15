"""A labeller that writes down what it is asked, in a module of its own for Ray's processes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from driftline_cloud.workers import ray_tasks

BATCH_S = 0.3
"""A batch takes so long at least: time to be killed in."""


class CountingLabeller(ray_tasks.Labeller):
    """In the place of `ray_tasks.Labeller`. Beside the pair's folder: a line a batch in `asked`."""

    def __init__(self, pair_dir: str, settings: Mapping[str, object], device: str) -> None:
        super().__init__(pair_dir, settings, device)
        self._asked = Path(pair_dir).parent / "asked"

    def label(self, data: bytes) -> bytes:
        """See `ray_tasks.Labeller`."""
        ids = [sample.id.hex() for sample in ray_tasks.samples_of(data)]
        with self._asked.open("a") as file:
            file.write(" ".join([str(os.getpid()), *ids]) + "\n")
        time.sleep(BATCH_S)
        return super().label(data)
