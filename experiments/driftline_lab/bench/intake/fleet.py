"""A cloud with many simulated devices on one machine: errors, times of Check, memory."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from driftline_lab.bench.intake.quantiles import quantile
from driftline_lab.bench.intake.servers import serving
from driftline_lab.bench.memory import resident_bytes
from driftline_lab.bench.processors import cpu_seconds, load_average
from driftline_lab.demo.processes import POLL_S, Program, running
from driftline_lab.peers.fleet import FleetPlan
from driftline_shared.errors import DriftlineError
from driftline_shared.host.durable import write_atomic

_LEAD_S = 0.5
"""In which all processes see that they may begin."""

_LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """How many devices, and how they live. `pushing`: of them; `processes`: that they live in."""

    pair: str = "tiny"
    devices: int = 10_000
    processes: int = 2
    connections: int = 200
    ramp_s: float = 60.0
    steady_s: float = 60.0
    every_s: float = 5.0
    pushing: int = 200
    batch: int = 4


def run_fleet(fleet: Fleet) -> dict[str, Any]:
    """What the devices saw and what the cloud's process took.

    `resident`: its bytes, every second from the end of the enrolments on; `drift`: of the line
    through them, over the time that is measured, as a share of where it begins.
    """
    load = load_average()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (state := folder / "state").mkdir()
        with serving(state, fleet.pair, folder) as (address, cloud), ExitStack() as stack:
            living = [
                stack.enter_context(_living(plan, folder / f"fleet-{number}"))
                for number, plan in enumerate(shared_out(fleet, address))
            ]
            steady_s = _begin(living) + fleet.ramp_s
            resident, cores = _watch(cloud, [one for one, _ in living], steady_s, fleet.steady_s)
            seen = [_result(*one) for one in living]
            is_up = cloud.running()
    return {
        **asdict(fleet),
        **told(seen, fleet),
        "load_average": load,
        "cloud_running": is_up,
        "cloud_cores": cores,
        "resident": resident,
        "drift": drift(resident),
    }


def shared_out(fleet: Fleet, address: str) -> Iterator[FleetPlan]:
    """The plans of the processes."""
    first = 0
    for number in range(fleet.processes):
        devices = _part(fleet.devices, fleet.processes, number)
        yield FleetPlan(
            address=address,
            pair=fleet.pair,
            first=first,
            devices=devices,
            connections=max(1, _part(fleet.connections, fleet.processes, number)),
            ramp_s=fleet.ramp_s,
            steady_s=fleet.steady_s,
            every_s=fleet.every_s,
            pushing=_part(fleet.pushing, fleet.processes, number),
            batch=fleet.batch,
        )
        first += devices


def _part(total: int, parts: int, number: int) -> int:
    return total * (number + 1) // parts - total * number // parts


def told(seen: Sequence[dict[str, Any]], fleet: Fleet) -> dict[str, Any]:
    """What all processes saw together."""
    errors: Counter[str] = Counter()
    times: dict[str, list[float]] = {"enrol_ms": [], "check_ms": [], "push_ms": []}
    for one in seen:
        errors.update(one["errors"])
        for name, values in times.items():
            values.extend(one[name])
    return {
        "enrolled": len(times["enrol_ms"]),
        "checks_per_s": len(times["check_ms"]) / fleet.steady_s,
        "samples": sum(one["samples"] for one in seen),
        "errors": sum(errors.values()),
        "errors_by_kind": dict(errors.most_common(20)),
        **{
            f"{name}_p{percent}": quantile(values, percent / 100) if values else None
            for name, values in times.items()
            for percent in (50, 99)
        },
        "check_ms_max": max(times["check_ms"], default=None),
    }


def drift(resident: Sequence[int]) -> float:
    """Of the line through values at even steps: its end over its beginning, less 1."""
    if len(resident) < 2:
        return 0.0
    slope, begin = statistics.linear_regression(range(len(resident)), resident)
    return slope * (len(resident) - 1) / begin


@contextmanager
def _living(plan: FleetPlan, folder: Path) -> Iterator[tuple[Program, Path]]:
    """A process of devices, and its folder."""
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")
    words = [sys.executable, "-m", "driftline_lab.peers.fleet", str(folder)]
    with running("fleet", words, folder / "log") as one:
        yield one, folder


def _begin(living: Sequence[tuple[Program, Path]]) -> float:
    """Let all begin once all are ready; when, in seconds since 1970."""
    while not all((folder / "ready").is_file() for _, folder in living):
        for one, _ in living:
            one.check()
        time.sleep(POLL_S)
    begin_s = time.time() + _LEAD_S
    for _, folder in living:
        write_atomic(folder / "begin", str(begin_s).encode())
    return begin_s


def _watch(
    cloud: Program, living: Sequence[Program], steady_unix_s: float, steady_s: float
) -> tuple[list[int], float]:
    """Until the devices have ended: memory of the cloud in the time that is measured, and how much
    of a core it took then.
    """
    resident: list[int] = []
    before_s = cpu_s = 0.0
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("living", total=None)
        while any(one.running() for one in living):
            time.sleep(_LOOK_S)
            bar.update(task, advance=_LOOK_S)
            cloud.check()
            if cloud.running() and 0 <= time.time() - steady_unix_s < steady_s:
                resident.append(resident_bytes(cloud.process.pid))
                cpu_s = cpu_seconds(cloud.process.pid)
                before_s = before_s or cpu_s
    return resident, (cpu_s - before_s) / max(_LOOK_S, _LOOK_S * (len(resident) - 1))


def _result(one: Program, folder: Path) -> dict[str, Any]:
    one.check()
    file = folder / "seen.json"
    if not file.is_file():
        raise DriftlineError(f"a process of devices left no result: {one.tail()}")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
