"""Which versions a device may be offered: a view, some moments old, of what the database says.

Every device asks all the time; whom a version may reach changes a few times a day. The view is read
again when a newer version is there, and when it is older than `MAX_AGE_S`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.intake.faults import say
from driftline_cloud.rollout.store import Reach, RolloutStore
from driftline_shared.program.outage import Outage

MAX_AGE_S = 1.0


class Offers:
    """Answers for every line; calls may come from several threads."""

    def __init__(
        self, store: RolloutStore, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._outage = Outage("rollout.view_is_old", "rollout.view_is_new")
        self._views: dict[str, tuple[int, float, Reach]] = {}

    def version_for(
        self,
        line: str,
        device_id: str,
        *,
        newest: int,
        held: int,
        failed: Collection[int] = (),
    ) -> int | None:
        """The version that the device, which holds version `held`, may go to; None: to none.

        `newest`: the newest version that is there. One of `failed` is not offered again.
        """
        return first_of(self.reach(line, newest), device_id, held=held, failed=failed)

    def forget(self) -> None:
        """Read anew at the next question: something has just been changed."""
        with self._lock:
            self._views.clear()

    def reach(self, line: str, newest: int) -> Reach:
        """The view of a line whose newest version is `newest`."""
        with self._lock:
            now_s = self._monotonic_s()
            known = self._views.get(line)
            if known is not None and known[0] == newest and now_s - known[1] < MAX_AGE_S:
                return known[2]
            try:
                reach = self._store.reach(line, newest)
            except SQLAlchemyError as error:
                if known is None or known[0] != newest:
                    raise
                # Nothing can be stopped while the database is away, either.
                say(self._outage, error, self._store.database.place)
                reach = known[2]
            else:
                self._outage.is_over()
            self._views[line] = (newest, now_s, reach)
            return reach


def first_of(
    reach: Reach, device_id: str, *, held: int, failed: Collection[int] = ()
) -> int | None:
    """See `Offers.version_for`."""
    for version in reach.versions_for(device_id):
        if version > held and version not in failed:
            return version
    return None
