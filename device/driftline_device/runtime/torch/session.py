"""The student under torch, and a session of it: answers and scores under the adapter in one slot.

The slot in use, the dropout hooks and the attention implementation are state of the whole module
tree, so requests take turns. The vision tower depends on none of them and runs outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_device.runtime.likely import LikelyStep, likely_ids, likely_steps
from driftline_device.runtime.runtime import Answer, Question, UploadFrom
from driftline_device.runtime.seen import FEATURE_BYTES, BoundedCache, image_digest
from driftline_device.runtime.session import ScoringSession, judged, trial_is_over
from driftline_device.runtime.torch.compression import Reading, counted, given, sendable
from driftline_device.runtime.torch.passes import TorchPasses
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import OnToken, finished_text, rows_from
from driftline_shared.errors import ConfigError
from driftline_shared.models.adapters import slots
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.tower import Look
from driftline_shared.models.multimodal import Generated, LmBatch, MultimodalModel
from driftline_shared.models.states import prompt_states
from driftline_shared.models.steps import StepLogits, step_logits
from driftline_shared.p_ik.head import IkHead
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

T = TypeVar("T")


class Student:
    """The one model that all sessions of a runtime share, with two adapter slots."""

    def __init__(
        self, pair: Pair, model: MultimodalModel, *, upload_from: UploadFrom, max_batch: int
    ) -> None:
        self.pair, self.model = pair, model
        self.compressed = model if isinstance(model, CompressedModel) else None
        self.uncompressed = self.compressed.base if self.compressed else model
        self.upload_from: UploadFrom = upload_from
        self.max_batch = max_batch
        self.turns = Turns()
        # Of the picture alone: no adapter reaches the tower.
        self.features: BoundedCache[NDArray[np.float32]] = BoundedCache(FEATURE_BYTES)
        self._slot_in_use = slots.ACTIVE

    def use(self, slot: str) -> None:
        """Put the adapter in `slot` to work; the caller has the turn."""
        if slot != self._slot_in_use:
            # Unknown until every layer has it: an error half-way must not pass for the old slot.
            self._slot_in_use = ""
            slots.use(self.model.model, slot)
            self._slot_in_use = slot


class TorchSession(ScoringSession):
    """The student under the adapter in `slot`; safe from any thread."""

    def __init__(
        self, student: Student, slot: str, version: int, ik_head: IkHead | None = None
    ) -> None:
        self._student, self._model = student, student.model
        self._slot: str | None = slot
        self._version = version
        self._ik_head = ik_head

    def close(self) -> None:
        """Refuse from now on: another adapter may stand in the slot."""
        with self._student.turns:
            self._slot = None

    @property
    def version(self) -> int:
        """Adapter version that answers."""
        return self._version

    def adapter(self) -> Adapter:
        """A copy of the adapter, float32."""
        with self._student.turns:
            return slots.read(self._model.model, self._open())

    # -- answers ----------------------------------------------------------------------------------

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """Answer greedily; every answer of one call comes from one adapter version."""
        start_s = time.perf_counter()
        self._check([question.text for question in questions])
        wanted = [question.num_likely for question in questions]
        compressed = self._student.compressed
        if compressed is not None and compressed.looks:
            return self._answer(
                questions, lambda block: self._looked(compressed, block), on_token, start_s, wanted
            )
        tokens = [
            kept
            for block in self._blocks(questions)
            for kept in self._tower_tokens([question.image for question in block])
        ]
        rows = [(kept, each.text) for kept, each in zip(tokens, questions, strict=True)]
        return self._answer(rows, self._projected, on_token, start_s, wanted)

    def answer_tokens(
        self, tokens: Sequence[VisualTokens], questions: Sequence[str]
    ) -> list[Answer]:
        """Answer from tower tokens, all of an image or some at their positions; no tower pass.

        All items have equally many tokens. For calibration and experiments on stored tokens.
        Raises ConfigError for a compressor that works in the vision tower.
        """
        compressed = self._student.compressed
        if compressed is not None and compressed.looks:
            raise ConfigError(
                f"compressor {compressed.compression.name} works in the vision tower and "
                "cannot answer from stored tokens: leave `compressor` empty for this"
            )
        self._check(questions)
        rows = list(zip(tokens, questions, strict=True))
        return self._answer(rows, self._projected, None, time.perf_counter())

    def check_question(self, text: str) -> None:
        """DataError for a question that cannot be asked about any picture."""
        self._check([text])

    def _check(self, questions: Sequence[str]) -> None:
        """Before the model runs: DataError for a question that cannot be asked."""
        for question in questions:
            self._model.check_question(question, self._student.pair.max_new_tokens)

    def _answer(
        self,
        rows: Sequence[T],
        read: Callable[[Sequence[T]], tuple[LmBatch, list[Reading]]],
        on_token: OnToken | None,
        start_s: float,
        num_likely: Sequence[int | None] = (),
    ) -> list[Answer]:
        """Answer `rows` block by block in one turn; `read` makes what the language model reads.

        `num_likely`: see `Question`, of each row.
        """
        answers: list[Answer] = []
        with self._turn() as waited_s:
            for block in self._blocks(rows):
                first = len(answers)
                wanted = num_likely[first : first + len(block)]
                batch, readings = read(block)
                on_row = rows_from(first, on_token)
                if any(num is not None for num in wanted):
                    with step_logits(self._model) as logits:
                        made = self._generate(batch, readings, on_row)
                    answers += self._with_likely(made, logits, wanted)
                else:
                    answers += self._generate(batch, readings, on_row)
        model_s = time.perf_counter() - start_s - waited_s
        return [replace(answer, model_s=model_s) for answer in answers]

    def _projected(
        self, block: Sequence[tuple[VisualTokens, str]]
    ) -> tuple[LmBatch, list[Reading]]:
        values = torch.from_numpy(np.stack([kept.values for kept, _ in block]))
        places = np.stack([kept.positions for kept, _ in block]).astype(np.int64)
        batch = self._model.batch(
            self._model.project(values.to(self._model.device)),
            torch.from_numpy(places),
            [question for _, question in block],
        )
        return batch, [Reading(tower=kept) for kept, _ in block]

    def _looked(
        self, model: CompressedModel, block: Sequence[Question]
    ) -> tuple[LmBatch, list[Reading]]:
        """Through a compressor that works in the tower, and may read the question there."""
        images = [question.image for question in block]
        looked = model.look(images, [question.text for question in block])
        left = [given(seen.tokens) for seen in looked.looks]
        sends_all = self._student.upload_from == "all"
        whole = self._whole(images, looked.looks) if sends_all else left
        return looked.batch, [Reading(tower=t, read=r) for t, r in zip(whole, left, strict=True)]

    def _whole(
        self, images: Sequence[NDArray[np.uint8]], looks: Sequence[Look]
    ) -> list[VisualTokens]:
        """All V tokens of each image; a tower that the method changed is read once more."""
        known = [seen.whole for seen in looks if seen.whole is not None]
        if len(known) < len(looks):
            return self._tower_tokens(images)
        return [self._all_tokens(values.float().cpu().numpy()) for values in known]

    def _tower_tokens(self, images: Sequence[NDArray[np.uint8]]) -> list[VisualTokens]:
        """All V tokens of each image; one that was seen before is not read again."""
        seen = self._student.features
        digests = [image_digest(image) for image in images]
        found: dict[bytes, NDArray[np.float32]] = {}
        missing: dict[bytes, NDArray[np.uint8]] = {}
        for digest, image in zip(digests, images, strict=True):
            known = seen.get(digest)
            if known is None:
                missing[digest] = image
            else:
                found[digest] = known.copy()
        if missing:
            made = self._model.encode(list(missing.values())).cpu().numpy()
            for digest, values in zip(missing, made, strict=True):
                found[digest] = values
                seen.put(digest, values.copy(), values.nbytes)
        return [self._all_tokens(found[digest]) for digest in digests]

    def _all_tokens(self, values: NDArray[np.float32]) -> VisualTokens:
        grid = self._student.pair.token_space.grid
        positions = np.arange(grid.num_tokens, dtype=np.int32)
        return VisualTokens(values=values, positions=positions, grid=grid)

    def _generate(
        self, batch: LmBatch, readings: Sequence[Reading], on_token: OnToken | None
    ) -> list[Answer]:
        """Answers, judged by the P(IK) head of the very version that gives them."""
        head = self._ik_head
        if head is None:
            return self._made(batch, readings, on_token)
        with prompt_states(self._model) as states:
            answers = self._made(batch, readings, on_token)
        rows = zip(answers, states.array(), strict=True)
        return [replace(answer, p_ik=judged(head, state, answer)) for answer, state in rows]

    def _made(
        self, batch: LmBatch, readings: Sequence[Reading], on_token: OnToken | None
    ) -> list[Answer]:
        student, most = self._student, self._student.pair.max_new_tokens
        if student.compressed is None:
            generated = self._model.generate(batch, most, on_token)
            counts = batch.attention_mask.sum(dim=1).tolist()
            return _answers([each.tower for each in readings], generated, counts, self._version)
        made = student.compressed.compressed_generate(batch, most, on_token)
        tokens = [
            sendable(reading, row.survivors, student.upload_from)
            for reading, row in zip(readings, made.rows, strict=True)
        ]
        counts = [counted(row) for row in made.rows]
        answers = _answers(tokens, made.generated, counts, self._version)
        return [
            replace(answer, read=reading.other_than(answer.tokens))
            for answer, reading in zip(answers, readings, strict=True)
        ]

    def _with_likely(
        self, answers: Sequence[Answer], logits: StepLogits, wanted: Sequence[int | None]
    ) -> list[Answer]:
        steps = logits.of_rows([answer.num_steps for answer in answers])
        rows = zip(answers, steps, wanted, strict=True)
        return [
            replace(answer, likely=self._likely(answer, found, num)) for answer, found, num in rows
        ]

    def _likely(
        self, answer: Answer, steps: Sequence[torch.Tensor], num: int | None
    ) -> tuple[LikelyStep, ...]:
        if num is None:
            return ()
        return likely_steps(
            answer.step_ids,
            [likely_ids(step.numpy(), num) for step in steps],
            ends=answer.ended,
            num=num,
            decode=lambda ids: finished_text(self._model.decode(ids)),
            name=self._model.token_name,
        )

    def _blocks(self, rows: Sequence[T]) -> list[Sequence[T]]:
        size = self._student.max_batch
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    # -- turns and scores -------------------------------------------------------------------------

    def _open(self) -> str:
        if self._slot is None:
            raise trial_is_over()
        return self._slot

    @contextmanager
    def _turn(self) -> Iterator[float]:
        """The model for this thread alone, under this session's adapter; seconds waited for it."""
        with self._student.turns as waited_s, torch.inference_mode():
            self._student.use(self._open())
            yield waited_s

    @contextmanager
    def _passes(
        self, question: str, answer: Answer, *, passes: int, seed: int, as_read: bool
    ) -> Iterator[TorchPasses]:
        student = self._student
        with self._turn():
            yield TorchPasses(
                model=student.model if as_read else student.uncompressed,
                tokens=(answer.read or answer.tokens) if as_read else answer.tokens,
                question=question,
                ids=answer.step_ids or tuple(self._model.answer_ids(answer.text)),
                num_passes=passes,
                rate=student.pair.adapter.dropout,
                seed=seed,
            )


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
