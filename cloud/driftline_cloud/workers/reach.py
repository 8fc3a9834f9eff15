"""Whether a Ray cluster can be reached, asked in seconds: Ray itself takes a quarter of an hour."""

from __future__ import annotations

from driftline_cloud.workers.cluster.reach import wait_for_port
from driftline_cloud.workers.workers import WorkersUnreachableError


def why_away(ray_address: str) -> str:
    """Why the head at `ray_address` cannot be reached now; empty: it can, or none is asked for."""
    if not ray_address:
        return ""
    try:
        wait_for_port(ray_address, within_s=0.0)
    except WorkersUnreachableError as error:
        return str(error)
    return ""
