"""The downlink servicer: what is new for a device, its bytes from any offset, how it went."""

from __future__ import annotations

import asyncio
from typing import Any

from driftline_cloud.service import calls
from driftline_cloud.service.asking import Asking
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.looks import SharedLooks
from driftline_cloud.service.pools import Pools
from driftline_cloud.service.rates import Rates
from driftline_cloud.service.waits import StreamLimits
from driftline_proto.v1 import downlink_pb2, downlink_pb2_grpc
from driftline_shared import wire
from driftline_shared.bounds import MAX_CHUNK_BYTES
from driftline_shared.status import Chunk, UpdateQuery


class DownlinkServicer(downlink_pb2_grpc.DownlinkServicer):
    """Thin: converts, asks the releases in a thread, answers."""

    def __init__(
        self,
        cloud: Cloud,
        pools: Pools,
        rates: Rates,
        *,
        limits: StreamLimits,
        chunk_bytes: int = MAX_CHUNK_BYTES,
    ) -> None:
        self._cloud, self._rates = cloud, rates
        self._asking = Asking(rates.checks_per_s)
        self._run, self._run_read = pools.control.run, pools.downlink.run
        self._views = SharedLooks(self._look)
        self._limits = limits
        self._chunk_bytes = min(chunk_bytes, MAX_CHUNK_BYTES)

    async def Check(self, request: Any, context: Any) -> downlink_pb2.CheckReply:  # noqa: N802
        """The manifest of the update for this device, if there is one, and when to ask again."""
        query = wire.from_update_query(request)
        manifest = None
        if not await self._has_nothing_new(query):
            manifest = await self._run(query.device_id, calls.check_update, self._cloud, query)
        signed, num_bytes = self._signed(query)
        return downlink_pb2.CheckReply(
            manifest=None if manifest is None else wire.to_manifest(manifest),
            ask_after_s=self._asking.ask_after_s(query.device_id),
            signed=signed,
            signed_bytes=num_bytes,
        )

    def _signed(self, query: UpdateQuery) -> tuple[bytes, int]:
        """What this device lacks of the signed metadata, as of after it was asked for."""
        device = self._cloud.devices.known(query.device_id)
        return (b"", 0) if device is None else calls.signed_for(self._cloud, query, device.line)

    async def _has_nothing_new(self, query: UpdateQuery) -> bool:
        """What nearly every question comes to: looked up for many devices together."""
        device = self._cloud.devices.known(query.device_id)
        if device is None or not self._cloud.lines.serves(device.line):
            return False
        view = await self._views.fresh(device.line)
        return calls.has_nothing_new(self._cloud, device, query, view)

    async def _look(self, line: str) -> calls.LineView:
        # Not among the threads that enrol: a fleet that comes back may fill those for long.
        return await self._run_read(line, calls.look, self._cloud, line)

    async def Fetch(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """The bytes of a blob from an offset on, in chunks of at most 1 MiB."""
        wanted = wire.from_blob_request(request)
        device = wanted.device_id
        self._rates.fetch.take(device)
        await self._run(device, self._cloud.known_device, device)
        offset, blobs = wanted.offset, self._cloud.registry.blobs
        while data := await self._run_read(
            device, blobs.read, wanted.digest, offset, self._chunk_bytes
        ):
            async with asyncio.timeout(self._limits.write_s):
                await context.write(wire.to_chunk(Chunk(offset=offset, data=data)))
            self._cloud.metrics.count_down(len(data))
            offset += len(data)

    async def Report(self, request: Any, context: Any) -> downlink_pb2.ReportReply:  # noqa: N802
        """Keep how an update ended."""
        device_id, report = wire.from_report(request)
        self._rates.report.take(device_id)
        await self._run(device_id, calls.take_report, self._cloud, device_id, report)
        return downlink_pb2.ReportReply()
