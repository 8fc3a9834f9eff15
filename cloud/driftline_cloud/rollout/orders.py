"""What changes rollouts: rounds that release, the rule, operators. One transaction a change, with
its entry in the log.

A stop writes that an earlier version is owed, before anything is released: whoever serves the line
then does it (`restore.py`), and a kill in between changes nothing but the hour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, insert, select

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.rollout import rollout as machine
from driftline_cloud.rollout import rows
from driftline_cloud.rollout.audit import CLOUD, write_entry
from driftline_cloud.rollout.plan import Plan, RolloutSettings, plan_for
from driftline_cloud.rollout.rollout import Rollout, RolloutState
from driftline_cloud.rollout.rule import Decision, Verdict, judge
from driftline_shared.errors import DataError, DriftlineError
from driftline_shared.host.clock import Clock

_DONE = {"approve": "approved", "pause": "paused", "resume": "resumed", "promote": "promoted"}

_NO_PHASES = Plan(phases=(), tolerated_share=0.5, error_rate=0.5)
"""The plan of a version that never went by phases."""


class RolloutOrders:
    """Changes the rollouts of a cloud; calls may come from any thread and process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def now_unix_s(self) -> int:
        """The time of what is ordered now."""
        return int(self._clock.now_s())

    # -- by the cloud itself ----------------------------------------------------------------------

    def begin(
        self,
        line: str,
        version: int,
        *,
        round_id: str,
        base_version: int,
        settings: RolloutSettings,
    ) -> Rollout:
        """Say how far `version` may go, before it is released; again for the same round: nothing.

        DriftlineError where what it was built on was stopped.
        """
        now_s = self.now_unix_s
        with self._database.write() as connection:
            rows.lock(connection, line)
            known = rows.get(connection, line, version)
            if known is not None and known.round_id == round_id:
                return known
            self._check_base(connection, line, base_version)
            for one in rows.open_ones(connection, line):
                if one.version != version:
                    over = machine.supersede(
                        one, now_unix_s=now_s, reason=f"version {version} is on its way"
                    )
                    self._keep(connection, one, over, who=CLOUD, action="supersede")
            fresh = Rollout(
                line=line,
                version=version,
                round_id=round_id,
                plan=plan_for(settings, rows.num_devices(connection, line)),
                reason="waits for `driftline cloud release approve`",
                created_unix_s=now_s,
                phase_unix_s=now_s,
                changed_unix_s=now_s,
            )
            rows.forget_members(connection, line, version)
            begun = (
                fresh
                if settings.approval
                else machine.start(fresh, now_unix_s=now_s, reason=f"released by {round_id}")
            )
            return self._keep(connection, fresh, begun, who=CLOUD, action="begin")

    def _check_base(self, connection: Connection, line: str, base_version: int) -> None:
        base = rows.get(connection, line, base_version)
        withdrawn = base is not None and base.state is RolloutState.STOPPED
        if withdrawn or rows.owing(connection, line) is not None:
            raise DriftlineError(withdrawn_text(base_version))

    def forget(self, line: str, version: int, *, round_id: str) -> None:
        """The round never released its version: there is none that could be on its way."""
        with self._database.write() as connection:
            rows.lock(connection, line)
            known = rows.get(connection, line, version)
            if known is not None and known.round_id == round_id and known.is_open:
                over = machine.supersede(
                    known, now_unix_s=self.now_unix_s, reason="its round never released it"
                )
                self._keep(connection, known, over, who=CLOUD, action="supersede")

    def is_withdrawn(self, line: str, version: int) -> bool:
        """Whether the version was stopped."""
        with self._database.read() as connection:
            found = rows.get(connection, line, version)
        return found is not None and found.state is RolloutState.STOPPED

    def step(self, line: str, published: int) -> Rollout | None:
        """Go on, or stop, where the reports say so; what changed. `published`: the newest version
        that is there.
        """
        with self._database.read() as connection:
            found = self._judged(connection, line, published)
        if found is None or found[1].decision is Decision.WAIT:
            return None
        now_s = self.now_unix_s
        with self._database.write() as connection:
            rows.lock(connection, line)
            found = self._judged(connection, line, published)  # as it is now that nobody changes it
            if found is None or found[1].decision is Decision.WAIT:
                return None
            rollout, verdict = found
            if verdict.decision is Decision.STOP:
                return self._withdraw(
                    connection, line, published, to=None, who=CLOUD, why=verdict.reason
                )
            after = machine.go_on(rollout, now_unix_s=now_s, reason=verdict.reason)
            action = "complete" if after.state is RolloutState.COMPLETE else "go_on"
            return self._keep(connection, rollout, after, who=CLOUD, action=action)

    def _judged(
        self, connection: Connection, line: str, published: int
    ) -> tuple[Rollout, Verdict] | None:
        rolling = [
            one
            for one in rows.open_ones(connection, line)
            if one.state is RolloutState.ROLLING and one.version <= published
        ]
        if not rolling:
            return None
        rollout = rolling[0]
        verdict = judge(
            rows.evidence(connection, rollout),
            rollout.plan,
            rollout.phase,
            elapsed_s=self.now_unix_s - rollout.phase_unix_s,
        )
        return rollout, verdict

    def followed(self, stopped: Rollout, *, version: int, round_id: str, digest: str) -> Rollout:
        """What `stopped` owed is released, as `version`, everyone's at once. Again: nothing."""
        line, now_s = stopped.line, self.now_unix_s
        with self._database.write() as connection:
            rows.lock(connection, line)
            known = rows.get(connection, line, stopped.version)
            if known is None or not known.owes_restore:
                return stopped
            restored_to = known.restore_to
            self._add_version(connection, line, version, round_id, digest)
            for one in rows.open_ones(connection, line):
                # A round's release that the stop overtook.
                over = machine.supersede(
                    one, now_unix_s=now_s, reason=f"version {version} takes its place"
                )
                self._keep(connection, one, over, who=CLOUD, action="supersede")
            self._complete(connection, line, version, round_id, restores=restored_to or 0)
            after = machine.restored(known, version)
            rows.put(connection, after)
            return after

    def numbered(self, line: str, *, version: int, round_id: str, digest: str) -> bool:
        """The bits of the version before are released again, as `version`; whether that is new."""
        with self._database.write() as connection:
            rows.lock(connection, line)
            is_new = self._add_version(connection, line, version, round_id, digest)
            if is_new:
                self._complete(connection, line, version, round_id, restores=version - 1)
        return is_new

    def _add_version(
        self, connection: Connection, line: str, version: int, round_id: str, digest: str
    ) -> bool:
        """Keep that the version was released; False: it is known already."""
        table = tables.versions
        mine = (table.c.line == line) & (table.c.version == version)
        if connection.scalar(select(table.c.round_id).where(mine)) is not None:
            return False
        connection.execute(
            insert(table).values(
                line=line,
                version=version,
                round_id=round_id,
                digest=digest,
                released_unix_s=self.now_unix_s,
            )
        )
        return True

    def _complete(
        self, connection: Connection, line: str, version: int, round_id: str, *, restores: int
    ) -> None:
        """The version is everyone's, for it has the bits of one that was."""
        now_s = self.now_unix_s
        rows.forget_members(connection, line, version)
        fresh = Rollout(
            line=line,
            version=version,
            round_id=round_id,
            plan=_NO_PHASES,
            state=RolloutState.COMPLETE,
            num_devices=rows.num_devices(connection, line),
            reason=f"the bits of version {restores} again",
            restores=restores,
            created_unix_s=now_s,
            phase_unix_s=now_s,
            changed_unix_s=now_s,
        )
        rows.put(connection, fresh)
        self._write(connection, fresh, who=CLOUD, action="restore")

    # -- by operators -----------------------------------------------------------------------------

    def approve(self, line: str, *, who: str, why: str = "") -> Rollout:
        """Let the version that waits for it begin."""
        return self._order(line, machine.start, "approve", who=who, why=why)

    def pause(self, line: str, *, who: str, why: str = "") -> Rollout:
        """Let nobody else have the version that is on its way; who has it keeps it."""
        return self._order(line, machine.pause, "pause", who=who, why=why)

    def resume(self, line: str, *, who: str, why: str = "") -> Rollout:
        """Go on with the version that was paused."""
        return self._order(line, machine.resume, "resume", who=who, why=why)

    def promote(self, line: str, *, who: str, why: str = "", to_all: bool = False) -> Rollout:
        """Begin the next phase now, or let everyone have the version."""
        return self._order(
            line, machine.finish if to_all else machine.go_on, "promote", who=who, why=why
        )

    def stop(self, line: str, *, who: str, why: str = "") -> Rollout:
        """Let nobody have the version that is on its way, and release the one before it again."""
        with self._database.write() as connection:
            rows.lock(connection, line)
            rollout = self._open(connection, line)
            newest = rows.newest_known(connection, line)
            if rollout.version > newest:
                raise DataError(
                    f"version {rollout.version} of line {line} is just being released",
                    fix="Ask again in a moment.",
                )
            return self._withdraw(connection, line, newest, to=None, who=who, why=why)

    def rollback(self, line: str, to: int, *, who: str, why: str = "") -> Rollout:
        """Release version `to` again, under a new number, in place of all that came after it.

        DataError where there is no such version, or it was stopped itself.
        """
        with self._database.write() as connection:
            rows.lock(connection, line)
            newest = rows.newest_known(connection, line)
            if rows.owing(connection, line) is not None:
                raise DataError(
                    f"an earlier version of line {line} is being released again already",
                    fix="Wait for the cloud that serves the line; it does so within seconds.",
                )
            if not 0 <= to < newest:
                raise DataError(
                    f"line {line} cannot go back to version {to}: its newest is {newest}",
                    fix="`driftline cloud release list` shows what there is.",
                )
            target = rows.get(connection, line, to)
            if target is not None and target.state is RolloutState.STOPPED:
                raise DataError(
                    f"version {to} of line {line} was stopped: {target.reason}",
                    fix="Choose an earlier one, or the version that took its place.",
                )
            return self._withdraw(connection, line, newest, to=to, who=who, why=why)

    def _order(
        self,
        line: str,
        change: Callable[..., Rollout],
        action: str,
        *,
        who: str,
        why: str,
    ) -> Rollout:
        with self._database.write() as connection:
            rows.lock(connection, line)
            rollout = self._open(connection, line)
            reason = f"{_DONE[action]} by {who}" + (f": {why}" if why else "")
            after = change(rollout, now_unix_s=self.now_unix_s, reason=reason)
            return self._keep(connection, rollout, after, who=who, action=action, why=why)

    def _open(self, connection: Connection, line: str) -> Rollout:
        found = rows.open_ones(connection, line)
        if not found:
            raise DataError(
                f"no version of line {line} is on its way",
                fix="`driftline cloud release list` shows what there is.",
            )
        return found[0]

    # -- steps ------------------------------------------------------------------------------------

    def _withdraw(
        self, connection: Connection, line: str, newest: int, *, to: int | None, who: str, why: str
    ) -> Rollout:
        """Stop `newest` and all that came after version `to`, which is owed from now on; None: the
        newest one below `newest` that is everyone's.
        """
        now_s = self.now_unix_s
        if to is None:
            to = rows.settled(connection, line, newest - 1)
        reason = why or f"stopped by {who}"
        for version in rows.versions_after(connection, line, to):
            one = rows.get(connection, line, version)
            assert one is not None  # listed in this transaction
            if version < newest and (one.is_open or one.state is RolloutState.COMPLETE):
                over = machine.stop(one, now_unix_s=now_s, reason=reason)
                self._keep(connection, one, over, who=who, action="stop", why=why)
        last = rows.get(connection, line, newest) or Rollout(
            line=line,
            version=newest,
            round_id="",
            plan=_NO_PHASES,
            state=RolloutState.COMPLETE,
            created_unix_s=now_s,
        )
        stopped = machine.stop(last, now_unix_s=now_s, reason=reason, restore_to=to)
        return self._keep(connection, last, stopped, who=who, action="stop", why=why)

    def _keep(
        self,
        connection: Connection,
        before: Rollout,
        after: Rollout,
        *,
        who: str,
        action: str,
        why: str = "",
    ) -> Rollout:
        """Write `after` and its entry; a phase that begins gets its devices."""
        entered = after.state in (RolloutState.ROLLING, RolloutState.COMPLETE) and (
            before.state is RolloutState.AWAITING or after.phase != before.phase
        )
        if entered or after.state is RolloutState.COMPLETE:
            reached = rows.admit(connection, after, now_unix_s=self.now_unix_s)
            after = replace(after, num_devices=reached)
        rows.put(connection, after)
        if not after.is_open and after.state is not RolloutState.STOPPED:
            rows.forget_members(connection, after.line, after.version)
        self._write(connection, after, who=who, action=action, why=why)
        return after

    def _write(
        self, connection: Connection, rollout: Rollout, *, who: str, action: str, why: str = ""
    ) -> None:
        said = [why or rollout.reason]
        if rollout.state is RolloutState.ROLLING:
            said.append(
                f"phase {rollout.phase + 1} of {len(rollout.plan.phases)}, "
                f"{rollout.num_devices} devices"
            )
        if rollout.restore_to is not None:
            said.append(f"version {rollout.restore_to} is to be released again")
        write_entry(
            connection,
            now_unix_s=self.now_unix_s,
            who=who,
            action=action,
            line=rollout.line,
            version=rollout.version,
            detail="; ".join(one for one in said if one),
        )


def withdrawn_text(base_version: int) -> str:
    """Why a round that was built on a stopped version releases nothing."""
    return (
        f"version {base_version}, on which it was built, was stopped; its samples wait for the next"
    )
