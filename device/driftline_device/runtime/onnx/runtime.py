"""OnnxRuntime: an exported pair, answering under an adapter that is a value.

Nothing of the model is state: a call picks up the adapter in force once, at its start, and hands it
to every pass, so calls overlap, a swap waits for nobody and nobody for a swap.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.features import BoundedCache, image_digest
from driftline_device.runtime.onnx.generation import Cache, LanguageModel, Said
from driftline_device.runtime.onnx.prompts import Prompts, Row
from driftline_device.runtime.onnx.scores import SCORERS, Case, Scores
from driftline_device.runtime.onnx.sessions import (
    CPU,
    ActiveAdapter,
    Sessions,
    activate,
    to_value,
)
from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_device.runtime.trial import TRIAL_VERSION, Trial
from driftline_shared.callbacks import OnToken, rows_from
from driftline_shared.errors import ConfigError, DataError, PairError
from driftline_shared.pair.export_file import Export, load_version_0
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

MAX_BATCH = 16
"""Questions in one pass of the model; longer calls run in several."""

FEATURE_BYTES = 32 << 20
"""Tower tokens of pictures seen that are kept (32 MiB)."""

PREFIX_BYTES = 64 << 20
"""Caches of prompts up to their question that are kept (64 MiB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """One question on its way: its tokens, and the picture's digest where they are all of it."""

    tokens: VisualTokens
    row: Row
    digest: bytes | None
    seen_before: bool


class OnnxRuntime:
    """The student of an exported pair, answering under its active adapter; safe from any thread."""

    def __init__(
        self,
        pair: Pair,
        *,
        precision: str,
        threads: int | None = 1,
        providers: Sequence[str] = (CPU,),
        adapter: Adapter | None = None,
        version: int = 0,
        max_batch: int = MAX_BATCH,
        feature_bytes: int = FEATURE_BYTES,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        """Load the graphs of `precision`; `adapter` None is version 0.

        `threads`: of the CPU, None leaves it to onnxruntime. Raises PairError, ConfigError,
        UpdateError (adapter of another shape).
        """
        if max_batch < 1 or (threads is not None and threads < 1):
            raise ConfigError("threads and max_batch are 1 or more")
        if pair.exported is None:
            raise PairError(
                f"{pair.dir} is no export; make one with `driftline models export {pair.name} "
                "--out DIR` and run the device with --pair DIR"
            )
        self.pair = pair
        self._export: Export = pair.exported
        self._sessions = Sessions(
            pair.dir, self._export, precision, threads=threads, providers=providers
        )
        self._prompts = Prompts(pair.dir, self._export)
        self._language = LanguageModel(self._export, self._sessions, self._prompts)
        self._scores = Scores(self._export, self._sessions, self._prompts, self._language)
        self._max_batch = max_batch
        self._features: BoundedCache[NDArray[np.float32]] = BoundedCache(feature_bytes)
        self._prefixes: BoundedCache[Cache] = BoundedCache(prefix_bytes)
        self._serials = itertools.count()
        self._swap_lock = threading.Lock()
        first = adapter if adapter is not None else load_version_0(pair.dir, self._export)
        self._active = self._activate(first, version)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Adapter version in use."""
        return self._active.version

    @property
    def base_model(self) -> str:
        """Hex digest of the frozen base weights that the graphs were made from."""
        return self._export.base_model

    @property
    def precision(self) -> str:
        """Which graphs run."""
        return self._sessions.precision

    def adapter(self) -> Adapter:
        """A copy of the active adapter, float32."""
        return self._active.copy()

    # -- answers and scores under the active adapter ----------------------------------------------

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """Answer greedily; every answer of one call comes from one adapter version."""
        return self.answer_under(self._active, questions, on_token)

    def answer_tokens(
        self, tokens: Sequence[VisualTokens], questions: Sequence[str]
    ) -> list[Answer]:
        """Answer from tower tokens, all of an image or some at their positions; no tower pass.

        All items have equally many tokens.
        """
        adapter = self._active
        asked = [
            _Asked(tokens=kept, row=self._row(text, kept), digest=None, seen_before=False)
            for kept, text in zip(tokens, questions, strict=True)
        ]
        return self._answer(adapter, asked, None)

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        """BALD over `passes` dropout passes, 0..1; see `scores.Scores.mutual_information`."""
        return self.mutual_information_under(self._active, question, answer, passes, seed)

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        """(V,) float32, higher = send; see `scores`. Raises ConfigError for a wrong name."""
        return self.score_tokens_under(self._active, scorer, question, answer, passes, seed)

    # -- another adapter --------------------------------------------------------------------------

    @contextmanager
    def trial(self, adapter: Adapter) -> Iterator[Runtime]:
        """A runtime under `adapter`, while the active one goes on answering.

        Raises UpdateError when the adapter does not fit the model.
        """
        candidate = Trial(self, self._activate(adapter, TRIAL_VERSION), alone=False)
        try:
            yield candidate
        finally:
            candidate.close()

    def swap(self, adapter: Adapter, version: int) -> float:
        """Make `adapter` the active one for all calls that begin from now on; pause in
        milliseconds: the time for which no call could begin.

        Calls under way finish as they began. Raises UpdateError, with nothing changed, when the
        adapter does not fit the model.
        """
        made = self._activate(adapter, version)
        with self._swap_lock:
            # The old one is freed later: that takes longer than the change itself.
            before = self._active
            began_s = time.perf_counter()
            self._active = made
            pause_s = time.perf_counter() - began_s
        del before
        # Of no use any more: their keys name the version before. Tower tokens stay.
        self._prefixes.clear()
        return pause_s * 1e3

    def _activate(self, adapter: Adapter, version: int) -> ActiveAdapter:
        return activate(self._export, adapter, version=version, serial=next(self._serials))

    # -- the work, under any adapter --------------------------------------------------------------

    def adapter_under(self, adapter: ActiveAdapter) -> Adapter:
        """See `adapter`."""
        return adapter.copy()

    def answer_under(
        self, adapter: ActiveAdapter, questions: Sequence[Question], on_token: OnToken | None
    ) -> list[Answer]:
        """See `answer`."""
        grid = self._export.token_grid
        positions = np.arange(grid.num_tokens, dtype=np.int32)
        asked = []
        for values, digest, seen_before, question in self._encoded(questions):
            tokens = VisualTokens(values=values, positions=positions, grid=grid)
            row = self._row(question.text, tokens)
            asked.append(_Asked(tokens=tokens, row=row, digest=digest, seen_before=seen_before))
        return self._answer(adapter, asked, on_token)

    def mutual_information_under(
        self, adapter: ActiveAdapter, question: str, answer: Answer, passes: int, seed: int
    ) -> float:
        """See `mutual_information`."""
        return self._scores.mutual_information(self._case(adapter, question, answer, passes, seed))

    def score_tokens_under(
        self,
        adapter: ActiveAdapter,
        scorer: str,
        question: str,
        answer: Answer,
        passes: int,
        seed: int,
    ) -> NDArray[np.float32]:
        """See `score_tokens`."""
        if scorer not in SCORERS:
            raise ConfigError(
                f"token_scorer is {scorer!r}; the model computes {', '.join(SCORERS)}"
            )
        case = self._case(adapter, question, answer, passes, seed)
        return SCORERS[scorer](self._scores, case).astype(np.float32)

    def _case(
        self, adapter: ActiveAdapter, question: str, answer: Answer, passes: int, seed: int
    ) -> Case:
        if passes < 1:
            raise ConfigError(f"passes is {passes}; it is 1 or more")
        return Case(
            tokens=answer.tokens.values.astype(np.float32),
            positions=answer.tokens.positions.astype(np.int64),
            question=question,
            ids=answer.step_ids or tuple(self._prompts.answer_ids(answer.text)),
            adapter=adapter,
            passes=passes,
            seed=seed,
        )

    def _row(self, question: str, tokens: VisualTokens) -> Row:
        row = self._prompts.row(question, tokens.positions)
        longest = self._language.max_positions - self._export.model.max_new_tokens
        if row.positions[-1] >= longest:
            raise DataError(
                f"the question ends at position {row.positions[-1]}, and this model has no more "
                f"than {longest} before its answer; ask a shorter one"
            )
        return row

    # -- pictures ---------------------------------------------------------------------------------

    def _encoded(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[NDArray[np.float32], bytes, bool, Question]]:
        """Tower tokens (V, D_v) of each question, its picture's digest, and whether it was seen
        before; a picture asked about twice is encoded once.
        """
        digests = [image_digest(question.image) for question in questions]
        found = {digest: self._features.get(digest) for digest in digests}
        missing = {
            digest: question.image
            for digest, question in zip(digests, questions, strict=True)
            if found[digest] is None
        }
        new = list(missing)
        for start in range(0, len(new), self._max_batch):
            block = new[start : start + self._max_batch]
            pixels = np.stack([self._pixels(missing[digest]) for digest in block])
            tokens = self._sessions.run("tower", {"pixels": pixels}, None)
            for digest, values in zip(block, tokens, strict=True):
                values.setflags(write=False)
                found[digest] = values
                self._features.put(digest, values.copy(), values.nbytes)
        for digest, question in zip(digests, questions, strict=True):
            values = found[digest]
            assert values is not None
            yield values, digest, digest not in missing, question

    def _pixels(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if image.ndim != 3:
            raise DataError(f"the image has {image.ndim - 1} axes, this pair reads single pictures")
        return pixels_of(image, self._export.image)

    # -- batches ----------------------------------------------------------------------------------

    def _answer(
        self, adapter: ActiveAdapter, asked: Sequence[_Asked], on_token: OnToken | None
    ) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(asked), self._max_batch):
            block = asked[start : start + self._max_batch]
            said = self._generate(adapter, block, rows_from(start, on_token))
            answers += [
                self._to_answer(one, row, adapter) for one, row in zip(block, said, strict=True)
            ]
        return answers

    def _generate(
        self, adapter: ActiveAdapter, block: Sequence[_Asked], on_token: OnToken | None
    ) -> list[Said]:
        keys = [(adapter.serial, one.digest, one.row.text_from) for one in block]
        rows = [one.row for one in block]
        prefix = self._prefixes.get(keys[0]) if len(block) == 1 else None
        # onnxruntime attends from many places to a cache for one row only. A row that ends with
        # its image has nothing left to read.
        if prefix is not None and len(rows[0].ids) > rows[0].text_from:
            batch = self._prompts.batch(rows, _NO_TOKENS, skip=rows[0].text_from)
            return self._language.generate(batch, adapter, cache=prefix, on_token=on_token)[0]
        tokens = np.stack([one.tokens.values for one in block]).astype(np.float32, copy=False)
        projected = self._sessions.run("projector", {"tokens": tokens}, adapter)
        batch = self._prompts.batch(rows, projected)
        said, cache = self._language.generate(batch, adapter, on_token=on_token)
        for number, (one, key) in enumerate(zip(block, keys, strict=True)):
            # A picture that comes a second time may come a third; of a stream, none does.
            if one.digest is not None and one.seen_before:
                start = int(batch.starts[number])
                prefix, num_bytes = _cut(cache, number, start, start + one.row.text_from)
                self._prefixes.put(key, prefix, num_bytes)
        return said

    def _to_answer(self, asked: _Asked, said: Said, adapter: ActiveAdapter) -> Answer:
        steps = max(1, len(said.ids))
        return Answer(
            text=self._prompts.decode(said.ids),
            tokens=asked.tokens,
            scores={"entropy": said.entropy / steps, "margin": 1.0 - said.margin / steps},
            num_steps=len(said.ids),
            version=adapter.version,
            step_ids=said.ids,
            num_prompt_tokens=len(asked.row.ids),
            ended=said.ended,
        )


_NO_TOKENS = np.empty((0, 0, 0), dtype=np.float32)


def _cut(cache: Cache, row: int, start: int, end: int) -> tuple[Cache, int]:
    """The places `start` to `end` of one row, copied, and their bytes."""
    arrays = {
        name: np.ascontiguousarray(value.numpy()[row : row + 1, :, start:end])
        for name, value in cache.items()
    }
    num_bytes = sum(array.nbytes for array in arrays.values())
    return {name: to_value(array) for name, array in arrays.items()}, num_bytes
