"""Kill -9 of a process that does nothing but write slots: what is in force is always whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from driftline_device.updates.slots import Slots

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


def test_the_version_in_force_is_whole_whenever_the_process_died(tmp_path: Path) -> None:
    folder = tmp_path / "slots"
    command = [sys.executable, "-m", "tests.integration.device.activate_forever", str(folder)]
    for number in range(6):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert process.stdout is not None
        told = int(process.stdout.readline())
        time.sleep(0.003 * number)  # another place in the loop each time
        process.kill()
        rest, _ = process.communicate(timeout=60)
        told = max([told, *(int(line) for line in rest.split())])
        slots = Slots(folder)
        before = slots.pointer()
        loaded = slots.recover(base_model="b")
        assert loaded is not None
        # Never older than what was reported as active; its slot was never the one being written.
        assert loaded.version == before.version >= told
        np.testing.assert_array_equal(loaded.adapter["w"], np.full((64, 64), loaded.version))
