"""Runtimes of a replay's device: one that holds versions and answers nothing, one that answers from
recorded tokens.

Neither lets the wall clock in: what the model took is reported as 0, so the check of a new version
compares answers, not the speed of the machine that replays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer, Question, Session
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import OnToken
from driftline_shared.errors import ConfigError
from driftline_shared.p_ik.head import IkHead
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

if TYPE_CHECKING:
    from driftline_device.runtime.torch.runtime import TorchRuntime
    from driftline_device.runtime.torch.session import TorchSession

_NO_IMAGE = np.zeros((1, 1, 3), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenQuestion(Question):
    """A question about an image of which only the tokens are known."""

    tokens: VisualTokens


def question_about(tokens: VisualTokens, text: str, *, domain: str) -> TokenQuestion:
    """The question `text` about an image whose tokens are known."""
    return TokenQuestion(image=_NO_IMAGE, text=text, domain=domain, tokens=tokens)


class VersionHolder:
    """The `Runtime` protocol without a model: it holds the adapter in force, at first `adapter`."""

    def __init__(self, adapter: Adapter, base_model: str) -> None:
        self._adapter = adapter
        self._version = 0
        self._turns = Turns()
        self.base_model = base_model

    @property
    def version(self) -> int:
        """Adapter version in force."""
        return self._version

    @property
    def turns(self) -> Turns:
        """Always free."""
        return self._turns

    def adapter(self) -> Adapter:
        """The adapter in force."""
        return self._adapter

    @property
    def ik_head(self) -> IkHead | None:
        """None: nothing is answered here."""
        return None

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        """Make `adapter` the one in force; no request waits for it."""
        self._adapter, self._version = adapter, version
        return 0.0

    @contextmanager
    def trial(self, adapter: Adapter) -> Iterator[Session]:
        """A session that is asked nothing: without a model there is no self-check set."""
        yield VersionHolder(adapter, self.base_model)

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """No answers to no questions; ConfigError for any other."""
        if questions:
            raise _no_model("answers are recorded ones")
        return []

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """Raises ConfigError."""
        raise _no_model("gate_score mutual_information asks the model")

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """Raises ConfigError."""
        raise _no_model(f"token_scorer {scorer} asks the model")


def _no_model(why: str) -> ConfigError:
    return ConfigError(f"this replay has loaded no model: {why}")


class TokenSession:
    """The `Session` protocol over a torch session; takes `TokenQuestion` beside real images."""

    def __init__(self, session: TorchSession) -> None:
        self._session = session

    @property
    def version(self) -> int:
        """Adapter version that answers."""
        return self._session.version

    def adapter(self) -> Adapter:
        """A copy of the adapter, float32."""
        return self._session.adapter()

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """Answer each from its tokens, or from its image."""
        seen = [each for each in questions if not isinstance(each, TokenQuestion)]
        if seen:
            answers = iter(self._session.answer(seen, on_token=on_token))
        found = [
            self._session.answer_tokens([each.tokens], [each.text])[0]
            if isinstance(each, TokenQuestion)
            else next(answers)
            for each in questions
        ]
        return [replace(answer, model_s=0.0) for answer in found]

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """See `Session`."""
        return self._session.mutual_information(question, answer, passes=passes, seed=seed)

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """See `Session`."""
        return self._session.score_tokens(scorer, question, answer, passes=passes, seed=seed)


class TokenRuntime(TokenSession):
    """The `Runtime` protocol over the device's own torch runtime."""

    def __init__(self, runtime: TorchRuntime) -> None:
        super().__init__(runtime)
        self._runtime = runtime

    @property
    def base_model(self) -> str:
        """Hex digest of the frozen base weights."""
        return self._runtime.base_model

    @property
    def turns(self) -> Turns:
        """Turns at the model."""
        return self._runtime.turns

    @contextmanager
    def trial(self, adapter: Adapter) -> Iterator[Session]:
        """A session of `adapter` in the spare slot."""
        with self._runtime.trial(adapter) as session:
            yield TokenSession(cast("TorchSession", session))

    @property
    def ik_head(self) -> IkHead | None:
        """The P(IK) head in force."""
        return self._runtime.ik_head

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        """Make `adapter` the active one; the pause counts as none."""
        self._runtime.swap(adapter, version, ik_head)
        return 0.0
