"""A short run of `driftline lab chaos`: real programs, real faults, everything held, all gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from driftline_lab.chaos.run import LOG, Plan, run_chaos

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_a_short_run_holds_and_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    found = run_chaos(Plan(seed=1, seconds=12.0, devices=2, keep=folder))
    assert found["broken"] == [], found
    assert found["num_faults"] >= 1
    assert found["num_versions"] >= 1
    assert found["num_in_cloud"] >= found["num_samples"] > 0
    log = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    assert [row["event"] for row in log][-1] == "end"
    assert not _processes_of(folder)


def _processes_of(folder: Path) -> list[int]:
    """Those that were given a path below `folder`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words and int(place.name) != os.getpid():
            found.append(int(place.name))
    return found
