"""The uplink servicer: batches in, one ack per sample out, in order."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.corrections import CorrectionSender
from driftline_cloud.service.guard import speaks_for
from driftline_cloud.service.messages import readable
from driftline_cloud.service.pools import Pools
from driftline_cloud.service.waits import Draining, StreamLimits
from driftline_proto.v1 import uplink_pb2, uplink_pb2_grpc
from driftline_shared import bounds, wire
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import SampleAck

MAX_BATCH_SAMPLES = 4_096
"""A sample has at least its 16 bytes of id, but nobody needs to send 60,000 broken ones at once."""


class UplinkServicer(uplink_pb2_grpc.UplinkServicer):
    """Thin: converts, hands over to the `Intake` of the device's line in a thread, answers."""

    def __init__(
        self,
        cloud: Cloud,
        pools: Pools,
        *,
        limits: StreamLimits,
        draining: Draining,
    ) -> None:
        self._cloud = cloud
        self._run = pools.uplink.run
        self._limits = limits
        self._draining = draining

    async def Push(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Until the device closes its side, nothing came for too long, or the cloud stops."""
        writing = asyncio.Lock()

        async def write(message: uplink_pb2.SampleAcks) -> None:
            async with writing, asyncio.timeout(self._limits.write_s):
                await context.write(message)

        cloud = self._cloud
        sender = CorrectionSender(
            cloud.corrections, write, cloud.metrics, poll_s=cloud.correction_poll_s
        )
        try:
            while True:
                batch = await self._draining.first(context.read(), self._limits.idle_s)
                if batch is grpc.aio.EOF:
                    return
                _check_batch(readable(batch))
                acks = await self._run(batch.device_id, self._take, batch)
                await write(wire.to_acks(acks))
                sender.begin(batch.device_id)
                if any(ack.answer_follows for ack in acks):
                    sender.look()
        finally:
            await sender.end()

    def _take(self, batch: uplink_pb2.EncodedBatch) -> list[SampleAck]:
        line = self._cloud.line_of(batch.device_id)
        acks = line.intake.take(batch.device_id, batch.token_space, batch.samples)
        if seen := wire.from_seen(batch):
            self._cloud.corrections.seen(batch.device_id, seen)
        self._cloud.metrics.count_batch(batch.ByteSize(), acks, line.id)
        return acks


def _check_batch(batch: uplink_pb2.EncodedBatch) -> None:
    """Raise LinkError for a batch that takes no turn: no device, or too many samples."""
    bounds.check_device_id(batch.device_id)
    speaks_for(batch.device_id)
    if len(batch.samples) > MAX_BATCH_SAMPLES:
        raise LinkError(
            f"{len(batch.samples)} samples in one batch, at most {MAX_BATCH_SAMPLES} are read",
            reason=Reason.BATCH_TOO_LARGE,
        )
