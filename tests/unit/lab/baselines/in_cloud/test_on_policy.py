"""On-policy distillation: the reverse divergence, and answers drawn from the student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from driftline_cloud.distill import passes
from driftline_cloud.distill.student import Models
from driftline_lab.baselines.in_cloud.on_policy import drawn_answers, reverse_divergence
from tests.fakes.pair_samples import answered


def test_the_divergence_is_taken_under_the_student() -> None:
    q, p = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    found = reverse_divergence(torch.tensor(np.log([q])), torch.tensor(np.log([p])))
    assert float(found) == pytest.approx(float((q * np.log(q / p)).sum()))


def test_first_tokens_come_as_often_as_the_student_says(models: Models) -> None:
    row = answered(models, 1)[0]
    end = models.student.answer_ids("")[-1]
    with torch.no_grad():
        first = passes.run(models.student, [replace(row, answer=(end,))]).logits[0]
    p = torch.softmax(first.double(), dim=-1).numpy()
    said = drawn_answers(models.student, [row] * 400, np.random.default_rng(1), end=end, most=1)
    counts = np.bincount([one.answer[0] for one in said], minlength=len(p)) / 400
    # Kolmogorov's distance over token ids; 1.95 / sqrt(n) is passed by chance once in a thousand.
    assert np.abs((counts - p).cumsum()).max() < 1.95 / 400**0.5


def test_answers_end_with_the_end_or_at_the_bound(models: Models) -> None:
    rows = answered(models, 6)
    end = models.student.answer_ids("")[-1]
    said = drawn_answers(models.student, rows, np.random.default_rng(0), end=end, most=3)
    assert all(1 <= len(one.answer) <= 3 for one in said)
    assert all(one.answer[-1] == end or len(one.answer) == 3 for one in said)
    assert all(end not in one.answer[:-1] for one in said)
    again = drawn_answers(models.student, rows, np.random.default_rng(0), end=end, most=3)
    assert [one.answer for one in said] == [one.answer for one in again]
