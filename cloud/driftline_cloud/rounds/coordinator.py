"""The coordinator of one line: starts rounds and carries each through its states, kill or no kill.

A state is in the ledger before its work begins, and the result of the work is on disk or in the
database before the next state is. Work that was cut off is simply done again (see work.py), so a
round ends as if nothing had happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog
from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.intake.faults import is_passing, say, trouble_of
from driftline_cloud.rounds.leases import Lease, LeaseLostError
from driftline_cloud.rounds.opening import RoundOpening, beyond_share
from driftline_cloud.rounds.round import (
    Round,
    RoundState,
    advance,
    begin,
    is_exhausted,
    record_error,
)
from driftline_cloud.rounds.trigger import Waiting, why_start
from driftline_cloud.rounds.work import RoundWork
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError, DriftlineError, PairError
from driftline_shared.program.outage import Outage

_log = structlog.get_logger(__name__)

LONGEST_WAIT_S = 60.0
"""Between two looks at what there is to do, after many that failed."""

Watch = Callable[[str, Round], None]
"""Called with `started` (state stored, work ahead), `worked` (result stored) or `changed` (state
stored).
"""


class _Stopped(BaseException):
    """The cloud is going down: leave the work, the state is stored. Not an error of the round."""


class WorkersAwayError(DriftlineError):
    """The workers cannot be reached: no fault of the round, which waits for them."""


class HeldUpError(DriftlineError):
    """A disk or the database keeps a round from going on: no fault of the round, which waits."""


def _never_away() -> str:
    return ""


def _of_workers(error: Exception) -> str:
    """What `error` says, where it says that workers went away: they may be back by now."""
    return str(error) if isinstance(error, WorkersUnreachableError) else ""


class Coordinator:
    """Runs the rounds of the line of `work`, one at a time, in the thread that calls `run`, while
    `lease` is held.

    `drift_threshold`: gate scores above it count as drifted (see `TriggerPolicy`). `away`: why the
    workers cannot be reached now; empty: they can.
    """

    def __init__(
        self,
        work: RoundWork,
        *,
        opening: RoundOpening,
        lease: Lease,
        drift_threshold: float,
        watch: Watch = ignore,
        away: Callable[[], str] = _never_away,
    ) -> None:
        self._work = work
        self._opening = opening
        self._lease = lease
        self._away = away
        self._line = work.line.id
        self._store, self._ledger, self._clock = work.store, work.ledger, work.clock
        self._settings = work.settings
        self._drift_threshold = drift_threshold
        self._watch = watch
        self._stop = threading.Event()
        self._progress = 0.0
        self._working: Round | None = None
        self._held = ""
        self._outage = Outage(
            "coordinator.step_failed",
            "coordinator.works_again",
            monotonic_s=self._clock.monotonic_s,
            line=self._line,
        )

    @property
    def held(self) -> str:
        """Why no round was started, though samples enough wait; empty: none is held."""
        return self._held

    @property
    def progress(self) -> float:
        """Share done of the present state, 0..1."""
        return self._progress

    @property
    def working(self) -> Round | None:
        """The round as its present work began; None between two pieces of work."""
        return self._working

    @property
    def trouble(self) -> str:
        """What keeps the line from going on now, and what to do; empty: nothing."""
        return self._outage.trouble

    def run(self, stop: threading.Event) -> None:
        """Make rounds until `stop` is set; what is open then goes on at the next start.

        Raises WorkersAwayError and LeaseLostError: the caller looks after workers and lease, and
        runs again.
        """
        self._stop = stop
        num_failures = 0
        while not stop.is_set():
            try:
                busy = self.step()
                if not self._lease.is_held:
                    raise self._lost()
            except _Stopped:
                return
            except (WorkersAwayError, LeaseLostError):
                raise
            except Exception as error:
                # The database may be away for a while: the line lives on.
                num_failures += 1
                say(self._outage, error, self._store.place)
                busy = False
            else:
                num_failures = 0
                self._outage.is_over()
            if not busy:
                wait_s = self._settings.poll_s * 2.0 ** min(num_failures, 16)
                self._clock.wait(stop, min(wait_s, max(LONGEST_WAIT_S, self._settings.poll_s)))

    def step(self) -> bool:
        """Do the next thing there is to do; False if there is nothing to do now, or if another
        worker drives the line.
        """
        if not self._lease.hold():
            return False
        round_ = self._ledger.open_round(self._line)
        if round_ is None:
            return self._start()
        if round_.not_before_unix_s > self._clock.now_s():
            return False
        self._advance(round_)
        return True

    def _start(self) -> bool:
        if not self._settings.trigger.enabled:
            return False
        waiting, beyond = self._waiting()
        trigger = why_start(self._settings.trigger, waiting)
        held = self._opening.why_held() if trigger is not None else beyond
        # The numbers of what is beyond a share change with every sample: that is said once.
        if held and held != self._held and not (beyond and self._held):
            _log.info("round.held", line=self._line, reason=held)
        self._held = held
        return trigger is not None and not held and self._open(trigger) is not None

    def _open(self, trigger: str) -> Round | None:
        """Open a round; None if nothing waits or one is open already."""
        round_ = self._opening.open(trigger)
        if round_ is not None:
            self._watch("changed", round_)
        return round_

    def _waiting(self) -> tuple[Waiting, str]:
        """What a round would take of what waits, and, where only devices' shares keep one from
        being started, that.
        """
        now_s = self._clock.now_s()
        counts, trigger = self._store.counts(self._line), self._settings.trigger
        if trigger.drift_min_samples <= counts.num_waiting < trigger.round_samples:
            # Only where drift decides: to count it costs a look at all that waits.
            counts = self._store.counts(self._line, drift_threshold=self._drift_threshold)
        oldest = counts.oldest_waiting_unix_s
        recent = self._ledger.newest(self._line, limit=8)
        num_failures = 0
        while num_failures < len(recent) and recent[num_failures].state is RoundState.FAILED:
            num_failures += 1
        waiting = Waiting(
            num_samples=counts.num_waiting,
            oldest_age_s=0.0 if oldest is None else max(0.0, now_s - oldest),
            drift_score=counts.num_drifted / max(1, counts.num_waiting),
            rested_s=max(0.0, now_s - recent[0].changed_unix_s) if recent else None,
            num_failures=num_failures,
        )
        if why_start(trigger, waiting) is None:
            return waiting, ""
        taken = self._opening.claimable()
        within = replace(waiting, num_samples=taken.num_taken)
        return within, "" if why_start(trigger, within) else beyond_share(taken)

    def _advance(self, round_: Round) -> None:
        """Work on the present state and store what follows from it."""
        if reason := self._away():
            raise WorkersAwayError(reason)
        if reason := self._work.why_withdrawn(round_):
            self._fail(round_, reason)
            return
        if is_exhausted(round_, self._settings.retry):
            self._fail(round_, f"{round_.state} was cut off {round_.num_starts} times")
            return
        round_ = begin(round_, now_unix_s=self._clock.now_s())
        self._ledger.save(round_)
        self._progress = 0.0
        self._watch("started", round_)
        started_s = self._clock.monotonic_s()
        self._working = round_
        try:
            after = self._work.do(round_, self._report)
        except _Stopped:
            self.forgive()
            raise
        except LeaseLostError:
            raise
        except Exception as error:
            if reason := self._away() or _of_workers(error):
                self.forgive()
                raise WorkersAwayError(reason) from error
            if is_passing(error):
                self._forgive_quietly(round_)
                raise HeldUpError(trouble_of(error, self._store.place)) from error
            self._record(round_, error)
            return
        finally:
            self._working = None
        self._watch("worked", round_)
        try:
            self._ledger.save(after)
        except SQLAlchemyError:
            self._forgive_quietly(round_)
            raise
        _log.info(
            "round.state_done",
            round=round_.id,
            state=str(round_.state),
            next=str(after.state),
            duration_s=round(self._clock.monotonic_s() - started_s, 3),
        )
        self._watch("changed", after)
        if not after.is_open:
            self._tidy(after)

    def forgive(self) -> None:
        """Take back that the present work was started: an orderly stop, or a cluster that is away,
        is no sign of work that kills its process. From any thread.
        """
        round_ = self._working
        if round_ is not None:
            self._ledger.save(replace(round_, num_starts=round_.num_starts - 1))
            _log.info("round.paused", round=round_.id, state=str(round_.state))

    def _forgive_quietly(self, round_: Round) -> None:
        """As `forgive`, where the database may be what is away."""
        with suppress(SQLAlchemyError):
            self._ledger.save(replace(round_, num_starts=round_.num_starts - 1))

    def _record(self, round_: Round, error: Exception) -> None:
        """Store that the present state went wrong: it is tried again later, or the round failed."""
        ours = isinstance(error, DriftlineError)
        cause = str(error) if ours else f"{type(error).__name__}: {error}"
        state = str(round_.state)
        _log.warning(
            "round.state_failed", round=round_.id, state=state, cause=cause, exc_info=not ours
        )
        after = record_error(
            round_,
            f"{state}: {cause}"[:1_000],
            limits=self._settings.retry,
            now_unix_s=self._clock.now_s(),
            permanent=isinstance(error, ConfigError | PairError),
        )
        if after.is_open:
            self._ledger.save(after)
        else:
            self._fail(round_, after.reason)

    def _fail(self, round_: Round, cause: str) -> None:
        """End the round without a version, unless it had made one before it went wrong."""
        to = RoundState.FAILED
        if (
            round_.state is RoundState.RELEASING
            and self._work.releases.published(round_) is not None
        ):
            to = RoundState.DONE
        elif round_.state is RoundState.RELEASING:
            self._work.forget_rollout(round_)
        after = advance(round_, to, now_unix_s=self._clock.now_s(), reason=cause)
        self._ledger.save(after)
        _log.error("round.failed", round=round_.id, cause=cause, ended=str(after.state))
        self._watch("changed", after)
        self._tidy(after)

    def _tidy(self, round_: Round) -> None:
        """Forget what no later round needs."""
        self._work.tidy(round_)
        self._progress = 0.0
        dropped = self._store.drop_used(self._line, keep=self._settings.keep_used_samples)
        if dropped:
            _log.info("samples.dropped", num_samples=dropped, line=self._line)
        self._work.forget_before(max(0, round_.number - self._settings.keep_folders))

    def _report(self, done: float) -> None:
        self._progress = min(max(done, 0.0), 1.0)
        if self._stop.is_set():
            raise _Stopped
        if not self._lease.is_held:
            raise self._lost()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(f"another worker drives the rounds of line {self._line}")
