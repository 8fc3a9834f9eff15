"""Corrections to one device, while its stream is open: written as soon as they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.service.metrics import CloudMetrics
from driftline_proto.v1 import uplink_pb2
from driftline_shared import wire

Write = Callable[[uplink_pb2.SampleAcks], Awaitable[None]]

_log = structlog.get_logger(__name__)


class CorrectionSender:
    """Looks for what is due to the device of a stream, as long as it is owed something."""

    def __init__(
        self, store: CorrectionStore, write: Write, metrics: CloudMetrics, *, poll_s: float
    ) -> None:
        self._store = store
        self._write = write
        self._metrics = metrics
        self._poll_s = poll_s
        self._device_id = ""
        self._owed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, device_id: str) -> None:
        """The stream is that of `device_id`; what is said later changes nothing."""
        if self._task is None:
            self._device_id = device_id
            self._owed.set()
            self._task = asyncio.create_task(self._run())

    def look(self) -> None:
        """Something was promised just now."""
        self._owed.set()

    async def end(self) -> None:
        """The stream is over; what was not seen is sent on the next one."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        sent: set[bytes] = set()
        while True:
            await self._owed.wait()
            self._owed.clear()
            try:
                due, more = await asyncio.to_thread(self._store.due, self._device_id, but=sent)
                if due:
                    await self._write(wire.to_acks((), due))
                    sent.update(one.id for one in due)
                    self._metrics.count_corrections(due)
            except Exception:
                # Acks must go on; the database may be away, or the stream may have just ended.
                _log.warning("corrections.not_sent", device=self._device_id, exc_info=True)
                more = True
            if more:
                await asyncio.sleep(self._poll_s)
                self._owed.set()
