"""Events as Arrow record batches and back. The schema follows `columns.COLUMNS`."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from driftline_shared.trace.checksum import event_crc32
from driftline_shared.trace.columns import CHECKSUM, COLUMNS, SCHEMA
from driftline_shared.trace.event import EventKind, TraceEvent

# A list of pairs, not a map: `datasets` has no map type.
_SCORES = pa.list_(pa.struct([pa.field("kind", pa.string()), pa.field("score", pa.float64())]))

_TYPES: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "bytes": pa.binary(),
    "ints": pa.list_(pa.int32()),
    "scores": _SCORES,
}


def trace_schema() -> pa.Schema:
    """The Arrow schema of every part and of the journal."""
    fields = [
        pa.field(column.name, _TYPES[column.type], nullable=not column.required)
        for column in COLUMNS
    ]
    fields.append(pa.field(CHECKSUM, pa.int64(), nullable=False))
    return pa.schema(fields, metadata={"driftline.trace.schema": str(SCHEMA)})


def to_batch(events: Sequence[TraceEvent]) -> pa.RecordBatch:
    """Events as rows, each with its crc32."""
    schema = trace_schema()
    columns = [
        pa.array(
            [_plain(getattr(event, column.name)) for event in events],
            type=schema.field(column.name).type,
        )
        for column in COLUMNS
    ]
    columns.append(pa.array([event_crc32(event) for event in events], type=pa.int64()))
    return pa.record_batch(columns, schema=schema)


def from_batch(batch: pa.RecordBatch) -> Iterator[tuple[TraceEvent, bool]]:
    """Each row as an event, and whether its crc32 is right.

    Raises pa.ArrowInvalid if the batch is broken in itself. A row that cannot be an event at all
    comes as one of its sequence only, marked wrong.
    """
    batch.validate(full=True)
    names = [column.name for column in COLUMNS]
    values = [batch.column(name).to_pylist() for name in names]
    sums = batch.column(CHECKSUM).to_pylist()
    for row, wanted in zip(zip(*values, strict=True), sums, strict=True):
        found = dict(zip(names, row, strict=True))
        try:
            event = _event(found)
            yield event, event_crc32(event) == wanted
        except (ValueError, TypeError, KeyError, struct.error):
            sequence = found["sequence"]
            yield _nothing(sequence if isinstance(sequence, int) else -1), False


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return [{"kind": kind, "score": value[kind]} for kind in sorted(value)]
    return value


def _event(found: dict[str, Any]) -> TraceEvent:
    found["kind"] = EventKind(found["kind"])
    found["scores"] = {pair["kind"]: pair["score"] for pair in found["scores"]}
    for name in ("grid", "kept", "all_kept"):
        if found[name] is not None:
            found[name] = tuple(found[name])
    return TraceEvent(**found)


def _nothing(sequence: int) -> TraceEvent:
    return TraceEvent(sequence=sequence, kind=EventKind.ANSWER, wall_unix_s=0.0, monotonic_s=0.0)
