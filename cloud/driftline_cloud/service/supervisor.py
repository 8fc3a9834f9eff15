"""A process of its own for the heavy work: started, started again when it ends, told, then killed.

Its orders go to its standard input, one JSON line, so that a password in a URL is in no list of
processes; the pipe stays open, and its end says that who started it is gone. Killing it is safe at
any moment: what it was doing is in the database and is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import structlog

from driftline_cloud.config import CloudConfig
from driftline_cloud.rounds.board import GONE
from driftline_cloud.rounds.settings import WorkSettings
from driftline_shared.program.repeats import log_memory

_log = structlog.get_logger(__name__)

WORK = (sys.executable, "-m", "driftline_cloud.work")
"""The command of the product's own."""

LIVED_S = 60.0
"""A process that lived for so long came up well: the next wait is the shortest again."""

POLL_S = 0.1

Say = Callable[[str, str], None]
"""Called with a state of `rounds.board` and its reason."""


def work_orders(config: CloudConfig, owner: str, *, line: str, pair: str) -> bytes:
    """What a process of `WORK` reads first: the settings, the name under which it works, its line
    and the pair of it.
    """
    values = config.model_dump(mode="json") | {
        "database_url": config.database_url,
        "pair": pair,
        # What nobody set must stay so: there the pair's own settings count.
        "distil": config.distil.to_mapping(),
    }
    return json.dumps({"config": values, "owner": owner, "line": line}).encode() + b"\n"


def leave_after(seconds: float) -> threading.Timer:
    """A timer that ends this process, whatever runs in it; to be started."""

    def leave() -> None:
        _log.warning("process.left", after_s=seconds)
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    return timer


class Supervisor:
    """Keeps one process of `command` alive while `run` runs.

    `feed`: what it reads first. `say` is told when it ends. `grace_s`: for it to end in order.
    `name`: of it in the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        feed: bytes,
        say: Say,
        settings: WorkSettings,
        grace_s: float,
        name: str = "work",
    ) -> None:
        self._command = list(command)
        self._feed = feed
        self._say = say
        self._settings = settings
        self._grace_s = grace_s
        self._name = name
        self.last_code: int | None = None
        self._has_failed = False

    def run(self, halt: threading.Event, *, usage_ends: bool = False) -> None:
        """Until `halt` is set. `usage_ends`: also when the first process says that its settings are
        wrong (exit code 2); otherwise that is tried again, too.
        """
        with log_memory() as memory:
            self._keep_alive(halt, usage_ends, memory)

    def _keep_alive(self, halt: threading.Event, usage_ends: bool, memory: dict[str, str]) -> None:
        wait_s = self._settings.restart_s
        num_started = 0
        while not halt.is_set():
            process = self._start(memory)
            num_started += 1
            lived = self._watch(process, halt)
            if halt.is_set():
                return
            self.last_code = process.returncode
            if usage_ends and num_started == 1 and process.returncode == 2:
                return
            wait_s = self._settings.restart_s if lived else wait_s
            self._tell(process.returncode, wait_s)
            halt.wait(wait_s)
            wait_s = min(2 * wait_s, self._settings.most_restart_s)

    def _start(self, memory: dict[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            env=os.environ | memory,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # Ctrl-C reaches who started this program; it tells its child in order.
            start_new_session=True,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already: it is looked at soon
            process.stdin.write(self._feed)
            process.stdin.flush()
        _log.info(f"{self._name}.started", process=process.pid)
        return process

    def _watch(self, process: subprocess.Popen[bytes], halt: threading.Event) -> bool:
        """Until the process has ended, of itself or because of `halt`; whether it lived long."""
        waited = 0
        while process.poll() is None and not halt.wait(POLL_S):
            waited += 1
            if self._has_failed and waited * POLL_S >= LIVED_S:
                self._has_failed = False
                _log.info(f"{self._name}.stays_up", process=process.pid)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._grace_s)
            except subprocess.TimeoutExpired:
                _log.warning(f"{self._name}.killed", process=process.pid, after_s=self._grace_s)
        self._end_group(process)
        return waited * POLL_S >= LIVED_S

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of the process and of what it started, and let its pipe go."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()

    def _tell(self, code: int, wait_s: float) -> None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        reason = f"its process {how}; another starts in {wait_s:g} s"
        self._has_failed = True
        _log.warning(f"{self._name}.ended", how=how, again_in_s=wait_s)
        try:
            self._say(GONE, reason)
        except Exception:
            # The database may be away: the log has it.
            _log.exception(f"{self._name}.not_told")
