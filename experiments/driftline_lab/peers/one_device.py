"""One device that calls a cloud as a real link does, with a certificate or without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from driftline_device.link.channel import open_channel
from driftline_lab.peers.material import Material
from driftline_proto.v1 import control_pb2_grpc, downlink_pb2_grpc, uplink_pb2_grpc
from driftline_shared.errors import DriftlineError
from driftline_shared.status import SampleVerdict, UpdateQuery
from driftline_shared.trust.credentials import Credentials
from driftline_shared.wire import from_acks, to_batch, to_enrolment, to_update_query

CALL_S = 30.0


@dataclass(frozen=True)
class OneDevice:
    """`name`: who it is to the cloud at `address`; `credentials`: what it shows, None: nothing."""

    address: str
    name: str
    material: Material
    credentials: Credentials | None

    def enrol(self) -> None:
        """Introduce itself."""
        with open_channel(self.address, self.credentials) as channel:
            request = to_enrolment(self.material.enrolment(self.name))
            control_pb2_grpc.ControlStub(channel).Enrol(request, timeout=CALL_S)

    @contextmanager
    def connected(self, address: str = "") -> Iterator[Connection]:
        """A connection of its own; `address`: by way of another."""
        with open_channel(address or self.address, self.credentials) as channel:
            yield Connection(self, channel)


class Connection:
    """Calls over one channel, which connects at the first of them."""

    def __init__(self, device: OneDevice, channel: grpc.Channel) -> None:
        self._device = device
        self._downlink = downlink_pb2_grpc.DownlinkStub(channel)
        self._uplink = uplink_pb2_grpc.UplinkStub(channel)

    def check(self) -> float:
        """Milliseconds of a question for updates."""
        line = self._device.material.line
        query = UpdateQuery(
            device_id=self._device.name, base_model=line.base_model, adapter_version=0
        )
        message = to_update_query(query)
        began_s = time.perf_counter()
        self._downlink.Check(message, timeout=CALL_S)
        return 1e3 * (time.perf_counter() - began_s)

    def push(self, count: int, *, batch: int, seed: int) -> float:
        """Samples a second of `count` in one stream; DriftlineError unless all are stored."""
        material = self._device.material
        bodies = [sample.body for sample in material.samples(count, seed=seed)]
        batches = [
            to_batch(
                self._device.name, material.line.token_space.digest, bodies[start : start + batch]
            )
            for start in range(0, count, batch)
        ]
        began_s = time.perf_counter()
        replies = self._uplink.Push(iter(batches), timeout=CALL_S)
        acks = [ack for reply in replies for ack in from_acks(reply)]
        took_s = time.perf_counter() - began_s
        num_stored = sum(ack.verdict is SampleVerdict.STORED for ack in acks)
        if num_stored != count:
            raise DriftlineError(f"{num_stored} of {count} samples were stored")
        return count / took_s
