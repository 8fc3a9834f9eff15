"""Simulated devices that push what they have as fast as they are answered.

Each has a connection and a stream of its own, all in the event loop of the caller's process; what
they send was serialised before, so that little of the time is the devices' own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from driftline_lab.peers.channels import open_channel
from driftline_proto.v1 import control_pb2_grpc, uplink_pb2
from driftline_shared.status import Enrolment
from driftline_shared.wire import from_acks, to_batch, to_enrolment

_PUSH = "/" + "/".join((uplink_pb2.DESCRIPTOR.services_by_name["Uplink"].full_name, "Push"))
CALL_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What came of it. `seconds`: from the first batch to the last ack, of all devices together;
    `ack_s`: of each batch, from its sending to its acks; `verdicts`: samples by what became of
    them.
    """

    seconds: float
    ack_s: tuple[float, ...]
    verdicts: Mapping[str, int]


def batches_of(
    device_id: str, token_space: str, bodies: Sequence[bytes], batch: int
) -> tuple[bytes, ...]:
    """Serialised samples as serialised batches of `batch` each."""
    return tuple(
        to_batch(device_id, token_space, bodies[start : start + batch]).SerializeToString()
        for start in range(0, len(bodies), batch)
    )


def enrol(address: str, enrolments: Iterable[Enrolment]) -> None:
    """Enrol devices, one after the other."""

    async def run() -> None:
        async with open_channel(address) as channel:
            stub = control_pb2_grpc.ControlStub(channel)
            for enrolment in enrolments:
                await stub.Enrol(to_enrolment(enrolment), timeout=CALL_S)

    asyncio.run(run())


def push(address: str, batches: Sequence[Sequence[bytes]], *, window: int) -> Pushed:
    """Push the batches of each device, `window` of them unanswered at most.

    grpc.aio.AioRpcError if a stream breaks.
    """
    return asyncio.run(_push(address, batches, window))


async def _push(address: str, batches: Sequence[Sequence[bytes]], window: int) -> Pushed:
    start, connected = asyncio.Event(), asyncio.Barrier(len(batches) + 1)
    async with asyncio.TaskGroup() as group:
        devices = [
            group.create_task(_device(address, own, window, connected, start)) for own in batches
        ]
        await connected.wait()
        began_s = time.perf_counter()
        start.set()
    ended_s = max(device.result()[0] for device in devices)
    verdicts: Counter[str] = Counter()
    for device in devices:
        verdicts.update(device.result()[2])
    return Pushed(
        seconds=ended_s - began_s,
        ack_s=tuple(one for device in devices for one in device.result()[1]),
        verdicts=dict(verdicts),
    )


async def _device(
    address: str,
    batches: Sequence[bytes],
    window: int,
    connected: asyncio.Barrier,
    start: asyncio.Event,
) -> tuple[float, list[float], Counter[str]]:
    """When its last ack came, how long each took, and what became of its samples."""
    async with open_channel(address) as channel:
        await channel.channel_ready()
        push: Any = channel.stream_stream(
            _PUSH, response_deserializer=uplink_pb2.SampleAcks.FromString
        )
        call = push(timeout=10 * CALL_S)
        await connected.wait()
        await start.wait()
        room, sent_s = asyncio.Semaphore(window), list[float]()

        async def send() -> None:
            for batch in batches:
                await room.acquire()
                sent_s.append(time.perf_counter())
                await call.write(batch)

        took_s: list[float] = []
        verdicts: Counter[str] = Counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(len(batches)):
                message = await call.read()
                if message is grpc.aio.EOF:
                    raise ConnectionError(f"the stream ended after {number} batches")
                took_s.append(time.perf_counter() - sent_s[number])
                room.release()
                verdicts.update(str(ack.verdict) for ack in from_acks(message))
        ended_s = time.perf_counter()
        await call.done_writing()
        await call.read()
    return ended_s, took_s, verdicts
