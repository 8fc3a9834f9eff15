"""Pseudo-label fine-tuning: the teacher's text is all that is learnt.

    L = -mean_n log p_student(y_n)        y: the teacher's greedy answer

Lee, ICML 2013 workshop, with the labels of another model: sequence-level distillation (Kim and
Rush, arXiv 1606.07947). The product's trainer with a1 alone, no memory and no further questions.
"""

from __future__ import annotations

from driftline_lab.baselines.baseline import Baseline, Kind

NO_MEMORY: dict[str, object] = {
    "a5": 0.0,
    "memory_batch_size": 0,
    "num_source_rows": 0,
    "extra_questions": 0,
}
"""Settings of a learner that sees the round's samples and nothing else."""

PSEUDO_LABEL = Baseline(
    name="pseudo-label",
    kind=Kind.IN_CLOUD,
    source="Lee, ICML-W 2013; Kim and Rush, arXiv 1606.07947",
    rule="CE with the teacher's text",
    gated=False,
    distil={**NO_MEMORY, "a1": 1.0, "a2": 0.0, "a3": 0.0, "a4": 0.0},
)
