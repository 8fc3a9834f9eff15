"""Programs of a demo or a bench: started as a user would, stopped by pid, their logs kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from driftline_shared.errors import DriftlineError

POLL_S = 0.05
STOP_S = 15.0
"""Time a program has to drain after SIGTERM before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A running process and the file its log goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise DriftlineError with the end of its log if it ended badly."""
        code = self.process.poll()
        if code not in (None, 0):
            raise DriftlineError(
                f"the {self.name} process ended with {code}; its log ends:\n{self.tail()}",
                fix=f"What its log says; all of it: {self.log}.",
            )

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace", encoding="utf-8")
        return "\n".join(text.rstrip("\n").split("\n")[-lines:])


def command(*arguments: str) -> list[str]:
    """What runs `driftline ARGUMENTS` with this interpreter."""
    return [sys.executable, "-m", "driftline_shared.program.cli", *arguments]


@contextmanager
def program(name: str, arguments: Sequence[str], log: Path) -> Iterator[Program]:
    """`running` of `driftline ARGUMENTS`."""
    with running(name, command(*arguments), log) as one:
        yield one


@contextmanager
def running(name: str, words: Sequence[str], log: Path) -> Iterator[Program]:
    """Run a command until the block ends; then SIGTERM, and SIGKILL if it does not drain."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Program(name=name, process=process, log=log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_S)
            finally:  # a second Ctrl-C must not leave it behind
                if process.poll() is None:
                    process.kill()
                    process.wait()


def wait_for_file(path: Path, owner: Program, timeout_s: float) -> str:
    """The text of a file that `owner` writes once it is ready (its port, say)."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        owner.check()
        if path.is_file() and (text := path.read_text(encoding="utf-8").strip()):
            return text
        time.sleep(POLL_S)
    raise DriftlineError(
        f"the {owner.name} process was not ready after {timeout_s:.0f} s; "
        f"its log ends:\n{owner.tail()}",
        fix=f"What its log says, or try again on an idle machine; all of it: {owner.log}.",
    )
