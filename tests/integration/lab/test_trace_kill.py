"""kill -9 on a recorder: what it said is on disk is in the trace, once."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from driftline_lab.bench.trace.damage import flip_bits
from driftline_lab.bench.trace.kills import check_events, kill_recorders
from driftline_shared.errors import DriftlineError
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.writer import recover

pytestmark = pytest.mark.integration


def test_a_killed_recorder_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kills = kill_recorders(tmp_path, 4, seed=1)
    assert [kill.recovered >= kill.acknowledged for kill in kills] == [True] * 4
    assert any(kill.had_journal for kill in kills)
    found = flip_bits(tmp_path, 30, seed=1)
    assert found["num_refused"] == 30


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    kills = kill_recorders(tmp_path, 20, seed=2)
    assert len(kills) == 20
    assert len(open_trace(tmp_path).manifest.parts) > 20


def test_the_check_of_the_kills_sees_a_lost_event(tmp_path: Path) -> None:
    (kill,) = kill_recorders(tmp_path, 1, seed=3)
    for wrong in ([kill.recovered + 1], [kill.recovered - 1], [0, kill.recovered]):
        with pytest.raises(DriftlineError):
            check_events(tmp_path, wrong)


def test_a_disk_that_takes_no_more_ends_the_recording_alone(tmp_path: Path) -> None:
    # A file may grow to 20 KB: the journal's next write fails as on a full disk.
    code = (
        "import signal, sys, itertools; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from driftline_lab.bench.trace import worker\n"
        "real = range\n"
        "worker.range = lambda end: real(400)\n"
        "worker.main(sys.argv[1], '0'); print('answers went on')\n"
    )
    limits = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "answers went on"
    assert (done.stdout + done.stderr).count("trace.stopped") == 1
    said = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("written")]
    recovered = recover(tmp_path)
    assert recovered.last_sequence >= max(said)
    check_events(tmp_path, [recovered.last_sequence])
