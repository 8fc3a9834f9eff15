"""CEMA-style: only the affine parameters of norms change, learn in the cloud, and travel.

    sent      E_min < E(x) < E_max(t)        E: normalised entropy of the device's answer
    E_max(t)  = lambda E_max(t-1) Ebar(t) / Ebar(t-1)        from batch to batch
    L         = KL(p_teacher || p_student) + CE(teacher's text)        samples and replay

Chen et al., arXiv 2402.17316: unreliable (high-entropy) and low-information (low-entropy) samples
stay on the device, the edge model learns from the foundation model with a replay buffer. "Style",
since two things differ: all tokens leave instead of pictures, and the teacher stands still as
in every row here, where theirs minimises its own entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from driftline_cloud.distill import passes
from driftline_cloud.distill.losses import losses
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.distill.teacher import Observer
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.downlink.full_fp16 import as_fp16
from driftline_lab.baselines.in_cloud.fitting import (
    Loss,
    check_one_vocabulary,
    fit,
    labelled,
    mean_over,
)
from driftline_lab.baselines.norms import norm_names
from driftline_lab.baselines.shipping import Candidate, Shipped
from driftline_shared.callbacks import Progress
from driftline_shared.tokens import SamplingPolicy

LEAST, MOST = 0.02, 0.4
"""Of log(vocabulary), which is 1 here."""
DECAY = 1.0
BATCH = 64


class EntropyBand:
    """Lets answers of middling entropy pass; the upper bound follows the mean of batches."""

    def __init__(self, *, least: float = LEAST, most: float = MOST, batch: int = BATCH) -> None:
        self.least, self.most = least, most
        self._batch = batch
        self._before: float | None = None
        self._seen: list[float] = []

    def admits(self, entropy: float) -> bool:
        """See `SampleFilter`."""
        found = self.least < entropy < self.most
        self._seen.append(entropy)
        if len(self._seen) == self._batch:
            mean = sum(self._seen) / self._batch
            if self._before:
                self.most = DECAY * self.most * mean / self._before
            self._before, self._seen = mean, []
        return found


def everything(policy: SamplingPolicy) -> SamplingPolicy:
    """`policy` without gate and share, and with all tokens: the filter alone decides."""
    return replace(policy, gate_quantile=0.0, max_sample_share=1.0, token_share=1.0)


def learn(job: DistillJob, models: Models, progress: Progress) -> Distilled:
    """Norm affine parameters by KL and text, over samples and replay."""
    check_one_vocabulary(models, "CEMA")
    floor = DistilSettings.from_mapping(job.settings).confidence_floor
    examples = labelled(models, job.samples, job.labels, floor)
    examples += labelled(models, job.rehearsal, job.rehearsal_labels, floor, memory=True)

    def make_loss(settings: DistilSettings) -> tuple[Loss, Sequence[nn.Parameter]]:
        watched = settings.model_copy(update={"a2": 1.0, "a3": 0.0, "a4": 0.0, "a5": 0.0})
        observer = Observer(models.teacher, models.student, examples, watched, models.matching)

        def of_group(group: list[int]) -> Tensor:
            seen = passes.run(models.student, [examples[i] for i in group])
            soft = torch.cat([one.logits for one in observer.of(group) if one.logits is not None])
            ours = models.matching.of_student(seen.logits)
            text = losses.pseudo_label(seen.logits, seen.labels)
            return losses.answer_distribution(ours, soft, 1.0) + text

        return lambda drawn, along: mean_over(examples, drawn, of_group), []

    return fit(job, models, len(examples), make_loss, progress, only=norm_names(job.start))


def pack(candidate: Candidate) -> Shipped:
    """The norms as fp16, and nothing else."""
    return as_fp16(candidate, norm_names(candidate.base))


CEMA = Baseline(
    name="cema-style",
    kind=Kind.IN_CLOUD,
    source="Chen et al., arXiv 2402.17316",
    rule="KL + CE over norm affine parameters; E_min < entropy < E_max(t) sent",
    gated=False,
    policy=everything,
    learn=learn,
    pack=pack,
    new_filter=EntropyBand,
)
