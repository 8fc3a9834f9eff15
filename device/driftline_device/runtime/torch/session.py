"""The student under torch, and a session of it: answers and scores under the adapter in one slot.

The slot in use, the dropout hooks and the attention implementation are state of the whole module
tree, so requests take turns. The vision tower depends on none of them and runs outside.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_device.runtime.left import Reading, sendable
from driftline_device.runtime.likely import LikelyStep, likely_ids, likely_steps
from driftline_device.runtime.runtime import Answer, Question, UploadFrom
from driftline_device.runtime.seen import FEATURE_BYTES, BoundedCache, image_digest
from driftline_device.runtime.session import ScoringSession, judged, trial_is_over
from driftline_device.runtime.torch.compression import counted, given
from driftline_device.runtime.torch.passes import TorchPasses
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import OnToken, finished_text, rows_among, rows_from
from driftline_shared.models.adapters import slots
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.tower import Look
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.multimodal import Generated, LmBatch, MultimodalModel
from driftline_shared.models.past import Past, Prefix, text_starts
from driftline_shared.models.states import prompt_states
from driftline_shared.models.steps import StepLogits, step_logits
from driftline_shared.p_ik.head import IkHead
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

T = TypeVar("T", "_Asked", Question)

PREFIX_BYTES = 64 << 20
"""Caches of prompts up to their question that are kept (64 MiB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """One question on its way: its tokens, and the picture's digest where they are all of it.

    `again`: whether the picture came before, or will come again. `num_likely`: see `Question`.
    """

    tokens: VisualTokens
    text: str
    digest: bytes | None = None
    again: bool = False
    num_likely: int | None = None


_Rows = tuple[list[int], Prefix | None]
"""Numbers of rows that are read in one pass, and what was read of all of them before."""


class Student:
    """The one model that all sessions of a runtime share, with two adapter slots."""

    def __init__(
        self,
        pair: Pair,
        model: MultimodalModel,
        *,
        upload_from: UploadFrom,
        max_batch: int,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        self.pair, self.model = pair, model
        self.compressed = model if isinstance(model, CompressedModel) else None
        self.uncompressed = self.compressed.base if self.compressed else model
        self.upload_from: UploadFrom = upload_from
        self.max_batch = max_batch
        self.turns = Turns()
        # Of the picture alone: no adapter reaches the tower.
        self.features: BoundedCache[NDArray[np.float32]] = BoundedCache(FEATURE_BYTES)
        # Of picture and adapter: what others go on from. Compressors read the question, too.
        self.prefixes: BoundedCache[Prefix] = BoundedCache(prefix_bytes)
        self.plain = model if isinstance(model, FamilyModel) else None
        self._serials = itertools.count()
        self._slot_in_use = slots.ACTIVE

    def serial(self) -> int:
        """A number for an adapter that no other one of this process has."""
        return next(self._serials)

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
        self._serial = student.serial()

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
        compressed = self._student.compressed
        if compressed is not None and compressed.looks:
            return self._answer(
                questions, lambda block: self._looked(compressed, block), on_token, start_s
            )
        rows = [one for block in self._blocks(questions) for one in self._seen(block)]
        num = Counter(one.digest for one in rows)
        rows = [replace(one, again=one.again or num[one.digest] > 1) for one in rows]
        return self._answer(rows, self._projected, on_token, start_s)

    def answer_tokens(
        self, tokens: Sequence[VisualTokens], questions: Sequence[str]
    ) -> list[Answer]:
        """Answer from tower tokens, all of an image or some at their positions; no tower pass.

        All items have equally many tokens. For calibration and experiments on stored tokens.
        Raises ConfigError for a compressor that works in the vision tower.
        """
        compressed = self._student.compressed
        if compressed is not None:
            compressed.compression.check_stored_tokens()
        self._check(questions)
        rows = [
            _Asked(tokens=kept, text=text) for kept, text in zip(tokens, questions, strict=True)
        ]
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
    ) -> list[Answer]:
        """Answer `rows` block by block in one turn; `read` makes what the language model reads."""
        answers: list[Answer] = []
        with self._turn() as waited_s:
            for block in self._blocks(rows):
                answers += self._answer_block(block, read, rows_from(len(answers), on_token))
        model_s = time.perf_counter() - start_s - waited_s
        return [replace(answer, model_s=model_s) for answer in answers]

    def _answer_block(
        self,
        block: Sequence[T],
        read: Callable[[Sequence[T]], tuple[LmBatch, list[Reading]]],
        on_token: OnToken | None,
    ) -> list[Answer]:
        made: dict[int, Answer] = {}
        for numbers, prefix in self._passes_of(block):
            rows = [block[number] for number in numbers]
            batch, readings = read(rows)
            past, wanted = Past(prefix), [row.num_likely for row in rows]
            asks = any(num is not None for num in wanted)
            with step_logits(self._model) if asks else nullcontext() as logits:
                answers = self._generate(batch, readings, rows_among(numbers, on_token), past)
            if logits is not None:
                answers = self._with_likely(answers, logits, wanted)
            self._keep_prefixes(rows, batch, past)
            made.update(zip(numbers, answers, strict=True))
        return [made[number] for number in range(len(block))]

    def _passes_of(self, block: Sequence[T]) -> list[_Rows]:
        """Which rows are read together: those of one known picture, which go on behind it, and all
        others.
        """
        known: dict[bytes, _Rows] = {}
        whole: list[int] = []
        for number, one in enumerate(block):
            digest = one.digest if isinstance(one, _Asked) else None
            prefix = self._student.prefixes.get((self._serial, digest)) if digest else None
            if digest is None or prefix is None or self._student.plain is None:
                whole.append(number)
            else:
                known.setdefault(digest, ([], prefix))[0].append(number)
        return [*([(whole, None)] if whole else []), *known.values()]

    def _keep_prefixes(self, rows: Sequence[T], batch: LmBatch, past: Past) -> None:
        """For further questions, what was read of each picture that comes again."""
        if past.prefix is not None or self._student.plain is None:
            return
        width = batch.attention_mask.shape[1]
        for number, (one, (start, end)) in enumerate(zip(rows, text_starts(batch), strict=False)):
            # A row that ends with its image leaves nothing to go on with.
            if not isinstance(one, _Asked) or not one.again or end >= width:
                continue
            prefix = past.prefix_of(number, start, end)
            if prefix is not None:
                key = self._serial, one.digest
                self._student.prefixes.put(key, prefix, prefix.num_bytes)

    def _projected(self, block: Sequence[_Asked]) -> tuple[LmBatch, list[Reading]]:
        values = torch.from_numpy(np.stack([one.tokens.values for one in block]))
        places = np.stack([one.tokens.positions for one in block]).astype(np.int64)
        batch = self._model.batch(
            self._model.project(values.to(self._model.device)),
            torch.from_numpy(places),
            [one.text for one in block],
        )
        return batch, [Reading(tower=one.tokens) for one in block]

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

    def _seen(self, questions: Sequence[Question]) -> list[_Asked]:
        digests = [image_digest(question.image) for question in questions]
        known = [self._student.features.get(digest) is not None for digest in digests]
        tokens = self._tower_tokens([question.image for question in questions], digests)
        return [
            _Asked(
                tokens=kept,
                text=question.text,
                digest=digest,
                again=is_known or question.shared,
                num_likely=question.num_likely,
            )
            for kept, question, digest, is_known in zip(
                tokens, questions, digests, known, strict=True
            )
        ]

    def _tower_tokens(
        self, images: Sequence[NDArray[np.uint8]], digests: Sequence[bytes] = ()
    ) -> list[VisualTokens]:
        """All V tokens of each image; one that was seen before is not read again."""
        seen = self._student.features
        digests = digests or [image_digest(image) for image in images]
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
        self, batch: LmBatch, readings: Sequence[Reading], on_token: OnToken | None, past: Past
    ) -> list[Answer]:
        """Answers, judged by the P(IK) head of the very version that gives them."""
        head = self._ik_head
        if head is None:
            return self._made(batch, readings, on_token, past)
        with prompt_states(self._model) as states:
            answers = self._made(batch, readings, on_token, past)
        rows = zip(answers, states.array(), strict=True)
        return [replace(answer, p_ik=judged(head, state, answer)) for answer, state in rows]

    def _made(
        self, batch: LmBatch, readings: Sequence[Reading], on_token: OnToken | None, past: Past
    ) -> list[Answer]:
        student, most = self._student, self._student.pair.max_new_tokens
        if student.compressed is None:
            plain = student.plain
            generated = (
                self._model.generate(batch, most, on_token)
                if plain is None
                else plain.generate(batch, most, on_token, past=past)
            )
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
