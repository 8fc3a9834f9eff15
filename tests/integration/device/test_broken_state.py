"""A real device on a state folder in which much is broken at once: it starts, holds, ends in order,
and nothing that was broken is lost.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftline_device.daemon.snapshot import read_snapshot
from driftline_shared.errors import DataError
from tests.fakes.waiting import until
from tests.integration.device.test_service import driftline, started

pytestmark = pytest.mark.integration

BROKEN = ("device_id", "spool.sqlite", "update.json", "slots/current.json", "sampling.json")


def holds(state: Path) -> bool:
    try:
        return read_snapshot(state)["activity"] == "holding"
    except DataError:
        return False


def test_a_real_device_starts_on_a_folder_full_of_broken_files(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "slots").mkdir(parents=True)
    for name in BROKEN:
        (state / name).write_bytes(b"\xff broken " * 9)
    (state / "status.json").mkdir()
    (state / "lock").mkdir()

    told = json.loads(driftline("doctor", "--state", state, "--json").stdout)["checks"]
    said = " ".join(check["found"] for check in told)
    assert all(name in said for name in (*BROKEN, "status.json", "lock"))

    with started(tmp_path, "") as service:
        until(lambda: holds(state), timeout_s=120.0)
        shown = service.end().decode()
        assert service.process.returncode == 0, shown
    assert "Traceback" not in shown
    aside = {path.name for path in state.rglob("*.broken")} | {"spool.sqlite.corrupt"}
    assert {f"{Path(name).name}.broken" for name in BROKEN if name != "spool.sqlite"} <= aside
    assert (state / "spool.sqlite.corrupt").read_bytes().startswith(b"\xff broken")
    assert (state / "lock").is_file() and (state / "lock.broken").is_dir()
