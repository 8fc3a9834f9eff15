"""Driving the rounds of a line: wait for its lease, put the heavy parts together, work, say how it
is. Whatever is away is waited for, and the reason is on the board.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.config import CloudConfig
from driftline_cloud.identity import bind, check_versions
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import cause_of, fix_of, is_passing, say, trouble_of
from driftline_cloud.intake.line import Line
from driftline_cloud.lines.book import LineBook
from driftline_cloud.lines.pairs import line_of, named_line
from driftline_cloud.rounds.board import BLOCKED, GONE, IDLE, STARTING, WAITING, WORKING, Board
from driftline_cloud.rounds.coordinator import WorkersAwayError
from driftline_cloud.rounds.leases import Lease, LeaseLostError
from driftline_cloud.service.assembly import Makers, Work, assemble_work, open_registry
from driftline_cloud.serving import why_not_served
from driftline_cloud.state import StateFolder
from driftline_cloud.workers.reach import why_away
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.host.durable import write_atomic
from driftline_shared.pair.pair import Pair
from driftline_shared.program.outage import Outage

_log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How often a worker that waits looks again, and how old a share of progress on the board is."""

SAID_S = 10.0
"""How often a worker says that it is as it was."""

AWAY_S = 10.0
"""After something failed at the start, before it is tried again."""


@dataclass(kw_only=True)
class Worker:
    """Drives the rounds of the configured pair's line under the name `owner`, whenever it has the
    lease. `line`: the one that it must be; empty: any.
    """

    config: CloudConfig
    makers: Makers
    owner: str
    line: str = ""
    _work: Work | None = field(default=None, init=False)
    _lease: Lease | None = field(default=None, init=False)
    _said: tuple[str, str] = field(default=(STARTING, ""), init=False)
    _not_kept: Outage = field(
        default_factory=lambda: Outage("work.held_up", "work.works_again"), init=False
    )
    _not_started: Outage = field(
        default_factory=lambda: Outage("work.start_failed", "work.starts_again"), init=False
    )

    def run(self, halt: threading.Event) -> None:
        """Work until `halt` is set; raises ConfigError and PairError for what will not pass, and
        WorkersAwayError where the workers went away under way.
        """
        pair = self.makers.trusted_pair(self.config, self.config.pair)
        line = named_line(pair, self.line) if self.line else line_of(pair)
        state = StateFolder(self.config.state)
        state.path.mkdir(parents=True, exist_ok=True)
        database = self.makers.database(self.config.database)
        board = Board(database=database, line=line.id, clock=self.makers.clock)
        self._lease = lease = Lease(
            database,
            line.id,
            owner=self.owner,
            clock=self.makers.clock,
            lease_s=self.config.work.lease_s,
        )
        done = threading.Event()
        keeper = threading.Thread(
            target=self._keep, args=(lease, board, state, done), name="lease", daemon=True
        )
        try:
            bind(database, state)
            keeper.start()
            while not halt.is_set():
                why = self._why_not(database, state, lease)
                if why is not None:
                    self._say(*why)
                    halt.wait(LOOK_S)
                elif not self._turn(halt, state, pair, line, database, lease):
                    halt.wait(AWAY_S)
            self._say(GONE, "it was stopped")
        except Exception as error:
            self._say(BLOCKED, str(error))
            raise
        finally:
            done.set()
            if keeper.ident is not None:
                keeper.join()
            _try(partial(board.say, self.owner, *self._now()))
            _try(lease.release)
            database.close()

    def leave(self) -> None:
        """Before the process leaves with work under way: it was no fault of the work."""
        if self._work is not None:
            self._work.coordinator.forgive()
        if self._lease is not None:
            self._lease.release()

    def _turn(
        self,
        halt: threading.Event,
        state: StateFolder,
        pair: Pair,
        line: Line,
        database: Database,
        lease: Lease,
    ) -> bool:
        """Work as long as the lease is held; False where what is needed is away."""
        if reason := why_away(self.config.workers.ray_address):
            self._not_started.came(reason, "")
            self._say(BLOCKED, reason)
            return False
        self._say(STARTING)
        registry = open_registry(self.config, state, database)
        try:
            row = LineBook(database).get(line.id)
            if row is not None:
                registry.ensure_fork(line, row.parent, row.forked_version)
            check_versions(registry, database, line.id)
            work = assemble_work(
                self.config,
                state,
                self.makers,
                pair=pair,
                line=line,
                database=database,
                lease=lease,
                registry=registry,
                watch=self.makers.watch,
            )
        except (ConfigError, PairError):
            raise
        except Exception as error:
            # A cluster, a disk, a store or a database that is away now.
            say(self._not_started, error, database.place)
            self._say(BLOCKED, _told(error, database))
            return False
        self._not_started.is_over()
        self._drive(work, halt)
        return True

    def _drive(self, work: Work, halt: threading.Event) -> None:
        stop = threading.Event()
        beside = threading.Thread(
            target=work.answerer.run, args=(stop,), name="answers", daemon=True
        )
        self._work = work
        try:
            beside.start()
            work.coordinator.run(halt)
        except LeaseLostError as error:
            _log.warning("lease.lost", cause=str(error))
        except WorkersAwayError as error:
            # Closing would wait for them: the process ends, and another waits for them anew.
            self._work = None
            self._say(BLOCKED, str(error))
            raise
        finally:
            stop.set()
        self._work = None
        beside.join()
        work.close()

    def _why_not(
        self, database: Database, state: StateFolder, lease: Lease
    ) -> tuple[str, str] | None:
        """The state and reason in which this one drives nothing now; None: the lease is ours."""
        try:
            if reason := why_not_served(database, state, lease_s=self.config.work.lease_s):
                # Serving cannot stamp the folder either where nothing can be written.
                write_atomic(state.path / "written", b"", durable=False)
                return BLOCKED, reason
            return None if lease.hold() else (WAITING, "another worker drives the line")
        except (OSError, SQLAlchemyError) as error:
            return BLOCKED, _told(error, database)

    def _keep(self, lease: Lease, board: Board, state: StateFolder, done: threading.Event) -> None:
        """Renew the lease and say how it is, until `done`."""
        said: tuple[str, str, float] | None = None
        waited_s, database = SAID_S, board.database
        while not done.is_set():
            try:
                if lease.is_held:
                    # No round goes on in a folder that another one has taken over from.
                    foreign = why_not_served(database, state, lease_s=self.config.work.lease_s)
                    lease.release() if foreign else lease.hold()
                now = self._now()
                if now != said or waited_s >= SAID_S:
                    board.say(self.owner, *now)
                    said, waited_s = now, 0.0
                self._not_kept.is_over()
            except Exception as error:
                say(self._not_kept, error, database.place)
            done.wait(LOOK_S)
            waited_s += LOOK_S

    def _now(self) -> tuple[str, str, float]:
        work = self._work
        trouble = self._not_kept.trouble or (work.coordinator.trouble if work is not None else "")
        if trouble:
            return BLOCKED, trouble, 0.0
        if work is None:
            return (*self._said, 0.0)
        round_ = work.coordinator.working
        if round_ is None:
            return IDLE, work.coordinator.held, 0.0
        return WORKING, f"{round_.id} {round_.state}", round(work.coordinator.progress, 2)

    def _say(self, state: str, reason: str = "") -> None:
        if (state, reason) != self._said:
            _log.info("work.state", state=state, reason=reason)
        self._said = (state, reason)


def _told(error: Exception, database: Database) -> str:
    """What keeps the work, and what to do about it."""
    trouble = trouble_of(error, database.place)
    return f"{trouble}. {fix_of(error)}" if is_passing(error) else trouble


def _try(do: Callable[[], object]) -> bool:
    """What `do` says; False, and a line in the log, where the database is away for a moment."""
    try:
        return bool(do())
    except Exception as error:
        _log.warning("work.database_away", error=cause_of(error))
        return False
