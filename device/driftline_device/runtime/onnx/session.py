"""The graphs of an exported student, and a session of them: answers and scores under an adapter.

Nothing of the model is state: a call picks up the session's adapter once, at its start, and hands
it to every pass. So calls overlap, a swap waits for nobody and nobody for a swap.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.likely import LikelyStep, likely_steps
from driftline_device.runtime.onnx.compression.compressing import Compressing
from driftline_device.runtime.onnx.generation import Generated, LanguageModel, PromptRead
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs, activate
from driftline_device.runtime.onnx.key_values import Floats, Places
from driftline_device.runtime.onnx.looks import Look, look_of
from driftline_device.runtime.onnx.passes import OnnxPasses
from driftline_device.runtime.onnx.prompts import Batch, Prompts, Row
from driftline_device.runtime.onnx.tower.reader import TowerOutput, TowerReader
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.seen import BoundedCache
from driftline_device.runtime.session import ScoringSession, judged, trial_is_over
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import OnToken, finished_text, rows_among, rows_from
from driftline_shared.p_ik.head import IkHead
from driftline_shared.pair.export_file import Export
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.prompt_text import check_length
from driftline_shared.tokens import VisualTokens
from driftline_shared.update import Adapter

LOOK_BYTES = 16 << 20
"""Most bytes of `Student.looks` (16 MiB): some answers' until they are sampled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """One question on its way: its tokens, and the picture's digest where they are all of it.

    `again`: whether the picture came before, or will come again. `num_likely`: see `Question`.
    `added` (m, D_v): tower tokens of pictures that a compressor added. `read`, `num_read`: what it
    left to read, and places of the prompt with it. `text`, `tower`: the question, and what was read
    of the tower beside tokens, for one that looks there.
    """

    tokens: VisualTokens
    row: Row
    digest: bytes | None = None
    again: bool = False
    num_likely: int | None = None
    added: Floats | None = None
    read: VisualTokens | None = None
    num_read: int | None = None
    text: str = ""
    tower: Mapping[str, Floats] = field(default_factory=dict)


class Student:
    """What all sessions of a runtime share; safe from any thread.

    `turns`: calls at a time. `features`: what the `tower` said of pictures seen. `prefixes`: caches
    of prompts up to their question, by adapter. `looks`: of the passes that answered, kept from the
    first time on that somebody asks for one. `compressing`: what rows are read through; with it
    neither prefixes nor looks are kept.
    """

    def __init__(
        self,
        pair: Pair,
        export: Export,
        graphs: Graphs,
        *,
        turns: Turns,
        max_batch: int,
        feature_bytes: int,
        prefix_bytes: int,
        compressing: Compressing | None = None,
    ) -> None:
        graphs.check(export)
        if compressing is not None:
            compressing.check(graphs, export.model.cuts)
        self.compressing = compressing
        self.export, self.graphs = export, graphs
        self.prompts = Prompts(pair.dir, export)
        self.language = LanguageModel(export, graphs, self.prompts)
        self.turns = turns
        self.max_batch = max_batch
        self.features: BoundedCache[TowerOutput] = BoundedCache(feature_bytes)
        self.tower = TowerReader(
            export,
            graphs,
            self.features,
            most=max_batch,
            needs=compressing.needs if compressing else (),
        )
        self.prefixes: BoundedCache[Places] = BoundedCache(prefix_bytes)
        self.looks: BoundedCache[Look] = BoundedCache(LOOK_BYTES)
        self.keeps_looks = False
        self._serials = itertools.count()

    def activate(
        self, adapter: Adapter, version: int, ik_head: IkHead | None = None
    ) -> ActiveAdapter:
        """Make an adapter ready to run. Raises UpdateError when it does not fit the model."""
        serial = next(self._serials)
        return activate(self.export, adapter, version=version, serial=serial, ik_head=ik_head)


class OnnxSession(ScoringSession):
    """The student under one adapter; safe from any thread."""

    def __init__(self, student: Student, adapter: ActiveAdapter) -> None:
        self._student = student
        self._adapter: ActiveAdapter | None = adapter

    def close(self) -> None:
        """Refuse from now on, and let the adapter go."""
        self._adapter = None

    @property
    def version(self) -> int:
        """Adapter version that answers."""
        return self._open().version

    def adapter(self) -> Adapter:
        """A copy of the adapter, float32."""
        return self._open().copy()

    # -- answers ----------------------------------------------------------------------------------

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        """Answer greedily; every answer of one call comes from one adapter version."""
        return self._answer(lambda: self._seen(questions), on_token)

    def answer_tokens(
        self, tokens: Sequence[VisualTokens], questions: Sequence[str]
    ) -> list[Answer]:
        """Answer from tower tokens, all of an image or some at their positions; no tower pass.

        All items have equally many tokens. Raises ConfigError for a compressor that works in the
        vision tower.
        """
        if self._student.compressing is not None:
            self._student.compressing.compression.check_stored_tokens()
        asked = [
            _Asked(tokens=kept, row=self._row(text, kept.positions))
            for kept, text in zip(tokens, questions, strict=True)
        ]
        return self._answer(lambda: asked, None)

    def _answer(
        self, look: Callable[[], Sequence[_Asked]], on_token: OnToken | None
    ) -> list[Answer]:
        """Answer in one turn what `look` gives, block by block."""
        size, compressing = self._student.max_batch, self._student.compressing
        made: list[tuple[_Asked, Generated]] = []
        with self._student.turns:
            adapter, start_s = self._open(), time.perf_counter()
            asked = look()
            for start in range(0, len(asked), size):
                block = asked[start : start + size]
                further = rows_from(start, on_token)
                if compressing is None:
                    made += zip(block, self._generate(adapter, block, further), strict=True)
                else:
                    made += self._generate_compressed(adapter, block, further, compressing)
            model_s = time.perf_counter() - start_s
        return [self._to_answer(one, row, adapter, model_s) for one, row in made]

    def check_question(self, text: str) -> None:
        """DataError for a question that cannot be asked about any picture."""
        self._row(text, np.arange(self._student.export.token_grid.num_tokens, dtype=np.int32))

    def _seen(self, questions: Sequence[Question]) -> list[_Asked]:
        student, compressing = self._student, self._student.compressing
        grid = student.export.token_grid
        positions = np.arange(grid.num_tokens, dtype=np.int32)
        # Before any graph runs: what cannot be asked costs nothing.
        rows = [self._row(question.text, positions) for question in questions]
        seen = student.tower.outputs([question.image for question in questions])
        asked = [
            _Asked(
                tokens=VisualTokens(values=output.values, positions=positions, grid=grid),
                row=row,
                digest=digest,
                again=is_known or question.shared,
                num_likely=question.num_likely,
                added=compressing.added(student.graphs, question.image) if compressing else None,
                text=question.text,
                tower=output.read,
            )
            for question, row, (output, digest, is_known) in zip(questions, rows, seen, strict=True)
        ]
        num = Counter(one.digest for one in asked)
        return [replace(one, again=one.again or num[one.digest] > 1) for one in asked]

    def _row(self, question: str, kept: NDArray[np.integer]) -> Row:
        student = self._student
        row = student.prompts.row(question, kept)
        check_length(
            int(row.positions.max()) + 1,
            num_own=len(row.words),
            longest=student.language.max_positions - student.export.model.max_new_tokens,
        )
        return row

    def _generate(
        self, adapter: ActiveAdapter, block: Sequence[_Asked], on_token: OnToken | None
    ) -> list[Generated]:
        """Answers of one block, written together. A picture that is known, or that comes again in
        the block, is not read again: its questions go on from what the first has left.
        """
        student = self._student
        prefixes: dict[_PrefixKey, Places | None] = {}
        whole: list[int] = []
        further: list[int] = []
        for number, one in enumerate(block):
            key = _prefix_key(adapter, one)
            if key is not None and key not in prefixes:
                prefixes[key] = student.prefixes.get(key)
                is_known = prefixes[key] is not None
            else:
                is_known = key is not None
            (further if is_known else whole).append(number)
        reads = []
        if whole:
            reads.append(self._read_whole(adapter, [block[number] for number in whole], prefixes))
        for number in further:
            key = _prefix_key(adapter, block[number])
            prefix = None if key is None else prefixes[key]
            assert prefix is not None, "whoever came first left it"
            reads.append(self._read_further(adapter, block[number], prefix))
        order = [*whole, *further]
        made = student.language.write(
            student.language.joined(reads),
            adapter,
            rows_among(order, on_token),
            num_likely=[block[number].num_likely for number in order],
        )
        return [each for _, each in sorted(zip(order, made, strict=True), key=_first)]

    def _generate_compressed(
        self,
        adapter: ActiveAdapter,
        block: Sequence[_Asked],
        on_token: OnToken | None,
        compressing: Compressing,
    ) -> list[tuple[_Asked, Generated]]:
        """Answers of one block, whose rows are read one by one, each through a compressor of its
        own, and written together; and what was asked with the tokens that may be sent.
        """
        student = self._student
        asked, reads = [], []
        for one in block:
            compressor, reading = compressing.look(one.tokens, one.tower)
            left = reading.read or reading.tower
            row = one.row if reading.read is None else self._row(one.text, left.positions)
            given = {"tokens": left.values[None].astype(np.float32, copy=False)}
            projected = student.graphs.run("projector", given, adapter)
            added = None
            if one.added is not None:
                added = student.graphs.run("projector", {"tokens": one.added[None]}, adapter)[0]
            read, narrowing = compressing.read(
                student.language,
                row,
                student.prompts.batch([row], projected),
                left.positions,
                adapter,
                added=added,
                compressor=compressor,
            )
            reads.append(read)
            tokens, given_tokens = compressing.sent(reading, narrowing)
            asked.append(
                replace(one, tokens=tokens, read=given_tokens, num_read=narrowing.num_read)
            )
        made = student.language.write_apart(
            reads, adapter, on_token, num_likely=[one.num_likely for one in block]
        )
        return list(zip(asked, made, strict=True))

    def _read_whole(
        self,
        adapter: ActiveAdapter,
        block: Sequence[_Asked],
        prefixes: dict[_PrefixKey, Places | None],
    ) -> PromptRead:
        """Whole prompts in one pass; what others can go on from is put into `prefixes`."""
        student = self._student
        tokens = np.stack([one.tokens.values for one in block]).astype(np.float32, copy=False)
        projected = student.graphs.run("projector", {"tokens": tokens}, adapter)
        batch = student.prompts.batch([one.row for one in block], projected)
        also = self._looked_for(batch)
        read = student.language.read(batch, adapter, also=also)
        for number, one in enumerate(block):
            key = _prefix_key(adapter, one)
            # A picture that comes a second time may come a third; of a stream, none does.
            if key is not None and one.again:
                prefix, num_bytes = read.cache.copied(number, one.row.text_from)
                prefixes[key] = prefix
                student.prefixes.put(key, prefix, num_bytes)
            if also:
                self._keep_look(adapter, one, number, 0, read)
        return read

    def _read_further(self, adapter: ActiveAdapter, one: _Asked, prefix: Places) -> PromptRead:
        """The words behind a picture whose places `prefix` holds."""
        student, skip = self._student, one.row.text_from
        # onnxruntime attends from many places to a cache for one row only.
        batch = student.prompts.batch([one.row], _NO_TOKENS, skip=skip)
        also = self._looked_for(batch)
        read = student.language.read(batch, adapter, prefix=prefix, also=also)
        if also:
            self._keep_look(adapter, one, 0, skip, read)
        return read

    def _looked_for(self, batch: Batch) -> Sequence[str]:
        """Outputs to ask of a prompt's pass beside its own."""
        student = self._student
        given = student.language.gives_queries(batch.embeds.shape[1])
        return student.language.queries if student.keeps_looks and given else ()

    def _keep_look(
        self,
        adapter: ActiveAdapter,
        one: _Asked,
        number: int,
        skip: int,
        read: PromptRead,
    ) -> None:
        look = look_of(one.row, number, skip, read.given, read.cache, tokens=one.tokens)
        key = _look_key(adapter, one.tokens, one.row)
        self._student.looks.put(key, look, look.num_bytes)

    def _look(self, adapter: ActiveAdapter, question: str, answer: Answer) -> Look | None:
        """What is kept of that very answer's pass."""
        student = self._student
        student.keeps_looks = True
        row = student.prompts.row(question, answer.tokens.positions)
        return student.looks.get(_look_key(adapter, answer.tokens, row))

    def _to_answer(
        self, asked: _Asked, made: Generated, adapter: ActiveAdapter, model_s: float
    ) -> Answer:
        steps = max(1, len(made.ids))
        answer = Answer(
            text=self._student.prompts.decode(made.ids),
            tokens=asked.tokens,
            scores={"entropy": made.entropy / steps, "margin": 1.0 - made.margin / steps},
            num_steps=len(made.ids),
            version=adapter.version,
            step_ids=made.ids,
            num_prompt_tokens=asked.num_read or len(asked.row.ids),
            read=None if asked.read is asked.tokens else asked.read,
            ended=made.ended,
            model_s=model_s,
            likely=self._likely(asked, made),
        )
        head = adapter.ik_head
        return answer if head is None else replace(answer, p_ik=judged(head, made.state, answer))

    def _likely(self, asked: _Asked, made: Generated) -> tuple[LikelyStep, ...]:
        prompts = self._student.prompts
        if asked.num_likely is None:
            return ()
        return likely_steps(
            made.ids,
            made.likely,
            ends=made.ended,
            num=asked.num_likely,
            decode=lambda ids: finished_text(prompts.decode(ids)),
            name=prompts.token_name,
        )

    # -- the adapter, and scores ------------------------------------------------------------------

    def _open(self) -> ActiveAdapter:
        adapter = self._adapter
        if adapter is None:
            raise trial_is_over()
        return adapter

    @contextmanager
    def _passes(
        self, question: str, answer: Answer, *, passes: int, seed: int, as_read: bool
    ) -> Iterator[OnnxPasses]:
        student = self._student
        tokens = (answer.read or answer.tokens) if as_read else answer.tokens
        with student.turns:
            adapter = self._open()
            yield OnnxPasses(
                export=student.export,
                graphs=student.graphs,
                prompts=student.prompts,
                language=student.language,
                adapter=adapter,
                tokens=tokens.values.astype(np.float32),
                positions=tokens.positions.astype(np.int64),
                compressing=student.compressing if as_read else None,
                question=question,
                ids=answer.step_ids or tuple(student.prompts.answer_ids(answer.text)),
                num_passes=passes,
                seed=seed,
                kept_look=lambda: self._look(adapter, question, answer),
            )


_PrefixKey = tuple[int, bytes, int]
"""Number of the adapter, digest of the picture, place at which the words behind it begin."""


def _prefix_key(adapter: ActiveAdapter, one: _Asked) -> _PrefixKey | None:
    """Names what a prompt is up to its words; None where nothing could go on from it."""
    # A row that ends with its image has nothing left to read.
    if one.digest is None or len(one.row.ids) <= one.row.text_from:
        return None
    return adapter.serial, one.digest, one.row.text_from


def _first(pair: tuple[int, Generated]) -> int:
    return pair[0]


def _look_key(adapter: ActiveAdapter, tokens: VisualTokens, row: Row) -> tuple[int, int, bytes]:
    """Names a pass that answered: a look holds its tokens, so no others have their identity."""
    return adapter.serial, id(tokens), row.ids.tobytes()


_NO_TOKENS = np.empty((0, 0, 0), dtype=np.float32)
