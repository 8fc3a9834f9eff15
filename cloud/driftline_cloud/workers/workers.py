"""The Workers protocol: where the heavy work of a round runs (one process, or a Ray cluster)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_shared.callbacks import Progress
from driftline_shared.errors import LinkError
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter


class WorkersUnreachableError(LinkError):
    """The machines that do the work cannot be reached now; the same work may be asked again."""


class Labelling(Protocol):
    """A teacher, wherever it runs."""

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        """Teacher labels in the order of `samples`."""

    def close(self) -> None:
        """Let the models go."""


class Workers(Labelling, Protocol):
    """Labelling, distilling and scoring, wherever they run; the results do not depend on where."""

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        """Train the adapters of one round, on from where `checkpoints` hold a state of the job."""

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """What each adapter does on the gate's sets, in order (see `distill.gate.rule`)."""

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """The P(IK) head of `adapter`, what `version` decodes to; empty where none can be fitted
        (see `distill.p_ik.version_heads`).
        """

    def close(self) -> None:
        """Let the workers go."""
