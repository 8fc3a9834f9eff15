"""Scores of the student, as this device runs it, on the pair's source calibration set.

The sample gate asks how unusual an answer is among them (`gate.safetensors`, beside pair.toml).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_device.sampling import gate
from driftline_shared.callbacks import Progress
from driftline_shared.errors import PairError
from driftline_shared.exact_match import is_correct
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens

PASSES = 4
"""Dropout passes of `mutual_information`, as on the device."""

QUESTIONS_AN_IMAGE = 2


@runtime_checkable
class TokenRuntime(Runtime, Protocol):
    """A runtime that also answers from tokens made before."""

    def answer_tokens(
        self, tokens: Sequence[VisualTokens], questions: Sequence[str]
    ) -> list[Answer]:
        """Answer from tower tokens, without a tower pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """`num_questions` scored; `num_probe_right` of `num_probe` self-check rows answered as
    expected.
    """

    num_questions: int
    num_probe: int
    num_probe_right: int


def calibrate(pair: Pair, runtime: TokenRuntime, progress: Progress) -> Calibrated:
    """Write gate.safetensors: each score kind's sorted scores. Reads no image but the probe's.

    Raises PairError where the source set is missing or does not fit the token space.
    """
    source = pair.source_set()
    grid = pair.token_space.grid
    if source.tokens.shape[1:] != (grid.num_tokens, pair.token_space.width):
        raise PairError(
            f"source.safetensors has tokens of shape {source.tokens.shape[1:]}, the token space "
            f"{(grid.num_tokens, pair.token_space.width)}: run `driftline models fit-token-space`"
        )
    rows = few_questions_an_image(source.rows)
    if not rows:
        raise PairError(f"{pair.dir / 'source.jsonl'} has no question to calibrate on")
    scores = []
    for done, (image, question) in enumerate(rows):
        tokens = _all_tokens(source.tokens[image], pair)
        answer = runtime.answer_tokens([tokens], [question])[0]
        scores.append(_scores(runtime, pair, question, answer, seed=done))
        progress((done + 1) / len(rows))
    arrays = {kind: array.astype(np.float32) for kind, array in gate.calibrate(scores).items()}
    save_file(arrays, pair.dir / "gate.safetensors")
    probe = pair.probe_set()
    answers = runtime.answer([Question(image=item.image, text=item.question) for item in probe])
    right = [is_correct(a.text, item.answer) for a, item in zip(answers, probe, strict=True)]
    return Calibrated(
        num_questions=len(rows), num_probe=len(probe), num_probe_right=int(np.sum(right))
    )


def few_questions_an_image(
    rows: Sequence[tuple[int, str, str]], each: int = QUESTIONS_AN_IMAGE
) -> list[tuple[int, str]]:
    """The first `each` questions of every image, spread over its list."""
    by_image: dict[int, list[str]] = {}
    for image, question, _ in rows:
        by_image.setdefault(image, []).append(question)
    chosen = []
    for image, questions in by_image.items():
        step = max(1, len(questions) // each)
        chosen += [(image, question) for question in questions[::step][:each]]
    return chosen


def _scores(
    runtime: Runtime, pair: Pair, question: str, answer: Answer, *, seed: int
) -> dict[str, float]:
    return {
        "entropy": answer.scores["entropy"],
        "margin": answer.scores["margin"],
        "mutual_information": runtime.mutual_information(
            question, answer, passes=PASSES, seed=seed
        ),
        "ood": gate.ood_score(answer.tokens, pair.token_space),
    }


def _all_tokens(values: NDArray[np.float32], pair: Pair) -> VisualTokens:
    grid = pair.token_space.grid
    positions = np.arange(grid.num_tokens, dtype=np.int32)
    return VisualTokens(values=values, positions=positions, grid=grid)
