"""Parts of a trace: Parquet files, written once and never changed.

A row group is small, and columns that hold coded bytes are stored as they are (they are compressed
already), so that a broken byte spoils few rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from driftline_shared.host.durable import make_folder, sync_folder
from driftline_shared.trace.arrow import trace_schema
from driftline_shared.trace.columns import CHECKSUM, COLUMNS, ColumnType
from driftline_shared.trace.manifest import EVENTS, Part

GROUP_ROWS = 128
GROUP_BYTES = 8 << 20
"""A row group ends at either: bounds what a reader holds in memory."""

_WORDS = [
    *("kind", "device", "segment", "domain", "gate_kind", "outcome", "policy_digest"),
    *("token_codec", "all_codec", "verdict", "reason"),
]
"""Columns of few values, stored by dictionary."""

_ORDERED = ["sequence", "wall_unix_s", "monotonic_s", "adapter_version"]
"""Columns whose ranges a reader may use to skip row groups."""


def write_part(folder: Path, name: str, batches: Iterable[pa.RecordBatch]) -> Part | None:
    """Write `events/name` of the trace in `folder`: draft, fsync, rename, fsync of the folder.

    `batches` may be of any size; at most about `GROUP_BYTES` of them are held. None, and no file,
    where they have no rows.
    """
    events = folder / EVENTS
    make_folder(events)
    path, draft = events / name, events / f".{name}.new"
    rows, first, last = 0, -1, -1
    try:
        with pq.ParquetWriter(draft, trace_schema(), **_options()) as writer:
            for group in _groups(batches):
                writer.write_table(group, row_group_size=group.num_rows)
                sequences = group.column("sequence")
                first = sequences[0].as_py() if not rows else first
                last = sequences[-1].as_py()
                rows += group.num_rows
        if not rows:
            return None
        descriptor = os.open(draft, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sha256, size = digest_file(draft)
        draft.replace(path)
        sync_folder(events)
    finally:
        draft.unlink(missing_ok=True)
    return Part(
        name=name, sha256=sha256, bytes=size, rows=rows, first_sequence=first, last_sequence=last
    )


def read_part(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a part, a row group at a time. Raises pa.ArrowException or OSError."""
    with pq.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns, use_threads=False)
            yield from table.to_batches()


def digest_file(path: Path) -> tuple[str, int]:
    """Hex sha256 and size in bytes of the file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _options() -> dict[str, object]:
    codecs = {path: "none" if kind == "bytes" else "zstd" for path, kind in _leaves().items()}
    return {
        "compression": codecs,
        "use_dictionary": _WORDS,
        "write_statistics": _ORDERED,
        "version": "2.6",
    }


def _leaves() -> dict[str, ColumnType]:
    """Parquet's own paths of the columns, which options are given by."""
    inner = {"ints": ["list.element"], "scores": ["list.element.kind", "list.element.score"]}
    found: dict[str, ColumnType] = {CHECKSUM: "int"}
    for column in COLUMNS:
        for tail in inner.get(column.type, [""]):
            found[f"{column.name}.{tail}".rstrip(".")] = column.type
    return found


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Row groups: up to `GROUP_ROWS` rows, ended early over `GROUP_BYTES`."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for start in range(0, batch.num_rows, GROUP_ROWS):
            piece = batch.slice(start, GROUP_ROWS)
            if held and (rows + piece.num_rows > GROUP_ROWS or size + piece.nbytes > GROUP_BYTES):
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
            held.append(piece)
            rows += piece.num_rows
            size += piece.nbytes
    if held:
        yield pa.Table.from_batches(held)
