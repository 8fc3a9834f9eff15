"""The five loss terms against slow, literal twins, and what they must not let through."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from driftline_cloud.distill.losses import losses
from driftline_cloud.distill.losses.wavelet import transform


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def _slow_divergence(target: Tensor, other: Tensor, temperature: float) -> float:
    total = 0.0
    for ours, theirs in zip(other.tolist(), target.tolist(), strict=True):
        p = _softmax([value / temperature for value in theirs])
        q = _softmax([value / temperature for value in ours])
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(target)


def _slow_features(ours: Tensor, theirs: Tensor, scale: float) -> float:
    squares, bands = [], []
    for mine, target in zip(ours / scale, theirs / scale, strict=True):
        for a, b in zip(mine.flatten().tolist(), target.flatten().tolist(), strict=True):
            squares.append((a - b) ** 2)
        first, second = transform(mine[None])[0], transform(target[None])[0]
        for x, y in zip(first, second, strict=True):
            bands += [
                abs(a - b) for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
            ]
    details = sum(bands) / len(bands) if bands else 0.0
    return sum(squares) / len(squares) + details


def test_pseudo_label_is_the_mean_negative_log_probability() -> None:
    logits, labels = _random(5, 7), torch.tensor([0, 6, 3, 3, 1])
    slow = -sum(
        math.log(_softmax(row)[label])
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    )
    assert float(losses.pseudo_label(logits, labels)) == pytest.approx(slow / 5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_answer_distribution_is_scaled_divergence(temperature: float) -> None:
    student, teacher = _random(4, 6, seed=1), _random(4, 6, seed=2)
    slow = temperature**2 * _slow_divergence(teacher, student, temperature)
    assert float(losses.answer_distribution(student, teacher, temperature)) == pytest.approx(slow)


def test_forgetting_is_the_divergence_from_the_old_student() -> None:
    student, old = _random(4, 6, seed=1), _random(4, 6, seed=2)
    assert float(losses.forgetting(student, old)) == pytest.approx(
        _slow_divergence(old, student, 1.0)
    )
    assert float(losses.forgetting(old, old)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kept", [1, 2, 7, 32])
def test_projected_tokens_is_squares_plus_details(kept: int) -> None:
    ours, theirs = _random(3, kept, 4, seed=1), _random(3, kept, 4, seed=2)
    slow = _slow_features(ours, theirs, 1.7)
    assert float(losses.projected_tokens(ours, theirs, 1.7)) == pytest.approx(slow)


def test_answer_states_runs_along_each_answer_alone() -> None:
    lengths = [2, 5, 1, 2]
    ours, theirs = _random(10, 4, seed=1), _random(10, 4, seed=2)
    groups = {1: [slice(7, 8)], 2: [slice(0, 2), slice(8, 10)], 5: [slice(2, 7)]}
    slow = 0.0
    for length, slices in groups.items():
        mine = torch.stack([ours[s] for s in slices])
        target = torch.stack([theirs[s] for s in slices])
        slow += _slow_features(mine, target, 0.9) * length * len(slices) / 10
    assert float(losses.answer_states(ours, theirs, lengths, 0.9)) == pytest.approx(slow)


def test_no_gradient_reaches_the_teacher_or_the_old_student() -> None:
    student = _random(4, 6, seed=1).requires_grad_()
    teacher = _random(4, 6, seed=2).requires_grad_()
    total = (
        losses.answer_distribution(student, teacher, 2.0)
        + losses.forgetting(student, teacher)
        + losses.projected_tokens(student[None], teacher[None], 1.0)
        + losses.answer_states(student, teacher, [1, 3], 1.0)
    )
    total.backward()
    assert teacher.grad is None
    assert student.grad is not None and float(student.grad.abs().max()) > 0
