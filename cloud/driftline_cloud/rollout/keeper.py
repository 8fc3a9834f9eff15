"""What keeps rollouts moving beside those who serve: phases go on, bad versions stop, earlier ones
are released again.

    1  the stop          a row: the version is stopped, an earlier one owed  (orders.py)
    2  the release       the earlier one's bits under a new number, on disk  (release/restore.py)
    3  what followed     a row: the new version is everyone's, none is owed  (orders.py)

Killed after 1 or 2, the next step goes on from there: the release is found again by its name. The
same way a line that was joined by devices of another one gets numbers above theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from driftline_cloud.intake.faults import say
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.release.restore import publish_restored
from driftline_cloud.rollout.offers import Offers
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.rollout import Rollout, number_id, restore_id
from driftline_cloud.rollout.store import RolloutStore
from driftline_shared.program.outage import Outage

_log = structlog.get_logger(__name__)

_REST = 20.0
"""Times as long as it took to count the reports of a version it rests before it counts again."""


class RolloutKeeper:
    """Moves the rollouts of the lines that are served; one thread calls it."""

    def __init__(
        self,
        store: RolloutStore,
        orders: RolloutOrders,
        registry: ReleaseRegistry,
        offers: Offers,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._orders = orders
        self._registry = registry
        self._offers = offers
        self._monotonic_s = monotonic_s
        self._not_before_s: dict[str, float] = {}
        self._outages: dict[str, Outage] = {}

    def try_step(self, line: str) -> None:
        """As `step`; the database or the disk may be away for a while: what is due stays due, and
        the log has why.
        """
        outage = self._outages.setdefault(
            line, Outage("rollout.step_failed", "rollout.steps_again", line=line)
        )
        try:
            self.step(line)
        except Exception as error:
            say(outage, error, self._store.database.place)
        else:
            outage.is_over()

    def step(self, line: str) -> None:
        """Do what is due on the line."""
        stopped = self._store.owing(line)
        if stopped is None and self._monotonic_s() >= self._not_before_s.get(line, 0.0):
            began_s = self._monotonic_s()
            changed = self._orders.step(line, self._registry.newest_version(line))
            took_s = self._monotonic_s() - began_s
            self._not_before_s[line] = began_s + _REST * took_s
            if changed is not None:
                self._offers.forget()
                _say(changed)
                stopped = changed if changed.owes_restore else None
        if stopped is not None:
            self._restore(stopped)
        else:
            self._number(line)

    def _number(self, line: str) -> None:
        """Give the bits of the newest version as many new numbers as devices need that joined."""
        owed, newest = self._store.number_owed(line), self._registry.newest_version(line)
        if newest > owed:
            return
        # The newest one may have been released so, and cut off before its row.
        for version in range(max(1, newest), owed + 1):
            if version <= newest:
                manifest = self._registry.manifest(line, version)
                if manifest.round_id != number_id(line, version):
                    continue
            else:
                manifest = publish_restored(
                    self._registry,
                    line,
                    version - 1,
                    round_id=number_id(line, version),
                    created_unix_s=self._orders.now_unix_s,
                )
            if self._orders.numbered(
                line,
                version=version,
                round_id=manifest.round_id,
                digest=manifest.target_digest.hex(),
            ):
                self._offers.forget()
                _log.info("version.numbered", line=line, version=version)

    def _restore(self, stopped: Rollout) -> None:
        """Release again what `stopped` owes."""
        assert stopped.restore_to is not None  # or nothing would be owed
        manifest = publish_restored(
            self._registry,
            stopped.line,
            stopped.restore_to,
            round_id=restore_id(stopped.line, stopped.version),
            created_unix_s=stopped.changed_unix_s,
        )
        self._orders.followed(
            stopped,
            version=manifest.target_version,
            round_id=manifest.round_id,
            digest=manifest.target_digest.hex(),
        )
        self._offers.forget()
        _log.warning(
            "version.restored",
            line=stopped.line,
            stopped=stopped.version,
            restores=stopped.restore_to,
            version=manifest.target_version,
            blob_bytes=manifest.blob_bytes,
        )


def _say(rollout: Rollout) -> None:
    _log.info(
        "rollout.changed",
        line=rollout.line,
        version=rollout.version,
        state=str(rollout.state),
        phase=rollout.phase,
        num_devices=rollout.num_devices,
        reason=rollout.reason,
    )
