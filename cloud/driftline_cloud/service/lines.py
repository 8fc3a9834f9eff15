"""The lines that a cloud serves: the part of each, opened when its row comes, by what rows say now.

Rows are changed by commands in other processes; `refresh`, called every second, follows them. A
line whose pair cannot be opened turns its devices away for now and is tried again; the others are
served meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from driftline_cloud.intake.intake import Intake
from driftline_cloud.intake.line import Line
from driftline_cloud.lines.book import DROPPED, PAUSED, KnownLine, LineBook, meant
from driftline_cloud.lines.routing import route
from driftline_cloud.rounds.board import Board
from driftline_cloud.rounds.ended import RoundsEnded
from driftline_cloud.rounds.opening import RoundOpening
from driftline_cloud.service.recording import CloudTrace
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.host.clock import Clock
from driftline_shared.status import Enrolment
from driftline_shared.tokens import SamplingPolicy

RETRY_S = 10.0
"""Before a line that could not be opened is tried again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServedLine:
    """What serves one line; the rest of a cloud is shared."""

    row: KnownLine
    line: Line
    intake: Intake
    policy: SamplingPolicy
    opening: RoundOpening
    board: Board
    ended: RoundsEnded
    trace: CloudTrace | None = None

    @property
    def id(self) -> str:
        """The line's name."""
        return self.line.id

    @property
    def is_paused(self) -> bool:
        """Whether no round goes on or begins."""
        return self.row.state == PAUSED


class Lines:
    """The lines of `book`, opened by `make`; for any thread. `moved` is called when devices have
    changed lines.
    """

    def __init__(
        self,
        book: LineBook,
        make: Callable[[KnownLine], ServedLine],
        *,
        clock: Clock,
        moved: Callable[[], None] = ignore,
    ) -> None:
        self._moved = moved
        self._book = book
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: tuple[KnownLine, ...] = ()
        self._served: dict[str, ServedLine] = {}
        self._failed: dict[str, tuple[str, float]] = {}

    def open(self, row: KnownLine) -> ServedLine:
        """Open the line of `row`, and raise what keeps it from being opened: at a start."""
        served = self._make(row)
        with self._lock:
            self._served[row.id] = served
        return served

    def refresh(self) -> None:
        """Follow the rows: open what was added, close what was dropped. One thread calls it."""
        rows = self._book.all()
        with self._lock:
            before = {row.id: row.num_moves for row in self._rows}
            moved = any(row.num_moves != before.get(row.id, 0) for row in rows)
            self._rows = rows
            missing = [row for row in rows if not self._follow(row)]
        for row in missing:
            self._try(row)
        if moved:
            self._moved()

    def _follow(self, row: KnownLine) -> bool:
        """Whether nothing is to be opened for `row`."""
        served = self._served.get(row.id)
        if row.state == DROPPED:
            self._failed.pop(row.id, None)
            if self._served.pop(row.id, None) is not None:
                _log.info("line.dropped", line=row.id)
                _close(served)
            return True
        if served is not None and served.row != row:
            self._served[row.id] = replace(served, row=row)
            _log.info("line.changed", line=row.id, state=row.state)
        return served is not None

    def _try(self, row: KnownLine) -> None:
        """Open the line of `row`; the others are served meanwhile."""
        why, due_s = self._failed.get(row.id, ("", 0.0))
        if why and self._clock.monotonic_s() < due_s:
            return
        try:
            served = self._make(row)
        except Exception as error:
            ours = isinstance(error, DriftlineError)
            said = str(error) if ours else repr(error)
            if said != why:
                _log.error("line.not_served", line=row.id, cause=said, exc_info=not ours)
            with self._lock:
                self._failed[row.id] = (said, self._clock.monotonic_s() + RETRY_S)
        else:
            with self._lock:
                self._served[row.id] = served
                self._failed.pop(row.id, None)
            _log.info("line.served", line=row.id, state=row.state)

    def all(self) -> tuple[ServedLine, ...]:
        """What is served now, in the order in which it was added."""
        with self._lock:
            turn = {row.id: place for place, row in enumerate(self._rows)}
            served = list(self._served.values())
        return tuple(sorted(served, key=lambda one: (turn.get(one.id, 0), one.id)))

    def dropped(self) -> tuple[KnownLine, ...]:
        """The rows of lines that are not served any more."""
        with self._lock:
            return tuple(row for row in self._rows if row.state == DROPPED)

    def of(self, line: str) -> ServedLine:
        """The part of a device's line. LinkError: `store_busy` while it is not open yet,
        `unknown_device` where it is no line of this cloud any more, so that the device enrols anew
        and is told.
        """
        with self._lock:
            served = self._served.get(line)
            is_wanted = any(row.id == line and row.state != DROPPED for row in self._rows)
        if served is not None:
            return served
        if is_wanted:
            raise LinkError(f"line {line} cannot be served now", reason=Reason.STORE_BUSY)
        raise LinkError(f"line {line} is not served here", reason=Reason.UNKNOWN_DEVICE)

    def serves(self, line: str) -> bool:
        """Whether `of` has its part now."""
        return line in self._served  # one look needs no lock

    def named(self, line: str) -> ServedLine:
        """The line that an operator names, by its id or its pair; empty: the only one. LinkError
        (line_unknown).
        """
        served = self.all()
        ids = {row.id for row in meant([one.row for one in served], line)}
        found = [one for one in served if not line or one.id in ids]
        if len(found) == 1:
            return found[0]
        here = ", ".join(one.id for one in served) or "none"
        if line:
            raise LinkError(
                f"there is no line {line!r} here, only {here}", reason=Reason.LINE_UNKNOWN
            )
        raise LinkError(f"which line? There are: {here}", reason=Reason.LINE_UNKNOWN)

    def route(self, enrolment: Enrolment, known: str = "") -> ServedLine:
        """The line that a device of this `enrolment`, which was on `known`, is on; LinkError as of
        `routing.route`.
        """
        with self._lock:
            rows: Sequence[KnownLine] = self._rows
        return self.of(route(rows, enrolment, known).id)

    def close(self) -> None:
        """Close every line."""
        with self._lock:
            for served in self._served.values():
                _close(served)
            self._served.clear()


def _close(served: ServedLine | None) -> None:
    if served is not None and served.trace is not None:
        served.trace.close()
