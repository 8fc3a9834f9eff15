"""Token scorers: which visual tokens of an uncertain sample say most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer, Session
from driftline_device.runtime.scores import SCORERS
from driftline_shared.errors import ConfigError
from driftline_shared.tokens import VisualTokens

LocalScorer = Callable[[VisualTokens, np.random.Generator], NDArray[np.float32]]


def random_scores(tokens: VisualTokens, rng: np.random.Generator) -> NDArray[np.float32]:
    """(V,) uniform scores: the baseline that knows nothing."""
    return rng.random(tokens.num_tokens, dtype=np.float32)


def magnitude_scores(tokens: VisualTokens, rng: np.random.Generator) -> NDArray[np.float32]:
    """(V,) squared norm of each token: what dropout on a fixed feature measures (energy)."""
    return np.asarray((tokens.values.astype(np.float64) ** 2).sum(axis=1), np.float32)


LOCAL_SCORERS: dict[str, LocalScorer] = {"random": random_scores, "magnitude": magnitude_scores}
"""Scorers that need the tokens only."""

MODEL_SCORERS = tuple(SCORERS)
"""Scorers that need the model: `Session.score_tokens` computes them."""

TOKEN_SCORERS = (*MODEL_SCORERS, *LOCAL_SCORERS)
"""Every name a policy may use."""


def check_scorer(name: str) -> None:
    """Raises ConfigError for a name that is not in `TOKEN_SCORERS`."""
    if name not in TOKEN_SCORERS:
        raise ConfigError(f"token_scorer is {name!r}; choose one of {', '.join(TOKEN_SCORERS)}")


def score_tokens(
    name: str,
    question: str,
    answer: Answer,
    session: Session,
    *,
    passes: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(V,) float32, higher = send, by the scorer called `name`. Raises ConfigError."""
    check_scorer(name)
    if name in LOCAL_SCORERS:
        return LOCAL_SCORERS[name](answer.tokens, rng)
    seed = int(rng.integers(1 << 31))
    return session.score_tokens(name, question, answer, passes=passes, seed=seed)
