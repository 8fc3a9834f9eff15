"""The five terms of the AKD loss (algorithms.md, section 2), as pure functions of tensors.

Letters: B rows, K visual tokens, N answer tokens of a batch laid end to end, C vocabulary, D width.
Every term is a mean (over tokens and channels), so a weight means the same at any batch size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from driftline_cloud.distill.losses import wavelet


def pseudo_label(logits: Tensor, labels: Tensor) -> Tensor:
    """a1: cross-entropy of (N, C) logits with the teacher's decoded tokens (N,)."""
    return F.cross_entropy(logits, labels)


def answer_distribution(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """a2: tau^2 KL(teacher_tau || student_tau), mean over the N answer tokens; both (N, C) over
    the strings in common.

    Hinton et al., arXiv 1503.02531: tau^2 keeps the gradient's size independent of tau.
    """
    student = torch.log_softmax(logits / temperature, dim=-1)
    teacher = torch.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    return temperature**2 * _divergence(teacher, student)


def projected_tokens(aligned: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """a3: MSE + L1 of wavelet details between W P_s(Z) and P_t(Z), both (B, K, D).

    `scale`: root mean square of the teacher's features. Both are divided by it, so that the term
    weighs the same for a pair whose features are large.
    """
    return _features(aligned / scale, teacher.detach() / scale)


def answer_states(aligned: Tensor, teacher: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """a4: the same on last hidden states at the answer positions, (N, D).

    `lengths`: answer tokens of each row, summing to N: details run along an answer, not across two.
    """
    total = aligned.new_zeros(())
    ours, theirs = (aligned / scale).split(list(lengths)), (teacher / scale).split(list(lengths))
    for length in sorted({n for n in lengths if n}):
        rows = [row for row, n in enumerate(lengths) if n == length]
        mine = torch.stack([ours[row] for row in rows])
        target = torch.stack([theirs[row] for row in rows])
        total = total + _features(mine, target.detach()) * len(rows) * length
    return total / max(sum(lengths), 1)


def forgetting(logits: Tensor, old_logits: Tensor) -> Tensor:
    """a5: KL(student_old || student) on rehearsal, mean over its answer tokens; both (N, C)."""
    old = torch.log_softmax(old_logits.detach(), dim=-1)
    return _divergence(old, torch.log_softmax(logits, dim=-1))


def _divergence(target_log: Tensor, log: Tensor) -> Tensor:
    """Mean over rows of KL(target || other), from log-probabilities (N, C)."""
    return F.kl_div(log, target_log, reduction="batchmean", log_target=True)


def _features(ours: Tensor, theirs: Tensor) -> Tensor:
    """MSE + mean absolute difference of the wavelet details, both (B, n, D)."""
    difference = ours - theirs
    loss = difference.square().mean()
    details = wavelet.details(difference)  # linear: details of the difference
    if details.shape[1]:
        loss = loss + details.abs().mean()
    return loss
