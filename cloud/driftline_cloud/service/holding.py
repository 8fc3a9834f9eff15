"""Holding the database while this process serves it: no other state folder may do so meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from driftline_cloud.config import CloudConfig
from driftline_cloud.identity import bind
from driftline_cloud.service.assembly import Makers
from driftline_cloud.serving import Serving
from driftline_cloud.state import StateFolder
from driftline_shared.errors import ConfigError, Reason

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def hold_database(
    config: CloudConfig, state: StateFolder, makers: Makers, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Serve within. Raises ConfigError for a folder that is not the database's, and where another
    folder serves it, also at the end: `stop` is set when another one has taken over.
    """
    database = await asyncio.to_thread(makers.database, config.database)
    loop, halt = asyncio.get_running_loop(), threading.Event()
    taken_by: list[str] = []

    def lost(owner: str) -> None:
        taken_by.append(owner)
        _log.error("serving.lost", owner=owner, state=str(state.path))
        loop.call_soon_threadsafe(stop.set)

    async def forward() -> None:
        await stop.wait()
        halt.set()

    serving = forwarding = keeper = None
    try:
        await asyncio.to_thread(bind, database, state)
        serving = Serving(database, state, clock=makers.clock, lease_s=config.work.lease_s)
        forwarding = asyncio.create_task(forward())
        await asyncio.to_thread(serving.begin, halt)
        done = threading.Event()
        keeper = threading.Thread(
            target=serving.keep, args=(done, lost), name="serving", daemon=True
        )
        keeper.start()
        yield
    finally:
        if forwarding is not None:
            forwarding.cancel()
            with suppress(asyncio.CancelledError):
                await forwarding
        if keeper is not None:
            done.set()
            await asyncio.to_thread(keeper.join)
        if serving is not None:
            await asyncio.to_thread(serving.end)
        await asyncio.to_thread(database.close)
    if taken_by:
        raise ConfigError(
            f"another cloud serves the database by now: {taken_by[0]}",
            reason=Reason.STATE_IN_USE,
            fix="This one did not renew for work.lease_s, or its clock is wrong; start it again "
            "only when the other one has stopped.",
        )
