"""Ctrl-C in the middle of a replay with a process of its own: nothing of either is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.replays import NO_ROUNDS, record_small
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = pytest.mark.integration

LONGEST_S = 60.0


def group_of(pid: int) -> list[int]:
    """The processes of the group that `pid` leads, without those that have ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_replay_with_a_cloud_beside_it(tmp_path: Path) -> None:
    pair = make_tiny_pair(tmp_path / "pair")
    trace = record_small(tmp_path / "trace", pair)
    words = [sys.executable, "-m", "driftline_shared.program.cli", "lab", "replay", str(trace)]
    words += ["--pair", str(pair), "--no-cache", "--processes", "--speed", "0.1"]
    words += ["--out", str(tmp_path / "run")]
    words += [f"--set-cloud={key}={value}" for key, value in NO_ROUNDS.items()]
    process = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + LONGEST_S
        while len(group_of(process.pid)) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 130
        assert said.split("\n")[-2] == "stopped: Ctrl-C (SIGINT)"
        assert "Traceback" not in said
        assert group_of(process.pid) == []
        assert not (tmp_path / "run" / "run.json").exists()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stderr is not None
        process.stderr.close()
