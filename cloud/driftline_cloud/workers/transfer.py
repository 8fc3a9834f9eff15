"""Samples and labels as Arrow tables, and back.

What travels between processes is columns of bytes, numbers and text: nothing of ours is pickled, so
a worker of another version reads it or says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from driftline_cloud.jobs import Label
from driftline_shared.tokens import Sample
from driftline_shared.wire import dump_sample, load_sample

MAX_TABLE_BYTES = 32 << 20
"""Bytes of samples in one table: one object in Ray's store (a single larger sample cannot be)."""

_SAMPLES = pa.schema([("body", pa.large_binary()), ("priority", pa.float64())])
_LABELS = pa.schema(
    [
        ("sample_id", pa.binary()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int64())),
        ("confidence", pa.float64()),
        ("disputed", pa.float64()),
    ]
)


def samples_to_tables(samples: Sequence[Sample]) -> list[pa.Table]:
    """The samples in order, cut so that no table is larger than `MAX_TABLE_BYTES`."""
    parts: list[list[dict[str, object]]] = []
    num_bytes = MAX_TABLE_BYTES
    for sample in samples:
        body = dump_sample(sample)
        if num_bytes + len(body) > MAX_TABLE_BYTES:
            parts.append([])
            num_bytes = 0
        parts[-1].append({"body": body, "priority": sample.priority})
        num_bytes += len(body)
    return [pa.Table.from_pylist(part, schema=_SAMPLES) for part in parts]


def samples_from_tables(tables: Sequence[pa.Table]) -> list[Sample]:
    """What `samples_to_tables` was given; `SampleError` if the bytes do not decode."""
    return [
        load_sample(row["body"], priority=row["priority"])
        for table in tables
        for row in table.to_pylist()
    ]


def labels_to_table(labels: Sequence[Label]) -> pa.Table:
    """One row a label."""
    return pa.Table.from_pylist([asdict(label) for label in labels], schema=_LABELS)


def labels_from_table(table: pa.Table) -> list[Label]:
    """What `labels_to_table` was given."""
    return [Label(**{**row, "tokens": tuple(row["tokens"])}) for row in table.to_pylist()]
