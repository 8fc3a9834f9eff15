"""Samples, labels, adapters and distillations as Arrow tables and safetensors bytes, and back.

What travels between processes is columns of bytes, numbers and text: nothing of ours is pickled, so
a worker of another version reads it or says what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors.numpy import load_file, save_file

from driftline_cloud.jobs import Distilled, Label
from driftline_shared.tokens import CodedTokens, Grid, RegionLayout, Regions, Sample

MAX_TABLE_BYTES = 32 << 20
"""Payload bytes of one table: one object in Ray's store (a single larger sample cannot be)."""


def samples_to_tables(samples: Sequence[Sample]) -> list[pa.Table]:
    """The samples in order, cut so that no table is larger than `MAX_TABLE_BYTES` of payload."""
    tables: list[pa.Table] = []
    part: list[Sample] = []
    num_bytes = 0
    for sample in samples:
        size = len(sample.tokens.payload) + (sample.regions.num_bytes if sample.regions else 0)
        if part and num_bytes + size > MAX_TABLE_BYTES:
            tables.append(_table(part))
            part, num_bytes = [], 0
        part.append(sample)
        num_bytes += size
    return [*tables, _table(part)] if part else tables


def samples_from_tables(tables: Sequence[pa.Table]) -> list[Sample]:
    """What `samples_to_tables` was given."""
    return [_sample(row) for table in tables for row in table.to_pylist()]


def labels_to_table(labels: Sequence[Label]) -> pa.Table:
    """One row a label."""
    return pa.table(
        {
            "sample_id": pa.array([one.sample_id for one in labels], pa.binary()),
            "text": pa.array([one.text for one in labels], pa.string()),
            "tokens": pa.array([list(one.tokens) for one in labels], pa.list_(pa.int64())),
            "confidence": pa.array([one.confidence for one in labels], pa.float64()),
        }
    )


def labels_from_table(table: pa.Table) -> list[Label]:
    """What `labels_to_table` was given."""
    return [
        Label(
            sample_id=row["sample_id"],
            text=row["text"],
            tokens=tuple(row["tokens"]),
            confidence=row["confidence"],
        )
        for row in table.to_pylist()
    ]


def write_distilled(folder: Path, distilled: Distilled) -> None:
    """adapter.safetensors, importance.safetensors and numbers.json in `folder`."""
    save_file(dict(distilled.adapter), folder / "adapter.safetensors")
    save_file(dict(distilled.importance), folder / "importance.safetensors")
    (folder / "numbers.json").write_text(json.dumps(dict(distilled.numbers)), encoding="utf-8")


def read_distilled(folder: Path) -> Distilled:
    """What `write_distilled` wrote."""
    return Distilled(
        adapter=load_file(folder / "adapter.safetensors"),
        importance=load_file(folder / "importance.safetensors"),
        numbers=json.loads((folder / "numbers.json").read_text(encoding="utf-8")),
    )


_REGIONS = pa.struct(
    [
        ("layout", pa.string()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("thumbnail", pa.large_binary()),
        ("crops", pa.large_binary()),
    ]
)


def _table(samples: Sequence[Sample]) -> pa.Table:
    return pa.Table.from_pylist([_row(sample) for sample in samples], schema=_SCHEMA)


_SCHEMA = pa.schema(
    [
        ("id", pa.binary()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("codec", pa.string()),
        ("num_tokens", pa.int64()),
        ("frames", pa.int64()),
        ("rows", pa.int64()),
        ("cols", pa.int64()),
        ("payload", pa.large_binary()),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("priority", pa.float64()),
        ("created_unix_s", pa.int64()),
        ("adapter_version", pa.int64()),
        ("audit", pa.bool_()),
        ("regions", _REGIONS),
    ]
)


def _row(sample: Sample) -> dict[str, Any]:
    coded = sample.tokens
    return {
        "id": sample.id,
        "question": sample.question,
        "answer": sample.answer,
        "codec": coded.codec,
        "num_tokens": coded.num_tokens,
        "frames": coded.grid.frames,
        "rows": coded.grid.rows,
        "cols": coded.grid.cols,
        "payload": coded.payload,
        "scores": list(sample.scores.items()),
        "priority": sample.priority,
        "created_unix_s": sample.created_unix_s,
        "adapter_version": sample.adapter_version,
        "audit": sample.audit,
        "regions": None if sample.regions is None else asdict(sample.regions),
    }


def _sample(row: Mapping[str, Any]) -> Sample:
    grid = Grid(frames=row["frames"], rows=row["rows"], cols=row["cols"])
    return Sample(
        id=row["id"],
        question=row["question"],
        answer=row["answer"],
        tokens=CodedTokens(
            codec=row["codec"], num_tokens=row["num_tokens"], grid=grid, payload=row["payload"]
        ),
        scores=dict(row["scores"]),
        priority=row["priority"],
        created_unix_s=row["created_unix_s"],
        adapter_version=row["adapter_version"],
        audit=row["audit"],
        regions=_regions(row["regions"]),
    )


def _regions(row: Mapping[str, Any] | None) -> Regions | None:
    return None if row is None else Regions(**{**row, "layout": RegionLayout(row["layout"])})
