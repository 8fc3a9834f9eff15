"""How updates end, for the device's trace."""

from __future__ import annotations

from functools import partial

from driftline_device.daemon.parts import Parts
from driftline_device.runtime.runtime import Runtime
from driftline_shared.update import adapter_digest


def note_update(parts: Parts) -> None:
    """Record how an update ended, where one did since the last call; nothing without a trace."""
    if parts.trace is None:
        return
    num_bytes = 0 if parts.link is None else parts.link.stats().update_bytes
    parts.trace.updated(
        parts.applier.state, digest=partial(_digest, parts.runtime), update_bytes=num_bytes
    )


def _digest(runtime: Runtime) -> str:
    return adapter_digest(runtime.adapter()).hex()
