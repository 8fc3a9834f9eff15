"""Pseudo-label and logit distillation: the product's trainer with one term on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from driftline_cloud.distill import trainer
from driftline_cloud.distill.losses import losses
from driftline_cloud.distill.student import Models
from driftline_lab.baselines.in_cloud.logit_kd import LOGIT_KD
from driftline_lab.baselines.in_cloud.pseudo_label import PSEUDO_LABEL
from driftline_shared.callbacks import ignore
from tests.fakes.pair_samples import make_job, make_samples

SHORT: dict[str, object] = {
    "threads": 1,
    "min_steps": 2,
    "max_steps": 2,
    "batch_size": 8,
    "confidence_floor": 0.0,
}


def test_the_text_term_is_minus_the_log_of_the_label() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    value = losses.pseudo_label(logits, torch.tensor([0, 1]))
    assert float(value) == pytest.approx(-(np.log(0.7) + np.log(0.8)) / 2)


def test_the_soft_term_is_the_divergence_times_the_temperature_squared() -> None:
    # Of two classes, softmax(z / tau) is the logistic of the difference over tau.
    student, teacher, tau = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]]), 2.0
    p, q = 1 / (1 + np.exp(-4 / tau)), 1 / (1 + np.exp(-1 / tau))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    value = losses.answer_distribution(student, teacher, tau)
    assert float(value) == pytest.approx(tau**2 * divergence, rel=1e-5)


@pytest.mark.parametrize(("baseline", "term"), [(PSEUDO_LABEL, "a1"), (LOGIT_KD, "a2")])
def test_one_term_over_the_samples_alone_is_the_loss(
    models: Models, baseline: object, term: str
) -> None:
    settings = {**SHORT, **baseline.distil}  # type: ignore[attr-defined]
    older = make_samples(models.pair, 4, seed=5)
    job = make_job(models, settings, make_samples(models.pair, 8), older, seed=1)
    numbers = trainer.distil(job, models, ignore).numbers
    assert numbers["first_loss"] == pytest.approx(numbers[f"first_{term}"])
    terms = {name for name in numbers if name.startswith("first_a")}
    assert terms == {f"first_{term}"}
    assert numbers["num_source"] == numbers["num_extra"] == 0
