"""The programs that the benches of the intake measure, as processes on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftline_lab.demo.processes import Program, command, running, wait_for_file

START_S = 60.0


@contextmanager
def serving(state: Path, pair: str, logs: Path) -> Iterator[tuple[str, Program]]:
    """A cloud that serves and does not work, with its settings as they are by default; its address,
    and what runs.
    """
    words = ["cloud", "serve", "--no-work", "--state", str(state), "--pair", pair]
    words += ["--listen", "127.0.0.1:0"]
    with running("cloud", command(*words), logs / "cloud.log") as cloud:
        yield _address(state, cloud), cloud


@contextmanager
def bare(state: Path, logs: Path) -> Iterator[tuple[str, Program]]:
    """A bare server, see `peers.bare_cloud`."""
    words = [sys.executable, "-m", "driftline_lab.peers.bare_cloud", str(state)]
    with running("bare server", words, logs / "bare.log") as server:
        yield _address(state, server), server


def _address(state: Path, server: Program) -> str:
    return f"127.0.0.1:{int(wait_for_file(state / 'port', server, START_S))}"
