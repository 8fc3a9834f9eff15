"""Records events beside a program, never in its way. Needs no pyarrow until it records.

Whoever has an event hands over how to make it and goes on; a thread of its own makes it, writes it
and syncs it. A disk that is full, or fails, ends the recording with one line in the log. Where
events come faster than the disk takes them, they are left out: their numbers are missing in the
trace, so that it says so.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import structlog

from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import PASSING
from driftline_shared.program.extras import needs_extra
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.manifest import Subject
from driftline_shared.trace.settings import TraceSettings

if TYPE_CHECKING:
    from driftline_shared.trace.writer import TraceWriter

EVENT_BYTES = 1_024
"""What an event takes beside its tokens, about."""

CLOSE_S = 30.0
"""Longest wait for the last events at the end."""

_PLACE = PASSING | {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
"""Errors of a place that cannot hold a trace: nothing else may end for them."""


_log = structlog.get_logger(__name__)

MakeEvent = Callable[[], TraceEvent]


class EventSink(Protocol):
    """Where a program's events go."""

    def record(self, make: MakeEvent, num_bytes: int = 0) -> None:
        """Take one event; returns at once and raises nothing.

        `make` is called later, by another thread; `num_bytes`: what it holds on to meanwhile.
        """

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events so far are on disk; whether they are."""


class NoSink:
    """Records nothing."""

    def record(self, make: MakeEvent, num_bytes: int = 0) -> None:
        pass

    def flush(self, timeout_s: float) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _Waiting:
    sequence: int
    make: MakeEvent
    num_bytes: int


class Recorder:
    """An `EventSink` on a writer; `on_written` is given the number of the last event on disk."""

    def __init__(
        self,
        writer: TraceWriter,
        settings: TraceSettings,
        on_written: Callable[[int], None] = ignore,
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._on_written = on_written
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._next = writer.next_sequence
        self._done = writer.next_sequence
        self._num_dropped = 0
        self._num_failed = 0
        self._flushing = False
        self._ending = False
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="driftline-trace", daemon=True)
        self._thread.start()

    def record(self, make: MakeEvent, num_bytes: int = 0) -> None:
        size = num_bytes + EVENT_BYTES
        with self._changed:
            if self._broken or self._ending:
                return
            sequence = self._next
            self._next += 1
            if self._waiting and self._waiting_bytes + size > self._settings.queue_bytes:
                self._num_dropped += 1
                if self._num_dropped == 1:
                    _log.warning("trace.events_left_out", first=sequence)
                return
            self._waiting.append(_Waiting(sequence, make, size))
            self._waiting_bytes += size
            if len(self._waiting) == 1 or len(self._waiting) >= self._settings.batch_rows:
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        with self._changed:
            wanted = self._next
            self._flushing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._broken or self._done >= wanted, timeout_s)
            self._flushing = self._flushing and bool(self._waiting)
            return not self._broken and self._done >= wanted

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write what waits and end; whether all of it was written in time."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._broken and not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                events = [event for one in batch if (event := self._made(one)) is not None]
                if events:
                    self._on_written(self._writer.write(events))
                with self._changed:
                    self._done = batch[-1].sequence + 1
                    if not self._waiting:
                        self._done = self._next  # those left out, too
                        self._flushing = False
                    self._changed.notify_all()
            self._writer.finish()
        except Exception as error:
            # Whatever it is, the program goes on without a recorder.
            with self._changed:
                self._broken = True
                self._waiting.clear()
                self._changed.notify_all()
            _log_stopped(error)

    def _made(self, one: _Waiting) -> TraceEvent | None:
        try:
            return replace(one.make(), sequence=one.sequence)
        except Exception:
            # One event that cannot be made must not cost the others.
            if not self._num_failed:
                _log.exception("trace.event_left_out", sequence=one.sequence)
            self._num_failed += 1
            return None

    def _next_batch(self) -> list[_Waiting] | None:
        """The events of the next batch, when it is due; None at the end."""
        rows = self._settings.batch_rows
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            if not self._waiting:
                return None
            self._changed.wait_for(
                lambda: len(self._waiting) >= rows or self._ending or self._flushing,
                self._settings.batch_s,
            )
            batch = [self._waiting.popleft() for _ in range(min(rows, len(self._waiting)))]
            self._waiting_bytes -= sum(one.num_bytes for one in batch)
            return batch


def _log_stopped(error: Exception) -> None:
    fix = "Answers go on without. Make room, then start again: what was written is kept."
    _log.error("trace.stopped", error=f"{type(error).__name__}: {error}", fix=fix)


@contextmanager
def open_recorder(
    settings: TraceSettings,
    subject: Subject,
    *,
    clock: Clock,
    seed: int | None = None,
    on_written: Callable[[int], None] = ignore,
) -> Iterator[EventSink]:
    """A recorder in the folder that `settings` names, or one that records nothing.

    Raises ConfigError where the folder is of another subject or in use, or pyarrow is missing. A
    place that cannot be written (a disk, a file there) is logged, and nothing is recorded.
    """
    if settings.folder is None:
        yield NoSink()
        return
    with needs_extra("recording a trace", "trace"):
        from driftline_shared.trace.writer import PartLimits, open_writer
    with ExitStack() as stack:
        limits = PartLimits(
            rows=settings.part_rows, bytes=settings.part_bytes, seconds=settings.part_s
        )
        try:
            writer = stack.enter_context(
                open_writer(
                    settings.folder,
                    subject,
                    seed=seed,
                    licence=settings.licence,
                    limits=limits,
                    clock=clock,
                )
            )
        except (OSError, ConfigError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _PLACE:
                raise
            _log_stopped(error)
            yield NoSink()
            return
        recorder = Recorder(writer, settings, on_written)
        try:
            yield recorder
        finally:
            if not recorder.close():
                writer.abandon()
