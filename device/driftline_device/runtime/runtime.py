"""The Runtime protocol: what executes the model on the device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.likely import LikelyStep
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import OnToken
from driftline_shared.p_ik.head import IkHead, IkScore
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question about one image: `image` is (H, W, 3) uint8 RGB; of a clip (F, H, W, 3).

    A source also says the following. `truth`: the true answer if it knows it: used for scoring
    only, it never leaves the process. `domain`: where the image comes from. `place`: "file:line",
    for people. `at_s`: when the picture was taken, in seconds of the source's own clock; None where
    nobody knows. `feed`: which stream of the owner's it belongs to; `source`: what
    that one reads. `shared`: other questions are asked about this picture, too. `num_likely`: how
    many of the most likely tokens the asker wants to see at each step; None: not even the
    probability of those that are written.
    """

    image: NDArray[np.uint8]
    text: str
    truth: str | None = None
    domain: str | None = None
    place: str = ""
    at_s: float | None = None
    feed: str = ""
    source: str = ""
    shared: bool = False
    num_likely: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the model said, and what token sampling needs to know about how it came to say it.

    `tokens`: what may be sent: all V tower tokens, or those that a compressor left. `read`: what
    was given to the language model to read, where that is something else. `scores`: `entropy` and
    `margin` of the answer, higher = less sure. `num_steps`: generated tokens. `version`: adapter
    version that answered. `step_ids`: the generated token ids, end token included; text alone does
    not always tokenize back to them. `num_prompt_tokens`: positions that the language model read
    first, visual ones included. `ended`: whether the end token came; false where the pair's bound
    cut the answer. `model_s`: seconds that the model worked on the whole call this answer is
    of, without the wait for its turn. `p_ik`: what the P(IK) head beside that version says; None
    without a head. `id`: what its owner may call it by, 32 hex digits; the daemon gives it.
    `likely`: of every step, where the question wants it.
    """

    text: str
    tokens: VisualTokens
    scores: dict[str, float] = field(default_factory=dict)
    num_steps: int
    version: int
    step_ids: tuple[int, ...] = ()
    num_prompt_tokens: int = 0
    ended: bool = True
    read: VisualTokens | None = None
    model_s: float = 0.0
    p_ik: IkScore | None = None
    id: str = ""
    likely: tuple[LikelyStep, ...] = ()


UploadFrom = Literal["survivors", "all"]
"""Which tokens of an answer may be sent where a compressor is at work: those that it left, or all
of the tower's.
"""


class Session(Protocol):
    """A model under one adapter; safe from any thread. A trial's session refuses after the trial
    (UpdateError).
    """

    @property
    def version(self) -> int:
        """Adapter version that answers; -1 in a trial."""

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """Answer a batch greedily; every answer of one call comes from one adapter version."""

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """BALD over `passes` dropout passes of projector and language model; the tower is not run
        again.
        """

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """(V,) float32, higher = send, by a scorer of `scores.SCORERS`."""

    def adapter(self) -> Adapter:
        """A copy of the adapter, tensor by tensor."""


@runtime_checkable
class ChecksQuestions(Protocol):
    """A runtime that can say beforehand whether a question fits its model."""

    def check_question(self, text: str) -> None:
        """DataError for a question that cannot be asked about any picture."""


class Runtime(Session, Protocol):
    """A model on this device: the session of its active adapter, which can be swapped between two
    requests. Calls of several threads take turns in here.
    """

    @property
    def base_model(self) -> str:
        """Hex digest of the frozen base weights as run here (quantization included)."""

    @property
    def ik_head(self) -> IkHead | None:
        """The P(IK) head that judges answers of the active adapter."""

    @property
    def turns(self) -> Turns:
        """Turns at the model: whether it is free, how many calls have ended."""

    def trial(self, adapter: Adapter) -> AbstractContextManager[Session]:
        """A session of `adapter` on the same base; the active one is untouched."""

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        """Make `adapter` the active one between two requests; pause in milliseconds.

        `ik_head`: comes into force with it; None: the one in force stays.
        """
