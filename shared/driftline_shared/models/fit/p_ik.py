"""The P(IK) head of a student under torch: what it reads of answers, and what it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.callbacks import Progress, ignore, part_of
from driftline_shared.errors import PairError
from driftline_shared.exact_match import is_correct
from driftline_shared.models.loading import load_student
from driftline_shared.models.multimodal import Generated, MultimodalModel
from driftline_shared.models.states import prompt_states
from driftline_shared.p_ik.fit import IkRows, fit_head
from driftline_shared.p_ik.head import Floats, features, write_head
from driftline_shared.p_ik.provoked import Tokens, spoil
from driftline_shared.pair.pair import Pair, SourceSet

SOURCE_ROWS = 1_500
SPOILT_ROWS = 3_000
BATCH = 64
CALIBRATE_EVERY = 4
"""Each fourth source image calibrates and is never learnt from."""

_SEED = 20_220_711


@dataclass(frozen=True, kw_only=True, slots=True)
class IkQuestion:
    """Tokens (K, D) at flat grid indices `positions`, a question about them, and the answer that
    counts as right.
    """

    values: NDArray[np.float32]
    positions: NDArray[np.int64]
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedHead:
    """`num_bytes` of the head's file; source and spoilt rows learnt from, and how many of all the
    student got wrong.
    """

    num_bytes: int
    num_source: int
    num_spoilt: int
    num_wrong: int


def fit_pair(pair: Pair, *, device: str = "cpu", progress: Progress = ignore) -> FittedHead:
    """Fit version 0's head on the pair's source set and write it into the pair's folder.

    Raises PairError where the source set does not fit, or the student errs too rarely on it.
    """
    model = load_student(pair, twin=True, device=device)
    source, spoilt, kept = rows_of_source(
        model, pair.source_set(), pair.max_new_tokens, progress=progress
    )
    head = fit_head([source, spoilt], kept, version=0)
    if head is None:
        raise PairError(
            f"{pair.name}: the student is right, or wrong, on almost all of source.jsonl; a P(IK) "
            "head needs more rows to learn from"
        )
    return FittedHead(
        num_bytes=write_head(pair.dir, head),
        num_source=len(source.wrong),
        num_spoilt=len(spoilt.wrong),
        num_wrong=int(source.wrong.sum() + spoilt.wrong.sum()),
    )


def rows_of_source(
    model: MultimodalModel,
    source: SourceSet,
    max_new_tokens: int,
    *,
    num_source: int = SOURCE_ROWS,
    num_spoilt: int = SPOILT_ROWS,
    progress: Progress = ignore,
) -> tuple[IkRows, IkRows, Floats]:
    """Rows of source pictures, rows of the same pictures spoilt, and the features of those that
    calibrate; the same at every call for one adapter.
    """
    rng = np.random.default_rng(_SEED)
    training = [row for row in source.rows if row[0] % CALIBRATE_EVERY]
    kept = [row for row in source.rows if row[0] % CALIBRATE_EVERY == 0]
    chosen = [training[i] for i in rng.permutation(len(training))[:num_source]]
    again = [training[int(i)] for i in rng.integers(len(training), size=num_spoilt)]
    plain = partial(_plain, source.tokens)
    sets = [
        [plain(row) for row in chosen],
        [_spoilt(source.tokens, n, row, rng) for n, row in enumerate(again)],
        [plain(kept[i]) for i in rng.permutation(len(kept))[:num_source]],
    ]
    total, found = sum(len(each) for each in sets), []
    done = 0
    for each in sets:
        share = part_of(progress, done / total, len(each) / total)
        found.append(rows_of(model, each, max_new_tokens, progress=share))
        done += len(each)
    return found[0], found[1], found[2].features


@torch.inference_mode()
def rows_of(
    model: MultimodalModel,
    questions: Sequence[IkQuestion],
    max_new_tokens: int,
    *,
    weight: float = 1.0,
    progress: Progress = ignore,
) -> IkRows:
    """What the student's answers look like to a head, and which of them are wrong."""
    count = len(questions)
    wrong = np.zeros(count, dtype=np.bool_)
    rows: list[Floats] = [np.zeros(0)] * count
    order = sorted(range(count), key=lambda i: (len(questions[i].values), i))
    while order:
        size = len(questions[order[0]].values)
        block = [i for i in order[:BATCH] if len(questions[i].values) == size]
        order = order[len(block) :]
        made, states = _answered(model, [questions[i] for i in block], max_new_tokens)
        steps = np.maximum(made.lengths, 1)
        entropy, margin = made.entropy.sum(axis=1) / steps, 1.0 - made.margin.sum(axis=1) / steps
        read = features(states, entropy, margin)
        for place, i in enumerate(block):
            rows[i] = read[place]
            wrong[i] = not is_correct(made.texts[place], questions[i].answer)
        progress(1.0 - len(order) / count)
    found = np.stack(rows) if rows else np.zeros((0, 0))
    return IkRows(features=found, wrong=wrong, weight=weight)


def _answered(
    model: MultimodalModel, questions: Sequence[IkQuestion], max_new_tokens: int
) -> tuple[Generated, NDArray[np.float32]]:
    values = torch.tensor(np.stack([each.values for each in questions]))
    positions = torch.tensor(np.stack([each.positions for each in questions]))
    batch = model.batch(
        model.project(values.to(model.device)), positions, [each.question for each in questions]
    )
    with prompt_states(model) as states:
        made = model.generate(batch, max_new_tokens)
    return made, states.array()


def _plain(tokens: Tokens, row: tuple[int, str, str]) -> IkQuestion:
    image, question, answer = row
    values = tokens[image]
    return IkQuestion(
        values=values,
        positions=np.arange(len(values), dtype=np.int64),
        question=question,
        answer=answer,
    )


def _spoilt(
    tokens: Tokens, number: int, row: tuple[int, str, str], rng: np.random.Generator
) -> IkQuestion:
    image, question, answer = row
    values, positions = spoil(tokens, number, image, rng)
    return IkQuestion(values=values, positions=positions, question=question, answer=answer)
