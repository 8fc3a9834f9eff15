"""Would groups of devices do better with adapters of their own? The same training, asked twice.

What all samples together were distilled to is there. Each group's samples alone are distilled from
the same start, with as many steps and the same settings, and each candidate goes as far as the gate
lets it: what is compared is what devices would be given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.grouping.rule import GroupMarks, GroupsVerdict, judge_groups
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.jobs import DistillJob, Label, ScoreJob
from driftline_cloud.rounds.scored_gate import ScoredGate, along
from driftline_cloud.workers.workers import Workers
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

NUM_STEPS = "num_steps"
"""Among a training's numbers."""


def of_group(job: DistillJob, own: Collection[bytes], num_steps: int) -> DistillJob:
    """`job` with the samples whose ids are in `own` alone, in `num_steps` steps."""
    samples, labels = _some(job.samples, job.labels, own)
    rehearsal, rehearsal_labels = _some(job.rehearsal, job.rehearsal_labels, own)
    return replace(
        job,
        samples=samples,
        labels=labels,
        rehearsal=rehearsal,
        rehearsal_labels=rehearsal_labels,
        settings={**job.settings, "min_steps": num_steps, "max_steps": num_steps},
    )


def held_of_group(job: ScoreJob, own: Collection[bytes]) -> ScoreJob:
    """`job` with the held-out samples whose ids are in `own` alone."""
    holdout, labels = _some(job.holdout, job.labels, own)
    rehearsal, rehearsal_labels = _some(job.rehearsal, job.rehearsal_labels, own)
    return replace(
        job,
        holdout=holdout,
        labels=labels,
        rehearsal=rehearsal,
        rehearsal_labels=rehearsal_labels,
    )


def ask_groups(
    workers: Workers,
    *,
    base: Adapter,
    origin: Adapter,
    shared: Adapter,
    alone: Sequence[Adapter],
    held: ScoreJob,
    held_alone: Sequence[ScoreJob],
    limits: GateLimits,
    settings: GroupingSettings,
    report: Callable[[float], None],
) -> GroupsVerdict:
    """The verdict on candidates `alone`, judged by `held_alone`, beside `shared`, judged by `held`.

    `base`: the adapter in use; `origin`: version 0.
    """
    empty = [number for number, job in enumerate(held_alone) if not job.holdout]
    if empty:
        reason = f"group {empty[0]} has no held-out sample to judge by"
        return GroupsVerdict(pays=False, reason=reason, numbers={})

    def given(gate: ScoredGate, candidate: Adapter) -> Adapter:
        step, verdict = gate.longest_step(candidate, base)
        return along(base, candidate, step) if verdict.accepted else base

    together = given(ScoredGate(workers, held, origin=origin, limits=limits), shared)
    marks = []
    for number, (candidate, job) in enumerate(zip(alone, held_alone, strict=True)):
        report((1 + number) / (1 + len(alone)))
        gate = ScoredGate(workers, job, origin=origin, limits=limits)
        own, other = gate.scores(given(gate, candidate), together)
        marks.append(GroupMarks(own=own.holdout, shared=other.holdout))
    return judge_groups(marks, settings)


def _some(
    samples: Sequence[Sample], labels: Sequence[Label], own: Collection[bytes]
) -> tuple[list[Sample], list[Label]]:
    kept = [row for row in zip(samples, labels, strict=True) if row[0].id in own]
    return [sample for sample, _ in kept], [label for _, label in kept]
