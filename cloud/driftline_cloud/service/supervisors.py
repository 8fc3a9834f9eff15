"""A working process for each active line: as rows say now, so many at once as there is room for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from driftline_cloud.config import CloudConfig
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import say
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.lines.book import ACTIVE, KnownLine, LineBook
from driftline_cloud.lines.turns import Wish, choose
from driftline_cloud.rounds.board import WAITING, Board
from driftline_cloud.rounds.ended import RoundsEnded
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.service.supervisor import Supervisor, work_orders
from driftline_shared.host.clock import Clock
from driftline_shared.program.outage import Outage

LOOK_S = 1.0
"""How soon a line that was added is worked for, and one that was paused is not."""


@dataclass(kw_only=True)
class _Running:
    """The process of one line, kept alive in a thread."""

    supervisor: Supervisor
    ended: RoundsEnded
    since_s: float
    halt: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    num_ended: int = 0

    @property
    def is_alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Supervisors:
    """Keeps processes of `command` alive while `run` runs, each under `owner` and its line's name.

    `only`: the lines to work for; empty: all. A process that ends takes no other one with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        config: CloudConfig,
        database: Database,
        owner: str,
        clock: Clock,
        only: Collection[str] = (),
    ) -> None:
        self._command = command
        self._config = config
        self._database = database
        self._owner = owner
        self._clock = clock
        self._only = frozenset(only)
        self._book, self._ledger = LineBook(database), RoundLedger(database)
        self._store = SampleStore(database)
        self._running: dict[str, _Running] = {}
        self._given_up: dict[str, KnownLine] = {}
        self._waits_since_s: dict[str, float] = {}
        self.last_code: int | None = None

    def run(self, halt: threading.Event, *, usage_ends: bool = False) -> None:
        """Until `halt` is set. `usage_ends`: also when every line's first process says that its
        settings are wrong (exit code 2); such a line is not tried again until its row changes.
        """
        outage = Outage("work.lines_not_read", "work.lines_read_again")
        try:
            while not halt.is_set():
                try:
                    over = self._look(usage_ends)
                except Exception as error:
                    # The database may be away: who works goes on.
                    say(outage, error, self._database.place)
                    over = False
                else:
                    outage.is_over()
                if over:
                    return
                halt.wait(LOOK_S)
        finally:
            for running in self._running.values():
                running.halt.set()
            for running in self._running.values():
                assert running.thread is not None
                running.thread.join()

    def _look(self, usage_ends: bool) -> bool:
        """Start and stop what rows ask for; whether there is nothing left to try."""
        for line, running in list(self._running.items()):
            if running.is_alive:
                continue
            del self._running[line]
            self._waits_since_s[line] = self._clock.monotonic_s()
            if not running.halt.is_set():  # it ended of itself: its settings are wrong
                self.last_code = running.supervisor.last_code
                self._given_up[line] = next(row for row in self._book.all() if row.id == line)
        rows = {
            row.id: row
            for row in self._book.all()
            if row.state == ACTIVE and (not self._only or row.id in self._only)
        }
        tried = {line: row for line, row in rows.items() if self._given_up.get(line) != row}
        if usage_ends and rows and not tried and not self._running:
            return True
        chosen = self._chosen(tried)
        for line, running in self._running.items():
            if line not in chosen:
                running.halt.set()
        if self._most and sum(one.is_alive for one in self._running.values()) > self._most:
            return False
        for line in chosen:
            if line not in self._running and self._has_room():
                self._start(tried[line], usage_ends)
        return False

    @property
    def _most(self) -> int:
        return self._config.work.max_lines_at_once

    def _has_room(self) -> bool:
        # One that was told to end holds its models until it has.
        return self._most == 0 or len(self._running) < self._most

    def _chosen(self, rows: dict[str, KnownLine]) -> list[str]:
        most, now_s = self._most, self._clock.monotonic_s()
        if most == 0 or len(rows) <= most:
            return list(rows)
        chosen = choose(
            [self._wish(line, now_s) for line in rows],
            most=most,
            now_s=now_s,
            turn_s=self._config.work.turn_s,
        )
        for line in rows:
            if line not in chosen and line not in self._running:
                self._board(line).say(
                    f"{self._owner}-{line}", WAITING, "for its turn: see work.max_lines_at_once"
                )
        return chosen

    def _wish(self, line: str, now_s: float) -> Wish:
        trigger = self._config.rounds.trigger
        enough = min(trigger.round_samples, trigger.age_min_samples, trigger.drift_min_samples)
        is_open = self._ledger.open_round(line) is not None
        num_waiting = self._store.counts(line).num_waiting
        running = self._running.get(line)
        if running is not None:
            running.num_ended += len(running.ended.look())
        return Wish(
            line=line,
            is_open=is_open,
            has_work=is_open or (trigger.enabled and num_waiting >= enough),
            is_running=running is not None,
            num_ended=0 if running is None else running.num_ended,
            since_s=self._waits_since_s.setdefault(line, now_s)
            if running is None
            else running.since_s,
        )

    def _start(self, row: KnownLine, usage_ends: bool) -> None:
        owner, board = f"{self._owner}-{row.id}", self._board(row.id)
        supervisor = Supervisor(
            self._command,
            feed=work_orders(self._config, owner, line=row.id, pair=row.pair),
            say=lambda state, reason: board.say(owner, state, reason),
            settings=self._config.work,
            grace_s=self._config.drain_s,
        )
        ended = RoundsEnded(self._ledger, row.id)
        ended.look()
        running = _Running(supervisor=supervisor, ended=ended, since_s=self._clock.monotonic_s())
        running.thread = threading.Thread(
            target=supervisor.run,
            args=(running.halt,),
            kwargs={"usage_ends": usage_ends},
            name=f"work {row.id}",
            daemon=True,
        )
        self._given_up.pop(row.id, None)
        self._running[row.id] = running
        running.thread.start()

    def _board(self, line: str) -> Board:
        return Board(database=self._database, line=line, clock=self._clock)
