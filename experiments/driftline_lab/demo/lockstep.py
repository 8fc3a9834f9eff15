"""Lockstep: device and cloud take turns, so that a seed gives the same numbers each time.

    device at step k: its samples have left, nothing of it goes on
      -> enough samples wait in the cloud: a round by order, until it has ended
      -> the device goes on: takes what was released, answers the questions up to step k + 1

A round is cut by the order of samples alone, an update comes into force between the same two
questions, and neither depends on how fast either side is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from driftline_device.daemon.state_files import StateFiles
from driftline_lab.demo.processes import Program
from driftline_lab.demo.readings import read_status
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.rpc.rounds import start_round
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import CLOSED_ROUNDS, CloudStatus, LineStatus, RoundStatus
from driftline_shared.trust.credentials import Credentials

POLL_S = 0.2
ROUND_POLL_S = 1.0
"""While a round runs, for minutes: looking takes of the processor that it learns on."""
CALL_S = 10.0
STUCK_S = 900.0
"""Neither side says anything new for so long: the demo says so and ends."""

Found = TypeVar("Found")
Show = Callable[[CloudStatus | None], None]


class Lockstep:
    """Drives a device with steps and a cloud without triggers, both running, to the end."""

    def __init__(
        self,
        *,
        cloud: Program,
        device: Program,
        address: str,
        operator: Credentials | None = None,
        device_state: Path,
        round_samples: int,
        show: Show,
        at_step: Callable[[], None] = lambda: None,
    ) -> None:
        """`operator`: what is shown to a cloud with an authority. `round_samples`: a round is
        ordered when so many wait at a step. `show` is called again and again with the cloud's
        newest status, `at_step` once while the device waits at a step.
        """
        self._at_step = at_step
        self._cloud, self._device = cloud, device
        self._address, self._operator = address, operator
        self._device_state = device_state
        self._round_samples = round_samples
        self._show = show
        self._status: CloudStatus | None = None
        self._heard = ""
        self._heard_s = time.monotonic()

    def run(self) -> None:
        """Until the device has ended by itself.

        Raises DriftlineError when one side fails, with the end of its log, or is stuck.
        """
        state_files = StateFiles(self._device_state)
        step = 0
        while self._wait_for(partial(self._at, step)):
            self._at_step()
            line = self._wait_for(self._line)
            if line is not None and line.num_waiting >= self._round_samples:
                opened = start_round(self._address, timeout_s=CALL_S, credentials=self._operator)
                self._wait_for(partial(self._has_ended, opened), slowly=True)
            state_files.let_go_on(step)
            step += 1
        self._device.check()

    def _wait_for(self, find: Callable[[], Found | None], *, slowly: bool = False) -> Found | None:
        """What `find` gives once it is something; None if the device has ended before."""
        while True:
            self._cloud.check()
            running = self._device.running()
            found = find()
            if found or not running:
                return found
            self._show(self._status)
            self._stop_if_stuck()
            time.sleep(ROUND_POLL_S if slowly else POLL_S)

    def _at(self, step: int) -> bool:
        status = read_status(self._device_state)
        self._hear("device", status.get("num_answered"), status.get("activity"))
        return status.get("step") == step and status.get("activity") == "waiting"

    def _line(self) -> LineStatus | None:
        try:
            self._status = fetch_status(self._address, timeout_s=CALL_S, credentials=self._operator)
        except LinkError as error:
            if error.reason is not Reason.UNREACHABLE:
                raise
            return None  # a busy cloud answers the next time; a dead one is seen by its process
        (line,) = self._status.lines
        return line

    def _has_ended(self, opened: RoundStatus) -> bool:
        line = self._line()
        if line is None or line.round is None or line.round.round_id != opened.round_id:
            return False
        self._hear("round", line.round.state, line.round.progress)
        return line.round.state in CLOSED_ROUNDS

    def _hear(self, *words: object) -> None:
        heard = repr(words)
        if heard != self._heard:
            self._heard, self._heard_s = heard, time.monotonic()

    def _stop_if_stuck(self) -> None:
        if time.monotonic() - self._heard_s > STUCK_S:
            raise DriftlineError(
                f"nothing has changed for {STUCK_S:.0f} s: {self._heard}; the device's log ends:\n"
                f"{self._device.tail()}\nthe cloud's:\n{self._cloud.tail()}",
                fix=f"What the logs say; all of them: {self._device.log}, {self._cloud.log}.",
            )
