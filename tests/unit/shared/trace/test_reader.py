"""Reading holds a row group, however long the trace is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.writer import PartLimits, open_writer
from tests.fakes.traces import SUBJECT, answer_event, write_trace

EVENT_BYTES = 40_000


def write_heavy(folder: Path, count: int) -> None:
    """Events that carry 40 KB each, in parts of 100."""
    tokens = bytes(EVENT_BYTES)
    events = [answer_event(number, all_codec="int8", all_tokens=tokens) for number in range(count)]
    with open_writer(folder, SUBJECT, limits=PartLimits(rows=100)) as writer:
        for start in range(0, count, 50):
            writer.write_next(events[start : start + 50])


def most_bytes_read(folder: Path, how: str) -> int:
    """The most that Arrow holds at any moment while the whole trace is read."""
    trace, most = open_trace(folder), 0
    before = pa.total_allocated_bytes()
    for _ in trace.events() if how == "events" else trace.batches():
        most = max(most, pa.total_allocated_bytes() - before)
    return most


@pytest.mark.parametrize("how", ["events", "batches"])
def test_memory_does_not_grow_with_the_trace(tmp_path: Path, how: str) -> None:
    write_heavy(tmp_path / "short", 100)
    write_heavy(tmp_path / "long", 800)
    short = most_bytes_read(tmp_path / "short", how)
    long = most_bytes_read(tmp_path / "long", how)
    assert short > EVENT_BYTES
    assert long <= 1.1 * short
    assert long < 800 * EVENT_BYTES / 2


def test_columns_can_be_read_alone(tmp_path: Path) -> None:
    write_trace(tmp_path, 70)
    batches = list(open_trace(tmp_path).batches(["sequence", "correct"]))
    assert all(batch.schema.names == ["sequence", "correct"] for batch in batches)
    table = pa.Table.from_batches(batches)
    assert table.column("sequence").to_pylist() == list(range(70))
    assert sum(table.column("correct").to_pylist()) == 46
