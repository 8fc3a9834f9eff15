"""Turns questions into token segments, and asks train pictures more than the data set does.

The data set asks each picture about ten of its 107 questions; a model of this size learns those by
heart. What a picture's own questions tell (`Facts`) answers most of the others too, so training
draws from all of them, in the data set's proportions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import Facts, Part, examples
from driftline_lab.drift.reworded import COLOURS, SHAPES
from driftline_lab.recipes.packing import Segment

KIND_SHARES = {"colour": 0.13, "shape": 0.13, "has_colour": 0.50, "has_shape": 0.24}
"""How often each kind is asked; yes and no are asked alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Encodes questions and answers with the pair's tokenizer."""

    tokenizer: PreTrainedTokenizerFast

    def segment(self, question: str, answer: str) -> Segment:
        """The part of the prompt after `<image>`, and the answer with its end token."""
        asked = self.tokenizer.encode(f"{question}\n", add_special_tokens=False)
        answered = self.tokenizer.encode(answer, add_special_tokens=False)
        return Segment(question=tuple(asked), answer=(*answered, int(self.tokenizer.eos_token_id)))

    def segments(self, image_id: int, domain: str, *, seed: int) -> tuple[Segment, ...]:
        """The data set's segments of a picture: reworded where the domain rewords."""
        rows = DOMAINS[domain].questions(image_id, seed=seed)
        return tuple(self.segment(row.question, row.answer) for row in rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Questions that can be asked of a figure, their answers, and how often to draw each."""

    pairs: tuple[tuple[str, str], ...]
    chances: NDArray[np.float64]
    """(number of pairs,), sums to 1."""


@cache
def source_questions() -> tuple[str, ...]:
    """Every question of the train part, once."""
    return tuple(sorted({example.question for example in examples(Part.TRAIN)}))


@cache
def askable(facts: Facts) -> Asked:
    """All source questions that the facts answer, drawn by kind and then by answer."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for question in source_questions():
        answer = answer_of(question, facts)
        if answer is not None:
            key = (_kind(question), answer)
            groups.setdefault(key, []).append((question, answer))
    pairs = [pair for group in groups.values() for pair in group]
    chances = [
        KIND_SHARES[kind] * (0.5 if kind.startswith("has_") else 1.0) / len(group)
        for (kind, _), group in groups.items()
        for _ in group
    ]
    return Asked(pairs=tuple(pairs), chances=np.asarray(chances) / sum(chances))


@cache
def worded(facts: Facts, domain: str) -> Asked:
    """`askable` in the words of a domain: each question in all its phrasings."""
    asked = askable(facts)
    drift = DOMAINS[domain].drift
    if drift is None or drift.question is None:
        return asked
    pairs: list[tuple[str, str]] = []
    chances: list[float] = []
    for (question, answer), chance in zip(asked.pairs, asked.chances, strict=True):
        phrasings = {drift.change_question(question, seed=0, image_id=i) for i in range(12)}
        pairs += [(phrasing, answer) for phrasing in sorted(phrasings)]
        chances += [chance / len(phrasings)] * len(phrasings)
    return Asked(pairs=tuple(pairs), chances=np.asarray(chances) / sum(chances))


def answer_of(question: str, facts: Facts) -> str | None:
    """The answer to a source question; `None` where the facts do not give it."""
    word = next((w for w in question.rstrip("?").split() if w in SHAPES or w in COLOURS), None)
    known = facts.shape if word in SHAPES else facts.colour
    if question.startswith("what"):
        if word is not None and word != known:
            return None
        return facts.colour if "color" in question else facts.shape
    if known is None:
        return None
    absent = " not " in question or question.startswith("is no ")
    return "yes" if (word == known) != absent else "no"


def _kind(question: str) -> str:
    if question.startswith("what"):
        return "colour" if "color" in question else "shape"
    return "has_shape" if any(shape in question for shape in SHAPES) else "has_colour"
