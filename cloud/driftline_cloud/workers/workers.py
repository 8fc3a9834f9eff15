"""The Workers protocol: where the heavy work of a round runs (one process, or a Ray cluster)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.errors import LinkError
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter


class WorkersUnreachableError(LinkError):
    """The machines that do the work cannot be reached now; the same work may be asked again."""


Keep = Callable[[Sequence[Label]], None]
"""Called with the labels of one batch of the teacher as soon as they are there."""


class Labelling(Protocol):
    """A teacher, wherever it runs."""

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        """Teacher labels in the order of `samples`."""

    def close(self) -> None:
        """Let the models go."""


class Workers(Labelling, Protocol):
    """Labelling, distilling and scoring, wherever they run; the results do not depend on where."""

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """Teacher labels of those `samples` whose ids are not `known`, in their order.

        The batches are those of `plan_labelling`. Whatever `keep` raises ends the work.
        """

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
