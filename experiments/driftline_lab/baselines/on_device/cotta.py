"""CoTTA: a weight-averaged teacher, augmentation-averaged predictions, stochastic restore.

    L       = -mean_n sum_c q_nc log p_nc             p: student, q: teacher's pseudo-label
    q       = mean over views of softmax(teacher)     where the source is unsure, else one
    theta'  = a theta' + (1 - a) theta                the teacher follows the student
    theta   = m theta_0 + (1 - m) theta               m ~ Bernoulli(p) for each weight

Wang et al., arXiv 2203.13591; its constants. The teacher gives the answers. Two things differ, for
a language model that reads tokens: a view is the picture without a quarter of its tokens, drawn
anew (what stands in for flips, crops and colour: there is no picture to augment behind the tower),
and only the adapter moves, since the base is quantized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example, by_size, keep_some
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel

LEARNING_RATE = 1e-3
AVERAGE = 0.999
RESTORE = 0.01
UNSURE = 0.92
"""Below this mean confidence of the source model, views are averaged (the paper's on CIFAR-10)."""
VIEWS = 8
"""The paper takes 32; a view costs a pass."""
VIEW_SHARE = 0.75

Weights = dict[str, Tensor]


class Cotta:
    """CoTTA on `model`: it holds the teacher's weights between two batches."""

    def __init__(self, model: MultimodalModel, seed: int) -> None:
        self._model = model
        self._parameters = slots.parameters(model.model)
        self._source = self._copy()
        self._student = self._copy()
        self._teacher = self._copy()
        self._optimizer = torch.optim.Adam(self._parameters.values(), lr=LEARNING_RATE)
        self._rng = np.random.default_rng([seed, 0xC077A])
        self.num_steps = 0

    def learn(self, answered: Sequence[Example]) -> None:
        """One step of the student; then the average, the restore, and the teacher in its place."""
        rows = [example for example in answered if example.answer]
        if not rows:
            return
        labels = self._pseudo_labels(rows)
        self._hold(self._student)
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
        self._optimizer.zero_grad(set_to_none=True)
        total = sum(len(example.answer) for example in rows)
        for batch in by_size(rows, len(rows)):
            seen = passes.run(self._model, [rows[i] for i in batch])
            wanted = torch.cat([labels[i] for i in batch])
            (consistency(seen.logits, wanted).sum() / total).backward()
        self._optimizer.step()
        for parameter in self._parameters.values():
            parameter.requires_grad_(False)
        student = self._copy()
        self._teacher = averaged(self._teacher, student, AVERAGE)
        self._student = restored(student, self._source, RESTORE, self._rng)
        self._hold(self._teacher)
        self.num_steps += 1

    @torch.no_grad()
    def _pseudo_labels(self, rows: Sequence[Example]) -> list[Tensor]:
        """Of each row (n, C), by the teacher."""
        self._hold(self._source)
        sure = [float(one.max(dim=-1).values.mean()) for one in self._probabilities(rows)]
        self._hold(self._teacher)
        if np.mean(sure) >= UNSURE:
            return self._probabilities(rows)
        total: list[Tensor] | None = None
        for _ in range(VIEWS):
            views = [
                keep_some(row, max(1, round(VIEW_SHARE * row.num_tokens)), self._rng)
                for row in rows
            ]
            found = self._probabilities(views)
            total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
        assert total is not None
        return [one / VIEWS for one in total]

    def _probabilities(self, rows: Sequence[Example]) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for batch in by_size(rows, len(rows)):
            seen = passes.run(self._model, [rows[i] for i in batch])
            parts = torch.softmax(seen.logits.float(), dim=-1).split(seen.lengths)
            found |= dict(zip(batch, parts, strict=True))
        return [found[i] for i in range(len(rows))]

    @torch.no_grad()
    def _hold(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])

    def _copy(self) -> Weights:
        return {name: value.detach().clone() for name, value in self._parameters.items()}


def consistency(logits: Tensor, wanted: Tensor) -> Tensor:
    """(N,) cross-entropy of (N, C) student logits with (N, C) probabilities."""
    return -(wanted.detach() * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1)


def averaged(teacher: Weights, student: Weights, keep: float) -> Weights:
    """keep x teacher + (1 - keep) x student, weight by weight."""
    return {name: keep * old + (1.0 - keep) * student[name] for name, old in teacher.items()}


def restored(
    weights: Weights, source: Weights, probability: float, rng: np.random.Generator
) -> Weights:
    """Each weight is its source value with `probability`, drawn apart."""
    found = {}
    for name, value in sorted(weights.items()):
        mask = torch.from_numpy(rng.random(tuple(value.shape)) < probability).to(value.device)
        found[name] = torch.where(mask, source[name], value)
    return found


COTTA = Baseline(
    name="cotta",
    kind=Kind.ON_DEVICE,
    source="Wang et al., arXiv 2203.13591",
    rule="CE with the averaged teacher over token views; theta' average 0.999, restore 0.01",
    sends=False,
    online=Cotta,
)
