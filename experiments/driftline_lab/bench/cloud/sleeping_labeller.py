"""A labeller that sleeps, in a module of its own: many of its processes start without torch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from driftline_cloud.jobs import Label
from driftline_cloud.workers import ray_tasks
from driftline_shared.tokens import Sample


class SleepingLabeller:
    """In the place of `ray_tasks.Labeller`: the same bytes in and out, and sleep between them."""

    def __init__(self, _pair_dir: str, settings: Mapping[str, object], device: str) -> None:
        self._sample_s = float(device.removeprefix("sleep:"))
        self._settings = settings

    def load(self) -> int:
        """Nothing to load."""
        return 0

    def label(self, data: bytes) -> bytes:
        """A label for each sample, that depends on its tokens, after a sleep for each."""
        samples = ray_tasks.samples_of(data)
        time.sleep(self._sample_s * len(samples))
        return ray_tasks.labels_to_bytes([simulated(sample) for sample in samples])


def simulated(sample: Sample) -> Label:
    """What the sleeping teacher says to a sample."""
    digest = hashlib.sha256(sample.tokens.payload + sample.question.encode()).digest()
    tokens = tuple(digest[:4])
    return Label(sample_id=sample.id, text=digest.hex()[:8], tokens=tokens, confidence=1.0)
