"""A runtime under a candidate adapter, for as long as its trial lasts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_shared.callbacks import OnToken
from driftline_shared.errors import UpdateError
from driftline_shared.update import Adapter

TRIAL_VERSION = -1
"""Version of answers given in a trial: the candidate has none yet."""

Candidate = TypeVar("Candidate")
Named = TypeVar("Named", contravariant=True)


class Owner(Protocol[Named]):
    """A runtime that works under any adapter it holds, each `Named` in its own way."""

    @property
    def base_model(self) -> str: ...

    def adapter_under(self, adapter: Named, /) -> Adapter: ...

    def answer_under(
        self, adapter: Named, /, questions: Sequence[Question], on_token: OnToken | None
    ) -> list[Answer]: ...

    def mutual_information_under(
        self, adapter: Named, /, question: str, answer: Answer, passes: int, seed: int
    ) -> float: ...

    def score_tokens_under(
        self,
        adapter: Named,
        /,
        scorer: str,
        question: str,
        answer: Answer,
        passes: int,
        seed: int,
    ) -> NDArray[np.float32]: ...

    def trial(self, adapter: Adapter) -> AbstractContextManager[Runtime]: ...


class Trial(Generic[Candidate]):
    """A Runtime over one candidate of its owner. `alone`: the owner has room for no second one."""

    def __init__(self, owner: Owner[Candidate], candidate: Candidate, *, alone: bool) -> None:
        self._owner = owner
        self._candidate: Candidate | None = candidate
        self._alone = alone

    def close(self) -> None:
        """The candidate is not asked any more: another adapter may stand in its place."""
        self._candidate = None

    def _open(self) -> Candidate:
        if self._candidate is None:
            raise UpdateError("the trial is over: make another one of this adapter")
        return self._candidate

    @property
    def version(self) -> int:
        return TRIAL_VERSION

    @property
    def base_model(self) -> str:
        return self._owner.base_model

    def adapter(self) -> Adapter:
        return self._owner.adapter_under(self._open())

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        return self._owner.answer_under(self._open(), questions, on_token)

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        return self._owner.mutual_information_under(self._open(), question, answer, passes, seed)

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        return self._owner.score_tokens_under(self._open(), scorer, question, answer, passes, seed)

    def trial(self, adapter: Adapter) -> AbstractContextManager[Runtime]:
        if self._alone:
            raise UpdateError("a trial holds the only spare slot: end it first")
        return self._owner.trial(adapter)

    def swap(self, adapter: Adapter, version: int) -> float:
        raise UpdateError("swap on the runtime itself, not on a trial of it")
