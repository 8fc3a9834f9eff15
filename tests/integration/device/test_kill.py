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
from tests.fakes.cloud_server import FakeCloud
from tests.fakes.samples import make_sample

ROOT = Path(__file__).parents[3]
SAID = (b"kept ", b"acked ", b"flushed ")


def run_and_kill(program: str, *arguments: object, num_lines: int) -> list[str]:
    """Start a process, kill it after `num_lines` lines; the whole lines it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.integration.device.{program}", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    with process.stdout as output:
        for line in output:
            lines.append(line)
            if sum(said.startswith(SAID) for said in lines) >= num_lines:
                break
        os.kill(process.pid, signal.SIGKILL)
        lines.extend(output)
    process.wait(30)
    # The log comes the same way; the last line may be cut.
    return [line.decode().strip() for line in lines if line.startswith(SAID) and line[-1:] == b"\n"]


@pytest.mark.integration
def test_kill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    rng = random.Random(5)
    kept: set[int] = set()
    first = 0
    for _ in range(3):
        lines = run_and_kill("append_forever", path, first, num_lines=rng.randrange(1, 40))
        for line in lines:
            word, number = line.split()
            (kept.add if word == "kept" else kept.discard)(int(number))
        first += 1_000
        spool = SqliteSpool(path, max_bytes=1 << 30, max_samples=1 << 20)
        stats = spool.stats()
        samples = [row.sample for _, row in spool.peek(max_bytes=1 << 40, max_samples=1 << 20)]
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


@pytest.mark.integration
def test_kill_while_sending_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    kept: set[int] = set()
    with FakeCloud() as cloud:
        for run in range(3):
            lines = run_and_kill(
                "send_forever", tmp_path, cloud.address, run * 1_000, 10_000,
                num_lines=rng.randrange(10, 60),
            )  # fmt: skip
            kept |= {int(line.split()[1]) for line in lines}
        last = run_and_kill("send_forever", tmp_path, cloud.address, 9_000, 20, num_lines=21)
    assert last[-1] == "flushed True"
    kept |= {int(line.split()[1]) for line in last[:-1]}
    arrived = {int.from_bytes(sample_id, "big") for sample_id in cloud.stored}
    assert kept <= arrived
    assert len(arrived - kept) <= 3  # appended, and killed before it was said: at most one a run
    for sample_id, sample in cloud.stored.items():
        assert sample == make_sample(int.from_bytes(sample_id, "big"), payload_bytes=5_000)
    spool = SqliteSpool(tmp_path / "spool.sqlite", max_bytes=1 << 30, max_samples=1 << 20)
    stats = spool.stats()
    spool.close()
    assert (stats.num_samples, stats.num_acked) == (0, len(arrived))


@pytest.mark.integration
def test_kills_open_no_budget_anew(tmp_path: Path) -> None:
    with FakeCloud() as cloud:
        for run in range(4):
            run_and_kill(
                "send_forever", tmp_path, cloud.address, run * 1_000, 10_000, "200 KB/day",
                num_lines=30,
            )  # fmt: skip
    sent = sum(len(batch) for batch in cloud.batches)
    assert 0 < sent <= 200_000
    held = SqliteSpool(tmp_path / "spool.sqlite", max_bytes=1 << 30, max_samples=1 << 20)
    assert held.stats().num_samples > 0, "what the budget has no room for waits"
    held.close()
