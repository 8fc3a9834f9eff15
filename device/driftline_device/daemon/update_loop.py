"""The loop of the thread that owns the updates: act on what the watch found, ask the cloud, sleep.

It sleeps in every state, also where there is nobody to ask (no cloud, paused) and where what is
asked for cannot be done: a turn comes when its time has come, when the watch calls (`wake`), or at
once where the last one brought a version further.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

from driftline_device.updates.applier import Applier
from driftline_device.updates.partners import UpdateLink
from driftline_shared.errors import LinkError
from driftline_shared.host.clock import Clock

LONGEST_SLEEP_S = 60.0
"""Settings may have changed meanwhile."""

SETTLING_POLL_S = 1.0
"""Longest sleep while somebody waits for an update."""

_log = structlog.get_logger(__name__)


class UpdateLoop:
    """Turns of one thread; `run` is all of them.

    `poll_s`: seconds between two questions to the cloud, asked for at each turn. `is_settling`:
    somebody waits until all updates are here. `is_paused`: by an operator, nothing is asked for.
    `at_updates`: held while an update is asked for and applied.
    """

    def __init__(
        self,
        applier: Applier,
        link: UpdateLink | None,
        clock: Clock,
        *,
        poll_s: Callable[[], float],
        is_settling: Callable[[], bool],
        is_paused: Callable[[], bool],
        at_updates: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._applier = applier
        self._link = link
        self._clock = clock
        self._poll_s = poll_s
        self._is_settling = is_settling
        self._is_paused = is_paused
        self._at_updates = at_updates
        self._due_s = clock.monotonic_s()

    def run(self, ending: threading.Event) -> None:
        """Turn after turn until `ending` is set, which takes a `wake` of the applier to be seen."""
        while not ending.is_set():
            sleep_s = self.turn()
            if not ending.is_set():  # a turn clears the wake that came with it
                self._clock.wait(self._applier.wake, sleep_s)

    def turn(self) -> float:
        """One turn; how many seconds to sleep after it. Raises nothing."""
        now_s, poll_s, settling = self._clock.monotonic_s(), self._poll_s(), self._is_settling()
        asks = self._link is not None and not self._is_paused()
        # A pace that was made quicker meanwhile does not wait for the end of the slower one.
        self._due_s = min(self._due_s, now_s + poll_s)
        is_due = asks and (now_s >= self._due_s or settling)
        if is_due:
            # Before anything can fail: what fails is tried again when its time has come.
            self._due_s = now_s + poll_s
        before = self._progress()
        try:
            with self._at_updates():
                self._applier.act()
            if is_due and self._link is not None:
                with self._at_updates():
                    self._applier.poll(self._link)
        except LinkError as error:
            _log.info("updates.waiting", reason=error.reason, error=str(error))
        except Exception:
            _log.exception("updates.raised")
        if is_due and self._progress() != before:
            return 0.0  # there may be the next version already
        left_s = self._due_s - self._clock.monotonic_s() if asks else poll_s
        return max(0.0, min(SETTLING_POLL_S if settling else LONGEST_SLEEP_S, left_s))

    def _progress(self) -> tuple[int, int]:
        """Rises with each version that was taken or given up, and with no other offer."""
        return self._applier.state.version, len(self._applier.failed_versions)
