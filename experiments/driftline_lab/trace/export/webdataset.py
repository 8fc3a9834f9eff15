"""Shards for WebDataset: tar files in which the files of one event share a key.

    000000000017.json   000000000017.coded.bin   000000000017.all.bin   000000000017.jpg

Keys and extensions as WebDataset splits them, at the first dot
(https://github.com/webdataset/webdataset, read 2026-11). Equal traces give equal bytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from driftline_lab.trace.export.rows import json_text, plain
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.reader import Trace

SHARD_EVENTS = 10_000
SHARD_BYTES = 256 << 20
MOST_MTIME = 8**11 - 1
"""Seconds since 1970: the eleven octal digits of a USTAR header, of the year 2242."""


def export(trace: Trace, out: Path, shard_events: int = SHARD_EVENTS) -> int:
    """Write `out`/trace-000000.tar and so on; how many events they hold."""
    out.mkdir(parents=True, exist_ok=True)
    num_events = num_shards = held = size = 0
    with ExitStack() as stack:
        shard: tarfile.TarFile | None = None
        for event in trace.events():
            if shard is None or held >= shard_events or size >= SHARD_BYTES:
                stack.close()
                shard = stack.enter_context(
                    tarfile.open(
                        out / f"trace-{num_shards:06d}.tar", "w", format=tarfile.USTAR_FORMAT
                    )
                )
                num_shards, held, size = num_shards + 1, 0, 0
            for name, data in _files(event):
                entry = tarfile.TarInfo(f"{event.sequence:012d}.{name}")
                entry.size = len(data)
                entry.mtime = int(min(max(0.0, event.wall_unix_s), MOST_MTIME))
                shard.addfile(entry, io.BytesIO(data))
                size += len(data)
            held += 1
            num_events += 1
    return num_events


def _files(event: TraceEvent) -> Iterator[tuple[str, bytes]]:
    yield "json", json_text(plain(event), event).encode()
    for name, data in (
        ("coded.bin", event.coded),
        ("all.bin", event.all_tokens),
        ("jpg", event.picture),
    ):
        if data is not None:
            yield name, data
