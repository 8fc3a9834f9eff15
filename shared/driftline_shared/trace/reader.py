"""Reads a trace, a row group at a time: one that is larger than memory works.

    for event in open_trace(folder).events():
        ...

Each part is checked against the manifest before its first row is given, so that a broken one is
refused by its name and row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from driftline_shared.trace.arrow import from_batch
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.journal import check_journal, journal_of, read_journal
from driftline_shared.trace.manifest import EVENTS, Manifest, Part, need_manifest
from driftline_shared.trace.parts import read_part
from driftline_shared.trace.verify import broken_row, check_part


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One trace as its manifest named it when it was opened; it may still be written."""

    folder: Path
    manifest: Manifest

    @property
    def unfinished(self) -> bool:
        """Whether there is a journal, of events that are in no part: `recover` makes them one."""
        return journal_of(self.folder) is not None

    def check_journal(self) -> None:
        """DataError if there is a journal of which no event can be read."""
        check_journal(self.folder)

    def num_unfinished(self) -> int:
        """How many events of the journal can be read, and are in no part."""
        journal = journal_of(self.folder)
        if journal is None:
            return 0
        batches = read_journal(journal, after=self.manifest.last_sequence)
        return sum(batch.num_rows for batch in batches)

    def path(self, part: Part) -> Path:
        """The file of a part."""
        return self.folder / EVENTS / part.name

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows as Arrow record batches of `columns` (None: all). DataError as `events`."""
        for part in self.manifest.parts:
            check_part(self.path(part), part)
            yield from read_part(self.path(part), columns)

    def events(self) -> Iterator[TraceEvent]:
        """All rows in order. DataError names the part and the row that is not as recorded."""
        for part in self.manifest.parts:
            yield from self.events_of(part)

    def events_of(self, part: Part) -> Iterator[TraceEvent]:
        """The rows of one part; DataError as above."""
        check_part(self.path(part), part)
        number = 0
        for batch in read_part(self.path(part)):
            for event, whole in from_batch(batch):
                if not whole:
                    raise broken_row(part, number, event.sequence)
                yield event
                number += 1


def open_trace(folder: Path) -> Trace:
    """The trace in `folder`. DataError if there is none or its manifest is broken."""
    return Trace(folder=folder, manifest=need_manifest(folder))
