"""TENT: minimise the entropy of the device's own answers over the affine parameters of norms.

    L = mean_n H(p_n),  H(p) = -sum_c p_c log p_c,  dH/dz_c = -p_c (log p_c + H(p))

Wang et al., arXiv 2006.10726: one step of Adam for each batch, answers given before the step. A
language model has no batch statistics to estimate anew (its norms are RMSNorm), so the affine part
is all of TENT that is left, as Niu et al. (arXiv 2302.12400) have it for layer norms. n runs over
the steps of the greedy answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example, by_size
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.norms import norm_names
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel

LEARNING_RATE = 1e-3
"""The paper's on CIFAR."""


class Tent:
    """TENT on `model`, in place."""

    def __init__(self, model: MultimodalModel, seed: int) -> None:
        """`seed`: unused, nothing is drawn."""
        self._model = model
        held = slots.parameters(model.model)
        self._parameters = [held[name] for name in norm_names(held)]
        self._optimizer = torch.optim.Adam(self._parameters, lr=LEARNING_RATE)
        self.num_steps = 0

    def learn(self, answered: Sequence[Example]) -> None:
        """One step on the mean entropy over all answer steps of the batch."""
        rows = [example for example in answered if example.answer]
        if not rows:
            return
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self._optimizer.zero_grad(set_to_none=True)
        total = sum(len(example.answer) for example in rows)
        for batch in by_size(rows, len(rows)):
            seen = passes.run(self._model, [rows[i] for i in batch])
            (entropy(seen.logits).sum() / total).backward()
        self._optimizer.step()
        for parameter in self._parameters:
            parameter.requires_grad_(False)
        self.num_steps += 1


def entropy(logits: Tensor) -> Tensor:
    """(N, C) -> (N,) nats."""
    log_p = torch.log_softmax(logits.float(), dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


TENT = Baseline(
    name="tent",
    kind=Kind.ON_DEVICE,
    source="Wang et al., arXiv 2006.10726",
    rule="min H(p) over norm affine parameters, one step a batch",
    sends=False,
    online=Tent,
)
