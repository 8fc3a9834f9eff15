"""Distillation alone: what rounds recover on a drift, and what they cost on the source.

Answers, sampling and rounds run in this process, without a link. What is tested is the candidate;
where `packed` shares are named, also what devices would hold of it, at each. Accuracies are of
pictures of the *stream* part that no round sees, so that settings may be tuned by them; a `final`
plan takes the test part.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from driftline_cloud.distill import passes, teacher, trainer
from driftline_cloud.distill.examples import Example, by_size
from driftline_cloud.distill.gate import scoring
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, load_models
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.release.packer import STEPS, PackSetting, pack
from driftline_device.sampling.choice import num_kept
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Interaction, Segment
from driftline_lab.data.worlds import World
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.errors import ConfigError
from driftline_shared.exact_match import is_correct
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample, VisualTokens
from driftline_shared.update import Adapter

BATCH = 64
HOLDOUT_SHARE = 0.15
MAX_NEW_TOKENS = 12
"""Of an answer: as many as the longest of any shipped pair's."""
console = Console(stderr=True)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Events with their tower tokens (V, D), each picture encoded once."""

    events: Sequence[Interaction]
    tokens: Sequence[np.ndarray[Any, np.dtype[np.float32]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`share` of the tokens and `sample_share` of the questions leave, in `rounds` parts.
    `packed`: shares of the weights at which the last round's change is coded and tested, too.
    """

    world: World
    domain: str
    num_questions: int
    rounds: int
    share: float
    sample_share: float
    seed: int
    final: bool
    num_test: int
    packed: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Raises ConfigError where no sample of a round would be held out."""
        questions = self.num_questions // self.rounds
        if int(HOLDOUT_SHARE * int(self.sample_share * questions)) < 1:
            raise ConfigError(
                f"{questions} questions in each of {self.rounds} rounds, of which "
                f"{self.sample_share:g} leave, hold no sample out: ask more questions, or for "
                "fewer rounds"
            )


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Labelled samples of one round."""

    train: list[Sample]
    train_labels: list[Label]
    holdout: list[Sample]
    holdout_labels: list[Label]


def run_akd(pair: str, plans: Sequence[Plan], values: Sequence[str]) -> dict[str, Any]:
    """One row for each plan and each combination of the settings that `values` name (`expand`):
    accuracies before, after and of the teacher; seconds of each round.
    """
    found, grid = load_pair(pair), expand(values)
    for choice in grid:
        DistilSettings.from_mapping(choice).of_pair(found.spec.distillation.settings)
    models = load_models(found.dir)
    rows: list[dict[str, Any]] = []
    for plan in plans:
        rows += (made := _rows(models, plan, grid))
        _show(made)
    return {"bench": "akd", "pair": models.pair.name, "rows": rows}


def _rows(models: Models, plan: Plan, grid: Iterable[Mapping[str, object]]) -> list[dict[str, Any]]:
    parts, tests = parts_of(models, plan)
    before = {name: accuracy(models.student, seen) for name, seen in tests.items()}
    above = {name: accuracy(models.teacher, seen) for name, seen in tests.items()}
    first = send(models, parts[0], plan, 0)
    rows = []
    for settings in grid:
        rows.append(row := _row(models, plan, parts, tests, first, settings, before, above))
        console.print(
            f"{plan.domain}, seed {plan.seed}, {_told(settings) or 'as it is by default'}: "
            f"{row['before']:.3f} to {row['after']:.3f} of {row['teacher']:.3f}, source "
            f"{row['source_before']:.3f} to {row['source_after']:.3f}"
        )
        slots.write(models.student.model, models.initial)
    return rows


def _row(
    models: Models,
    plan: Plan,
    parts: Sequence[Seen],
    tests: Mapping[str, Seen],
    first: Sent,
    settings: Mapping[str, object],
    before: Mapping[str, float],
    above: Mapping[str, float],
) -> dict[str, Any]:
    start, seconds = models.initial, []
    done = Distilled(adapter=start, importance={}, numbers={})
    past: list[Sent] = []
    for number, part in enumerate(parts):
        sent = first if number == 0 else send(models, part, plan, number)
        started = time.perf_counter()
        start = done.adapter
        done = one_round(models, sent, past, start, settings, plan.seed + number)
        seconds.append(time.perf_counter() - started)
        slots.write(models.student.model, done.adapter)
        past.append(sent)
    after = {name: accuracy(models.student, seen) for name, seen in tests.items()}
    packed = [_packed(models, tests, plan.domain, start, done, share) for share in plan.packed]
    name = plan.domain
    gap = above[name] - before[name]
    return {
        "domain": name,
        "seed": plan.seed,
        "settings": dict(settings),
        "before": before[name],
        "after": after[name],
        "teacher": above[name],
        "recovered": (after[name] - before[name]) / gap if gap > 0 else 0.0,
        "source_before": before[SOURCE],
        "source_after": after[SOURCE],
        "seconds": seconds,
        "numbers": done.numbers,
        "packed": packed,
    }


def _packed(
    models: Models,
    tests: Mapping[str, Seen],
    domain: str,
    start: Adapter,
    done: Distilled,
    share: float,
) -> dict[str, float]:
    """Blob bytes and accuracies of the change from `start` in whole steps, as devices decode it."""
    setting = PackSetting(share=share, quantizer=STEPS)
    coded = pack(start, done.adapter, {}, done.importance, setting)
    slots.write(models.student.model, coded.adapter)
    after, source_after = (accuracy(models.student, tests[name]) for name in (domain, SOURCE))
    console.print(
        f"  in {len(coded.blob):,} bytes ({coded.label}): {after:.3f}, source {source_after:.3f}"
    )
    num_bytes = float(len(coded.blob))
    return {"share": share, "bytes": num_bytes, "after": after, "source_after": source_after}


def one_round(
    models: Models,
    sent: Sent,
    past: Sequence[Sent],
    start: Adapter,
    settings: Mapping[str, object],
    seed: int,
) -> Distilled:
    """Distil from `start`; the candidate, the gate's numbers for it among its numbers."""
    job = DistillJob(
        pair_dir=models.pair.dir,
        seed=seed,
        start=start,
        samples=sent.train,
        labels=sent.train_labels,
        rehearsal=[sample for each in past for sample in each.train],
        rehearsal_labels=[label for each in past for label in each.train_labels],
        settings=dict(settings),
    )
    found = trainer.distil(job, models, lambda _: None)
    gate = ScoreJob(
        pair_dir=models.pair.dir,
        holdout=sent.holdout,
        labels=sent.holdout_labels,
        settings=dict(settings),
    )
    old, new = scoring.score(gate, [start, found.adapter], models)
    gained = {
        "agreement_gain": new.holdout.share - old.holdout.share,
        "gate_source": new.source.share,
    }
    return replace(found, numbers={**found.numbers, **gained})


def send(models: Models, seen: Seen, plan: Plan, number: int, codec: str = "int8") -> Sent:
    """What the most uncertain questions of a round come to, labelled by the teacher."""
    entropies = [row[1] for row in answers(models.student, seen)]
    count = int(plan.sample_share * len(seen.events))
    chosen = np.argsort(entropies)[::-1][:count]
    rng = np.random.default_rng([plan.seed, number])
    space = models.pair.token_space
    kept = num_kept(space.grid.num_tokens, plan.share)
    samples = []
    for index in rng.permutation(chosen):
        positions = np.sort(rng.permutation(space.grid.num_tokens)[:kept]).astype(np.int32)
        tokens = VisualTokens(
            values=seen.tokens[index][positions], positions=positions, grid=space.grid
        )
        samples.append(
            Sample(
                id=bytes([number]) + int(index).to_bytes(15, "big"),
                question=seen.events[index].question,
                answer="",
                tokens=encode_tokens(tokens, space, codec),
                created_unix_s=0,
                adapter_version=number,
            )
        )
    labels = teacher.label(
        models.teacher,
        models.pair,
        samples,
        DistilSettings(threads=torch.get_num_threads()),
        lambda _: None,
    )
    right = sum(
        is_correct(label.text, seen.events[int.from_bytes(label.sample_id[1:], "big")].answer)
        for label in labels
    )
    console.print(f"{len(samples)} sent, {right / max(len(samples), 1):.3f} labelled right")
    cut = int(HOLDOUT_SHARE * len(samples))
    return Sent(
        train=samples[cut:],
        train_labels=labels[cut:],
        holdout=samples[:cut],
        holdout_labels=labels[:cut],
    )


def answers(model: MultimodalModel, seen: Seen) -> list[tuple[str, float]]:
    """(answer, mean normalised entropy) of each event, from all tokens."""
    num_tokens = len(seen.tokens[0])
    examples = [
        Example(values=tokens, positions=np.arange(num_tokens), question=event.question)
        for event, tokens in zip(seen.events, seen.tokens, strict=True)
    ]
    found: dict[int, tuple[str, float]] = {}
    with torch.inference_mode():
        for batch in by_size(examples, BATCH):
            made = model.generate(
                passes.prompt(model, [examples[i] for i in batch]), MAX_NEW_TOKENS
            )
            for row, i in enumerate(batch):
                found[i] = (made.texts[row], float(made.entropy[row, : made.lengths[row]].mean()))
    return [found[i] for i in range(len(examples))]


def accuracy(model: MultimodalModel, seen: Seen) -> float:
    """Share of events answered right (normalised exact match), from all tokens."""
    answered = answers(model, seen)
    right = [is_correct(a, e.answer) for (a, _), e in zip(answered, seen.events, strict=True)]
    return float(np.mean(right))


def look(model: MultimodalModel, events: Sequence[Interaction]) -> Seen:
    """Encode each picture of `events` once."""
    first: dict[Path, Interaction] = {}
    for event in events:
        first.setdefault(event.file, event)
    known: dict[Path, np.ndarray[Any, np.dtype[np.float32]]] = {}
    files = list(first)
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        encoded = model.encode([first[file].picture() for file in part]).cpu().numpy()
        known |= dict(zip(part, encoded, strict=True))
    return Seen(events=list(events), tokens=[known[event.file] for event in events])


def parts_of(models: Models, plan: Plan) -> tuple[list[Seen], dict[str, Seen]]:
    """The rounds' parts of the stream, and the sets that accuracies are of."""
    wanted = [
        Segment(domain=plan.domain, num_questions=plan.num_questions),
        Segment(domain=plan.domain, num_questions=plan.num_test),
        Segment(domain=SOURCE, num_questions=plan.num_test),
    ]
    world = plan.world
    events = list(world.stream(wanted, seed=plan.seed))
    mine = [event for event in events if event.segment == 0]
    if plan.final:
        drifted, source = (
            list(world.held_out(domain, num_questions=plan.num_test, seed=plan.seed))
            for domain in (plan.domain, SOURCE)
        )
    else:
        drifted = [event for event in events if event.segment == 1]
        source = [event for event in events if event.segment == 2]
    cuts = np.array_split(np.arange(len(mine)), plan.rounds)
    parts = [look(models.student, [mine[i] for i in cut]) for cut in cuts]
    sets = {plan.domain: drifted, SOURCE: source}
    return parts, {name: look(models.student, rows) for name, rows in sets.items()}


def expand(values: Sequence[str]) -> list[dict[str, object]]:
    """`name=v` and `name=v1,v2` into every combination, as numbers or yes and no. Raises
    ConfigError.
    """
    lists: list[list[tuple[str, bool | int | float]]] = []
    for value in values:
        name, found, numbers = value.partition("=")
        if not found:
            raise ConfigError(f"--set {value!r} is not name=value")
        if any(name == pairs[0][0] for pairs in lists):
            raise ConfigError(f"--set {name} stands twice: name its values once, as {name}=v1,v2")
        lists.append([(name, _value(name, text)) for text in numbers.split(",")])
        if len(set(lists[-1])) < len(lists[-1]):
            raise ConfigError(f"--set {value}: a value is named twice; name each once")
    return [dict(choice) for choice in itertools.product(*lists)]


def _value(name: str, text: str) -> bool | int | float:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    raise ConfigError(f"--set {name}: {text!r} is neither a number nor true or false")


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    names = ("domain", "before", "after", "teacher", "recovered", "source_before", "source_after")
    table = Table(*names, "seconds", "settings")
    for row in rows:
        cells = [row[name] for name in names]
        texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
        seconds = " ".join(f"{one:.1f}" for one in row["seconds"])
        table.add_row(*texts, seconds, _told(row["settings"]))
    console.print(table)


def _told(settings: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())
