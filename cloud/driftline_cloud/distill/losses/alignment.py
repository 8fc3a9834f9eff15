"""The 1x1 alignments W and W': student width -> teacher width. Trained, never shipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1e-3
"""Regularization of the starting fit, relative to the mean square of the student's features."""


class Alignment(nn.Module):
    """y = x W + b on the last axis (a 1x1 convolution of tokens), started at the best linear fit.

    Begun there and not at random, the feature losses ask from their first step for what a linear
    map of the student's features cannot give, instead of first teaching W what it can. `scale` is
    the root mean square of the teacher's features: the unit of the losses.
    """

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        """Fit on (M, D_s) and (M, D_t) features of the same M places."""
        super().__init__()
        weight, bias = ridge_fit(student, teacher)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.scale = max(float(teacher.double().square().mean().sqrt()), 1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """(..., D_s) -> (..., D_t)."""
        aligned: Tensor = features @ self.weight + self.bias
        return aligned


def ridge_fit(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """argmin |student W + b - teacher|^2 + ridge |W|^2, in float64.

    Gives W (D_s, D_t) and b (D_t,), float32.
    """
    x, y = student.double(), teacher.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    ridge = RIDGE * float(x.square().mean().clamp(min=1e-12)) * len(x)
    square = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(square, x.T @ y)
    return weight.float(), (y_mean - x_mean @ weight).float()
