"""What certificates cost: a cloud with an authority beside one without, the same device calls both.

Connections, calls and streams are a real device's: TLS 1.3 with a certificate on either side.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from driftline_cloud.config import load_config
from driftline_device.link.channel import open_channel
from driftline_lab.bench.intake.quantiles import quantile
from driftline_lab.bench.intake.relay import Relay
from driftline_lab.bench.intake.servers import serving
from driftline_lab.bench.processors import cpu_seconds, load_average
from driftline_lab.demo.processes import Program
from driftline_lab.demo.trust import enrol_device, init_cloud
from driftline_lab.peers.material import Material
from driftline_proto.v1 import control_pb2_grpc, downlink_pb2_grpc, uplink_pb2_grpc
from driftline_shared.status import SampleVerdict, UpdateQuery
from driftline_shared.trust.credentials import IDENTITY, Credentials, read_credentials
from driftline_shared.trust.keys import identity_of
from driftline_shared.wire import from_acks, to_batch, to_enrolment, to_update_query

CALL_S = 30.0
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
    samples: int = 4_096


@dataclass(frozen=True)
class _Cloud:
    address: str
    program: Program
    device: str
    credentials: Credentials | None


def run_trust(plan: TrustPlan) -> dict[str, Any]:
    """Both clouds run side by side and are measured in turn; medians of the runs, and ratios."""
    material, load = Material(pair=plan.pair), load_average()
    measured: dict[str, list[dict[str, float]]] = {"plain": [], "certified": []}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clouds = {
            name: stack.enter_context(_cloud(Path(folder) / name, plan.pair, name == "certified"))
            for name in measured
        }
        for cloud in clouds.values():
            _enrol(cloud, material)
        for number in range(plan.runs):
            for name, cloud in clouds.items():
                measured[name].append(_measure(cloud, material, plan, seed=number))
        num_bytes = {name: _bytes(cloud, material) for name, cloud in clouds.items()}
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
def _cloud(folder: Path, pair: str, certified: bool) -> Iterator[_Cloud]:
    folder.mkdir()
    config = load_config(None, {"state": folder / "state", "pair": pair}, environment={})
    if certified:
        init_cloud(config)
    with serving(config.state, pair, folder) as (address, program):
        if not certified:
            yield _Cloud(address, program, "device", None)
            return
        enrol_device(config, folder / "device")
        found = read_credentials(folder / "device" / IDENTITY)
        identity = identity_of(found.certificate.public_key())
        yield _Cloud(address, program, identity, found)


def _enrol(cloud: _Cloud, material: Material) -> None:
    with open_channel(cloud.address, cloud.credentials) as channel:
        request = to_enrolment(material.enrolment(cloud.device))
        control_pb2_grpc.ControlStub(channel).Enrol(request, timeout=CALL_S)


def _check(channel: grpc.Channel, cloud: _Cloud, material: Material) -> float:
    """Milliseconds of a question for updates."""
    base_model = material.line.base_model
    query = UpdateQuery(device_id=cloud.device, base_model=base_model, adapter_version=0)
    message = to_update_query(query)
    began_s = time.perf_counter()
    downlink_pb2_grpc.DownlinkStub(channel).Check(message, timeout=CALL_S)
    return 1e3 * (time.perf_counter() - began_s)


def _measure(cloud: _Cloud, material: Material, plan: TrustPlan, *, seed: int) -> dict[str, float]:
    connects = []
    pid = cloud.program.process.pid
    began_cpu_s = cpu_seconds(pid)
    for _ in range(plan.connections):
        with open_channel(cloud.address, cloud.credentials) as channel:
            connects.append(_check(channel, cloud, material))
    connect_cpu_s = cpu_seconds(pid) - began_cpu_s
    with open_channel(cloud.address, cloud.credentials) as channel:
        _check(channel, cloud, material)
        began_cpu_s = cpu_seconds(pid)
        checks = [_check(channel, cloud, material) for _ in range(plan.checks)]
        check_cpu_s = cpu_seconds(pid) - began_cpu_s
        samples_per_s = _push(channel, cloud, material, plan.samples, seed)
    return {
        "connect_ms": statistics.median(connects),
        "connect_ms_p99": quantile(connects, 0.99),
        "connect_cpu_ms": 1e3 * connect_cpu_s / plan.connections,
        "check_ms": statistics.median(checks),
        "check_ms_p99": quantile(checks, 0.99),
        "check_cpu_ms": 1e3 * check_cpu_s / plan.checks,
        "samples_per_s": samples_per_s,
    }


def _push(channel: grpc.Channel, cloud: _Cloud, material: Material, count: int, seed: int) -> float:
    bodies = [sample.body for sample in material.samples(count, seed=10_000 + seed)]
    space = material.line.token_space.digest
    batches = [
        to_batch(cloud.device, space, bodies[start : start + BATCH])
        for start in range(0, count, BATCH)
    ]
    began_s = time.perf_counter()
    replies = uplink_pb2_grpc.UplinkStub(channel).Push(iter(batches), timeout=CALL_S)
    acks = [ack for reply in replies for ack in from_acks(reply)]
    num_stored = sum(ack.verdict is SampleVerdict.STORED for ack in acks)
    took_s = time.perf_counter() - began_s
    if num_stored != count:
        raise RuntimeError(f"{num_stored} of {count} samples were stored")
    return count / took_s


def _bytes(cloud: _Cloud, material: Material) -> dict[str, float]:
    """Bytes on the wire, TCP's own not counted: of a connection with one Check, and of one more."""
    with (
        Relay(cloud.address) as relay,
        open_channel(relay.address, cloud.credentials) as channel,
    ):
        _check(channel, cloud, material)
        first = relay.num_bytes
        for _ in range(20):
            _check(channel, cloud, material)
        more = (relay.num_bytes - first) / 20
    return {"connect_bytes": first, "check_bytes": more}


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
