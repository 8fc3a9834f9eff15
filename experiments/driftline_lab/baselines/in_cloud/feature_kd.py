"""Feature distillation: the student's hidden states are led to the teacher's, then its answers.

    first half    L = 1/2 mean |r(h_student) - h_teacher|^2 / scale^2    r: a trained map
    second half   L = CE(teacher's text) + lambda tau^2 KL(teacher_tau || student_tau)

FitNets, Romero et al., arXiv 1412.6550: hints first, then distillation (their lambda falls from 4
to 1). Hidden states are the last ones at the steps of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example
from driftline_cloud.distill.losses import losses
from driftline_cloud.distill.losses.alignment import Alignment
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.distill.teacher import Observer
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.in_cloud.fitting import (
    Loss,
    check_one_vocabulary,
    fit,
    labelled,
    mean_over,
)
from driftline_shared.callbacks import Progress

HINT_SHARE = 0.5
FIRST_WEIGHT, LAST_WEIGHT = 4.0, 1.0


def learn(job: DistillJob, models: Models, progress: Progress) -> Distilled:
    """Hints, then distillation, over the round's samples alone."""
    check_one_vocabulary(models, "feature distillation")
    floor = DistilSettings.from_mapping(job.settings).confidence_floor
    examples = labelled(models, job.samples, job.labels, floor)

    def make_loss(settings: DistilSettings) -> tuple[Loss, Sequence[nn.Parameter]]:
        watched = settings.model_copy(update={"a2": 1.0, "a3": 0.0, "a4": 1.0, "a5": 0.0})
        observer = Observer(models.teacher, models.student, examples, watched, models.matching)
        regressor = _fitted(models, examples, observer)
        if regressor is None:
            return lambda drawn, along: torch.zeros(()), []

        def loss(drawn: Sequence[int], along: float) -> Tensor:
            return mean_over(examples, drawn, lambda group: of_group(group, along))

        def of_group(group: list[int], along: float) -> Tensor:
            seen = passes.run(models.student, [examples[i] for i in group])
            known = observer.of(group)
            if along < HINT_SHARE:
                target = torch.cat([one.hidden for one in known if one.hidden is not None])
                return hint(regressor(seen.hidden), target, regressor.scale)
            soft = torch.cat([one.logits for one in known if one.logits is not None])
            ours = models.matching.of_student(seen.logits)
            text = losses.pseudo_label(seen.logits, seen.labels)
            return text + weight(along) * losses.answer_distribution(
                ours, soft, settings.temperature
            )

        return loss, list(regressor.parameters())

    return fit(job, models, len(examples), make_loss, progress)


def hint(ours: Tensor, theirs: Tensor, scale: float) -> Tensor:
    """1/2 mean |ours - theirs|^2 in units of the teacher's `scale`, both (N, D)."""
    return 0.5 * ((ours - theirs.detach()) / scale).square().mean()


def weight(along: float) -> float:
    """lambda, falling on a line over the second stage."""
    done = (along - HINT_SHARE) / (1.0 - HINT_SHARE)
    return FIRST_WEIGHT + (LAST_WEIGHT - FIRST_WEIGHT) * done


@torch.no_grad()
def _fitted(models: Models, examples: Sequence[Example], observer: Observer) -> Alignment | None:
    """The regressor, started at the best linear fit; None without examples."""
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    for i, example in enumerate(examples):
        ours.append(passes.run(models.student, [example]).hidden)
        theirs += [one.hidden for one in observer.of([i]) if one.hidden is not None]
    return Alignment(torch.cat(ours), torch.cat(theirs)) if examples else None


FEATURE_KD = Baseline(
    name="feature-kd",
    kind=Kind.IN_CLOUD,
    source="FitNets, Romero et al., arXiv 1412.6550",
    rule="1/2 |r(h_s) - h_t|^2, then CE + lambda tau^2 KL",
    gated=False,
    learn=learn,
)
