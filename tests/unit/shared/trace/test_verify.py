"""A part that is not, bit for bit, what was recorded is refused by its name and row."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from driftline_shared.errors import DataError
from driftline_shared.trace.manifest import EVENTS
from driftline_shared.trace.reader import Trace, open_trace
from tests.fakes.traces import write_trace

ROWS = re.compile(r"row (\d+)(?: \(event (\d+)\))?|rows (\d+) to (\d+)|rows from (\d+)")


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """Two parts of 300 and 60 rows: three row groups in the first."""
    write_trace(tmp_path, 360, part_rows=300)
    return open_trace(tmp_path)


def refused(trace: Trace) -> str:
    with pytest.raises(DataError) as caught:
        list(trace.events())
    return str(caught.value)


def flips(size: int, count: int) -> Iterator[tuple[int, int]]:
    rng = random.Random(29)
    for place in sorted(rng.sample(range(size), count)):
        yield place, 1 << rng.randrange(8)


def check_flips(trace: Trace, count: int | None) -> list[str]:
    """Flip a bit at `count` places of each part (None: at every byte); what each was refused by."""
    found = []
    for part in trace.manifest.parts:
        path = trace.path(part)
        whole = path.read_bytes()
        for place, bit in flips(len(whole), len(whole) if count is None else count):
            changed = bytearray(whole)
            changed[place] ^= bit
            path.write_bytes(changed)
            sentence = refused(trace)
            assert sentence.startswith(f"{part.name} is not what was recorded"), place
            rows = ROWS.search(sentence)
            assert rows, f"byte {place}: {sentence}"
            assert all(int(n) < 360 for n in rows.groups() if n is not None), sentence
            found.append(sentence)
        path.write_bytes(whole)
    return found


def test_a_flipped_bit_is_refused_by_part_and_row(trace: Trace) -> None:
    found = check_flips(trace, 25)
    assert len(found) == 50
    assert (
        sum("differs from its crc32" in sentence for sentence in found) > 4
    )  # of few tokens, most is beside the rows


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_flipped_bit_of_any_byte_is_refused_by_part_and_row(tmp_path: Path) -> None:
    write_trace(tmp_path, 15)
    found = check_flips(open_trace(tmp_path), None)
    assert len(found) > 5_000


def test_a_bit_of_the_tokens_names_its_very_row(trace: Trace) -> None:
    part = trace.manifest.parts[0]
    path = trace.path(part)
    whole = path.read_bytes()
    for row in (0, 7, 133, 294):
        tokens = pq.read_table(path, columns=["coded"]).column(0)[row].as_py()
        changed = bytearray(whole)
        changed[whole.index(tokens) + 20] ^= 4
        path.write_bytes(changed)
        assert f"row {row} (event {row}) differs from its crc32" in refused(trace)
        path.write_bytes(whole)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_part_is_refused(trace: Trace, share: float) -> None:
    part = trace.manifest.parts[1]
    whole = trace.path(part).read_bytes()
    trace.path(part).write_bytes(whole[: int(share * len(whole))])
    sentence = refused(trace)
    assert part.name in sentence
    assert f"bytes, not {part.bytes}" in sentence
    assert "rows 0 to 59" in sentence


def test_a_part_that_is_gone_is_refused(trace: Trace) -> None:
    trace.path(trace.manifest.parts[0]).unlink()
    assert "part-000000.parquet cannot be read" in refused(trace)


def test_rows_left_out_of_a_part_written_anew_are_named(trace: Trace) -> None:
    path = trace.path(trace.manifest.parts[0])
    pq.write_table(pq.read_table(path).slice(0, 250), path)
    assert "250 rows, not 300: rows from 250 on" in refused(trace)


def test_a_row_changed_in_a_part_written_anew_is_named(trace: Trace) -> None:
    path = trace.path(trace.manifest.parts[0])
    table = pq.read_table(path)
    answers = table.column("answer").to_pylist()
    answers[211] = "blue"
    place = table.schema.get_field_index("answer")
    pq.write_table(table.set_column(place, table.schema.field(place), [answers]), path)
    assert "row 211 (event 211) differs" in refused(trace)


def test_a_part_of_another_schema_is_named(trace: Trace) -> None:
    path = trace.path(trace.manifest.parts[0])
    pq.write_table(pq.read_table(path).drop_columns(["answer"]), path)
    assert "not of the schema" in refused(trace)


def test_other_parts_are_read_before_the_broken_one(trace: Trace) -> None:
    trace.path(trace.manifest.parts[1]).write_bytes(b"")
    events = trace.events()
    assert [next(events).sequence for _ in range(300)] == list(range(300))
    with pytest.raises(DataError, match=r"part-000001"):
        next(events)
    assert {path.parent.name for path in map(trace.path, trace.manifest.parts)} == {EVENTS}
