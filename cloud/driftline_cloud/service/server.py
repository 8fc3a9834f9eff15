"""What serves devices, as a process: gRPC on one port, an orderly end on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from driftline_cloud.config import CloudConfig
from driftline_cloud.intake.faults import say
from driftline_cloud.rounds.retention import Retention
from driftline_cloud.service import calls
from driftline_cloud.service.assembly import Makers, assemble_service, check_reach
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.control import ControlServicer
from driftline_cloud.service.downlink import DownlinkServicer
from driftline_cloud.service.guard import GuardInterceptor
from driftline_cloud.service.holding import hold_database
from driftline_cloud.service.interceptors import DeadlineInterceptor, ErrorInterceptor
from driftline_cloud.service.pages_beside import pages_beside
from driftline_cloud.service.pools import Pools
from driftline_cloud.service.rates import Rates
from driftline_cloud.service.supervisor import leave_after
from driftline_cloud.service.supervisors import Supervisors
from driftline_cloud.service.trust import TrustServicer, server_credentials
from driftline_cloud.service.uplink import UplinkServicer
from driftline_cloud.service.waits import Draining, StreamLimits
from driftline_cloud.state import StateFolder, hold_state
from driftline_proto.v1 import (
    control_pb2,
    control_pb2_grpc,
    downlink_pb2,
    downlink_pb2_grpc,
    trust_pb2_grpc,
    uplink_pb2,
    uplink_pb2_grpc,
)
from driftline_shared.bounds import MAX_BATCH_BYTES
from driftline_shared.errors import ConfigError
from driftline_shared.program.outage import Outage

_log = structlog.get_logger(__name__)

_SERVICES = (
    control_pb2.DESCRIPTOR.services_by_name["Control"].full_name,
    uplink_pb2.DESCRIPTOR.services_by_name["Uplink"].full_name,
    downlink_pb2.DESCRIPTOR.services_by_name["Downlink"].full_name,
)
_OPTIONS = (
    # Room for a batch with one sample that is too large: it is refused by itself, with a reason.
    ("grpc.max_receive_message_length", 4 * MAX_BATCH_BYTES),
    ("grpc.so_reuseport", 0),  # a second cloud on the port is an error, not half of the devices
    # Devices keep their one stream alive through NATs that forget a silent connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A connection that says nothing, or never ends its handshake, holds a file no longer than that.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # gRPC cancels calls at random, without a word, where more than 1,000 wait for its loop: as when
    # a fleet comes back at once. They hold some kilobytes each.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 30_000),
)

_GAUGES_S = 10.0
"""How old the gauges of a line may be when Prometheus reads them."""

_LOOK_S = 1.0
"""How often it is looked for rounds that have ended, which another process drives, for lines that
an operator has changed, and for signs of life that are to be written.
"""

LEAVE_S = 5.0
"""After `drain_s` and so long the process leaves, whatever still runs: a kill is safe."""


class GrpcServer:
    """The gRPC server of a cloud."""

    def __init__(
        self, cloud: Cloud, config: CloudConfig, limits: StreamLimits | None = None
    ) -> None:
        limits = limits or StreamLimits()
        self._pools, rates = Pools(config.pools), Rates(config.rates)
        self._draining = Draining()
        self._health = health_aio.HealthServicer()
        self._trust = cloud.trust
        self._watching: asyncio.Task[None] | None = None
        interceptors: list[grpc.aio.ServerInterceptor] = [
            ErrorInterceptor(cloud.database.place),
            DeadlineInterceptor(limits.call_s),
        ]
        self._guard: GuardInterceptor | None = None
        if cloud.trust is not None:
            self._guard = GuardInterceptor(
                cloud.trust.peers, cloud.trust.members, cloud.database.place
            )
            interceptors.append(self._guard)
        self._server = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
        if cloud.trust is not None:
            trust_pb2_grpc.add_TrustServicer_to_server(
                TrustServicer(cloud.trust, self._pools, rates, cloud.clock, cloud.signing),
                self._server,
            )
        control_pb2_grpc.add_ControlServicer_to_server(
            ControlServicer(cloud, self._pools, rates), self._server
        )
        uplink = UplinkServicer(cloud, self._pools, limits=limits, draining=self._draining)
        uplink_pb2_grpc.add_UplinkServicer_to_server(uplink, self._server)
        downlink_pb2_grpc.add_DownlinkServicer_to_server(
            DownlinkServicer(cloud, self._pools, rates, limits=limits), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if config.reflection:
            names = (*_SERVICES, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def open(self, listen: str) -> int:
        """Listen on `listen` (host:port); the port in use."""
        try:
            if self._trust is None:
                port = self._server.add_insecure_port(listen)
            else:
                credentials = server_credentials(self._trust.server)
                port = self._server.add_secure_port(listen, credentials)
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen on {listen}",
                fix="Stop what listens there, or name another address of this machine with "
                "--listen (port 0: any free one).",
            ) from error
        if self._guard is not None:
            await self._guard.look()  # before anybody is let in
        await self._server.start()
        if self._guard is not None:
            self._watching = asyncio.create_task(self._guard.watch())
        for service in ("", *_SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def close(self, grace_s: float) -> None:
        """Take no new calls, end idle streams, let running calls finish for `grace_s`."""
        await self._health.enter_graceful_shutdown()
        self._draining.begin()
        await self._server.stop(grace_s)
        if self._watching is not None:
            self._watching.cancel()
        self._pools.close()


async def serve(
    config: CloudConfig,
    makers: Makers | None = None,
    *,
    work: Sequence[str] = (),
    stop: asyncio.Event | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Take samples and serve updates until `stop` is set or the process is asked to end.

    `work`: the command of the process that drives rounds beside it (see `Supervisor`); empty:
    somebody else does. `ready` is called with the port, which is also in `<state>/port`. Raises
    DriftlineError kinds.
    """
    check_reach(config)
    stop = stop or asyncio.Event()
    undo_signals = _stop_on_signals(stop, config.drain_s + LEAVE_S)
    try:
        makers = makers or Makers()
        with hold_state(config.state) as state:
            async with hold_database(config, state, makers, stop):
                if stop.is_set():
                    return
                cloud = await asyncio.to_thread(assemble_service, config, state, makers)
                try:
                    with pages_beside(config):
                        await _run(config, state, cloud, work, stop, ready)
                finally:
                    await asyncio.to_thread(cloud.close)
    finally:
        undo_signals()


async def _run(
    config: CloudConfig,
    state: StateFolder,
    cloud: Cloud,
    work: Sequence[str],
    stop: asyncio.Event,
    ready: Callable[[int], None] | None,
) -> None:
    server = GrpcServer(cloud, config)
    halt = threading.Event()
    metrics = None
    # One name a line: only one serves on this folder, so only one works beside it, and what follows
    # one that was killed need not wait for the end of its lease.
    beside = Supervisors(
        work,
        config=config,
        database=cloud.database,
        owner=f"beside-{cloud.cloud_id[:12]}",
        clock=cloud.clock,
    )
    working = threading.Thread(target=beside.run, args=(halt,), name="work", daemon=True)
    # Here and not where lines are worked on: all of them may be paused.
    retention = Retention(database=cloud.database, settings=config.retention, clock=cloud.clock)
    forgetting = threading.Thread(target=retention.run, args=(halt,), name="retention", daemon=True)
    try:
        port = await server.open(config.listen)
        if config.metrics.port:
            metrics = cloud.metrics.serve(config.metrics.host, config.metrics.port)
        state.write_port(port)
        forgetting.start()
        if work:
            working.start()
        address = f"{config.listen.rpartition(':')[0]}:{port}"
        _log.info(
            "cloud.serving",
            address=address,
            lines=[line.id for line in cloud.lines.all()],
            state=str(state.path),
            authority="" if cloud.trust is None else cloud.trust.fingerprint[:16],
        )
        if ready is not None:
            ready(port)
        await _until(stop, cloud)
        _log.info("cloud.stopping", drain_s=config.drain_s)
    finally:
        halt.set()
        await server.close(config.drain_s)
        if metrics is not None:
            await asyncio.to_thread(_shut, metrics)
        for thread in (working, forgetting):
            if thread.ident is not None:
                await asyncio.to_thread(thread.join, LEAVE_S)


async def _until(stop: asyncio.Event, cloud: Cloud) -> None:
    """Wait for `stop`; meanwhile follow the lines, keep the gauges of the metrics fresh, and see
    rounds end.
    """
    looked_s = float("-inf")
    outage = Outage("serving.look_failed", "serving.looks_again")
    while not stop.is_set():
        try:
            await asyncio.to_thread(_look, cloud)
            if time.monotonic() - looked_s >= _GAUGES_S:
                looked_s = time.monotonic()
                await asyncio.to_thread(cloud.status)
        except Exception as error:
            say(outage, error, cloud.database.place)
        else:
            outage.is_over()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_S)


def _look(cloud: Cloud) -> None:
    cloud.lines.refresh()
    calls.sign_what_is_new(cloud)
    cloud.devices.flush_if_due()
    for line in cloud.lines.all():
        cloud.keeper.try_step(line.id)
        for round_ in line.ended.look():
            cloud.metrics.count_round(line.id, str(round_.state))
            if line.trace is not None:
                line.trace.round_step("changed", round_)


def _shut(metrics: object) -> None:
    metrics.shutdown()  # type: ignore[attr-defined]
    metrics.server_close()  # type: ignore[attr-defined]


def _stop_on_signals(stop: asyncio.Event, leave_s: float) -> Callable[[], None]:
    """Set `stop` on SIGTERM and Ctrl-C, and leave in `leave_s` at the latest; gives what undoes
    it.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    leaving = leave_after(leave_s)

    def asked() -> None:
        stop.set()
        if leaving.ident is None:
            leaving.start()

    for one in wanted:
        loop.add_signal_handler(one, asked)

    def undo() -> None:
        for one in wanted:
            loop.remove_signal_handler(one)
        leaving.cancel()

    return undo
