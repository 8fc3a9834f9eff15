"""Is a part what was recorded? If not: which row is wrong, as far as its bytes still tell."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from driftline_shared.errors import DataError
from driftline_shared.trace.arrow import from_batch, trace_schema
from driftline_shared.trace.manifest import Part
from driftline_shared.trace.parts import digest_file

BROKEN_FIX = (
    "Put a whole copy of the part there; parts before it can be had with "
    "`driftline lab trace cut --rows`."
)

_UNDECODABLE = (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError)


def check_part(path: Path, part: Part) -> None:
    """DataError naming part and row unless the file is, bit for bit, what the manifest says."""
    try:
        sha256, size = digest_file(path)
    except OSError as error:
        raise DataError(f"{part.name} cannot be read: {error.strerror}", fix=BROKEN_FIX) from error
    if (sha256, size) == (part.sha256, part.bytes):
        return
    cut = f" ({size} bytes, not {part.bytes})" if size != part.bytes else ""
    raise DataError(
        f"{part.name} is not what was recorded{cut}: {_where(path, part)}", fix=BROKEN_FIX
    )


def broken_row(part: Part, row: int, sequence: int) -> DataError:
    """The error for a row whose crc32 is wrong; `row` counts from 0 in its part."""
    return DataError(
        f"{part.name} is not what was recorded: {_row(part, row, sequence)}", fix=BROKEN_FIX
    )


def _row(part: Part, row: int, sequence: int) -> str:
    # The number itself may be what broke.
    known = part.first_sequence <= sequence <= part.last_sequence
    event = f" (event {sequence})" if known else ""
    return f"row {row}{event} differs from its crc32"


def _where(path: Path, part: Part) -> str:
    """The first row that is wrong, or the rows that cannot be read any more."""
    try:
        file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
    except _UNDECODABLE:
        return f"its footer does not decode, rows 0 to {part.rows - 1} cannot be read"
    with file:
        if not file.schema_arrow.equals(trace_schema()):
            return f"its footer was changed, rows 0 to {part.rows - 1} are not of the schema"
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            found = _in_group(file, part, group, first, rows)
            if found:
                return found
            first += rows
    if first != part.rows:
        return f"it holds {first} rows, not {part.rows}: rows from {first} on are missing"
    return f"rows 0 to {part.rows - 1} are whole, what stands beside them in the file was changed"


def _in_group(file: pq.ParquetFile, part: Part, group: int, first: int, rows: int) -> str:
    try:
        table = file.read_row_group(group, use_threads=False)
        number = first
        for batch in table.to_batches():
            for event, whole in from_batch(batch):
                if not whole:
                    return _row(part, number, event.sequence)
                number += 1
    except _UNDECODABLE:
        return f"rows {first} to {first + rows - 1} do not decode ({_columns(file, group)})"
    return ""


def _columns(file: pq.ParquetFile, group: int) -> str:
    """Which columns of a row group do not decode."""
    broken = []
    for name in file.schema_arrow.names:
        try:
            table = file.read_row_group(group, columns=[name], use_threads=False)
            table.validate(full=True)
        except _UNDECODABLE:
            broken.append(name)
    return f"column {', '.join(broken)}" if broken else "read alone, each column does"
