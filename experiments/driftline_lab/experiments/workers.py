"""The cloud's workers over models that are loaded already, with any learner; labels are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from driftline_cloud.distill import teacher
from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.distill.gate import scoring
from driftline_cloud.distill.gate.evidence import LastEvidence
from driftline_cloud.distill.p_ik import version_heads
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.workers.workers import Keep
from driftline_lab.baselines.baseline import Learner
from driftline_lab.replay.cache.store import ResultStore
from driftline_lab.replay.cache.workers import CachedWorkers
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter


class LearnerWorkers:
    """The `Workers` protocol, in this thread, for the pair of `models` alone."""

    def __init__(self, models: Models, learn: Learner, settings: DistilSettings) -> None:
        """`settings`: for labelling; jobs bring their own."""
        self._models = models
        self._learn = learn
        self._settings = settings
        self._evidence = LastEvidence()

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """See `Workers.label`."""
        models, asked = self._models, [one for one in samples if one.id not in known]
        labels = teacher.label(
            models.teacher, models.pair, asked, self._settings, progress, own=models.own
        )
        keep(labels)
        return labels

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        """See `Workers.distil`."""
        return self._learn(job, self._models, progress)

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """See `Workers.score`."""
        return scoring.score(job, adapters, self._models, self._evidence.of(job, self._models))

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """See `Workers.fit_head`."""
        return version_heads.fit(job, adapter, self._models, version=version)

    def close(self) -> None:
        """Nothing is held."""


class KeptLabels(LearnerWorkers):
    """`LearnerWorkers` that asks the teacher the very same question only once.

    Samples are labelled one by one: a label then does not depend on what was asked beside it, and
    so not on which run came first.
    """

    def __init__(
        self, models: Models, learn: Learner, settings: DistilSettings, store: ResultStore
    ) -> None:
        super().__init__(models, learn, settings)
        alone = settings.model_copy(update={"label_batch_size": 1})
        plain = LearnerWorkers(models, learn, alone)
        self._labels = CachedWorkers(plain, store, models=labels_digest(models, alone))

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """See `Workers.label`."""
        return self._labels.label(pair_dir, samples, progress, known, keep)


def labels_digest(models: Models, settings: DistilSettings) -> str:
    """Everything a label depends on beside its sample."""
    known = teacher.teacher_digest(models.pair)
    text = f"{known}\0{settings.label_batch_size}\0{settings.threads}"
    return hashlib.sha256(text.encode()).hexdigest()
