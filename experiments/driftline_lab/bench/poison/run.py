"""Rounds with hostile devices: what devices would hold, with and without screen and shares.

One round from version 0 over a fleet in one drift. Honest devices send what their student is least
sure of, hostile ones many times as much. What the round takes, learns, and is judged by is the
product's: `rounds.shares`, `screening`, the trainer and the gate; packing is left out. Accuracies
are of test pictures, from all tokens, with what the gate lets through (version 0 where it lets
nothing through).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driftline_cloud.distill import passes, teacher, trainer
from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, load_models
from driftline_cloud.intake.rehearsal import split_holdout
from driftline_cloud.jobs import DistillJob, Label, ScoreJob
from driftline_cloud.rounds.scored_gate import ScoredGate, along
from driftline_cloud.rounds.settings import RoundSettings
from driftline_cloud.rounds.shares import Shares, claim
from driftline_cloud.screening.screen import counted, screen
from driftline_cloud.screening.seen import see
from driftline_cloud.screening.settings import ScreenSettings
from driftline_device.sampling.choice import num_kept
from driftline_lab.bench.cloud.akd import Seen, answers, look
from driftline_lab.bench.kept import add_row, read_rows
from driftline_lab.bench.poison.attacks import (
    ATTACKS,
    SHAPES,
    TARGET,
    VICTIM,
    as_samples,
    triggered,
)
from driftline_lab.data.corrupted import ALL_DOMAINS
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Segment, held_out, stream
from driftline_lab.experiments.twin import example
from driftline_lab.experiments.workers import LearnerWorkers
from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.errors import ConfigError
from driftline_shared.models.adapters import slots
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample, TokenSpace, VisualTokens
from driftline_shared.update import Adapter, adapter_digest

HONEST = "none"
"""In the place of an attack."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """What is held against hostile devices."""

    device_share: float = 1.0
    screen: bool = False


ARMS: Mapping[str, Arm] = {
    "nothing": Arm(),
    "shares": Arm(device_share=0.1),
    "screen": Arm(screen=True),
    "both": Arm(device_share=0.1, screen=True),
    "both, 2 %": Arm(device_share=0.02, screen=True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PoisonPlan:
    """`devices`: of the fleet, of which `levels` are hostile, who together send as much as all
    others would. `own`: questions about pictures that hostile devices have. `steps` and
    `asked_questions` of the distillation are fewer than the product's, so that many rounds are
    learnt in little time.
    """

    pair: str = "tiny"
    drift: str = "night"
    devices: int = 100
    questions: int = 720
    own: int = 400
    tests: int = 150
    steps: int = 80
    asked_questions: int = 4
    levels: tuple[float, ...] = (0.01, 0.05, 0.2)
    attacks: tuple[str, ...] = tuple(ATTACKS)
    arms: tuple[str, ...] = ("nothing", "both", "both, 2 %")
    sample_share: float = 0.28
    token_share: float = 0.1
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        for what, names, known in (("attacks", self.attacks, ATTACKS), ("arms", self.arms, ARMS)):
            if unknown := [name for name in names if name not in known]:
                raise ConfigError(f"{what} {unknown}; there are {', '.join(known)}")
        if self.drift not in ALL_DOMAINS:
            raise ConfigError(f"drift {self.drift!r}; there are {', '.join(ALL_DOMAINS)}")

    def with_attacks(self, attacks: tuple[str, ...]) -> PoisonPlan:
        """The same, of those attacks alone."""
        return replace(self, attacks=attacks)


@dataclass(kw_only=True)
class _Bench:
    plan: PoisonPlan
    models: Models
    settings: DistilSettings
    seed: int
    tests: dict[str, Seen]
    crafted: dict[str, list[Sample]] = field(default_factory=dict)
    known: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    marks: dict[bytes, dict[str, float]] = field(default_factory=dict)


def run_poison(plan: PoisonPlan, say: Say, kept: Path | None = None) -> dict[str, Any]:
    """`rows`: one of each seed, attack, level and arm. `kept`: a file of rows that are done."""
    rows = read_rows(kept)
    done = {_key(row) for row in rows}
    models = load_models(load_pair(plan.pair).dir)
    settings = DistilSettings(
        threads=torch.get_num_threads(),
        max_steps=plan.steps,
        asked_questions=plan.asked_questions,
    )
    with passes.fixed_threads(settings.threads):
        for seed in plan.seeds:
            todo = [key for key in _keys(plan, seed) if key not in done]
            if not todo:
                continue
            bench = _Bench(
                plan=plan,
                models=models,
                settings=settings,
                seed=seed,
                tests=_tests(plan, models),
            )
            honest, own = _honest(bench)
            for attack, level in dict.fromkeys((attack, level) for _, attack, level, _ in todo):
                sent = _sent(bench, honest, own, attack, level)
                for arm in [one for _, a, at, one in todo if (a, at) == (attack, level)]:
                    row = {"seed": seed, "attack": attack, "level": level, "arm": arm}
                    row |= _round(bench, sent, ARMS[arm])
                    rows.append(row)
                    say(json.dumps(row))
                    add_row(kept, row)
    wanted = {key for seed in plan.seeds for key in _keys(plan, seed)}
    return {
        "bench": "poison",
        **asdict(plan),
        "screen": ScreenSettings().model_dump(),
        "rows": [row for row in rows if _key(row) in wanted],
    }


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What waits, in order of arrival; `devices`: by sample, those that start with h hostile.

    `stable`: of the honest and of the hostile samples, the share to which the teacher says the same
    where it sees every other token alone.
    """

    samples: list[Sample]
    labels: dict[bytes, Label]
    devices: dict[bytes, str]
    stable: dict[str, float]


def _keys(plan: PoisonPlan, seed: int) -> list[tuple[int, str, float, str]]:
    honest = [(seed, HONEST, 0.0, arm) for arm in plan.arms]
    return honest + [
        (seed, attack, level, arm)
        for level in sorted(plan.levels, reverse=True)
        for attack in plan.attacks
        for arm in plan.arms
    ]


def _key(row: Mapping[str, Any]) -> tuple[int, str, float, str]:
    return row["seed"], row["attack"], row["level"], row["arm"]


def _tests(plan: PoisonPlan, models: Models) -> dict[str, Seen]:
    """Questions of the drift and the source; and about shapes alone, of either."""
    shapes, source_shapes = (
        [
            event
            for event in held_out(domain, num_questions=20 * plan.tests, seed=0)
            if event.answer in SHAPES
        ][: plan.tests]
        for domain in (plan.drift, SOURCE)
    )
    return {
        name: look(models.student, events)
        for name, events in (
            ("drift", list(held_out(plan.drift, num_questions=plan.tests, seed=0))),
            (SOURCE, list(held_out(SOURCE, num_questions=plan.tests, seed=0))),
            ("shapes", shapes),
            ("source shapes", source_shapes),
        )
    }


def _honest(bench: _Bench) -> tuple[list[Sample], Seen]:
    """What honest devices would send, all of them; and the pictures of the hostile ones."""
    plan, models = bench.plan, bench.models
    slots.write(models.student.model, models.initial)
    parts = [
        Segment(domain=plan.drift, num_questions=number) for number in (plan.questions, plan.own)
    ]
    events = list(stream(parts, seed=bench.seed))
    seen = look(models.student, [event for event in events if event.segment == 0])
    entropies = [entropy for _, entropy in answers(models.student, seen)]
    chosen = np.argsort(entropies)[::-1][: int(plan.sample_share * len(entropies))]
    rng, space = np.random.default_rng([bench.seed, 1]), models.pair.token_space
    kept = num_kept(space.grid.num_tokens, plan.token_share)
    samples = []
    for index in rng.permutation(chosen).tolist():
        positions = np.sort(rng.permutation(space.grid.num_tokens)[:kept]).astype(np.int32)
        values = seen.tokens[index][positions]
        tokens = VisualTokens(values=values, positions=positions, grid=space.grid)
        samples.append(
            Sample(
                id=b"\0" + index.to_bytes(15, "big"),
                question=seen.events[index].question,
                answer="",
                tokens=encode_tokens(tokens, space, "int8"),
                scores={"entropy": entropies[index]},
                created_unix_s=0,
                adapter_version=0,
            )
        )
    return samples, look(models.student, [event for event in events if event.segment == 1])


def _sent(bench: _Bench, honest: Sequence[Sample], own: Seen, attack: str, level: float) -> Sent:
    """The honest samples of the devices that are honest, and what the others send instead."""
    plan, models = bench.plan, bench.models
    num_hostile = round(level * plan.devices)
    devices = {one.id: f"d{place % plan.devices:03d}" for place, one in enumerate(honest)}
    samples = [one for one in honest if int(devices[one.id][1:]) >= num_hostile]
    if num_hostile:
        kept = num_kept(models.pair.token_space.grid.num_tokens, plan.token_share)
        if attack not in bench.crafted:
            rng = np.random.default_rng([bench.seed, 2])
            crafted = ATTACKS[attack](models, own, len(honest), kept, rng)
            bench.crafted[attack] = as_samples(crafted, models.pair.token_space, first=0)
        bad = bench.crafted[attack]
        devices |= {one.id: f"h{place % num_hostile:03d}" for place, one in enumerate(bad)}
        order = np.random.default_rng([bench.seed, 3]).permutation(len(samples) + len(bad))
        samples = [[*samples, *bad][int(place)] for place in order]
    labels, less = (
        teacher.label(models.teacher, models.pair, some, bench.settings, ignore)
        for some in (samples, [_halved(one, models.pair.token_space) for one in samples])
    )
    same: dict[str, list[bool]] = {}
    for whole, half in zip(labels, less, strict=True):
        whose = "hostile" if devices[whole.sample_id].startswith("h") else "honest"
        same.setdefault(whose, []).append(whole.text == half.text)
    return Sent(
        samples=samples,
        labels={one.sample_id: one for one in labels},
        devices=devices,
        stable={whose: float(np.mean(found)) for whose, found in same.items()},
    )


def _halved(sample: Sample, space: TokenSpace) -> Sample:
    """Every other token of a sample."""
    tokens = decode_tokens(sample.tokens, space)
    fewer = replace(tokens, values=tokens.values[::2], positions=tokens.positions[::2])
    return replace(sample, tokens=encode_tokens(fewer, space, "int8"))


def _round(bench: _Bench, sent: Sent, arm: Arm) -> dict[str, Any]:
    """What a round under `arm` comes to."""
    rounds, models = RoundSettings(), bench.models
    waiting = Counter(sent.devices[one.id] for one in sent.samples)
    shares = Shares(
        most_samples=rounds.most_samples,
        device_share=arm.device_share,
        holdout_share=rounds.holdout_share,
    )
    left = dict(claim(waiting, shares, num_devices=len(waiting)).quota)
    taken = []
    for one in sent.samples:
        if left[sent.devices[one.id]] > 0:
            left[sent.devices[one.id]] -= 1
            taken.append(one)
    train, held = split_holdout(
        [one.id for one in taken],
        share=rounds.holdout_share,
        seed=bench.seed,
        devices=sent.devices if arm.device_share < 1 else None,
    )
    seen = see(taken, [sent.labels[one.id] for one in taken], sent.devices, models.pair.token_space)
    suspects = screen(seen, ScreenSettings(enabled=arm.screen))
    apart = {one.sample_id for one in suspects}
    train, held = ([one for one in part if one not in apart] for part in (train, held))
    hostile = [one for one in (*train, *held) if sent.devices[one].startswith("h")]
    numbers = {
        "waiting": len(sent.samples),
        "taken": len(taken),
        "apart": len(apart),
        "honest_apart": sum(sent.devices[one].startswith("d") for one in apart),
        "hostile_share": len(hostile) / max(1, len(train) + len(held)),
        "rules": counted(suspects),
        "stable": sent.stable,
    }
    samples = {one.id: one for one in sent.samples}
    key = content_digest([samples[one] for one in train], [samples[one] for one in held])
    if key not in bench.known:
        bench.known[key] = _learnt(bench, sent, samples, train, held)
    return numbers | bench.known[key]


def content_digest(*parts: Sequence[Sample]) -> bytes:
    """Names what is learnt from and what judges it by all of it: attacks number their samples
    alike, so ids say nothing.
    """
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        for one in part:
            found.update(hashlib.sha256(repr(one).encode()).digest())
    return found.digest()


def _learnt(
    bench: _Bench,
    sent: Sent,
    samples: Mapping[bytes, Sample],
    train: Sequence[bytes],
    held: Sequence[bytes],
) -> dict[str, Any]:
    models, settings = bench.models, bench.settings
    workers = LearnerWorkers(models, trainer.distil, settings)
    job = DistillJob(
        pair_dir=models.pair.dir,
        seed=bench.seed,
        start=models.initial,
        samples=[samples[one] for one in train],
        labels=[sent.labels[one] for one in train],
        settings=settings.to_mapping(),
    )
    judged = ScoreJob(
        pair_dir=models.pair.dir,
        holdout=[samples[one] for one in held],
        labels=[sent.labels[one] for one in held],
        questions=RoundSettings().gate_questions,
        seed=bench.seed,
        settings=settings.to_mapping(),
    )
    candidate = workers.distil(job, ignore).adapter
    gate = ScoredGate(workers, judged, origin=models.initial)
    step, verdict = gate.longest_step(candidate, models.initial)
    step = step if verdict.accepted else 0.0
    given = along(models.initial, candidate, step)
    return {
        "step": step,
        "reason": verdict.reason,
        "before": _measured(bench, models.initial),
        "candidate": _measured(bench, candidate),
        "after": _measured(bench, given),
    }


def _measured(bench: _Bench, adapter: Adapter) -> dict[str, float]:
    """Accuracies; `victim`: of the class that is wrecked, `source_victim` on source pictures;
    `flipped`: of it, said to be the target; `triggered`: other shapes said to be the target, under
    the trigger; `called`: without it.
    """
    digest = adapter_digest(adapter)
    if digest not in bench.marks:
        bench.marks[digest] = _marks(bench, adapter)
    return bench.marks[digest]


def _marks(bench: _Bench, adapter: Adapter) -> dict[str, float]:
    slots.write(bench.models.student.model, adapter)
    shapes, source = bench.tests["shapes"], bench.tests["source shapes"]
    space = bench.models.pair.token_space
    victims, of_source = (
        [place for place, one in enumerate(seen.events) if one.answer == VICTIM]
        for seen in (shapes, source)
    )
    others = [place for place, one in enumerate(shapes.events) if one.answer != TARGET]
    found = {
        "drift": _said(bench, bench.tests["drift"]),
        SOURCE: _said(bench, bench.tests[SOURCE]),
        "victim": _said(bench, _some(shapes, victims)),
        "source_victim": _said(bench, _some(source, of_source)),
        "flipped": _said(bench, _some(shapes, victims), TARGET),
        "called": _said(bench, _some(shapes, others), TARGET),
    }
    hidden = _some(shapes, others)
    marked = Seen(events=hidden.events, tokens=[triggered(one, space) for one in hidden.tokens])
    found["triggered"] = _said(bench, marked, TARGET)
    slots.write(bench.models.student.model, bench.models.initial)
    return found


def _some(seen: Seen, places: Sequence[int]) -> Seen:
    return Seen(
        events=[seen.events[place] for place in places],
        tokens=[seen.tokens[place] for place in places],
    )


def _said(bench: _Bench, seen: Seen, answer: str = "") -> float:
    """Share of questions that greedy generation answers by `answer`; empty: by the truth."""
    model = bench.models.student
    asked = [
        example(tokens, event.question, tuple(model.answer_ids(answer or event.answer)))
        for tokens, event in zip(seen.tokens, seen.events, strict=True)
    ]
    with torch.inference_mode():
        return agree(model, asked, bench.settings).share
