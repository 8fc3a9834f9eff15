"""TENT: the gradient is that of the entropy, and only norms move."""

from __future__ import annotations

import numpy as np
import torch

from driftline_cloud.distill.examples import Example
from driftline_cloud.distill.student import Models
from driftline_lab.baselines.norms import norm_names
from driftline_lab.baselines.on_device.tent import Tent, entropy
from driftline_shared.models.adapters import slots
from tests.fakes.pair_samples import answered


def test_the_gradient_is_minus_p_times_log_p_plus_entropy() -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    found = entropy(logits)
    found.sum().backward()
    p = torch.softmax(logits.detach(), dim=-1)
    assert torch.allclose(found[1], torch.log(torch.tensor(3.0)))
    assert logits.grad is not None
    assert torch.allclose(logits.grad, -p * (p.log() + found.detach()[:, None]), atol=1e-6)


def test_a_step_moves_norms_alone_and_makes_the_answers_surer(models: Models) -> None:
    rows = answered(models, 8)
    tent = Tent(models.student, 0)
    before = mean_entropy(models, rows)
    for _ in range(5):
        tent.learn(rows)
    held = slots.read(models.student.model)
    changed = [name for name in held if not np.array_equal(held[name], models.initial[name])]
    assert sorted(changed) == norm_names(held)
    assert mean_entropy(models, rows) < before
    assert tent.num_steps == 5
    assert not any(p.requires_grad for p in slots.parameters(models.student.model).values())


def test_answers_of_no_token_teach_nothing(models: Models) -> None:
    tent = Tent(models.student, 0)
    tent.learn([])
    assert tent.num_steps == 0


@torch.no_grad()
def mean_entropy(models: Models, rows: list[Example]) -> float:
    from driftline_cloud.distill import passes

    return float(entropy(passes.run(models.student, rows).logits).mean())
