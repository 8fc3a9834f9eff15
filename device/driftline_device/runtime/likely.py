"""The most likely tokens at each step of an answer, for whoever asks for their probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.scores import log_softmax

MOST_LIKELY = 20
"""Of one step, as OpenAI's API bounds it."""

LEAST_LOG_P = -9_999.0
"""Stands for a probability of zero, or one that is no number, where finite numbers are sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """`text`: what it adds to the answer, or its name in the vocabulary if that is nothing
    (`is_name`): control tokens, and bytes that are no whole character. `log_p`: natural logarithm
    of its probability at its step.
    """

    text: str
    log_p: float
    is_name: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelyStep:
    """One step: the token that was `written`, and the `likely` ones, in falling order; `ends`:
    whether the token that was written is an end token.
    """

    written: Token
    likely: tuple[Token, ...] = ()
    ends: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelyIds:
    """Of one row at one step: `ids` and `log_p` (n,), in falling order; a greedy answer writes the
    first.
    """

    ids: NDArray[np.int64]
    log_p: NDArray[np.float32]


def likely_ids(logits: NDArray[np.float32], num: int) -> LikelyIds:
    """The `num` most likely tokens of (vocabulary,) logits, one at least; of equals the lower id
    first, as argmax takes it.
    """
    size = min(max(1, num), len(logits))
    log_p = log_softmax(logits)
    # All that are as good as the last one of the best: which of equals a partition takes is open.
    least = np.partition(log_p, len(log_p) - size)[len(log_p) - size]
    among = np.flatnonzero(log_p >= least)
    if not len(among):  # nothing compares to what is no number
        among = np.arange(size)
    order = among[np.argsort(-log_p[among], kind="stable")][:size]
    return LikelyIds(ids=order.astype(np.int64), log_p=log_p[order])


def likely_steps(
    ids: Sequence[int],
    steps: Sequence[LikelyIds],
    *,
    ends: bool,
    num: int,
    decode: Callable[[Sequence[int]], str],
    name: Callable[[int], str],
) -> tuple[LikelyStep, ...]:
    """The steps of an answer as text, `num` tokens beside each that was written.

    `ids`: as written, the end token included where it `ends`. `decode`: whole characters of some
    ids; `name`: of one id in the vocabulary. Texts of what was written, joined, are the answer.
    """
    written = list(accumulate((decode(ids[: at + 1]) for at in range(len(ids))), _longer))
    made = []
    for at, (token, found) in enumerate(zip(ids, steps, strict=True)):
        before = written[at - 1] if at else ""

        def added(other: int, at: int = at, before: str = before) -> tuple[str, bool]:
            text = decode([*ids[:at], other])
            new = text[len(before) :] if text.startswith(before) else ""
            return (new, False) if new else (name(other), True)

        def as_token(place: int, found: LikelyIds = found) -> Token:
            text, is_name = added(int(found.ids[place]))
            return Token(text=text, log_p=_finite(float(found.log_p[place])), is_name=is_name)

        own = np.flatnonzero(found.ids == token)
        made.append(
            LikelyStep(
                written=Token(
                    text=written[at][len(before) :],
                    log_p=_finite(float(found.log_p[own[0]]) if len(own) else -math.inf),
                ),
                likely=tuple(as_token(place) for place in range(min(num, len(found.ids)))),
                ends=ends and at == len(ids) - 1,
            )
        )
    return tuple(made)


def _longer(before: str, text: str) -> str:
    """What is written by a step: a text that does not go on from the one before waits."""
    return text if text.startswith(before) else before


def _finite(log_p: float) -> float:
    return max(log_p, LEAST_LOG_P) if math.isfinite(log_p) else LEAST_LOG_P
