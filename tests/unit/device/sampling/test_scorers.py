"""The model-free scorers, and who is asked for the others."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from driftline_device.runtime.runtime import Answer, Runtime
from driftline_device.sampling.scorers import MODEL_SCORERS, TOKEN_SCORERS, score_tokens
from driftline_shared.errors import ConfigError
from driftline_shared.tokens import Grid, VisualTokens

VALUES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
ANSWER = Answer(
    text="yes",
    tokens=VisualTokens(
        values=VALUES, positions=np.arange(6, dtype=np.int32), grid=Grid(rows=2, cols=3)
    ),
    num_steps=2,
    version=0,
)


class Asked:
    """Records what the runtime is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> np.ndarray:
        self.calls.append((scorer, passes))
        return np.zeros(answer.tokens.num_tokens, np.float32)


def score(name: str, runtime: Asked, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return score_tokens(name, "q", ANSWER, cast(Runtime, runtime), passes=4, rng=rng)


def test_magnitude_is_the_squared_norm() -> None:
    literal = [sum(float(v) ** 2 for v in row) for row in VALUES]
    np.testing.assert_allclose(score("magnitude", Asked()), literal, rtol=1e-6)


def test_random_depends_on_the_generator_only() -> None:
    assert (score("random", Asked(), 1) == score("random", Asked(), 1)).all()
    assert (score("random", Asked(), 1) != score("random", Asked(), 2)).any()


def test_every_scorer_gives_one_number_a_token() -> None:
    for name in TOKEN_SCORERS:
        runtime = Asked()
        scores = score(name, runtime)
        assert scores.shape == (6,)
        assert scores.dtype == np.float32
        assert runtime.calls == ([(name, 4)] if name in MODEL_SCORERS else [])


def test_an_unknown_scorer_is_named() -> None:
    with pytest.raises(ConfigError, match="attention"):
        score("attention", Asked())
