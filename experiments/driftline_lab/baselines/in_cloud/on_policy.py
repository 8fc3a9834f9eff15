"""On-policy distillation: the student's own answers, scored by the teacher token by token.

    y ~ p_student(. | x)        L = mean_n KL(p_student(. | y_<n, x) || p_teacher(. | y_<n, x))

The reverse, on-policy case of GKD (Agarwal et al., arXiv 2306.13649, beta = 1, lambda = 1) and the
loss of SDFT (arXiv 2601.19897), whose teacher is the same model with a demonstration before it;
here it is the pair's teacher. Answers are drawn at temperature 1; no gradient goes through that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example, by_size, from_samples
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.in_cloud.fitting import Loss, check_one_vocabulary, fit, mean_over
from driftline_shared.callbacks import Progress
from driftline_shared.models.multimodal import MultimodalModel


def learn(job: DistillJob, models: Models, progress: Progress) -> Distilled:
    """Answer, have it scored, step; the labels of the job are not looked at."""
    check_one_vocabulary(models, "on-policy distillation")
    asked = from_samples(job.samples, models.pair.token_space)
    rng = np.random.default_rng([job.seed, 5])
    end = models.student.answer_ids("")[-1]

    def make_loss(settings: DistilSettings) -> tuple[Loss, Sequence[nn.Parameter]]:
        def loss(drawn: Sequence[int], along: float) -> Tensor:
            chosen = [asked[i] for i in drawn]
            said = drawn_answers(
                models.student, chosen, rng, end=end, most=models.pair.max_new_tokens
            )
            return mean_over(said, range(len(said)), lambda group: of_group(said, group))

        def of_group(said: Sequence[Example], group: list[int]) -> Tensor:
            rows = [said[i] for i in group]
            ours = models.matching.of_student(passes.run(models.student, rows).logits)
            with torch.no_grad():
                theirs = models.matching.of_teacher(passes.run(models.teacher, rows).logits)
            return reverse_divergence(ours, theirs)

        return loss, []

    return fit(job, models, len(asked), make_loss, progress)


def reverse_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """mean over N of KL(student || teacher), both (N, C) logits."""
    ours = torch.log_softmax(student.float(), dim=-1)
    theirs = torch.log_softmax(teacher.detach().float(), dim=-1)
    return (ours.exp() * (ours - theirs)).sum(dim=-1).mean()


@torch.no_grad()
def drawn_answers(
    model: MultimodalModel,
    asked: Sequence[Example],
    rng: np.random.Generator,
    *,
    end: int,
    most: int,
) -> list[Example]:
    """`asked` with answers drawn from the model's distribution, `end` or `most` tokens last."""
    said: list[tuple[int, ...]] = [()] * len(asked)
    going = list(range(len(asked)))
    for _ in range(most):
        going = [i for i in going if not said[i] or said[i][-1] != end]
        # The last place of each row predicts what follows what was said.
        rows = [replace(asked[i], answer=(*said[i], end)) for i in going]
        lots = rng.random(len(going))
        for batch in by_size(rows, max(len(rows), 1)):
            seen = passes.run(model, [rows[place] for place in batch])
            last = torch.stack([part[-1] for part in seen.logits.split(seen.lengths)])
            sums = torch.softmax(last.double(), dim=-1).cumsum(dim=-1).cpu().numpy()
            for place, row in zip(batch, sums, strict=True):
                token = int(np.searchsorted(row, lots[place] * row[-1], side="right"))
                said[going[place]] += (min(token, len(row) - 1),)
    return [replace(example, answer=answer) for example, answer in zip(asked, said, strict=True)]


ON_POLICY = Baseline(
    name="on-policy",
    kind=Kind.IN_CLOUD,
    source="GKD, arXiv 2306.13649; SDFT, arXiv 2601.19897",
    rule="KL(student || teacher) along the student's own answers",
    gated=False,
    learn=learn,
)
