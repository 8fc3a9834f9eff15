"""Events as rows and back, with a crc32 that sees every change."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.trace.arrow import from_batch, to_batch, trace_schema
from driftline_shared.trace.checksum import event_crc32
from driftline_shared.trace.columns import CHECKSUM, COLUMNS, NAMES
from driftline_shared.trace.event import EventKind, TraceEvent
from tests.fakes.traces import answer_event, any_event


def test_columns_schema_and_event_name_the_same() -> None:
    assert tuple(field.name for field in fields(TraceEvent)) == NAMES
    assert trace_schema().names == [*NAMES, CHECKSUM]
    bare = TraceEvent(kind=EventKind.ROUND, wall_unix_s=0.0, monotonic_s=0.0)
    assert {c.name for c in COLUMNS if c.required} == {
        name for name in NAMES if getattr(bare, name) is not None
    }


@given(st.lists(any_event, min_size=1, max_size=5))
def test_rows_give_the_events_back(events: list[TraceEvent]) -> None:
    assert list(from_batch(to_batch(events))) == [(event, True) for event in events]


CHANGES: dict[str, Any] = {
    "int": 7,
    "float": 0.125,
    "bool": True,
    "text": "update",
    "bytes": b"\0",
    "ints": (1, 2),
    "scores": {"ood": 1.0},
}


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.name))
def test_the_checksum_sees_each_column(column: Any) -> None:
    event = TraceEvent(kind=EventKind.ROUND, wall_unix_s=0.0, monotonic_s=0.0)
    changed = replace(event, **{column.name: CHANGES[column.type]})
    assert event_crc32(changed) != event_crc32(event)


def test_null_and_empty_differ() -> None:
    event = answer_event(1)
    sums = {event_crc32(replace(event, kept=kept, detail=detail))
            for kept in (None, ()) for detail in (None, "")}  # fmt: skip
    assert len(sums) == 4


def test_the_checksum_stays_what_it_was() -> None:
    # A trace of today must be read for ever: a new column may not change the sums of old rows.
    assert event_crc32(answer_event(7)) == 30436608


def test_a_changed_row_is_marked_and_the_others_are_not() -> None:
    batch = to_batch([answer_event(number) for number in range(3)])
    answers = pa.array(["red", "green", "red"])
    changed = batch.set_column(batch.schema.get_field_index("answer"), "answer", answers)
    assert [whole for _, whole in from_batch(changed)] == [True, False, True]


def test_a_kind_that_is_none_is_a_wrong_row() -> None:
    batch = to_batch([answer_event(5, sequence=5)])
    changed = batch.set_column(1, "kind", pa.array(["question"]))
    assert [(event.sequence, whole) for event, whole in from_batch(changed)] == [(5, False)]
