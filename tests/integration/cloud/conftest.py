"""A real cloud on a free port of loopback, and who works for it, in threads of this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.intake.database import Database
from driftline_cloud.service.assembly import spans_of
from driftline_cloud.service.server import serve
from driftline_cloud.trust.authority import Authority, make_authority
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import Members
from driftline_cloud.trust.tokens import EnrolTokens
from driftline_cloud.work.program import Worker
from driftline_proto.v1 import (
    control_pb2_grpc,
    downlink_pb2_grpc,
    uplink_pb2,
    uplink_pb2_grpc,
)
from driftline_shared import wire
from driftline_shared.pair.pair import Pair
from driftline_shared.rpc.channel import open_channel
from driftline_shared.rpc.status import fetch_status
from driftline_shared.spans.spans import Spans
from driftline_shared.status import Enrolment, LineStatus, SampleAck
from driftline_shared.trust.credentials import Credentials
from driftline_shared.trust.invitation import Invitation
from driftline_shared.update import Adapter
from tests.fakes.cloud import ReckoningWorkers, bare_pair, fake_makers, start_adapter
from tests.fakes.samples import as_sent
from tests.fakes.trust import credentials

TIMEOUT_S = 60.0


@dataclass(kw_only=True)
class RunningCloud:
    """A cloud that serves, and what a device needs to talk to it."""

    config: CloudConfig
    pair: Pair
    workers: ReckoningWorkers
    port: int
    channel: grpc.Channel
    stop_serving: Callable[[], None]

    def __post_init__(self) -> None:
        self.control = control_pb2_grpc.ControlStub(self.channel)
        self.uplink = uplink_pb2_grpc.UplinkStub(self.channel)
        self.downlink = downlink_pb2_grpc.DownlinkStub(self.channel)

    def enrolment(self, device_id: str = "d1") -> Enrolment:
        return Enrolment(
            device_id=device_id,
            pair=self.pair.name,
            token_space=self.pair.token_space.digest,
            base_model=self.pair.base_model,
            adapter_version=0,
        )

    def enrol(self, device_id: str = "d1", **changes: object) -> None:
        enrolment = replace(self.enrolment(device_id), **changes)
        self.control.Enrol(wire.to_enrolment(enrolment), timeout=TIMEOUT_S)

    def line(self) -> LineStatus:
        (line,) = fetch_status(f"127.0.0.1:{self.port}", timeout_s=TIMEOUT_S).lines
        return line

    def push(self, *batches: uplink_pb2.SampleBatch) -> list[SampleAck]:
        replies = self.uplink.Push(map(as_sent, batches), timeout=TIMEOUT_S)
        return [ack for reply in replies for ack in wire.from_acks(reply)]


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return bare_pair(Path(tmp_path_factory.mktemp("pair")))


@pytest.fixture
def start_cloud(tmp_path: Path, bare: Pair) -> Iterator[Callable[..., RunningCloud]]:
    running: list[RunningCloud] = []

    def start(
        name: str = "state",
        pair: Pair | None = None,
        initial: Adapter | None = None,
        work: Sequence[str] = (),
        spans: Callable[[CloudConfig], Spans | None] = spans_of,
        **overrides: object,
    ) -> RunningCloud:
        settings = {"state": tmp_path / name, "listen": "127.0.0.1:0", "drain_s": 5.0}
        if work:
            settings["pair"] = str((pair or bare).dir)
        config = load_config(None, {**settings, **overrides}, environment={})
        cloud = _start(
            config, pair or bare, ReckoningWorkers(), initial or start_adapter(), work, spans
        )
        running.append(cloud)
        return cloud

    yield start
    for cloud in running:
        cloud.channel.close()
        cloud.stop_serving()


@pytest.fixture
def cloud(start_cloud: Callable[..., RunningCloud]) -> RunningCloud:
    return start_cloud(**{"rounds.trigger.round_samples": 40, "dwc.max_fp16_share": 0.5})


def _start(
    config: CloudConfig,
    pair: Pair,
    workers: ReckoningWorkers,
    initial: Adapter,
    work: Sequence[str],
    spans: Callable[[CloudConfig], Spans | None],
) -> RunningCloud:
    """`work`: the command of working processes; empty: a thread works, on the line of `pair`."""
    ready: Future[int] = Future()
    loops: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    makers = fake_makers(workers) if work else fake_makers(workers, lambda _name: pair)
    makers = replace(makers, initial=lambda _pair: initial, spans=spans)

    async def run() -> None:
        stop = asyncio.Event()
        loops.set_result((asyncio.get_running_loop(), stop))
        try:
            await serve(config, makers, work=work, stop=stop, ready=ready.set_result)
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # to be raised where the cloud was started

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    port = ready.result(TIMEOUT_S)
    halt = threading.Event()
    worker = Worker(config=config, makers=makers, owner="tests")
    working = threading.Thread(target=worker.run, args=(halt,), daemon=True)
    if not work:
        working.start()
    channel = grpc.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    )

    def stop_serving() -> None:
        halt.set()
        if not work:
            working.join(TIMEOUT_S)
        assert not working.is_alive()
        loop, event = loops.result(TIMEOUT_S)
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it may close between the two lines
                loop.call_soon_threadsafe(event.set)
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()

    return RunningCloud(
        config=config,
        pair=pair,
        workers=workers,
        port=port,
        channel=channel,
        stop_serving=stop_serving,
    )


@dataclass(kw_only=True)
class Guarded:
    """A running cloud with its authority, and its database opened beside it."""

    running: RunningCloud
    authority: Authority
    database: Database

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.running.port}"

    @property
    def members(self) -> Members:
        return Members(self.database)

    def device(self) -> Credentials:
        """One that is let in and enrolled."""
        found = credentials(self.authority, Role.DEVICE)
        self.members.add(found.identity, label="", role=Role.DEVICE, now_unix_s=0)
        with open_channel(self.address, credentials=found) as channel:
            enrolment = self.running.enrolment(found.identity)
            stub = control_pb2_grpc.ControlStub(channel)
            stub.Enrol(wire.to_enrolment(enrolment), timeout=TIMEOUT_S)
        return found

    def invitation(self, token: str = "") -> Invitation:
        return Invitation(address=self.address, root=self.authority.fingerprint, token=token)

    def token(self, uses: int = 1, ttl_s: int = 60) -> str:
        now_s = int(time.time())
        return EnrolTokens(self.database).make(uses=uses, ttl_s=ttl_s, now_unix_s=now_s)


@pytest.fixture
def guarded(tmp_path: Path, start_cloud: Callable[..., RunningCloud]) -> Iterator[Guarded]:
    authority = make_authority(tmp_path / "state", name="tests")
    running = start_cloud("state")
    database = Database(running.config.database)
    yield Guarded(running=running, authority=authority, database=database)
    database.close()
