"""TorchRuntime: the student under torch, quantized by bitsandbytes, with two adapter slots.

Locks. A *turn* is one request in one slot: the slot in use, the dropout hooks and the attention
implementation are state of the whole module tree, so turns never overlap. The vision tower
depends on none of them and runs outside. The *spare slot* has a lock of its own, held for a whole
trial or swap: weights are written there while requests go on in the active slot, and only the
flip takes a turn.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_device.runtime.runtime import (
    Answer,
    Question,
    Runtime,
    UploadFrom,
)
from driftline_device.runtime.torch import scores
from driftline_device.runtime.torch.compression import Reading, counted, given, sendable
from driftline_device.runtime.trial import TRIAL_VERSION, Trial
from driftline_shared.callbacks import OnToken, rows_from
from driftline_shared.errors import ConfigError, DriftlineError, PairError
from driftline_shared.models.adapters import slots
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.tower import Look
from driftline_shared.models.loading import load_student
from driftline_shared.models.multimodal import Generated, LmBatch, MultimodalModel
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

MAX_BATCH = 16
"""Questions in one pass of the model; longer calls run in several."""

TURN_TIMEOUT_S = 300.0
SPARE_TIMEOUT_S = 600.0

T = TypeVar("T")


class _Lock(Protocol):
    def acquire(self, *, timeout: float) -> bool: ...
    def release(self) -> None: ...


class TorchRuntime:
    """The student of a pair, answering under its active adapter; safe from any thread."""

    def __init__(
        self,
        pair: Pair,
        *,
        device: str = "cpu",
        threads: int | None = 1,
        adapter: Adapter | None = None,
        version: int = 0,
        max_batch: int = MAX_BATCH,
        compressor: str = "",
        compressor_options: Mapping[str, Any] | None = None,
        upload_from: UploadFrom = "all",
    ) -> None:
        """Load the student quantized as the pair says; `adapter` None is version 0.

        `threads`: CPU threads of torch for the whole process (None: leave as is), 1 by default
        since a device has other things to do. `compressor`: the method that images are read
        through, see docs/compression.md, and `upload_from` what may be sent then. Raises
        PairError, ConfigError, UpdateError (adapter of another shape).
        """
        if max_batch < 1 or (threads is not None and threads < 1):
            raise ConfigError("threads and max_batch are 1 or more")
        if threads is not None:
            torch.set_num_threads(threads)
        self.pair = pair
        self._model: MultimodalModel = load_student(
            pair, device=device, compressor=compressor, compressor_options=compressor_options
        )
        self._upload_from = upload_from
        self._compressed = self._model if isinstance(self._model, CompressedModel) else None
        self._uncompressed = self._compressed.base if self._compressed else self._model
        if self._model.grid != pair.token_space.grid:
            raise PairError(
                f"{pair.name}: the tower gives tokens on {self._model.grid}, the token space says "
                f"{pair.token_space.grid}; run `driftline models fit-token-space`"
            )
        slots.add_slot(self._model.model)
        if pair.quantization == "int8":
            # It warns at every product that activations are cast: that is what LLM.int8 does.
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        self._max_batch = max_batch
        self._queue_lock, self._turn_lock = threading.Lock(), threading.Lock()
        self._spare_lock = threading.RLock()
        self._slot = self._slot_in_use = slots.ACTIVE
        self._version = version
        if adapter is not None:
            slots.write(self._model.model, adapter, self._slot)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Adapter version in use."""
        return self._version

    @property
    def base_model(self) -> str:
        """Hex digest of the frozen base weights as run here (quantization included)."""
        return self.pair.base_model

    def adapter(self) -> Adapter:
        """A copy of the active adapter, float32."""
        return self.adapter_under(None)

    # -- answers and scores in the active slot ----------------------------------------------------

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """Answer greedily; every answer of one call comes from one adapter version."""
        return self.answer_under(None, questions, on_token)

    def answer_tokens(
        self, tokens: Sequence[VisualTokens], questions: Sequence[str]
    ) -> list[Answer]:
        """Answer from tower tokens, all of an image or some at their positions; no tower pass.

        All items have equally many tokens. For calibration and experiments on stored tokens.
        Raises ConfigError for a compressor that works in the vision tower.
        """
        if self._compressed is not None and self._compressed.looks:
            raise ConfigError(
                f"compressor {self._compressed.compression.name} works in the vision tower and "
                "cannot answer from stored tokens: leave `compressor` empty for this"
            )
        return self._answer_tokens(None, tokens, questions)

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """BALD over `passes` dropout passes, 0..1; see `scores.mutual_information`."""
        return self.mutual_information_under(None, question, answer, passes, seed)

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """(V,) float32, higher = send; see `uncertainty`. Raises ConfigError for a wrong name."""
        return self.score_tokens_under(None, scorer, question, answer, passes, seed)

    # -- another adapter --------------------------------------------------------------------------

    @contextmanager
    def trial(self, adapter: Adapter) -> Iterator[Runtime]:
        """A runtime with `adapter` in the spare slot, while the active one goes on answering.

        Raises UpdateError when the adapter does not fit the model.
        """
        with _held(self._spare_lock, SPARE_TIMEOUT_S, "the spare slot"):
            slot = self._spare()
            slots.write(self._model.model, adapter, slot)
            candidate: Trial[str | None] = Trial(self, slot, alone=True)
            try:
                yield candidate
            finally:
                candidate.close()

    def swap(self, adapter: Adapter, version: int) -> float:
        """Make `adapter` the active one between two requests; pause in milliseconds.

        The pause is the time for which no request can run: writing weights is not part of it.
        Raises UpdateError, with nothing changed for requests, when the adapter does not fit the
        model.
        """
        with _held(self._spare_lock, SPARE_TIMEOUT_S, "the spare slot"):
            slot = self._spare()
            slots.write(self._model.model, adapter, slot)
            with self._alone():
                began_s = time.perf_counter()
                self._use(slot)
                self._slot, self._version = slot, version
                pause_s = time.perf_counter() - began_s
        return pause_s * 1e3

    # -- turns ------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self, slot: str | None) -> Iterator[int]:
        """One request in `slot` (None: the active one, as it is now), alone; gives its version."""
        with self._alone(), torch.inference_mode():
            self._use(self._slot if slot is None else slot)
            yield self._version if slot is None else TRIAL_VERSION

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the model. First come, first served: who waits holds the queue, so that a thread
        that answers in a loop cannot take the lock again before a swap or a trial had its turn."""
        with _held(self._queue_lock, TURN_TIMEOUT_S, "the model"):
            _acquire(self._turn_lock, TURN_TIMEOUT_S, "the model")
        try:
            yield
        finally:
            self._turn_lock.release()

    def _use(self, slot: str) -> None:
        if slot != self._slot_in_use:
            # Unknown until every layer has it: an error half-way must not pass for the old slot.
            self._slot_in_use = ""
            slots.use(self._model.model, slot)
            self._slot_in_use = slot

    def _spare(self) -> str:
        return slots.SPARE if self._slot == slots.ACTIVE else slots.ACTIVE

    # -- the work, in any slot --------------------------------------------------------------------

    def adapter_under(self, slot: str | None) -> Adapter:
        """See `adapter`; here and below `slot` None is the active one."""
        with self._alone():
            return slots.read(self._model.model, self._slot if slot is None else slot)

    def answer_under(
        self, slot: str | None, questions: Sequence[Question], on_token: OnToken | None = None
    ) -> list[Answer]:
        """See `answer`."""
        if self._compressed is not None and self._compressed.looks:
            return self._answer_looking(self._compressed, slot, questions, on_token)
        tokens = [
            kept
            for block in self._blocks(questions)
            for kept in self._tower_tokens([question.image for question in block])
        ]
        return self._answer_tokens(
            slot, tokens, [question.text for question in questions], on_token
        )

    def _answer_tokens(
        self,
        slot: str | None,
        tokens: Sequence[VisualTokens],
        questions: Sequence[str],
        on_token: OnToken | None = None,
    ) -> list[Answer]:
        answers: list[Answer] = []
        with self._turn(slot) as version:
            pairs = list(zip(tokens, questions, strict=True))
            for block in self._blocks(pairs):
                values = torch.from_numpy(np.stack([kept.values for kept, _ in block]))
                places = np.stack([kept.positions for kept, _ in block]).astype(np.int64)
                batch = self._model.batch(
                    self._model.project(values.to(self._model.device)),
                    torch.from_numpy(places),
                    [question for _, question in block],
                )
                readings = [Reading(tower=kept) for kept, _ in block]
                answers += self._say(batch, readings, rows_from(len(answers), on_token), version)
        return answers

    def _answer_looking(
        self,
        model: CompressedModel,
        slot: str | None,
        questions: Sequence[Question],
        on_token: OnToken | None,
    ) -> list[Answer]:
        """Answer through a compressor that works in the tower, and may read the question there."""
        answers: list[Answer] = []
        with self._turn(slot) as version:
            for block in self._blocks(questions):
                images = [question.image for question in block]
                looked = model.look(images, [question.text for question in block])
                left = [given(seen.tokens) for seen in looked.looks]
                whole = self._whole(images, looked.looks) if self._upload_from == "all" else left
                readings = [Reading(tower=t, read=r) for t, r in zip(whole, left, strict=True)]
                answers += self._say(
                    looked.batch, readings, rows_from(len(answers), on_token), version
                )
        return answers

    def _whole(
        self, images: Sequence[NDArray[np.uint8]], looks: Sequence[Look]
    ) -> list[VisualTokens]:
        """All V tokens of each image; a tower that the method changed is read once more."""
        known = [seen.whole for seen in looks if seen.whole is not None]
        if len(known) < len(looks):
            return self._tower_tokens(images)
        return [self._all_tokens(values.float().cpu().numpy()) for values in known]

    def _tower_tokens(self, images: Sequence[NDArray[np.uint8]]) -> list[VisualTokens]:
        """All V tokens of each image."""
        return [self._all_tokens(values) for values in self._model.encode(images).cpu().numpy()]

    def _all_tokens(self, values: NDArray[np.float32]) -> VisualTokens:
        grid = self.pair.token_space.grid
        positions = np.arange(grid.num_tokens, dtype=np.int32)
        return VisualTokens(values=values, positions=positions, grid=grid)

    def _say(
        self,
        batch: LmBatch,
        readings: Sequence[Reading],
        on_token: OnToken | None,
        version: int,
    ) -> list[Answer]:
        most = self.pair.max_new_tokens
        if self._compressed is None:
            generated = self._model.generate(batch, most, on_token)
            counts = batch.attention_mask.sum(dim=1).tolist()
            return _answers([each.tower for each in readings], generated, counts, version)
        said = self._compressed.compressed_generate(batch, most, on_token)
        tokens = [
            sendable(reading, row.survivors, self._upload_from)
            for reading, row in zip(readings, said.rows, strict=True)
        ]
        answers = _answers(tokens, said.generated, [counted(row) for row in said.rows], version)
        return [
            replace(answer, read=reading.other_than(answer.tokens))
            for answer, reading in zip(answers, readings, strict=True)
        ]

    def _blocks(self, rows: Sequence[T]) -> list[Sequence[T]]:
        return [rows[i : i + self._max_batch] for i in range(0, len(rows), self._max_batch)]

    def mutual_information_under(
        self, slot: str | None, question: str, answer: Answer, passes: int, seed: int
    ) -> float:
        """See `mutual_information`."""
        case = self._case(question, answer, answer.read or answer.tokens)
        dropout = self._dropout(passes, seed)
        with self._turn(slot):
            return scores.mutual_information(self._model, case, dropout)

    def score_tokens_under(
        self, slot: str | None, scorer: str, question: str, answer: Answer, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """See `score_tokens`."""
        if scorer not in scores.SCORERS:
            raise ConfigError(
                f"token_scorer is {scorer!r}; the model computes {', '.join(scores.SCORERS)}"
            )
        case = self._case(question, answer, answer.tokens)
        dropout = self._dropout(passes, seed)
        with self._turn(slot):
            # What may be sent is compared as a whole: a token that was dropped has no attention.
            found = scores.SCORERS[scorer](self._uncompressed, case, dropout)
        return found.float().cpu().numpy()

    def _case(self, question: str, answer: Answer, tokens: VisualTokens) -> scores.Case:
        ids = answer.step_ids or tuple(self._model.answer_ids(answer.text))
        return scores.Case(
            tokens=torch.tensor(tokens.values, device=self._model.device),
            positions=torch.tensor(tokens.positions, dtype=torch.long),
            question=question,
            ids=ids,
        )

    def _dropout(self, passes: int, seed: int) -> scores.Dropout:
        if passes < 1:
            raise ConfigError(f"passes is {passes}; it is 1 or more")
        return scores.Dropout(passes=passes, rate=self.pair.adapter.dropout, seed=seed)


def _acquire(lock: _Lock, timeout_s: float, name: str) -> None:
    if not lock.acquire(timeout=timeout_s):
        raise DriftlineError(f"{name} was busy for {timeout_s:.0f} s")


@contextmanager
def _held(lock: _Lock, timeout_s: float, name: str) -> Iterator[None]:
    _acquire(lock, timeout_s, name)
    try:
        yield
    finally:
        lock.release()


def _answers(
    tokens: Sequence[VisualTokens], generated: Generated, read: Sequence[int], version: int
) -> list[Answer]:
    """Answers with their length-normalised scores; `read`: tokens of each prompt."""
    steps = np.maximum(generated.lengths, 1)  # (B,); the arrays are 0 past a row's end
    entropy = generated.entropy.sum(axis=1) / steps
    margin = 1.0 - generated.margin.sum(axis=1) / steps
    return [
        Answer(
            text=generated.texts[row],
            tokens=kept,
            scores={"entropy": float(entropy[row]), "margin": float(margin[row])},
            num_steps=int(generated.lengths[row]),
            version=version,
            step_ids=tuple(generated.tokens[row]),
            num_prompt_tokens=read[row],
            ended=bool(generated.ended[row]),
        )
        for row, kept in enumerate(tokens)
    ]
