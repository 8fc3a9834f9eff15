"""A prepared choice made anew where the machine has changed: beside the device, while it is idle.

Another process does it, at the lowest priority and for a bounded time. It begins where nobody has
asked anything for a while and other programs leave the processors alone; a question ends it at
once, and the next try waits twice as long. What it finds runs from the next start on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from driftline_device.runtime.onnx.prepared import is_outdated, read_prepared
from driftline_device.runtime.turns import Turns
from driftline_shared.errors import PairError
from driftline_shared.host.clock import Clock
from driftline_shared.host.processors import busy_share
from driftline_shared.pair.export_file import load_export

IDLE_S = 30.0
"""Nobody asks for so long before a try."""

LONGEST_WAIT_S = 3_600.0
"""Between two tries."""

LIMIT_S = 900.0
"""Most time of one try; after one that takes longer there is none any more."""

LOOK_S = 0.2
"""Seconds between two looks at whether somebody asks."""

QUESTIONS = 60
"""Asked of each precision: fewer than by hand, as a device is rarely idle for long."""

MOST_BUSY = 0.2
"""Share of the processors that other programs may use."""

LOWEST_PRIORITY = 19

_log = structlog.get_logger(__name__)


class Process(Protocol):
    """What `subprocess.Popen` is, as far as it matters here."""

    def poll(self) -> int | None:
        """The exit code once it has ended."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait until it has ended."""


def launch(folder: Path) -> Process:
    """`driftline device prepare` of the export in `folder`; a disturbed one writes nothing."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "driftline_shared.program.cli", "device", "prepare"),
            *(str(folder), "--questions", str(QUESTIONS), "--undisturbed", "--json"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with suppress(OSError):  # it may have ended
        os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST_PRIORITY)
    return process


class PreparingAnew:
    """The tries of one device, in a thread of its own. `turns`: at its model."""

    def __init__(
        self,
        folder: Path,
        turns: Turns,
        clock: Clock,
        *,
        start: Callable[[Path], Process] = launch,
        busy: Callable[[], float | None] = busy_share,
    ) -> None:
        self._folder, self._turns, self._clock = folder, turns, clock
        self._start, self._busy = start, busy
        self._wait_s = IDLE_S
        self._was_put_off = False

    def run(self, ending: threading.Event) -> None:
        """Try until there is a choice, a try fails for good, or `ending` is set."""
        while self._is_idle(ending):
            if (self._busy() or 0.0) > MOST_BUSY:
                self._put_off("other programs use the processors")
            elif self._tried(ending):
                return

    def _is_idle(self, ending: threading.Event) -> bool:
        """Wait until nobody has asked for a while; false at the end."""
        since_s, done = self._clock.monotonic_s(), self._turns.num_done
        while not self._clock.wait(ending, self._wait_s / 30.0):
            now_s = self._clock.monotonic_s()
            if self._turns.num_done != done or not self._turns.is_free:
                since_s, done = now_s, self._turns.num_done
            elif now_s - since_s >= self._wait_s:
                return True
        return False

    def _tried(self, ending: threading.Event) -> bool:
        """One try; whether it was the last."""
        _log.info("prepare.begun", folder=str(self._folder), limit_s=LIMIT_S)
        try:
            process = self._start(self._folder)
        except OSError as error:
            _log.warning("prepare.failed", error=str(error), fix=self._by_hand)
            return True
        began_s, done = self._clock.monotonic_s(), self._turns.num_done
        try:
            while (code := process.poll()) is None:
                if self._clock.wait(ending, LOOK_S):
                    return True
                if self._turns.num_done != done or not self._turns.is_free:
                    self._put_off("somebody asks")
                    return False
                if self._clock.monotonic_s() - began_s > LIMIT_S:
                    _log.warning("prepare.failed", error="it took too long", fix=self._by_hand)
                    return True
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code != 0:
            _log.warning("prepare.failed", error=f"it ended with {code}", fix=self._by_hand)
            return True
        try:
            if is_outdated(self._folder):
                self._put_off("other work disturbed it")
                return False
            chosen = read_prepared(self._folder, load_export(self._folder).precisions)
        except (OSError, PairError) as error:
            # The device runs on what it has in memory; its next start will say the same.
            _log.warning("prepare.failed", error=str(error), fix=self._by_hand)
            return True
        if chosen is not None:
            _log.info(
                "prepare.done",
                precision=chosen.precision,
                threads=chosen.threads,
                fix="Nothing to do: it runs from the next start on.",
            )
        return True

    @property
    def _by_hand(self) -> str:
        return f"Run `driftline device prepare {self._folder}`."

    def _put_off(self, why: str) -> None:
        """Later, and each time later still; said once."""
        self._wait_s = min(2.0 * self._wait_s, LONGEST_WAIT_S)
        if not self._was_put_off:
            self._was_put_off = True
            _log.info("prepare.put_off", why=why, fix=f"It is tried again, or: {self._by_hand}")
