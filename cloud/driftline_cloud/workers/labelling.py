"""A teacher in this process, beside the workers: it labels while they distil."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import Label
from driftline_shared.callbacks import Progress
from driftline_shared.tokens import Sample

if TYPE_CHECKING:
    from driftline_cloud.distill.student import Teaching

_log = structlog.get_logger(__name__)


class LocalLabelling:
    """See `Labelling`: the teacher alone, without the student's twin. For one thread, its own.

    `settings`: distil settings, of which the ones for labelling are read.
    """

    def __init__(self, *, settings: DistilSettings | None = None, device: str = "cpu") -> None:
        self._settings = settings or DistilSettings()
        self._device = device
        self._turn = threading.Lock()
        self._loaded: tuple[Path, Teaching] | None = None

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        """See `Labelling`."""
        from driftline_cloud.distill import teacher

        with self._turn:
            teaching = self._teaching(pair_dir)
            return teacher.label(
                teaching.teacher, teaching.pair, samples, self._settings, progress, own=teaching.own
            )

    def close(self) -> None:
        """Let the models go; the next call loads them again."""
        with self._turn:
            self._loaded = None

    def _teaching(self, pair_dir: Path) -> Teaching:
        import torch

        from driftline_cloud.distill.student import load_teaching

        if self._loaded is None or self._loaded[0] != pair_dir:
            # For good, in this thread: setting torch's threads back and forth would reach into a
            # distillation that runs in another one, whose last bits depend on them.
            torch.set_num_threads(self._settings.threads)
            self._loaded = None  # before the next pair is loaded: two may not fit in memory
            self._loaded = (pair_dir, load_teaching(pair_dir, self._device))
            _log.info("answers.teacher_loaded", pair=self._loaded[1].pair.name)
        return self._loaded[1]
