"""How soon a cloud that holds many samples says how it is."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driftline_lab.bench.intake.filling import NUM_DEVICES, fill_cloud
from driftline_lab.bench.intake.servers import serving
from driftline_lab.bench.processors import load_average
from driftline_lab.demo.processes import command
from driftline_lab.peers.material import Material
from driftline_shared.errors import DriftlineError
from driftline_shared.rpc.status import fetch_status

CALL_S = 60.0


def run_status(num_samples: int, *, runs: int = 20, pair: str = "tiny") -> dict[str, Any]:
    """Milliseconds of a status of a cloud with so many samples, half of them waiting and half used:
    of the call on a connection of its own, and of the whole command, interpreter and all, beside
    that of `driftline --version`.
    """
    material, load = Material(pair=pair), load_average()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        began_s = time.perf_counter()
        fill_cloud(state, material, num_samples, used_share=0.5)
        fill_s = time.perf_counter() - began_s
        num_bytes = sum(file.stat().st_size for file in state.glob("cloud.sqlite*"))
        began_s = time.perf_counter()
        with serving(state, pair, Path(folder)) as (address, _):
            start_s = time.perf_counter() - began_s
            calls = [_ms(lambda: fetch_status(address, timeout_s=CALL_S)) for _ in range(runs)]
            (line,) = fetch_status(address, timeout_s=CALL_S).lines
            words = ("cloud", "status", "--address", address, "--json")
            of_status = [_ms(lambda: _run(*words)) for _ in range(max(1, runs // 4))]
            of_nothing = [_ms(lambda: _run("--version")) for _ in range(max(1, runs // 4))]
    return {
        "pair": pair,
        "samples": line.num_samples,
        "waiting": line.num_waiting,
        "devices": NUM_DEVICES,
        "database_bytes": num_bytes,
        "load_average": load,
        "fill_s": fill_s,
        "start_s": start_s,
        "status_ms": statistics.median(calls),
        "status_ms_max": max(calls),
        "command_ms": statistics.median(of_status),
        "command_without_ms": statistics.median(of_nothing),
    }


def _ms(what: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    what()
    return 1e3 * (time.perf_counter() - began_s)


def _run(*words: str) -> None:
    done = subprocess.run(command(*words), capture_output=True, check=False)
    if done.returncode != 0:
        raise DriftlineError(
            f"driftline {' '.join(words)} ended with {done.returncode}: "
            f"{done.stderr.decode(errors='replace')[-500:]}"
        )
