"""kill -9 on a process that appends: what it was told is kept is kept, once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from driftline_device.spool.sqlite import SqliteSpool
from tests.fakes.samples import make_sample

ROOT = Path(__file__).parents[3]


def run_and_kill(path: Path, first: int, num_lines: int) -> list[str]:
    """Start the appending process, kill it after `num_lines` lines; the whole lines it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.device.append_forever", str(path), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    with process.stdout as output:
        for line in output:
            lines.append(line)
            if len(lines) >= num_lines:
                break
        os.kill(process.pid, signal.SIGKILL)
        lines.extend(output)
    process.wait(30)
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


@pytest.mark.integration
def test_kill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    rng = random.Random(5)
    kept: set[int] = set()
    first = 0
    for _ in range(4):
        for line in run_and_kill(path, first, rng.randrange(1, 60)):
            word, number = line.split()
            (kept.add if word == "kept" else kept.discard)(int(number))
        first += 1_000
        spool = SqliteSpool(path, max_bytes=1 << 30, max_samples=1 << 20)
        stats = spool.stats()
        samples = [sample for _, sample in spool.peek(max_bytes=1 << 40, max_samples=1 << 20)]
        spool.close()
        numbers = [int.from_bytes(sample.id, "big") for sample in samples]
        assert len(numbers) == len(set(numbers)) == stats.num_samples
        # The kill may fall between a commit and the line that tells of it: one append more or, at
        # that moment, one ack more than was said.
        assert len(kept - set(numbers)) <= 1, "kept samples are gone"
        assert all(number % 7 == 3 for number in kept - set(numbers))
        assert len(set(numbers) - kept) <= 1
        for sample, number in zip(samples, numbers, strict=True):
            assert sample == make_sample(number, payload_bytes=20_000 if number % 5 else 100)
        kept = set(numbers)
        assert stats.num_quarantined == 0
        assert stats.num_appended == stats.num_samples + stats.num_acked
