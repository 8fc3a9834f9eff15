"""What certificates cost: a cloud with an authority beside one without, the same device calls both.

Connections, calls and streams are a real device's: TLS 1.3 with a certificate on either side.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline_cloud.config import load_config
from driftline_lab.bench.intake.quantiles import quantile
from driftline_lab.bench.intake.relay import Relay
from driftline_lab.bench.intake.servers import serving
from driftline_lab.bench.processors import cpu_seconds, load_average
from driftline_lab.demo.trust import enrol_device, init_cloud
from driftline_lab.peers.material import Material
from driftline_lab.peers.one_device import OneDevice
from driftline_shared.trust.credentials import IDENTITY, read_credentials

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class TrustPlan:
    """Of a run of either cloud: `connections` that are opened, each for one Check; `checks` over
    one of them; `samples` pushed over one stream.
    """

    pair: str = "tiny"
    runs: int = 5
    connections: int = 50
    checks: int = 1_000
    samples: int = 2_048


@dataclass(frozen=True)
class _Cloud:
    pid: int
    device: OneDevice


def run_trust(plan: TrustPlan) -> dict[str, Any]:
    """Both clouds run side by side and are measured in turn; medians of the runs, and ratios."""
    material, load = Material(pair=plan.pair), load_average()
    measured: dict[str, list[dict[str, float]]] = {"plain": [], "certified": []}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clouds = {
            name: stack.enter_context(_cloud(Path(folder) / name, material, name == "certified"))
            for name in measured
        }
        for number in range(plan.runs):
            for name, cloud in clouds.items():
                measured[name].append(_measure(cloud, plan, seed=number))
        num_bytes = {name: _bytes(cloud.device) for name, cloud in clouds.items()}
    return {
        "pair": plan.pair,
        "runs": plan.runs,
        "connections": plan.connections,
        "checks": plan.checks,
        "samples": plan.samples,
        "batch": BATCH,
        "load_average": load,
        **{name: {**_medians(runs), **num_bytes[name]} for name, runs in measured.items()},
        "ratios": _ratios(measured),
    }


@contextmanager
def _cloud(folder: Path, material: Material, certified: bool) -> Iterator[_Cloud]:
    folder.mkdir()
    config = load_config(None, {"state": folder / "state", "pair": material.pair}, environment={})
    if certified:
        init_cloud(config)
    with serving(config.state, material.pair, folder) as (address, program):
        name, found = "device", None
        if certified:
            enrol_device(config, folder / "device")
            found = read_credentials(folder / "device" / IDENTITY)
            name = found.identity
        device = OneDevice(address, name, material, found)
        device.enrol()
        yield _Cloud(program.process.pid, device)


def _measure(cloud: _Cloud, plan: TrustPlan, *, seed: int) -> dict[str, float]:
    connects = []
    began_cpu_s = cpu_seconds(cloud.pid)
    for _ in range(plan.connections):
        with cloud.device.connected() as connection:
            connects.append(connection.check())
    connect_cpu_s = cpu_seconds(cloud.pid) - began_cpu_s
    with cloud.device.connected() as connection:
        connection.check()
        began_cpu_s = cpu_seconds(cloud.pid)
        checks = [connection.check() for _ in range(plan.checks)]
        check_cpu_s = cpu_seconds(cloud.pid) - began_cpu_s
        samples_per_s = connection.push(plan.samples, batch=BATCH, seed=10_000 + seed)
    return {
        "connect_ms": statistics.median(connects),
        "connect_ms_p99": quantile(connects, 0.99),
        "connect_cpu_ms": 1e3 * connect_cpu_s / plan.connections,
        "check_ms": statistics.median(checks),
        "check_ms_p99": quantile(checks, 0.99),
        "check_cpu_ms": 1e3 * check_cpu_s / plan.checks,
        "samples_per_s": samples_per_s,
    }


def _bytes(device: OneDevice) -> dict[str, float]:
    """Bytes on the wire, TCP's own not counted: of a connection with one Check, and of one more."""
    with Relay(device.address) as relay, device.connected(relay.address) as connection:
        connection.check()
        first = relay.num_bytes
        for _ in range(20):
            connection.check()
        return {"connect_bytes": first, "check_bytes": (relay.num_bytes - first) / 20}


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _ratios(measured: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Certified by plain of the runs beside each other: median and extremes."""
    found = {}
    for key in measured["plain"][0]:
        each = [
            mine[key] / plain[key] if plain[key] else float("nan")
            for mine, plain in zip(measured["certified"], measured["plain"], strict=True)
        ]
        found[key] = {"median": statistics.median(each), "min": min(each), "max": max(each)}
    return found
