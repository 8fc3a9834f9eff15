"""Workers in this process: one machine, one pair at a time, models loaded once."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.workers.workers import Keep
from driftline_shared.callbacks import Progress, ignore, part_of
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

if TYPE_CHECKING:
    from driftline_cloud.distill.gate.evidence import LastEvidence
    from driftline_cloud.distill.student import Models

_log = structlog.get_logger(__name__)


class LocalWorkers:
    """Does the work where it is asked for. Calls from several threads take turns.

    `settings`: distil settings for labelling; jobs bring their own. The models of the pair last
    used stay loaded until another pair is asked for or `close` is called.
    """

    def __init__(self, *, settings: DistilSettings | None = None, device: str = "cpu") -> None:
        self._settings = settings or DistilSettings()
        self._device = device
        self._turn = threading.Lock()
        self._loaded: tuple[Path, Models] | None = None
        self._evidence: LastEvidence | None = None

    def load(self, pair_dir: Path) -> None:
        """Load the models of a pair before they are needed."""
        with self._turn:
            self._models(pair_dir)

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """See `Workers.label`."""
        from driftline_cloud.distill import teacher
        from driftline_cloud.distill.examples import plan_labelling

        with self._turn:
            models, found = self._models(pair_dir), dict[int, Label]()
            batches = plan_labelling(samples, self._settings.label_batch_size, known)
            num_asked = sum(len(batch) for batch in batches)
            for batch in batches:
                part = part_of(progress, len(found) / num_asked, len(batch) / num_asked)
                some = [samples[i] for i in batch]
                labels = teacher.label(
                    models.teacher, models.pair, some, self._settings, part, own=models.own
                )
                keep(labels)
                found |= dict(zip(batch, labels, strict=True))
        return [found[i] for i in sorted(found)]

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        """See `Workers.distil`."""
        from driftline_cloud.distill import trainer

        with self._turn:
            return trainer.distil(job, self._models(job.pair_dir), progress, checkpoints)

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """See `Workers.score`."""
        from driftline_cloud.distill.gate import scoring
        from driftline_cloud.distill.gate.evidence import LastEvidence

        with self._turn:
            models = self._models(job.pair_dir)
            self._evidence = self._evidence or LastEvidence()
            return scoring.score(job, adapters, models, self._evidence.of(job, models))

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """See `Workers.fit_head`."""
        from driftline_cloud.distill.p_ik import version_heads

        with self._turn:
            return version_heads.fit(job, adapter, self._models(job.pair_dir), version=version)

    def close(self) -> None:
        """Let the models go; the next call loads them again."""
        with self._turn:
            self._loaded = self._evidence = None

    def _models(self, pair_dir: Path) -> Models:
        from driftline_cloud.distill.student import load_models

        if self._loaded is None or self._loaded[0] != pair_dir:
            self._loaded = self._evidence = (
                None  # before the next pair is loaded: two may not fit in memory
            )
            self._loaded = (pair_dir, load_models(pair_dir, self._device))
            _log.info("workers.models_loaded", pair=self._loaded[1].pair.name, device=self._device)
        return self._loaded[1]
