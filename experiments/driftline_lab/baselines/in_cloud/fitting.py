"""The steps of learners that are no settings of the product's trainer.

As there: draws come from the job's seed, AdamW warms up and follows a cosine, late in training only
the weights that an update can carry go on (`distill.subset`), and a loss that is not finite gives
the start back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example, IndexSampler, by_size, from_samples
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, trained
from driftline_cloud.distill.subset import Subset, subset_step
from driftline_cloud.distill.trainer import rate_share
from driftline_cloud.jobs import Distilled, DistillJob, Label
from driftline_shared.callbacks import Progress
from driftline_shared.errors import ConfigError
from driftline_shared.models.adapters import slots
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

Loss = Callable[[Sequence[int], float], Tensor]
"""(drawn indices of examples, share of the steps done) -> mean loss over them."""

MakeLoss = Callable[[DistilSettings], tuple[Loss, Sequence[nn.Parameter]]]
"""Called while the student holds the start. The parameters (of maps that no device gets) train
along.
"""


def fit(
    job: DistillJob,
    models: Models,
    num_examples: int,
    make_loss: MakeLoss,
    progress: Progress,
    *,
    only: Collection[str] | None = None,
) -> Distilled:
    """Train the adapter from `job.start` by a loss over `num_examples` examples.

    `only`: the tensors that may change, all of them to the end; None: any, by the product's subset.
    """
    settings = models.settings(job.settings)
    with passes.fixed_threads(settings.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        with trained(models.student, job.start) as held:
            for name, parameter in held.items():
                parameter.requires_grad_(only is None or name in only)
            moving = {name: one for name, one in held.items() if one.requires_grad}
            loss, extra = make_loss(settings)
            steps = _Steps(settings, moving, extra, job.start, settings.num_steps(num_examples))
            if only is not None:
                steps.subset_at = -1
            sampler = IndexSampler(num_examples, np.random.default_rng([job.seed, 2]))
            values: list[float] = []
            for step in range(steps.count):
                steps.begin(step)
                value = loss(sampler.draw(settings.batch_size), step / steps.count)
                values.append(float(value.detach()))
                if not math.isfinite(values[-1]):
                    break
                steps.end(value)
                progress((step + 1) / steps.count)
            found = slots.read(models.student.model)
            importance = steps.importance()
    arrays_finite = all(bool(np.isfinite(array).all()) for array in found.values())
    finite = arrays_finite and all(map(math.isfinite, values))
    numbers: dict[str, float] = {
        "num_samples": len(job.samples),
        "num_steps": len(values),
        "finite": finite,
    }
    if finite and values:
        numbers |= {"first_loss": values[0], "last_loss": values[-1]}
    return Distilled(
        adapter=found if finite else dict(job.start),
        importance=importance,
        numbers={name: float(value) for name, value in numbers.items()},
    )


class _Steps:
    """The optimizer of one training, with its rate and its subset of weights."""

    def __init__(
        self,
        settings: DistilSettings,
        moving: Mapping[str, nn.Parameter],
        extra: Sequence[nn.Parameter],
        start: Adapter,
        count: int,
    ) -> None:
        self.count = count
        self.subset_at = subset_step(settings, count)
        self._settings, self._moving, self._start = settings, moving, start
        groups = [
            {"params": list(moving.values()), "peak": settings.learning_rate},
            {"params": list(extra), "peak": settings.alignment_learning_rate},
        ]
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self._subset: Subset | None = None

    def begin(self, step: int) -> None:
        """Before the loss of `step` is computed."""
        if step == self.subset_at:
            share = self._settings.trained_share
            self._subset = Subset(self._moving, self._start, self.importance(), share)
            self._subset.take_back(self._optimizer)
        for group in self._optimizer.param_groups:
            group["lr"] = rate_share(step, self.count, self._settings) * group["peak"]
        self._optimizer.zero_grad(set_to_none=True)

    def end(self, loss: Tensor) -> None:
        """Step along the gradient of `loss`."""
        loss.backward()
        if self._subset is not None:
            self._subset.hold()
        nn.utils.clip_grad_norm_(list(self._moving.values()), self._settings.gradient_clip)
        self._optimizer.step()
        if self._subset is not None and self._settings.weight_decay:
            self._subset.take_back(self._optimizer)

    def importance(self) -> dict[str, np.ndarray]:
        """sqrt of Adam's bias-corrected second moment, of what moves; empty before any step."""
        decay = self._optimizer.param_groups[0]["betas"][1]
        found = {}
        for name, parameter in self._moving.items():
            state = self._optimizer.state.get(parameter)
            if state:
                corrected = state["exp_avg_sq"] / (1.0 - decay ** float(state["step"]))
                found[name] = corrected.sqrt().cpu().numpy().astype(np.float32)
        return found


def labelled(
    models: Models,
    samples: Sequence[Sample],
    labels: Sequence[Label],
    floor: float,
    *,
    memory: bool = False,
) -> list[Example]:
    """Samples with the teacher's answers, without those it was less sure of than `floor`."""
    kept = [
        (sample, label)
        for sample, label in zip(samples, labels, strict=True)
        if label.confidence >= floor and label.tokens
    ]
    space = models.pair.token_space
    return from_samples([s for s, _ in kept], space, [y for _, y in kept], memory=memory)


def mean_over(
    examples: Sequence[Example], drawn: Sequence[int], of_group: Callable[[list[int]], Tensor]
) -> Tensor:
    """The mean of a loss over the examples `drawn`, asked of groups that have one K each."""
    total = torch.zeros(())
    for places in by_size([examples[i] for i in drawn], len(drawn)):
        group = [drawn[place] for place in places]
        total = total + of_group(group) * (len(group) / len(drawn))
    return total


def check_one_vocabulary(models: Models, learner: str) -> None:
    """ConfigError where step n of one model is not step n of the other."""
    mode = models.matching.vocabularies.mode
    if mode != "same":
        raise ConfigError(
            f"{learner} compares distributions token by token, and the vocabularies of "
            f"{models.pair.name} are {mode!r}: choose a pair with one vocabulary"
        )
