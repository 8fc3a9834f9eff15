"""What executes the cheap pair on a device: the `Runtime` protocol, deterministic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer, Question, Session
from driftline_device.runtime.turns import Turns
from driftline_lab.chaos.cheap.pair import GRID, WIDTH, WORDS, first_adapter, is_harmful
from driftline_shared.callbacks import OnToken
from driftline_shared.errors import UpdateError
from driftline_shared.p_ik.head import IkHead
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

_SURE, _UNSURE = 0.1, 0.9


class CheapRuntime:
    """Answers what a picture says, unless the adapter harms; unsure of hard pictures."""

    def __init__(self, base_model: str, adapter: Adapter | None = None, version: int = 0) -> None:
        self._adapter: Adapter = adapter if adapter is not None else first_adapter()
        self._version = version
        self.base_model = base_model
        self.ik_head: IkHead | None = None
        self.turns = Turns()

    @property
    def version(self) -> int:
        """See `Session`."""
        return self._version

    def adapter(self) -> Adapter:
        """See `Session`."""
        return dict(self._adapter)

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """See `Session`."""
        with self.turns:
            return [self._one(question) for question in questions]

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """See `Session`."""
        return answer.scores["entropy"] / 2

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """See `Session`."""
        return np.abs(answer.tokens.values).sum(axis=1)

    def trial(self, adapter: Adapter) -> AbstractContextManager[Session]:
        """See `Runtime`."""
        _check_shapes(adapter)
        return self._trial(adapter)

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        """See `Runtime`."""
        _check_shapes(adapter)
        with self.turns:
            self._adapter, self._version = adapter, version
            self.ik_head = ik_head or self.ik_head
        return 0.01

    @contextmanager
    def _trial(self, adapter: Adapter) -> Iterator[Session]:
        yield CheapRuntime(self.base_model, adapter, -1)

    def _one(self, question: Question) -> Answer:
        word, hard, _ = (int(value) for value in question.image[0, 0])
        entropy = _UNSURE if hard else _SURE
        return Answer(
            text=WORDS[(word + is_harmful(self._adapter)) % len(WORDS)],
            tokens=_tokens(question.image),
            scores={"entropy": entropy, "margin": entropy},
            num_steps=1,
            version=self._version,
            num_prompt_tokens=GRID.num_tokens + len(question.text.split()),
        )


def _check_shapes(adapter: Adapter) -> None:
    shapes = {name: array.shape for name, array in adapter.items()}
    if shapes != {name: array.shape for name, array in first_adapter().items()}:
        raise UpdateError("the adapter does not fit the model")


def _tokens(image: NDArray[np.uint8]) -> VisualTokens:
    flat = image.reshape(-1).astype(np.float32) / 255.0
    values = np.resize(flat, (GRID.num_tokens, WIDTH)).astype(np.float32)
    positions = np.arange(GRID.num_tokens, dtype=np.int32)
    return VisualTokens(values=values, positions=positions, grid=GRID)
