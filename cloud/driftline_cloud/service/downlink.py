"""The downlink servicer: what is new for a device, its bytes from any offset, how it went."""

from __future__ import annotations

import asyncio
from typing import Any

from driftline_cloud.service import calls
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.waits import StreamLimits
from driftline_proto.v1 import downlink_pb2, downlink_pb2_grpc
from driftline_shared import wire
from driftline_shared.bounds import MAX_CHUNK_BYTES
from driftline_shared.status import Chunk


class DownlinkServicer(downlink_pb2_grpc.DownlinkServicer):
    """Thin: converts, asks the releases in a thread, answers."""

    def __init__(
        self, cloud: Cloud, *, limits: StreamLimits, chunk_bytes: int = MAX_CHUNK_BYTES
    ) -> None:
        self._cloud = cloud
        self._limits = limits
        self._chunk_bytes = min(chunk_bytes, MAX_CHUNK_BYTES)

    async def Check(self, request: Any, context: Any) -> downlink_pb2.CheckReply:  # noqa: N802
        """The manifest of the update for this device; none if there is nothing for it."""
        manifest = await asyncio.to_thread(
            calls.check_update, self._cloud, wire.from_update_query(request)
        )
        if manifest is None:
            return downlink_pb2.CheckReply()
        return downlink_pb2.CheckReply(manifest=wire.to_manifest(manifest))

    async def Fetch(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """The bytes of a blob from an offset on, in chunks of at most 1 MiB."""
        wanted = wire.from_blob_request(request)
        await asyncio.to_thread(self._cloud.known_device, wanted.device_id)
        offset, blobs = wanted.offset, self._cloud.registry.blobs
        while data := await asyncio.to_thread(blobs.read, wanted.digest, offset, self._chunk_bytes):
            async with asyncio.timeout(self._limits.write_s):
                await context.write(wire.to_chunk(Chunk(offset=offset, data=data)))
            self._cloud.metrics.count_down(len(data))
            offset += len(data)

    async def Report(self, request: Any, context: Any) -> downlink_pb2.ReportReply:  # noqa: N802
        """Keep how an update ended."""
        device_id, report = wire.from_report(request)
        await asyncio.to_thread(calls.take_report, self._cloud, device_id, report)
        return downlink_pb2.ReportReply()
