"""What a device does at a step: it gets in touch, lets its samples leave, waits to be let go on,
then takes what the cloud has released until that moment.

All in the thread that answers: nothing of an update can happen in the middle of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import structlog

from driftline_device.daemon.answering import Answering
from driftline_device.daemon.parts import Parts
from driftline_shared.errors import LinkError

LOOK_S = 0.1
"""How often a device that waits looks whether it may go on."""

_log = structlog.get_logger(__name__)


class StepWait:
    """The wait at one step after the other.

    `at_updates`: held while an update is asked for and applied. `turn`: called between two looks;
    False ends the wait. `is_paused`: by an operator: samples and updates wait. `show`: is told what
    the device does just now.
    """

    def __init__(
        self,
        parts: Parts,
        answering: Answering,
        *,
        at_updates: Callable[[], AbstractContextManager[None]],
        turn: Callable[[], bool],
        is_paused: Callable[[], bool],
        show: Callable[[str], None],
    ) -> None:
        self._parts = parts
        self._answering = answering
        self._at_updates = at_updates
        self._turn = turn
        self._is_paused = is_paused
        self._show = show

    def go_through(self, step: int, *, retry_s: float) -> None:
        """Until the device was let go on from `step` and is up to date, or `turn` ended it.

        `retry_s`: before a cloud that was not reached is asked again.
        """
        self._until(self._is_in_touch)
        self._until(self._is_drained)
        self._until(partial(self._is_let_go, step))
        self._show("updating")
        self._until(self._is_up_to_date, every_s=retry_s)

    def _until(self, done: Callable[[], bool], *, every_s: float = LOOK_S) -> None:
        while self._turn() and not done():
            left_s = every_s
            # In slices: who asks to stop, and the service manager's watchdog, do not wait long.
            while left_s > 0 and self._turn():
                self._parts.clock.sleep(min(left_s, LOOK_S))
                left_s -= LOOK_S

    def _is_in_touch(self) -> bool:
        """Whether the cloud has welcomed the device and its policy is obeyed."""
        link = self._parts.link
        if link is not None and not link.stats().connected:
            return False
        self._answering.obey()
        return True

    def _is_drained(self) -> bool:
        if self._parts.link is None or self._is_paused():
            return True
        self._show("draining")
        self._parts.link.wake()
        return not self._parts.spool.stats().num_samples

    def _is_let_go(self, step: int) -> bool:
        self._show("waiting")
        return self._parts.state_files.goes_on_from() >= step

    def _is_up_to_date(self) -> bool:
        """Take what the cloud has released; whether that is all of it, and the cloud knows."""
        applier, link = self._parts.applier, self._parts.link
        if link is None or self._is_paused():
            return True
        try:
            before = None
            # One that is refused for no fault of its own is offered again and again.
            while self._is_offered() and before != applier.state.version:
                before = applier.state.version
        except LinkError as error:
            _log.info("updates.waiting", reason=error.reason, error=str(error))
            return False
        except Exception:
            _log.exception("updates.raised")
            return False
        self._answering.obey()
        return not applier.state.reports

    def _is_offered(self) -> bool:
        assert self._parts.link is not None
        with self._at_updates():
            return self._parts.applier.poll(self._parts.link)
