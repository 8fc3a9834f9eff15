"""What a device costs that has nothing to do: CPU time of its process, by what it waits for."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from driftline_lab.demo.processes import command
from driftline_shared.errors import DriftlineError
from driftline_shared.host.loopback import free_port

BEGIN_S = 10.0
"""Until a device is started and has done what comes first."""

NOWHERE = "127.0.0.1:9"
"""The discard port: nobody listens there."""

_DEAD_SINKS = (
    f'sinks=[{{kind = "mqtt", url = "mqtt://{NOWHERE}"}}, '
    f'{{kind = "webhook", url = "http://{NOWHERE}/hook"}}]'
)


def _watch(work: Path) -> list[str]:
    folder = work / "watched"
    folder.mkdir(parents=True)
    return ["--source", f"watch:{folder}", "--question", "What is this?"]


STATES: dict[str, tuple[Callable[[Path], list[str]], bool]] = {
    "no cloud": (lambda _: ["--hold"], False),
    "unreachable cloud": (lambda _: ["--hold", "--cloud", NOWHERE], False),
    "paused": (lambda _: ["--hold", "--cloud", NOWHERE], True),
    "two dead sinks": (lambda _: ["--hold", "--set", _DEAD_SINKS], False),
    "watched folder": (_watch, False),
    "local API": (lambda _: ["--api-port", str(free_port())], False),
    "all of these": (
        lambda work: [
            *_watch(work),
            "--cloud",
            NOWHERE,
            "--set",
            _DEAD_SINKS,
            "--api-port",
            str(free_port()),
        ],
        False,
    ),
}
"""State -> (flags of `driftline device run`, whether it is paused)."""


def run_idle(pair: str, *, seconds: float, work: Path) -> dict[str, Any]:
    """A device in each state, side by side for `seconds`: share of a core that each takes."""
    devices: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, (flags, paused) in STATES.items():
            state = work / name.replace(" ", "-")
            words = command("device", "run", "--pair", pair, "--state", str(state), "--quiet")
            devices[name] = subprocess.Popen(
                [*words, *flags(state)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if paused:
                _until((state / "status.json").exists, devices[name])
                pause = command("device", "pause", "--state", str(state))
                subprocess.run(pause, check=True, stdout=subprocess.DEVNULL)
        for name, process in devices.items():
            status = work / name.replace(" ", "-") / "status.json"
            _until(status.exists, process)
        time.sleep(BEGIN_S)
        before = {name: cpu_s(process.pid) for name, process in devices.items()}
        began_s = time.monotonic()
        for _ in track(range(int(seconds)), "idle", console=Console(stderr=True)):
            time.sleep(1.0)
        took_s = time.monotonic() - began_s
        share = {
            name: round((cpu_s(process.pid) - before[name]) / took_s, 5)
            for name, process in devices.items()
        }
        return {"pair": pair, "seconds": round(took_s, 1), "share_of_a_core": share}
    finally:
        for process in devices.values():
            process.terminate()
        for process in devices.values():
            process.wait(60.0)


def cpu_s(pid: int) -> float:
    """User and system time of the process and its threads, seconds."""
    # The name in parentheses may hold blanks; fields 14 and 15 of proc(5) are these.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not is_so():
        if process.poll() is not None:
            raise DriftlineError(
                f"a device ended with {process.returncode}",
                fix="Run `driftline device doctor`, which says what it lacks.",
            )
        time.sleep(0.1)
