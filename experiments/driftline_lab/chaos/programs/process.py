"""One program of a run: started, killed, started again; only ever ended by its own process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from driftline_lab.chaos.disk.control import Control

STOP_S = 180.0
MAX_LOG_BYTES = 8 << 20


class Program:
    """`words` are arguments of this Python; `extra` variables are added to the environment."""

    def __init__(
        self, name: str, words: Sequence[str], *, extra: Mapping[str, str], log: Path, control: Path
    ) -> None:
        self.name = name
        self.control = Control(control)
        self.log = log
        self._words = list(words)
        self._extra = dict(extra)
        self._process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self.killed = False

    def start(self) -> None:
        """Start it, or start it again; its log goes on, and begins anew when it is large."""
        self.wanted, self.killed = True, False
        is_large = self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES
        with self.log.open("wb" if is_large else "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self._extra},
            )

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs, or was never started."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """Of what runs or ran; 0: nothing yet."""
        return 0 if self._process is None else self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self.killed = True
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def send(self, what: signal.Signals) -> None:
        """A signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(what)

    def stop(self) -> int | None:
        """SIGTERM, and its exit code; None where it had to be killed."""
        self.wanted = False
        if self._process is None or self._process.poll() is not None:
            return self.code
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(STOP_S)
        self.kill()
        return None

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(
            self.log.read_text(errors="replace", encoding="utf-8").rstrip("\n").split("\n")[-lines:]
        )


def children_of(pid: int) -> list[int]:
    """Processes that `pid` has started and that still run."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found |= {int(one) for one in (task / "children").read_text(encoding="ascii").split()}
    return sorted(found)


def kill_pid(pid: int) -> bool:
    """kill -9 of one process; whether it was there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
