"""A check of the feeds: each source is there now, and gave pictures in the daemon that runs."""

from __future__ import annotations

from typing import Any

from driftline_device.config import DeviceConfig
from driftline_device.sources.table import parse_address
from driftline_shared.errors import DataError
from driftline_shared.program.checks import Check, ok, warn


def check_feeds(config: DeviceConfig, status: dict[str, Any] | None, *, running: bool) -> Check:
    """The first feed that is away; `status`: the newest, None where there is none."""
    states = (status or {}).get("feeds") or {} if running else {}
    for feed in config.feeds:
        state = states.get(feed.name, {})
        problem = state.get("error", "")
        if not state:
            try:
                parse_address(feed.source)
            except DataError as error:
                problem = str(error)
        if problem:
            return warn(
                "feeds",
                f"{feed.name}: {problem} ({state.get('num_pictures', 0)} pictures so far)",
                "It is opened again with growing pauses; look at its source and network.",
            )
    return ok("feeds", f"{', '.join(feed.name for feed in config.feeds)}: there")
