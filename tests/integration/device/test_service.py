"""A real `driftline device run` under a service manager: what it says, and how it obeys signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from driftline_device.daemon.snapshot import read_snapshot
from driftline_shared.host.lock import lock_holder
from tests.fakes.service_manager import ServiceManager, service_manager
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration


@dataclass(frozen=True, kw_only=True)
class Service:
    """A device process, its folder and who listens to it."""

    process: subprocess.Popen[bytes]
    manager: ServiceManager
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def logged(self, event: str) -> list[dict[str, Any]]:
        path = self.state / "logs" / "device.log"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [row for row in rows if row["event"] == event]

    def write_settings(self, text: str) -> None:
        (self.folder / "device.toml").write_text(
            f'state = "{self.state}"\nstatus_s = 0.1\npair = "tiny"\n{text}\n'
        )

    def end(self) -> bytes:
        """SIGTERM, and what was on standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, shown = self.process.communicate(timeout=60)
        return shown


@contextmanager
def started(folder: Path, text: str) -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as short, service_manager(Path(short)) as manager:
        service = Service(process=None, manager=manager, folder=folder)  # type: ignore[arg-type]
        service.write_settings(text)
        command = ["-m", "driftline_shared.program.cli", "device", "run", "--hold", "--config"]
        process = subprocess.Popen(
            [sys.executable, *command, str(folder / "device.toml"), "--set", "quiet_s=0.5"],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "NOTIFY_SOCKET": manager.address,
                "WATCHDOG_USEC": "400000",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            yield Service(process=process, manager=manager, folder=folder)
        finally:
            process.kill()
            process.communicate(timeout=60)


def driftline(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline_shared.program.cli", "device", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LOG = '[log]\nfile = "logs/device.log"\nlevel = "{level}"'


def test_the_life_of_a_service(tmp_path: Path) -> None:
    with started(tmp_path, LOG.format(level="info")) as service:
        manager, state = service.manager, service.state
        until(lambda: manager.count("READY=1") == 1)
        assert lock_holder(state) == service.process.pid
        until(lambda: manager.count("WATCHDOG=1") >= 3)
        until(lambda: any(text.startswith("holding, version 0") for text in manager.of("STATUS")))

        # What can change does; the rest is named.
        service.write_settings("pace = 4.0\nthreads = 3\n" + LOG.format(level="warning"))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("READY=1") == 2)
        assert int(*manager.of("MONOTONIC_USEC")) > 0
        (waits,) = service.logged("settings.wait")
        assert waits["keys"] == ["threads"]
        assert service.logged("settings.taken") == []  # below the new level

        # A broken file changes nothing, and says why.
        service.write_settings("pace = fast")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("READY=1") == 3)
        (kept,) = service.logged("settings.kept")
        assert "is not TOML" in kept["error"]
        assert kept["fix"]

        # An operator's request reaches the running process.
        until(lambda: (state / "status.json").exists())
        done = driftline("pause", "--state", state, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["paused_unix_s"] > 0
        until(lambda: any("(paused)" in text for text in manager.of("STATUS")))

        beats = manager.count("WATCHDOG=1")
        until(lambda: manager.count("WATCHDOG=1") > beats)
        shown = service.end()
        assert service.process.returncode == 0, shown
        assert manager.count("STOPPING=1") == 1
        assert int(*manager.of("EXTEND_TIMEOUT_USEC")) >= 30e6
    assert read_snapshot(state)["activity"] == "stopped"
    assert read_snapshot(state)["paused_unix_s"] > 0
    assert lock_holder(state) is None
    assert b"settings.kept" in shown
