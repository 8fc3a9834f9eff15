"""The table of one model: every method at every budget, question by question, interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from driftline_lab.bench.compression.answering import Reading, read
from driftline_lab.bench.compression.control import DRIVER, RANDOM, do_nothing, drop_at_random
from driftline_lab.bench.compression.downsampled import DOWNSAMPLED, downsampled
from driftline_lab.bench.compression.plan import Cell, cells
from driftline_lab.bench.compression.rows import BASELINE, Row, Turn, make_row
from driftline_lab.bench.compression.subjects import Asked, Side, Subject, load_subject, questions
from driftline_shared.exact_match import is_correct
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.table import METHODS
from driftline_shared.models.families.base import FamilyModel


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A row to be: the model that answers, and what it answered."""

    label: str
    model: FamilyModel | CompressedModel
    method: str = ""
    keep: float | None = 1.0
    readings: list[Reading] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Table:
    """`skipped`: why a method that was asked for has no row, by its label."""

    model: str
    rows: list[Row]
    skipped: dict[str, str]
    num_questions: int
    seed: int
    threads: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def run_table(
    model: str,
    *,
    side: Side,
    methods: str,
    budgets: Sequence[float],
    num_questions: int,
    seed: int,
    threads: int,
) -> Table:
    """Answer every question once uncompressed and once by each method at each budget.

    Per question the order is drawn anew, so that whatever slows the machine down for a while slows
    all of them. Nothing is chosen by the answers: options are those given, or the methods' own.
    """
    torch.set_num_threads(threads)
    subject = load_subject(model, side)
    planned = cells(methods, budgets, videos=subject.reads_clips)
    entries, skipped = _entries(subject, planned, explicit=bool(methods))
    entries[2:2] = _controls(subject.model, budgets, seed)
    asked = questions(subject, num_questions, seed)
    _answer_all(subject, entries, asked, seed)
    return Table(
        model=subject.name,
        rows=_rows(subject, entries, asked),
        skipped=skipped,
        num_questions=len(asked),
        seed=seed,
        threads=threads,
    )


def _entries(
    subject: Subject, planned: Sequence[Cell], *, explicit: bool
) -> tuple[list[_Entry], dict[str, str]]:
    """The two without a method, then one a cell; and what cannot run here, by its label.

    What is asked for by name must run: ConfigError or PairError where it cannot.
    """
    entries = [
        _Entry(label=BASELINE, model=subject.model),
        _Entry(label=DRIVER, model=do_nothing(subject.model)),
    ]
    skipped: dict[str, str] = {}
    for cell in planned:
        if not explicit and subject.lacks(cell):
            skipped[cell.label] = (
                "no trained weights beside this checkpoint: `driftline lab train-compressor "
                f"{cell.method} --out DIR`, then --model DIR --side student"
            )
            continue
        entries.append(
            _Entry(
                label=cell.label,
                model=subject.behind(cell),
                method=cell.method,
                keep=cell.keep,
            )
        )
    return entries, skipped


def _controls(model: FamilyModel, budgets: Sequence[float], seed: int) -> list[_Entry]:
    """What a budget costs without any method."""
    controls = [
        _Entry(label=RANDOM, model=drop_at_random(model, keep, seed), keep=keep) for keep in budgets
    ]
    for keep in budgets:
        if (small := downsampled(model, keep)) is not None:
            controls.append(_Entry(label=DOWNSAMPLED, model=small, keep=keep))
    return controls


def _answer_all(
    subject: Subject, entries: Sequence[_Entry], asked: Sequence[Asked], seed: int
) -> None:
    rng = np.random.default_rng([seed, 1])
    for entry in entries:
        read(entry.model, asked[0], subject.max_new_tokens)
    for one in track(asked, subject.name, console=Console(stderr=True)):
        for index in rng.permutation(len(entries)):
            entry = entries[index]
            entry.readings.append(read(entry.model, one, subject.max_new_tokens))


def _rows(subject: Subject, entries: Sequence[_Entry], asked: Sequence[Asked]) -> list[Row]:
    facts, plain = facts_of(subject.model), entries[0].readings
    value_bytes = next(subject.model.language.parameters()).element_size()
    turns = [
        [
            _turn(facts, entry, reading, whole, one, value_bytes)
            for reading, whole, one in zip(entry.readings, plain, asked, strict=True)
        ]
        for entry in entries
    ]
    return [
        make_row(
            entry.label,
            mine,
            turns[0],
            keep=entry.keep,
            trained=bool(entry.method) and METHODS[entry.method].trained,
        )
        for entry, mine in zip(entries, turns, strict=True)
    ]


def _turn(
    facts: ModelFacts,
    entry: _Entry,
    reading: Reading,
    plain: Reading,
    asked: Asked,
    value_bytes: int,
) -> Turn:
    assert plain.encode_s is not None, "the uncompressed model encodes by itself"
    encode_s = plain.encode_s if reading.encode_s is None else reading.encode_s
    num_other = plain.places - plain.visual
    layers = reading.layers or flops.whole(facts, reading.places)
    overhead: int | None = 0
    if isinstance(entry.model, CompressedModel) and entry.method:
        overhead = entry.model.compression.row().overhead_flops(layers, num_other, plain.visual)
    return Turn(
        kind=asked.kind,
        right=is_correct(reading.text, asked.answer),
        encode_s=encode_s,
        first_s=reading.first_s(encode_s),
        token_s=reading.token_s,
        cost=flops.cost(facts, layers, prefix=reading.prefix, value_bytes=value_bytes),
        visual=sum(each.keys for each in layers) / len(layers) - num_other,
        overhead=overhead,
    )
