"""The unit for systemd: its command is a real one, its times fit the device's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from driftline_device.config import load_config
from driftline_device.program.service import STOP_MARGIN_S
from tests.unit.project.command_line import words
from tests.unit.project.test_docs import check_command

UNIT = Path(__file__).resolve().parents[3] / "device" / "deploy" / "driftline-device.service"


def settings(section: str) -> dict[str, list[str]]:
    """Keys of a section, which may come more than once."""
    text = UNIT.read_text().partition(f"[{section}]\n")[2].partition("\n[")[0]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"s": 1, "min": 60}[unit]


def test_the_command_is_one_that_there_is() -> None:
    command = words(settings("Service")["ExecStart"][0])
    command[0] = Path(command[0]).name
    check_command(command)
    assert command[:3] == ["driftline", "device", "run"]
    assert command[command.index("--state") + 1] == "${STATE_DIRECTORY}"


def test_systemd_waits_as_long_as_the_device_may_take() -> None:
    service = settings("Service")
    assert service["Type"] == ["notify"]
    assert "HUP" in service["ExecReload"][0]
    assert (
        seconds(service["TimeoutStopSec"][0]) >= load_config(None, {}, {}).drain_s + STOP_MARGIN_S
    )
    assert seconds(service["WatchdogSec"][0]) >= 60
    assert service["RestartPreventExitStatus"] == ["2"]


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    # Program and user need not be on the machine that tests.
    text = re.sub(r"/opt/driftline/bin/driftline", "/bin/true", UNIT.read_text())
    text = re.sub(r"^(User|Group)=.*$", "", text, flags=re.MULTILINE)
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    run = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about = [line for line in run.stderr.splitlines() if UNIT.name in line]
    assert (run.returncode, about) == (0, [])
