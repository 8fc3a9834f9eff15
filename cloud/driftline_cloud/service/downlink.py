"""The downlink servicer: what is new for a device, its bytes from any offset, how it went."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.waits import StreamLimits
from driftline_proto.v1 import downlink_pb2, downlink_pb2_grpc
from driftline_shared import wire
from driftline_shared.bounds import MAX_CHUNK_BYTES
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import Chunk, UpdateOutcome, UpdateQuery, UpdateReport
from driftline_shared.update import Manifest

_log = structlog.get_logger(__name__)

_KNOWN_REASONS = frozenset(Reason)


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
        manifest = await asyncio.to_thread(self._check, wire.from_update_query(request))
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
        await asyncio.to_thread(self._report, device_id, report)
        return downlink_pb2.ReportReply()

    def _check(self, query: UpdateQuery) -> Manifest | None:
        cloud = self._cloud
        device = cloud.known_device(query.device_id)
        if query.base_model != device.base_model:
            raise LinkError(
                f"the device enrolled with base model {device.base_model[:12]}, "
                f"it asks for {query.base_model[:12]}",
                reason=Reason.BASE_MODEL_UNKNOWN,
            )
        now_s = int(cloud.clock.now_s())
        cloud.devices.seen(query.device_id, now_unix_s=now_s, adapter_version=query.adapter_version)
        return cloud.registry.offer(
            cloud.line.id,
            query.adapter_version,
            failed_versions=query.failed_versions,
            full_reason=self._why_full(query),
        )

    def _why_full(self, query: UpdateQuery) -> str:
        """A device whose base is not what its version says needs every tensor once."""
        if query.adapter_version >= self._cloud.registry.newest_version(self._cloud.line.id):
            return ""
        for report in self._cloud.devices.reports(query.device_id, limit=1):
            refused = report.outcome is not UpdateOutcome.APPLIED
            if refused and report.reason == Reason.BASE_MISMATCH:
                return str(Reason.BASE_MISMATCH)
        return ""

    def _report(self, device_id: str, report: UpdateReport) -> None:
        cloud = self._cloud
        device = cloud.known_device(device_id)
        applied = report.outcome is UpdateOutcome.APPLIED
        cloud.devices.add_report(
            device,
            report,
            adapter_version=report.version if applied else device.adapter_version,
            now_unix_s=int(cloud.clock.now_s()),
        )
        cloud.metrics.count_report(report, report.reason in _KNOWN_REASONS)
        _log.info(
            "update.reported",
            device=device_id,
            version=report.version,
            outcome=str(report.outcome),
            reason=report.reason,
        )
