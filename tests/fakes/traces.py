"""Traces without a model: a subject, events, and hypothesis' own events."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from driftline_shared.trace.columns import COLUMNS, Column
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Subject
from driftline_shared.trace.writer import PartLimits, open_writer

SUBJECT = Subject(
    pair="tiny",
    base_model="a" * 64,
    token_space="b" * 64,
    token_width=8,
    recorder="device",
    source="camera:0",
)


def answer_event(number: int, **changes: Any) -> TraceEvent:
    """The `number`th answer of a device; every seventh is sent, with 40 bytes of tokens."""
    rng = random.Random(number)
    sent = number % 7 == 0
    values: dict[str, Any] = {
        "kind": EventKind.ANSWER,
        "wall_unix_s": 1_700_000_000.0 + number,
        "monotonic_s": 0.5 * number,
        "device": f"device-{number % 2}",
        "segment": ("day", "night")[number // 50 % 2],
        "domain": "source",
        "trace_id": f"{number:032x}",
        "question": f"what is number {number}?",
        "answer": "red",
        "reference": "red" if number % 3 else "blue",
        "correct": bool(number % 3),
        "scores": {"margin": rng.random(), "entropy": rng.random()},
        "gate_kind": "entropy",
        "uncertainty": rng.random(),
        "uncertain": sent,
        "sent": sent,
        "outcome": "sent" if sent else "confident",
        "adapter_version": number // 30,
    }
    if sent:
        values |= {
            "sample_id": f"{number:032x}",
            "grid": (1, 4, 4),
            "kept": (0, 3, 9),
            "token_codec": "int8",
            "coded": rng.randbytes(40),
            "sample_bytes": 80,
        }
    return TraceEvent(**{**values, **changes})


def write_trace(
    folder: Path,
    count: int,
    *,
    subject: Subject = SUBJECT,
    part_rows: int = 50,
    first: int = 0,
    **changes: Any,
) -> list[TraceEvent]:
    """A trace of `count` answers in parts of `part_rows`; what a reader gives back."""
    events = [answer_event(number, **changes) for number in range(first, first + count)]
    with open_writer(folder, subject, seed=0, limits=PartLimits(rows=part_rows)) as writer:
        for start in range(0, count, 10):
            writer.write_next(events[start : start + 10])
    from driftline_shared.trace.reader import open_trace

    return list(open_trace(folder).events())


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "text": _TEXT,
    "bytes": st.binary(max_size=20),
    "ints": st.lists(_INT32, max_size=4).map(tuple),
    "scores": st.dictionaries(_TEXT, st.floats(allow_nan=False), max_size=3),
}


def _values_of(column: Column) -> st.SearchStrategy[Any]:
    if column.name == "kind":
        return st.sampled_from(EventKind)
    values = _VALUES[column.type]
    return values if column.required else st.none() | values


any_event: st.SearchStrategy[TraceEvent] = st.builds(
    TraceEvent, **{column.name: _values_of(column) for column in COLUMNS}
)
"""Any event that the schema holds."""
