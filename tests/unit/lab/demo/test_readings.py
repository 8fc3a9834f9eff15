"""What the demo's report takes from its two programs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from driftline_lab.demo.readings import downlink_of
from driftline_lab.runs.run import RunUpdate
from driftline_shared.pair.pair import Pair


def test_bytes_of_an_update_are_those_of_the_run_folder(tmp_path: Path) -> None:
    pair = cast(Pair, SimpleNamespace(student_dir=tmp_path))
    # The device's counter holds what messages added, too, and what was asked for twice.
    device = {"num_updates": 2, "link": {"update_bytes": 9_999}, "apply_pause_ms": [1.0, 3.0]}
    updates = [RunUpdate(version=n, digest="", bytes=size) for n, size in ((1, 100), (2, 300))]
    found = downlink_of(device, pair, None, updates)
    assert (found.bytes_per_update, found.updates, found.apply_pause_ms) == (200.0, 2, 2.0)
    assert downlink_of({"num_updates": 0}, pair, None, []).bytes_per_update == 0.0
