"""Samples, rehearsal and source rows as one kind of value: tokens, positions, question, answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.jobs import Label
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.errors import DriftlineError, Reason, SampleError
from driftline_shared.pair.pair import SourceSet
from driftline_shared.tokens import Sample, TokenSpace

T = TypeVar("T")

GATE_EVERY = 4
"""Each fourth source image belongs to the gate, and no training sees it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One thing to learn from: exactly the tokens that came up, at their original positions.

    `values`: (K, D) float32. `positions`: (K,) int64, flat grid indices. `answer`: token ids, end
    token included. `memory`: rehearsal or source, which `a5` keeps from being forgotten.
    """

    values: NDArray[np.float32]
    positions: NDArray[np.int64]
    question: str
    answer: tuple[int, ...] = ()
    memory: bool = False

    @property
    def num_tokens(self) -> int:
        return int(self.values.shape[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """A row of the source calibration set: image index, question, true answer."""

    image: int
    question: str
    answer: str


def sure(
    samples: Sequence[Sample], labels: Sequence[Label], floor: float
) -> tuple[list[Sample], list[Label]]:
    """Without the samples whose label the teacher was less sure of than `floor`, or left empty."""
    kept = [
        (sample, label)
        for sample, label in zip(samples, labels, strict=True)
        if label.confidence >= floor and label.tokens
    ]
    return [sample for sample, _ in kept], [label for _, label in kept]


def from_samples(
    samples: Sequence[Sample],
    space: TokenSpace,
    labels: Sequence[Label] | None = None,
    *,
    memory: bool = False,
) -> list[Example]:
    """Decode `samples`; their answers are the teacher's, never the device's own.

    Raises SampleError for bytes that do not decode, DriftlineError for labels of other samples.
    """
    answers: list[tuple[int, ...]] = [()] * len(samples)
    if labels is not None:
        if [label.sample_id for label in labels] != [sample.id for sample in samples]:
            raise DriftlineError("labels and samples do not match one to one")
        answers = [label.tokens for label in labels]
    found = []
    for sample, answer in zip(samples, answers, strict=True):
        tokens = decode_tokens(sample.tokens, space)
        _check_values(sample, tokens.values, space)
        found.append(
            Example(
                values=tokens.values,
                positions=tokens.positions.astype(np.int64),
                question=sample.question,
                answer=answer,
                memory=memory,
            )
        )
    return found


FARTHEST = 64.0
"""How many of a channel's ranges a decoded value may lie beyond its range's middle."""


def _check_values(sample: Sample, values: NDArray[np.float32], space: TokenSpace) -> None:
    """Raise SampleError for tokens that are not finite, or so far out that sums of them are not.

    The transform codecs code steps of any size; the others cannot leave the range.
    """
    middle = (space.high + space.low) / 2
    spread = np.maximum(space.high - space.low, np.float32(1e-6))
    most = FARTHEST * np.maximum(spread, spread.mean())
    if not (np.abs(values - middle) <= most).all():  # false of NaN, too
        raise SampleError(
            f"sample {sample.id.hex()}: decoded tokens are not finite, or beyond {FARTHEST:g} "
            "times the pair's range",
            reason=Reason.SAMPLE_NOT_FINITE,
        )


def split_source(source: SourceSet) -> tuple[list[SourceRow], list[SourceRow]]:
    """(rows to train on, rows of the gate), split by image: no picture is on both sides."""
    rows = [SourceRow(image=i, question=q, answer=a) for i, q, a in source.rows]
    training = [row for row in rows if row.image % GATE_EVERY]
    return training, [row for row in rows if row.image % GATE_EVERY == 0]


def draw_rows(rows: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """At most `count` of `rows`, drawn without return, in a drawn order."""
    return [rows[int(i)] for i in rng.permutation(len(rows))[:count]]


def from_source(
    source: SourceSet, row: SourceRow, answer: Sequence[int], *, memory: bool = True
) -> Example:
    """A source row with all V tokens."""
    values = source.tokens[row.image]
    return Example(
        values=values,
        positions=np.arange(len(values), dtype=np.int64),
        question=row.question,
        answer=tuple(answer),
        memory=memory,
    )


def keep_some(example: Example, count: int, rng: np.random.Generator) -> Example:
    """The example with `count` of its tokens, drawn at random, in rising order of position."""
    if count >= example.num_tokens:
        return example
    kept = np.sort(rng.permutation(example.num_tokens)[:count])
    return replace(example, values=example.values[kept], positions=example.positions[kept])


def by_size(examples: Sequence[Example], batch_size: int) -> list[list[int]]:
    """`plan_batches` of examples."""
    sizes = [(e.num_tokens, len(e.question) + len(e.answer)) for e in examples]
    return plan_batches(sizes, batch_size)


def plan_batches(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Indices of (K, text length) in batches of one K each, so that no visual place is padding.

    Texts of like length stay together. Planning the rows of one batch again gives that batch: work
    that is planned here and done elsewhere meets the same rows in the same order.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: (*sizes[i], i)):
        last = batches[-1] if batches else None
        if last is None or len(last) == batch_size or sizes[last[0]][0] != sizes[i][0]:
            batches.append([])
        batches[-1].append(i)
    return batches


def plan_labelling(
    samples: Sequence[Sample], batch_size: int, known: Collection[bytes] = ()
) -> list[list[int]]:
    """Indices of `samples` in the batches that the teacher is asked. All of them make the batches,
    and the ids in `known` are then left out, so that what is labelled already moves no batch.
    """
    sizes = [(sample.tokens.num_tokens, len(sample.question)) for sample in samples]
    batches = plan_batches(sizes, batch_size)
    left = ([i for i in batch if samples[i].id not in known] for batch in batches)
    return [batch for batch in left if batch]


class IndexSampler:
    """Draws some indices at a time: each once before any comes again, in a drawn order."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        self._left: list[int] = []

    def draw(self, count: int) -> list[int]:
        """`count` indices (all of them where there are fewer)."""
        drawn: list[int] = []
        while len(drawn) < min(count, self._size):
            if not self._left:
                self._left = [int(i) for i in self._rng.permutation(self._size)]
            drawn.append(self._left.pop())
        return drawn

    def state(self) -> dict[str, Any]:
        """Plain values that `put_back` takes: what is left of this turn, and the generator."""
        return {"left": list(self._left), "generator": self._rng.bit_generator.state}

    def put_back(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; KeyError, TypeError or ValueError where it is none of this size."""
        left = [int(i) for i in state["left"]]
        if not set(left) <= set(range(self._size)):
            raise ValueError("indices are left that are none")
        self._rng.bit_generator.state = state["generator"]
        self._left = left


class Strata:
    """Draws evenly from strata that lie end to end, however large each is; empty ones give nothing.

    Within a stratum each index is drawn once before any comes again.
    """

    def __init__(self, sizes: Sequence[int], rng: np.random.Generator) -> None:
        starts = np.cumsum([0, *sizes[:-1]])
        self._strata = [
            (int(start), IndexSampler(size, rng))
            for start, size in zip(starts, sizes, strict=True)
            if size
        ]

    def draw(self, count: int) -> list[int]:
        """`count` indices, or fewer where a stratum is smaller than its part."""
        parts = np.array_split(np.arange(count), max(len(self._strata), 1))
        return [
            start + index
            for (start, sampler), part in zip(self._strata, parts, strict=False)
            for index in sampler.draw(len(part))
        ]

    def state(self) -> list[dict[str, Any]]:
        """As `IndexSampler.state`, of each stratum that is not empty."""
        return [sampler.state() for _, sampler in self._strata]

    def put_back(self, states: Sequence[Mapping[str, Any]]) -> None:
        """As `IndexSampler.put_back`; the strata draw from one generator."""
        for (_, sampler), state in zip(self._strata, states, strict=True):
            sampler.put_back(state)
