"""Writes a trace: events to the journal, the journal to parts. `recorder` does it beside a program.

Layout of the folder:

    manifest.json
    lock                        held by whoever writes
    events/part-000000.parquet  …
    events/open.arrows          the journal
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import structlog

from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.host.lock import state_lock
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.journal import Journal, names_set_aside
from driftline_shared.trace.manifest import (
    Manifest,
    Subject,
    check_subject,
    need_manifest,
    read_manifest,
    software,
    write_manifest,
)
from driftline_shared.trace.recovery import roll_over, tidy

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartLimits:
    """A part ends at the first of these: rows, bytes of its journal, seconds since its first."""

    rows: int = 4096
    bytes: int = 64 << 20
    seconds: float = 3600.0


class TraceWriter:
    """Appends batches of events; use from one thread, inside `open_writer`."""

    def __init__(
        self, folder: Path, manifest: Manifest, *, limits: PartLimits, clock: Clock
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._journal: Journal | None = None
        self._began_s = 0.0
        self._last = manifest.last_sequence
        self._abandoned = False
        self.manifest = manifest

    @property
    def next_sequence(self) -> int:
        """What an event without a number of its own would get."""
        return self._last + 1

    def write(self, events: Sequence[TraceEvent]) -> int:
        """Write one batch; the number of its last event, which is on disk now.

        Their numbers must rise beyond those written before. ValueError if they do not; OSError if
        the disk is full or broken: what was written before stays, nothing more can be.
        """
        numbers = [self._last, *(event.sequence for event in events)]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise ValueError(f"events {numbers[1:]} do not follow event {self._last}")
        if not events:
            return self._last
        if self._journal is None:
            self._journal = Journal(self._folder)
            self._began_s = self._clock.monotonic_s()
        self._journal.append(events)
        self._last = numbers[-1]
        if (
            self._journal.num_rows >= self._limits.rows
            or self._journal.num_bytes >= self._limits.bytes
            or self._clock.monotonic_s() - self._began_s >= self._limits.seconds
        ):
            self.roll()
        return self._last

    def write_next(self, events: Sequence[TraceEvent]) -> int:
        """`write`, with the numbers that come next."""
        first = self.next_sequence
        return self.write([replace(event, sequence=first + i) for i, event in enumerate(events)])

    def roll(self) -> None:
        """Make what is in the journal a part."""
        self.release()
        self.manifest = roll_over(self._folder, self.manifest)

    def finish(self) -> None:
        """Make the last part, unless the writer was abandoned."""
        if not self._abandoned:
            self.roll()

    def abandon(self) -> None:
        """Write no more, not even the last part: the disk failed."""
        self._abandoned = True

    def release(self) -> None:
        """Let the journal go as it is: the next writer makes it a part."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None


@contextmanager
def open_writer(
    folder: Path,
    subject: Subject,
    *,
    seed: int | None = None,
    licence: str = "",
    derived: tuple[str, ...] = (),
    limits: PartLimits | None = None,
    clock: Clock | None = None,
) -> Iterator[TraceWriter]:
    """A writer that begins the trace in `folder`, or appends to it after a recovery.

    ConfigError if another process writes it or it is of another subject, DataError if its manifest
    is broken. On leaving well, the journal becomes a part.
    """
    clock = clock or SystemClock()
    with state_lock(folder, "trace folder"):
        tidy(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = Manifest(
                subject=subject,
                seed=seed,
                licence=licence,
                created_unix_s=clock.now_s(),
                software=software(),
                derived=derived,
            )
            write_manifest(folder, manifest)
        check_subject(folder, manifest.subject, subject)
        before = names_set_aside(folder)
        manifest = roll_over(folder, manifest)
        for name in sorted(set(names_set_aside(folder)) - set(before)):
            _log.warning("trace.journal_set_aside", trace=str(folder), file=name)
        writer = TraceWriter(folder, manifest, limits=limits or PartLimits(), clock=clock)
        try:
            yield writer
            writer.finish()
        finally:
            writer.release()


def recover(folder: Path) -> Manifest:
    """Make the journal that a crash left a part; the manifest in force. Does nothing the second
    time. Raises ConfigError while somebody writes the trace, DataError if it is none.
    """
    need_manifest(folder)
    with state_lock(folder, "trace folder"):
        tidy(folder)
        return roll_over(folder, need_manifest(folder))
