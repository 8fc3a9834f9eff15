"""What was put into a queue is in it after kill -9, wherever it strikes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from driftline_device.sinks.outbox import Outbox
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[4]
PROGRAM = """
import sys
from pathlib import Path
from driftline_device.sinks.outbox import Outbox
from driftline_shared.host.clock import SystemClock
from tests.unit.device.sinks.test_console import event

box = Outbox(Path(sys.argv[1]), max_events=10**6, max_bytes=1 << 30, clock=SystemClock())
number = int(sys.argv[2])
while True:
    box.append(event(str(number)))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    if number % 3 == 0:
        box.remove([each.place for each in box.peek(1)])
    number += 1
"""


def test_nothing_that_was_told_is_lost(tmp_path: Path) -> None:
    path, last, rng = tmp_path / "hook.sqlite", -1, random.Random(5)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), str(last + 1)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        told = [int(process.stdout.readline())]
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        told += [int(line) for line in process.communicate()[0].decode().split("\n")[:-1]]
        box = Outbox(path, max_events=10**6, max_bytes=1 << 30, clock=FakeClock())
        answers = [int(each.event.body["answer"]) for each in box.peek(10**6)]
        box.close()
        assert answers == list(range(answers[0], answers[-1] + 1))
        assert answers[-1] >= told[-1]
        last = answers[-1]
