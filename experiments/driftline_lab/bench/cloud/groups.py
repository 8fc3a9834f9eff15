"""Groups of devices by drift: does a line split, and what do its groups gain over one adapter?

Devices of two drifts are on one line; the product's own statistics, training and gate decide. Both
arms get the same samples, start from version 0, train as many steps with the same settings, and are
packed at one share and quantizer, so that updates are of about the same bytes. Accuracies are of
what devices would hold, on test pictures that no stream shows, from all tokens. Lines of one drift
stand beside: the same samples and devices, each drift alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driftline_cloud.distill import passes, teacher, trainer
from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, load_models
from driftline_cloud.grouping.clusters import Found, find_groups
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.grouping.statistics import features
from driftline_cloud.intake.rehearsal import split_holdout
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.release.delta import no_residual
from driftline_cloud.release.packer import STEPS, PackSetting, pack
from driftline_cloud.rounds.group_question import NUM_STEPS, ask_groups, held_of_group, of_group
from driftline_device.sampling.choice import num_kept
from driftline_lab.bench.cloud.akd import Seen, answers, look
from driftline_lab.data.corrupted import ALL_DOMAINS
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Segment, held_out, stream
from driftline_lab.experiments.twin import example
from driftline_lab.experiments.workers import LearnerWorkers
from driftline_lab.intervals import paired, summary
from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.models.adapters import slots
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample, VisualTokens
from driftline_shared.update import Adapter

HOLDOUT_SHARE, GATE_QUESTIONS = 0.15, 5
"""As `rounds.holdout_share` and `rounds.gate_questions` are."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupsPlan:
    """What is measured. `questions`: that the devices of one drift are asked in all, of which
    `sample_share` leave with `token_share` of their tokens. `pack_share`: of the weights.
    """

    pair: str = "tiny"
    drifts: tuple[str, ...] = ("night", "sketch")
    devices: int = 8
    questions: int = 460
    tests: int = 400
    sample_share: float = 0.28
    token_share: float = 0.1
    pack_share: float = 0.15
    seeds: tuple[int, ...] = (0, 1, 2)


def run_groups(plan: GroupsPlan, say: Say) -> dict[str, Any]:
    """`rows`: a seed each; `summary`: gains of grouped over shared adapters, over the seeds; `one`:
    lines of one drift, which should not split.
    """
    if unknown := [name for name in plan.drifts if name not in ALL_DOMAINS]:
        raise ConfigError(f"drifts {unknown}; there are {', '.join(ALL_DOMAINS)}")
    models = load_models(load_pair(plan.pair).dir)
    settings = DistilSettings(threads=torch.get_num_threads())
    rows, one = [], []
    with passes.fixed_threads(settings.threads):
        for seed in plan.seeds:
            fleet = _fleet(plan, models, settings, seed)
            for drift in plan.drifts:
                found = _found({drift: fleet[drift]}, models, plan, seed)
                one.append({"seed": seed, "drift": drift, **_told(found)})
                say(f"seed {seed}, {drift} alone: {len(found.groups)} group, {found.reason}")
            rows.append(_row(plan, models, settings, fleet, seed))
            say(f"seed {seed}: {rows[-1]}")
    return {
        "bench": "groups",
        **asdict(plan),
        "distil": settings.model_dump(),
        "grouping": GroupingSettings().model_dump(),
        "rows": rows,
        "one": one,
        "summary": summarise(rows),
    }


def join(documents: Sequence[Path]) -> dict[str, Any]:
    """Results of the same plan on other seeds as one. DataError where they are of other plans."""
    found = [json.loads(path.read_text(encoding="utf-8"))["result"] for path in documents]
    apart = ("seeds", "rows", "one", "summary")
    plans = [{key: value for key, value in each.items() if key not in apart} for each in found]
    if any(plan != plans[0] for plan in plans):
        raise DataError("the documents are of other plans: they differ in more than their seeds")
    rows = sorted((row for each in found for row in each["rows"]), key=lambda row: row["seed"])
    return {
        **plans[0],
        "seeds": [row["seed"] for row in rows],
        "rows": rows,
        "one": [row for each in found for row in each["one"]],
        "summary": summarise(rows),
    }


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By drift, and for their mean: how much more grouped adapters answer right, over the seeds."""

    def told(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
        found = paired(ours, theirs)
        return {
            "shared": summary(theirs).mean,
            "grouped": summary(ours).mean,
            "gain": found.difference.mean,
            "low": found.difference.low if len(ours) > 1 else None,
            "high": found.difference.high if len(ours) > 1 else None,
            "p": found.p,
        }

    names = [name for name in rows[0]["accuracy"] if name != SOURCE]
    arms = {
        arm: {name: [row["accuracy"][name][arm] for row in rows] for name in names}
        for arm in ("grouped", "shared")
    }
    means = {
        arm: [float(np.mean(one)) for one in zip(*each.values(), strict=True)]
        for arm, each in arms.items()
    }
    return {
        **{name: told(arms["grouped"][name], arms["shared"][name]) for name in names},
        "mean": told(means["grouped"], means["shared"]),
        "num_split": sum(row["split"] for row in rows),
        "num_seeds": len(rows),
    }


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What the devices of one drift sent; `devices`: by sample."""

    samples: list[Sample]
    labels: list[Label]
    devices: list[str]


def _fleet(
    plan: GroupsPlan, models: Models, settings: DistilSettings, seed: int
) -> dict[str, Sent]:
    slots.write(models.student.model, models.initial)
    found = {}
    for number, drift in enumerate(plan.drifts):
        wanted = Segment(domain=drift, num_questions=plan.questions)
        seen = look(models.student, list(stream([wanted], seed=seed)))
        samples = _uncertain(plan, models, seen, np.random.default_rng([seed, number]), number)
        labels = teacher.label(models.teacher, models.pair, samples, settings, ignore)
        devices = [f"{drift}-{place % plan.devices}" for place in range(len(samples))]
        found[drift] = Sent(samples=samples, labels=labels, devices=devices)
    return found


def _uncertain(
    plan: GroupsPlan, models: Models, seen: Seen, rng: np.random.Generator, number: int
) -> list[Sample]:
    """The questions that the student is least sure of, with some tokens drawn evenly."""
    space = models.pair.token_space
    entropies = [entropy for _, entropy in answers(models.student, seen)]
    chosen = np.argsort(entropies)[::-1][: int(plan.sample_share * len(entropies))]
    kept = num_kept(space.grid.num_tokens, plan.token_share)
    samples = []
    for index in rng.permutation(chosen).tolist():
        positions = np.sort(rng.permutation(space.grid.num_tokens)[:kept]).astype(np.int32)
        tokens = VisualTokens(
            values=seen.tokens[index][positions], positions=positions, grid=space.grid
        )
        samples.append(
            Sample(
                id=bytes([number]) + index.to_bytes(15, "big"),
                question=seen.events[index].question,
                answer="",
                tokens=encode_tokens(tokens, space, "int8"),
                scores={"entropy": entropies[index]},
                created_unix_s=0,
                adapter_version=0,
            )
        )
    return samples


def _found(fleet: Mapping[str, Sent], models: Models, plan: GroupsPlan, seed: int) -> Found:
    samples = [sample for sent in fleet.values() for sample in sent.samples]
    devices = [device for sent in fleet.values() for device in sent.devices]
    rows = features(samples, models.pair.token_space, score="entropy")
    settings = GroupingSettings()
    return find_groups(rows, devices, settings, most=settings.most_groups, seed=seed)


def _told(found: Found) -> dict[str, Any]:
    return {
        "num_groups": len(found.groups),
        "silhouette": found.silhouette,
        "p": found.p,
        "reason": found.reason,
    }


def _row(
    plan: GroupsPlan,
    models: Models,
    settings: DistilSettings,
    fleet: Mapping[str, Sent],
    seed: int,
) -> dict[str, Any]:
    found = _found(fleet, models, plan, seed)
    owner = {
        sample.id: device
        for sent in fleet.values()
        for sample, device in zip(sent.samples, sent.devices, strict=True)
    }
    # Where none are found, what grouping by the drifts themselves would have come to is told.
    groups = (
        found.groups
        if len(found.groups) > 1
        else tuple(tuple(sorted(set(sent.devices))) for sent in fleet.values())
    )
    own = [{one for one, device in owner.items() if device in group} for group in groups]
    job, held = _jobs(models, settings, fleet, seed)
    workers = LearnerWorkers(models, trainer.distil, settings)
    shared = workers.distil(job, ignore)
    steps = int(shared.numbers[NUM_STEPS])
    alone = [workers.distil(of_group(job, ids, steps), ignore) for ids in own]
    verdict = ask_groups(
        workers,
        base=models.initial,
        origin=models.initial,
        shared=shared.adapter,
        alone=[each.adapter for each in alone],
        held=held,
        held_alone=[held_of_group(held, ids) for ids in own],
        limits=GateLimits(),
        settings=GroupingSettings(),
        report=ignore,
    )
    packed = [_packed(models, each, plan) for each in (shared, *alone)]
    return {
        "seed": seed,
        "num_samples": len(owner),
        "num_steps": steps,
        **_told(found),
        "groups": [list(group) for group in groups],
        "asked": verdict.numbers,
        "verdict": verdict.reason,
        "split": len(found.groups) > 1 and verdict.pays,
        "bytes_shared": packed[0][1],
        "bytes_grouped": [each[1] for each in packed[1:]],
        "accuracy": _accuracies(plan, models, settings, fleet, groups, [one for one, _ in packed]),
    }


def _jobs(
    models: Models, settings: DistilSettings, fleet: Mapping[str, Sent], seed: int
) -> tuple[DistillJob, ScoreJob]:
    samples = {one.id: one for sent in fleet.values() for one in sent.samples}
    labels = {one.sample_id: one for sent in fleet.values() for one in sent.labels}
    train, holdout = split_holdout(list(samples), share=HOLDOUT_SHARE, seed=seed)
    job = DistillJob(
        pair_dir=models.pair.dir,
        seed=seed,
        start=models.initial,
        samples=[samples[one] for one in train],
        labels=[labels[one] for one in train],
        settings=settings.to_mapping(),
    )
    held = ScoreJob(
        pair_dir=models.pair.dir,
        holdout=[samples[one] for one in holdout],
        labels=[labels[one] for one in holdout],
        questions=GATE_QUESTIONS,
        seed=seed,
        settings=settings.to_mapping(),
    )
    return job, held


def _packed(models: Models, made: Distilled, plan: GroupsPlan) -> tuple[Adapter, int]:
    """What devices hold after the update, and its bytes."""
    packed = pack(
        models.initial,
        made.adapter,
        no_residual(models.initial),
        made.importance,
        PackSetting(share=plan.pack_share, quantizer=STEPS),
    )
    return packed.adapter, len(packed.blob)


def _accuracies(
    plan: GroupsPlan,
    models: Models,
    settings: DistilSettings,
    fleet: Mapping[str, Sent],
    groups: Sequence[Sequence[str]],
    adapters: Sequence[Adapter],
) -> dict[str, dict[str, float]]:
    """By drift: before, with the shared adapter, with that of the group of most of its devices; and
    of the source: the mean over the groups.
    """
    found: dict[str, dict[str, float]] = {}
    of = {device: number for number, group in enumerate(groups) for device in group}
    for drift in (*plan.drifts, SOURCE):
        events = list(held_out(drift, num_questions=plan.tests, seed=0))
        seen = look(models.student, events)

        def accuracy(adapter: Adapter, seen: Seen = seen) -> float:
            slots.write(models.student.model, adapter)
            right = _right(models, seen, settings)
            slots.write(models.student.model, models.initial)
            return right

        if drift == SOURCE:
            grouped = float(np.mean([accuracy(each) for each in adapters[1:]]))
        else:
            mine = [of[device] for device in fleet[drift].devices if device in of]
            grouped = accuracy(adapters[1 + int(np.bincount(mine).argmax())])
        found[drift] = {
            "before": accuracy(models.initial),
            "shared": accuracy(adapters[0]),
            "grouped": grouped,
        }
    return found


def _right(models: Models, seen: Seen, settings: DistilSettings) -> float:
    """Share of test questions whose true answer greedy generation would write, from all tokens."""
    model = models.student
    asked = [
        example(tokens, event.question, tuple(model.answer_ids(event.answer)))
        for tokens, event in zip(seen.tokens, seen.events, strict=True)
    ]
    with torch.inference_mode():
        return agree(model, asked, settings).share
