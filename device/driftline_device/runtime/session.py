"""What the sessions of both runtimes share: the scores, over the arrays that each one gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer
from driftline_device.runtime.scores import SCORERS, Passes, mutual_information
from driftline_shared.errors import ConfigError, UpdateError
from driftline_shared.p_ik.head import IkHead, IkScore

TRIAL_VERSION = -1
"""Version of answers given in a trial: the candidate has none yet."""


class ScoringSession(ABC):
    """The scoring half of a `Session`."""

    @abstractmethod
    def _passes(
        self, question: str, answer: Answer, *, passes: int, seed: int, as_read: bool
    ) -> AbstractContextManager[Passes]:
        """The arrays of one answer, within a turn at the model.

        `as_read`: over what the language model read, else over the tokens that may be sent.
        """

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """BALD over `passes` dropout passes, 0..1; see `scores.mutual_information`."""
        _check(passes)
        with self._passes(question, answer, passes=passes, seed=seed, as_read=True) as found:
            return mutual_information(found)

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """(V,) float32, higher = send; see `scores`. Raises ConfigError for a wrong name."""
        if scorer not in SCORERS:
            raise ConfigError(
                f"token_scorer is {scorer!r}; the model computes {', '.join(SCORERS)}"
            )
        _check(passes)
        # What may be sent is compared as a whole: a token that was dropped has no attention.
        with self._passes(question, answer, passes=passes, seed=seed, as_read=False) as found:
            return SCORERS[scorer](found).astype(np.float32)


def judged(head: IkHead, state: NDArray[np.float32], answer: Answer) -> IkScore:
    """What `head` says of an answer with hidden state (D,)."""
    return head.judge(state, answer.scores["entropy"], answer.scores["margin"])


def trial_is_over() -> UpdateError:
    """What a session raises after its trial has ended."""
    return UpdateError("the trial is over: make another one of this adapter")


def _check(passes: int) -> None:
    if passes < 1:
        raise ConfigError(f"passes is {passes}; it is 1 or more")
