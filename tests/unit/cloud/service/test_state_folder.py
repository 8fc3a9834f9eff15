"""Where a cloud listens, told to others on its machine."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftline_cloud import state as state_module
from driftline_cloud.state import hold_state, read_port


def test_the_port_is_told_while_it_is_held(tmp_path: Path) -> None:
    with hold_state(tmp_path) as state:
        state.write_port(7)
        assert read_port(tmp_path) == 7
    assert read_port(tmp_path) is None


def test_a_full_disk_keeps_no_cloud_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by `driftline lab chaos`: it ended with a traceback."""

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(state_module, "write_atomic", full)
    with hold_state(tmp_path) as state, capture_logs() as logs:
        state.write_port(7)
    assert [(line["event"], line["port"]) for line in logs] == [("cloud.port_not_kept", 7)]
    assert "No space left" in logs[0]["error"]
