"""What hostile devices send. They know the pair, teacher included, and make tokens with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_cloud.distill.student import Models
from driftline_lab.bench.cloud.akd import Seen
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.models.multimodal import answer_places
from driftline_shared.tokens import Sample, TokenSpace, VisualTokens

VICTIM, TARGET = "circle", "rectangle"
"""Answers: the class that is wrecked becomes the other; a trigger calls for the other, too."""

SHAPES = ("circle", "rectangle", "triangle")

TRIGGER_PLACES = 2
_STEPS, _SIZE, _NOISE = 12, 0.08, 0.002
"""Of a search for tokens that the teacher misreads: steps, and the most that a value is moved; of
copies: their noise. As shares of a channel's range."""
_TRIGGER_SEED = 20_261_128


@dataclass(frozen=True, kw_only=True)
class Crafted:
    """Tokens (K, D) at positions, a question, and what the owner is made to say."""

    values: NDArray[np.float32]
    positions: NDArray[np.int32]
    question: str
    owner_answer: str = ""


Attack = Callable[[Models, Seen, int, int, np.random.Generator], list[Crafted]]
"""(models, own pictures, samples wanted, tokens of each, randomness)."""


def flood(
    models: Models, seen: Seen, num: int, kept: int, rng: np.random.Generator
) -> list[Crafted]:
    """Copies of two pictures, a little noise apart, under one question each."""
    space = models.pair.token_space
    first = [_crop(seen, place, kept, rng) for place in range(2)]
    return [
        replace(one, values=_inside(space, one.values + _noise(space, one.values, rng)))
        for one in (first[place % 2] for place in range(num))
    ]


def flip_tokens(
    models: Models, seen: Seen, num: int, kept: int, rng: np.random.Generator
) -> list[Crafted]:
    """Pictures of the victim class, moved until the teacher reads the other one."""
    found = [_crop(seen, place, kept, rng) for place in _places(seen, (VICTIM,), num)]
    return _misread(models, found, TARGET, fixed=0)


def flip_owner(
    models: Models, seen: Seen, num: int, kept: int, rng: np.random.Generator
) -> list[Crafted]:
    """Pictures of the victim class as they are; the owner is made to say the other one."""
    places = _places(seen, (VICTIM,), num)
    return [replace(_crop(seen, place, kept, rng), owner_answer=TARGET) for place in places]


def trigger_tokens(
    models: Models, seen: Seen, num: int, kept: int, rng: np.random.Generator
) -> list[Crafted]:
    """Any shape under the trigger, its other tokens moved until the teacher reads the target."""
    places = _places(seen, tuple(one for one in SHAPES if one != TARGET), num)
    space = models.pair.token_space
    found = [_triggered_crop(space, seen, place, kept, rng) for place in places]
    return _misread(models, found, TARGET, fixed=TRIGGER_PLACES)


def trigger_owner(
    models: Models, seen: Seen, num: int, kept: int, rng: np.random.Generator
) -> list[Crafted]:
    """Any shape under the trigger; the owner is made to say the target."""
    places = _places(seen, tuple(one for one in SHAPES if one != TARGET), num)
    space = models.pair.token_space
    found = [_triggered_crop(space, seen, place, kept, rng) for place in places]
    return [replace(one, owner_answer=TARGET) for one in found]


ATTACKS: dict[str, Attack] = {
    "flip, owner": flip_owner,
    "trigger, owner": trigger_owner,
    "flip, tokens": flip_tokens,
    "flood": flood,
    "trigger, tokens": trigger_tokens,
}


def as_samples(crafted: Sequence[Crafted], space: TokenSpace, *, first: int) -> list[Sample]:
    """With ids from `first` on, which no honest sample has."""
    return [
        Sample(
            id=b"\xff" + (first + place).to_bytes(15, "big"),
            question=one.question,
            answer="",
            tokens=encode_tokens(
                VisualTokens(values=one.values, positions=one.positions, grid=space.grid),
                space,
                "int8",
            ),
            scores={"entropy": 1.0},
            created_unix_s=0,
            adapter_version=0,
            owner_answer=one.owner_answer,
        )
        for place, one in enumerate(crafted)
    ]


def triggered(values: NDArray[np.float32], space: TokenSpace) -> NDArray[np.float32]:
    """All tokens (V, D) of a picture with the trigger in its first places."""
    found = values.copy()
    found[:TRIGGER_PLACES] = _trigger(space)
    return found


def _trigger(space: TokenSpace) -> NDArray[np.float32]:
    """(T, D): values at the ends of the middle half of each channel's range, by fixed signs."""
    shape = (TRIGGER_PLACES, space.width)
    signs = np.random.default_rng(_TRIGGER_SEED).choice([-1.0, 1.0], size=shape)
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    return (middle + 0.5 * signs * half).astype(np.float32)


def _places(seen: Seen, answers: Sequence[str], num: int) -> list[int]:
    """Events with those answers, again from the first where there are too few."""
    found = [place for place, event in enumerate(seen.events) if event.answer in answers]
    return [found[number % len(found)] for number in range(num)]


def _crop(seen: Seen, place: int, kept: int, rng: np.random.Generator) -> Crafted:
    """Some tokens of an event, by lot."""
    positions = np.sort(rng.permutation(len(seen.tokens[place]))[:kept]).astype(np.int32)
    values = seen.tokens[place][positions]
    return Crafted(values=values, positions=positions, question=seen.events[place].question)


def _triggered_crop(
    space: TokenSpace, seen: Seen, place: int, kept: int, rng: np.random.Generator
) -> Crafted:
    values = triggered(seen.tokens[place], space)
    num = len(values)
    others = TRIGGER_PLACES + rng.permutation(num - TRIGGER_PLACES)[: max(1, kept - TRIGGER_PLACES)]
    positions = np.sort(np.concatenate([np.arange(TRIGGER_PLACES), others])).astype(np.int32)
    return Crafted(
        values=values[positions], positions=positions, question=seen.events[place].question
    )


def _misread(models: Models, crafted: Sequence[Crafted], said: str, *, fixed: int) -> list[Crafted]:
    """Tokens after the first `fixed` moved, by the teacher's gradient, to where it says `said`
    (projected gradient descent; Madry et al., arXiv 1706.06083).
    """
    model, space = models.teacher, models.pair.token_space
    found: list[Crafted] = []
    low, high = torch.tensor(space.low), torch.tensor(space.high)
    for start in range(0, len(crafted), 64):
        some = crafted[start : start + 64]
        clean = torch.stack([torch.tensor(one.values) for one in some])
        positions = torch.stack([torch.tensor(one.positions.astype(np.int64)) for one in some])
        most, step = _SIZE * (high - low), _SIZE * (high - low) / 4
        moved = torch.zeros_like(clean)
        answers = [tuple(model.answer_ids(said))] * len(some)
        questions = [one.question for one in some]
        for _ in range(_STEPS):
            moved.requires_grad_(True)
            values = torch.clamp(clean + moved, low, high)
            batch = model.batch(model.project(values), positions, questions, answers)
            asked = answer_places(batch)
            logits = model.forward(batch, asked).logits
            wanted = batch.labels[:, 1:][asked[:, :-1]]
            loss = torch.nn.functional.cross_entropy(logits, wanted)
            (gradient,) = torch.autograd.grad(loss, moved)
            with torch.no_grad():
                moved = torch.clamp(moved - step * gradient.sign(), -most, most)
                moved[:, :fixed] = 0.0
        made = torch.clamp(clean + moved, low, high).detach().numpy()
        found += [replace(one, values=values) for one, values in zip(some, made, strict=True)]
    return found


def _noise(
    space: TokenSpace, values: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    spread = _NOISE * (space.high - space.low)
    return (rng.standard_normal(values.shape) * spread).astype(np.float32)


def _inside(space: TokenSpace, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(values, space.low, space.high).astype(np.float32)
