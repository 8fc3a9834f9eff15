"""Nodes of a Ray cluster as processes of the program's own commands, on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from driftline_shared.host.loopback import free_port

SMALL = ("--store-mb", "80")
"""For machines of two cores."""

UP_S = 120.0
"""For a node to come up on a busy machine."""


def free_address() -> str:
    """A host:port of loopback where nobody listens."""
    return f"127.0.0.1:{free_port()}"


class Node:
    """One command of `driftline cloud cluster` in the foreground, and all it says."""

    def __init__(self, arguments: Sequence[str], home: Path) -> None:
        self.said: list[str] = []
        self._changed = threading.Condition()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "driftline_shared.program.cli", *arguments],
            env={**environment, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, words: str) -> None:
        """Until a line has `words`; AssertionError where the process ends before."""
        with self._changed:
            self._changed.wait_for(
                lambda: words in self.text or self.process.poll() is not None, UP_S
            )
        assert words in self.text, self.text

    @property
    def text(self) -> str:
        return "".join(self.said)

    def end(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.said.append(line)
                    self._changed.notify_all()
        self.process.wait()
        with self._changed:
            self._changed.notify_all()


def raylets_of(address: str) -> list[int]:
    """Process ids of what serves the cluster at `address` on this machine."""
    found = []
    port = address.rpartition(":")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"/raylet/raylet" in words and f":{port}".encode() in words:
            found.append(int(folder.name))
    return found
