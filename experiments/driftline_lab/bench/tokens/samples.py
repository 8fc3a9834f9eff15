"""The uncertain samples of a drift, and what of them each scorer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.distill.teacher import label
from driftline_cloud.jobs import Label
from driftline_device.runtime.runtime import Answer
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.sampling.choice import TokenChoice
from driftline_device.sampling.gate import Gate
from driftline_device.sampling.scorers import score_tokens
from driftline_lab.bench.cloud.akd import look
from driftline_lab.bench.tokens.asked import is_counted, square_of
from driftline_lab.data.streams import Interaction
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.exact_match import is_correct
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample, SamplingPolicy, TokenSpace, VisualTokens

BATCH = 16
PASSES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertain:
    """Answered questions that the gate calls uncertain, of `num_seen` that were asked."""

    events: list[Interaction]
    answers: list[Answer]
    num_seen: int

    @property
    def one_square(self) -> NDArray[np.bool_]:
        """(N,) whether one square decides; of worlds without squares, all."""
        return np.array([is_counted(event) for event in self.events])


def find_uncertain(
    runtime: TorchRuntime, models: Models, asked: Sequence[Interaction]
) -> Uncertain:
    """The uncertain ones of these questions, by the product's gate as it is set."""
    pair = models.pair
    seen = look(models.student, asked)
    policy = SamplingPolicy()
    gate = Gate(pair.gate, kind=policy.gate_score, quantile=policy.gate_quantile)
    events, answers = [], []
    for start in range(0, len(asked), BATCH):
        rows = seen.events[start : start + BATCH]
        tokens = [_whole(values, pair) for values in seen.tokens[start : start + BATCH]]
        made = runtime.answer_tokens(tokens, [row.question for row in rows])
        for event, answer in zip(rows, made, strict=True):
            if gate.judge(answer.scores, {}).uncertain:
                events.append(event)
                answers.append(answer)
    return Uncertain(events=events, answers=answers, num_seen=len(asked))


def scores_of(
    runtime: TorchRuntime, scorer: str, found: Uncertain, seed: int
) -> list[NDArray[np.float32]]:
    """(V,) scores of each sample."""
    rng = np.random.default_rng([seed, 7])
    return [
        score_tokens(scorer, event.question, answer, runtime, passes=PASSES, rng=rng)
        for event, answer in zip(found.events, found.answers, strict=True)
    ]


def kept_positions(
    found: Uncertain, scores: Sequence[NDArray[np.float32]], choice: TokenChoice, seed: int = 0
) -> list[NDArray[np.int32]]:
    """The positions that leave of each sample."""
    rng = np.random.default_rng([seed, 9])
    return [
        choice.positions(
            score,
            answer.tokens.positions,
            choice.count(score),
            rng.random(answer.tokens.num_tokens) if choice.draws else None,
        )
        for score, answer in zip(scores, found.answers, strict=True)
    ]


def coded(found: Uncertain, kept: Sequence[NDArray[np.int32]], space: TokenSpace) -> list[Sample]:
    """The samples as the cloud gets them, int8."""
    return [
        Sample(
            id=number.to_bytes(16, "big"),
            question=event.question,
            answer=answer.text,
            tokens=encode_tokens(answer.tokens.keep(places), space, "int8"),
            created_unix_s=0,
            adapter_version=0,
        )
        for number, (event, answer, places) in enumerate(
            zip(found.events, found.answers, kept, strict=True)
        )
    ]


def labelled(models: Models, samples: Sequence[Sample]) -> list[Label]:
    """What the teacher says to each."""
    settings = DistilSettings(threads=1)
    return label(models.teacher, models.pair, samples, settings, lambda done: None)


def shares_of(
    found: Uncertain,
    kept: Sequence[NDArray[np.int32]],
    samples: Sequence[Sample],
    labels: Sequence[Label],
    floor: float,
) -> dict[str, Any]:
    """How often the deciding square is kept and the teacher right, and what passes its floor.

    Shares in 0..1; `square_kept` and `teacher_right` are of questions that one square decides,
    `bytes` is the mean payload of a sample. Of worlds without squares all count, and none is kept.
    """
    one = found.one_square
    square = [square_of(event) in places for event, places in zip(found.events, kept, strict=True)]
    right = np.array(
        [is_correct(each.text, e.answer) for each, e in zip(labels, found.events, strict=True)]
    )
    sure = np.array([each.confidence >= floor for each in labels])
    return {
        "num_samples": len(samples),
        "num_one_square": int(one.sum()),
        "square_kept": float(np.mean(np.array(square)[one])),
        "teacher_right": float(right[one].mean()),
        "teacher_right_all": float(right.mean()),
        "sure": float(sure.mean()),
        "sure_right": float(right[sure].mean()) if sure.any() else 0.0,
        "bytes": float(np.mean([len(each.tokens.payload) for each in samples])),
    }


def _whole(values: NDArray[np.float32], pair: Pair) -> VisualTokens:
    grid = pair.token_space.grid
    positions = np.arange(grid.num_tokens, dtype=np.int32)
    return VisualTokens(values=values, positions=positions, grid=grid)
