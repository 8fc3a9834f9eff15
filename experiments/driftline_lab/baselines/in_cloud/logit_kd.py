"""Logit distillation: the teacher's softened distribution is all that is learnt.

    L = tau^2 mean_n KL(softmax(t_n / tau) || softmax(s_n / tau))

Hinton et al., arXiv 1503.02531. The product's trainer with a2 alone, no memory and no further
questions; tau is the product's.
"""

from __future__ import annotations

from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.in_cloud.pseudo_label import NO_MEMORY

LOGIT_KD = Baseline(
    name="logit-kd",
    kind=Kind.IN_CLOUD,
    source="Hinton et al., arXiv 1503.02531",
    rule="tau^2 KL(teacher_tau || student_tau)",
    gated=False,
    distil={**NO_MEMORY, "a1": 0.0, "a2": 1.0, "a3": 0.0, "a4": 0.0},
)
