"""A recorder killed at random moments: is every event there that was on disk, and once?"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from driftline_shared.errors import DriftlineError
from driftline_shared.trace.journal import journal_of
from driftline_shared.trace.manifest import need_manifest
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.writer import recover

MOST_LINES = 60
"""A process is killed after at most so many batches were said to be on disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One process. `acknowledged`: the last event number it said was on disk. `recovered`: the last
    in the trace after `recover`. `had_journal`: whether the kill left one.
    """

    acknowledged: int
    recovered: int
    had_journal: bool


def kill_recorders(folder: Path, count: int, seed: int) -> list[Kill]:
    """Let `count` processes record into one trace, one after the other, and kill each (SIGKILL).

    DriftlineError if an event is lost, doubled or changed.
    """
    rng, kills, runs = random.Random(seed), [], []
    for run in range(count):
        acknowledged = record_and_kill(
            folder, run, num_lines=rng.randrange(1, MOST_LINES), pause_s=rng.random() * 0.01
        )
        had_journal = journal_of(folder) is not None
        before = need_manifest(folder).last_sequence
        recovered = recover(folder).last_sequence
        if recover(folder).last_sequence != recovered:
            raise DriftlineError(f"run {run}: a second recovery found other events than the first")
        if recovered < acknowledged or recovered < before:
            raise DriftlineError(
                f"run {run}: event {acknowledged} was on disk, {recovered} is the last"
            )
        runs.append(recovered)
        kills.append(Kill(acknowledged=acknowledged, recovered=recovered, had_journal=had_journal))
    check_events(folder, runs)
    return kills


def record_and_kill(folder: Path, run: int, *, num_lines: int, pause_s: float) -> int:
    """Start a recorder, kill it `pause_s` after its `num_lines`th batch; the last number it said.

    DriftlineError if it ends by itself.
    """
    command = [sys.executable, "-m", "driftline_lab.bench.trace.worker", str(folder), str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = []
    with process.stdout as output:
        for line in output:
            lines.append(line)
            if len(lines) >= num_lines:
                break
        time.sleep(pause_s)
        os.kill(process.pid, signal.SIGKILL)
        lines.extend(output)
    if process.wait(30) != -signal.SIGKILL:
        raise DriftlineError(f"the recorder ended by itself, with {process.returncode}")
    # The kill may have cut the last line.
    said = [line for line in lines if line.startswith(b"written ") and line.endswith(b"\n")]
    return max(int(line.split()[1]) for line in said)


def check_events(folder: Path, last_of_run: list[int]) -> None:
    """DriftlineError unless the trace holds, run by run, the events 0, 1, 2 … and no other."""
    expected = iter(
        (sequence, f"{run}:{sequence - first}")
        for run, (first, last) in enumerate(
            zip([0, *(last + 1 for last in last_of_run)], last_of_run, strict=False)
        )
        for sequence in range(first, last + 1)
    )
    for event in open_trace(folder).events():
        wanted = next(expected, None)
        if (event.sequence, event.question) != wanted:
            raise DriftlineError(f"event {event.sequence} is {event.question}, wanted was {wanted}")
    if next(expected, None) is not None:
        raise DriftlineError("events are missing at the end")
