"""What uploaded tokens tell of a picture, by codec, share of the tokens, and noise.

Somebody with the pair's public weights and source pictures of their own trains an inverter for what
they will see: the same codec, share and noise. It is then shown pictures it does not know, of the
source and of a drift. Beside it stands what noise costs the teacher: its answers to the same
tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_cloud.distill import passes, teacher
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, load_models
from driftline_device.sampling.choice import num_kept
from driftline_device.sampling.noise import noisy
from driftline_lab.bench.cloud.akd import BATCH
from driftline_lab.bench.kept import add_row, read_rows
from driftline_lab.bench.privacy.inverter import Material, measure, train, without_tokens
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Event, Segment, held_out, stream
from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.exact_match import is_correct
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample, VisualTokens
from driftline_shared.wire import dump_sample

ATTRIBUTES = {
    "shape": ("circle", "rectangle", "triangle"),
    "color": ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
}
"""Of easy-vqa's pictures."""

NOTHING = "nothing"
"""In the place of a codec: no token is seen."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What leaves: tokens in `codec`, a `share` of them, with `noise` in parts of the range."""

    codec: str
    share: float
    noise: float = 0.0


CONDITIONS = (
    *(Condition(codec="int8", share=share) for share in (1.0, 0.25, 0.1)),
    *(Condition(codec="int8", share=0.1, noise=noise) for noise in (0.1, 0.2, 0.4)),
    *(Condition(codec=codec, share=0.1) for codec in ("int4", "klt128", "klt64")),
    *(Condition(codec=codec, share=1.0) for codec in ("int4", "klt64")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyPlan:
    """`pictures`: that the inverter learns from; `tests`: pictures of a domain it is shown."""

    pair: str = "tiny"
    drift: str = "night"
    pictures: int = 1_000
    tests: int = 200
    steps: int = 500
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """`tokens` (N, V, D), `pixels` (N, H, W, 3) uint8, and questions of each with their answers."""

    tokens: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    asked: list[list[Event]]


def run_privacy(plan: PrivacyPlan, say: Say, kept: Path | None = None) -> dict[str, Any]:
    """`rows`: by seed and condition, of each domain PSNR, attributes read, and the teacher's share
    of right answers. `kept`: a file of rows that are done.
    """
    rows = read_rows(kept)
    models = load_models(load_pair(plan.pair).dir)
    settings = DistilSettings(threads=torch.get_num_threads())
    with passes.fixed_threads(settings.threads):
        for seed in plan.seeds:
            known = _pictures(models, _events(plan, SOURCE, seed, plan.pictures))
            shown = {
                name: _pictures(models, list(held_out(name, seed=0)), most=plan.tests)
                for name in (SOURCE, plan.drift)
            }
            for condition in (Condition(codec=NOTHING, share=0.0), *CONDITIONS):
                key = {"seed": seed, **asdict(condition)}
                if any(key.items() <= row.items() for row in rows):
                    continue
                row = key | _row(plan, models, settings, known, shown, condition, seed)
                rows.append(row)
                say(json.dumps(row))
                add_row(kept, row)
    wanted = [row for row in rows if row["seed"] in plan.seeds]
    return {"bench": "privacy", **asdict(plan), "rows": wanted}


def _events(plan: PrivacyPlan, domain: str, seed: int, pictures: int) -> list[Event]:
    every = list(stream([Segment(domain=domain, num_questions=1 << 20)], seed=seed))
    first = list(dict.fromkeys(event.image_id for event in every))[:pictures]
    wanted = set(first)
    return [event for event in every if event.image_id in wanted]


def _pictures(models: Models, events: Sequence[Event], most: int | None = None) -> _Pictures:
    by_picture: dict[int, list[Event]] = {}
    for event in events:
        by_picture.setdefault(event.image_id, []).append(event)
    asked = list(by_picture.values())[:most]
    pixels = [each[0].picture() for each in asked]
    tokens = [
        models.student.encode(pixels[start : start + BATCH]).cpu().numpy()
        for start in range(0, len(pixels), BATCH)
    ]
    return _Pictures(tokens=np.concatenate(tokens), pixels=np.stack(pixels), asked=asked)


def _row(
    plan: PrivacyPlan,
    models: Models,
    settings: DistilSettings,
    known: _Pictures,
    shown: dict[str, _Pictures],
    condition: Condition,
    seed: int,
) -> dict[str, Any]:
    if condition.codec == NOTHING:
        learnt, _ = _material(models, known, Condition(codec="int8", share=1.0), seed)
        return {
            name: without_tokens(learnt, _material(models, each, CONDITIONS[0], 0)[0])
            for name, each in shown.items()
        }
    learnt, _ = _material(models, known, condition, seed)
    classes = {name: len(each) for name, each in ATTRIBUTES.items()}
    inverter = train(learnt, classes, steps=plan.steps, seed=seed)
    row: dict[str, Any] = {}
    for number, (name, each) in enumerate(shown.items()):
        seen, samples = _material(models, each, condition, [seed, number + 1])
        row[name] = measure(inverter, seen)
        row[name]["teacher"] = _right(models, settings, each, samples)
        row["sample_bytes"] = float(np.mean([len(dump_sample(one)) for one in samples]))
    return row


def _material(
    models: Models, pictures: _Pictures, condition: Condition, seed: int | list[int]
) -> tuple[Material, list[Sample]]:
    """What is seen of the pictures under a condition, and the samples it is of."""
    space, rng = models.pair.token_space, np.random.default_rng(seed)
    num = space.grid.num_tokens
    count = num_kept(num, condition.share)
    tokens = np.zeros_like(pictures.tokens)
    there = np.zeros((len(tokens), num), bool)
    samples = []
    for place, values in enumerate(pictures.tokens):
        positions = np.sort(rng.permutation(num)[:count]).astype(np.int32)
        kept = VisualTokens(values=values[positions], positions=positions, grid=space.grid)
        coded = encode_tokens(
            noisy(kept, space, scale=condition.noise, rng=rng), space, condition.codec
        )
        tokens[place, positions] = decode_tokens(coded, space).values
        there[place, positions] = True
        samples.append(
            Sample(
                id=place.to_bytes(16, "big"),
                question=pictures.asked[place][0].question,
                answer="",
                tokens=coded,
                created_unix_s=0,
                adapter_version=0,
            )
        )
    scaled = (tokens - (space.high + space.low) / 2) / ((space.high - space.low) / 4)
    return (
        Material(
            tokens=torch.tensor(scaled.astype(np.float32)),
            there=torch.tensor(there),
            pixels=_patches(pictures.pixels, space.grid.rows, space.grid.cols),
            attributes={
                name: torch.tensor([_class_of(each, answers) for each in pictures.asked])
                for name, answers in ATTRIBUTES.items()
            },
        ),
        samples,
    )


def _patches(pixels: NDArray[np.uint8], rows: int, cols: int) -> torch.Tensor:
    """(N, rows * cols, P) in 0..1, by place of the grid."""
    num, height, width, _ = pixels.shape
    cut = pixels.reshape(num, rows, height // rows, cols, width // cols, 3)
    laid = cut.transpose(0, 1, 3, 2, 4, 5).reshape(num, rows * cols, -1)
    return torch.tensor(laid.astype(np.float32) / 255.0)


def _class_of(asked: Sequence[Event], answers: Sequence[str]) -> int:
    """Which of `answers` is one of the picture's; -1 where none is."""
    said = [answers.index(event.answer) for event in asked if event.answer in answers]
    return said[0] if said else -1


def _right(
    models: Models, settings: DistilSettings, pictures: _Pictures, samples: Sequence[Sample]
) -> float:
    labels = teacher.label(models.teacher, models.pair, samples, settings, ignore)
    right = [
        is_correct(label.text, asked[0].answer)
        for label, asked in zip(labels, pictures.asked, strict=True)
    ]
    return float(np.mean(right))
