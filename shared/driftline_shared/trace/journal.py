"""The journal of events that are in no part yet: `events/open.arrows`, an Arrow IPC stream.

A stream that was cut anywhere gives all batches before the cut, which a Parquet file does not. Each
batch is on disk (fsync) before its events count as written.

A file that does not even begin like a journal is no journal that a crash has cut: whoever would
make it a part sets it aside instead, `events/unreadable-000.arrows`, and removes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from driftline_shared.errors import DataError
from driftline_shared.host.durable import make_folder, sync_folder
from driftline_shared.trace.arrow import from_batch, to_batch, trace_schema
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.manifest import EVENTS, JOURNAL

_ASIDE = "unreadable-"


class Journal:
    """Appends to a new journal; there must be none. Use from one thread."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder / EVENTS)
        self._file = (folder / EVENTS / JOURNAL).open("xb")
        sync_folder(folder / EVENTS)
        self._stream = pa.ipc.new_stream(self._file, trace_schema())
        self.num_rows = 0

    @property
    def num_bytes(self) -> int:
        """On disk."""
        return self._file.tell()

    def append(self, events: Sequence[TraceEvent]) -> None:
        """One batch, on disk when this returns. OSError: the disk is full or broken."""
        self._stream.write_batch(to_batch(events))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.num_rows += len(events)

    def close(self) -> None:
        """Let the file go; what was appended stays."""
        # On a full disk, closing tries in vain to write what could not be written before.
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def journal_of(folder: Path) -> Path | None:
    """The journal of the trace in `folder`, if there is one."""
    path = folder / EVENTS / JOURNAL
    return path if path.exists() else None


def is_readable(journal: Path) -> bool:
    """Whether it begins as a journal does, so that its events can be read up to where it was cut.

    OSError if the file cannot be read.
    """
    if not journal.is_file() or not journal.stat().st_size:
        return False
    with pa.memory_map(str(journal)) as file:
        return _open_stream(file) is not None


def held_nothing(journal: Path) -> bool:
    """Whether a crash cut it before its first event: it is empty, or a piece of its own header."""
    if not journal.is_file():
        return False
    header = trace_schema().serialize().to_pybytes()
    with journal.open("rb") as file:
        begun = file.read(len(header) + 1)
    return bool(header.startswith(begun))


def check_journal(folder: Path) -> None:
    """DataError if the trace in `folder` has a journal of which no event can be read."""
    journal = journal_of(folder)
    if journal is None or is_readable(journal):
        return
    if held_nothing(journal):
        raise DataError(
            f"{journal} was cut before its first event",
            fix="`driftline lab trace recover` removes it; no event is lost.",
        )
    raise DataError(
        f"{journal} is no journal of this driftline: none of its events can be read",
        fix="Put a whole copy of it there, or let `driftline lab trace recover` set it aside; "
        "the events in parts are whole.",
    )


def set_aside(folder: Path) -> None:
    """Rename the journal, of which nothing can be read, to a name that no reader looks at."""
    events = folder / EVENTS
    number = 0
    while (path := events / f"{_ASIDE}{number:03d}.arrows").exists():
        number += 1
    (events / JOURNAL).rename(path)
    sync_folder(events)


def names_set_aside(folder: Path) -> list[str]:
    """Files of `events/` that were journals once, and unreadable."""
    return sorted(path.name for path in (folder / EVENTS).glob(f"{_ASIDE}*.arrows"))


def remove_journal(folder: Path) -> None:
    """Its events are in a part now."""
    (folder / EVENTS / JOURNAL).unlink()
    sync_folder(folder / EVENTS)


def read_journal(path: Path, after: int) -> Iterator[pa.RecordBatch]:
    """The whole batches of a journal, however it was cut, without events up to number `after`.

    Ends before the first batch that does not decode or holds a row whose crc32 is wrong: what
    comes after a write that a crash tore was never acknowledged.
    """
    if not path.stat().st_size:
        return
    with pa.memory_map(str(path)) as file:
        stream = _open_stream(file)
        while stream is not None:
            try:
                batch = stream.read_next_batch()
                rows = list(from_batch(batch))
            except (StopIteration, pa.ArrowException, OSError, UnicodeDecodeError):
                return
            sequences = [event.sequence for event, _ in rows]
            if not all(whole for _, whole in rows) or sequences != sorted(set(sequences)):
                return
            first_new = sum(sequence <= after for sequence in sequences)
            if first_new < len(rows):
                yield batch.slice(first_new)
                after = sequences[-1]


def _open_stream(file: pa.MemoryMappedFile) -> pa.RecordBatchStreamReader | None:
    """The stream behind a whole header of ours, or None."""
    try:
        stream = pa.ipc.open_stream(file)
    except (pa.ArrowException, OSError, MemoryError):
        return None
    return stream if stream.schema.equals(trace_schema()) else None
