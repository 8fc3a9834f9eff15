"""How updates end: for the device's trace, and for its owner's history."""

from __future__ import annotations

from functools import partial

from driftline_device.daemon.parts import Parts
from driftline_device.history.records import UpdateCard
from driftline_device.runtime.runtime import Runtime
from driftline_shared.update import adapter_digest


def note_update(parts: Parts) -> None:
    """Record in the trace, and in the spans, how an update ended, where one did since the last
    call; nothing without them.
    """
    if parts.spans is not None:
        parts.spans.updated(parts.applier.state)
    if parts.trace is None:
        return
    num_bytes = 0 if parts.link is None else parts.link.stats().update_bytes
    parts.trace.updated(
        parts.applier.state, digest=partial(_digest, parts.runtime), update_bytes=num_bytes
    )


def note_card(parts: Parts) -> None:
    """Keep in the history what became of the newest update and why, once it has ended."""
    state = parts.applier.state
    if parts.history is None or not state.outcome:
        return
    parts.history.note_update(
        UpdateCard(
            unix_s=parts.clock.now_s(),
            version=state.target,
            outcome=state.outcome,
            reason=state.reason,
            detail=state.detail,
            num_bytes=parts.applier.newest_bytes,
            marks=parts.applier.newest_marks,
        )
    )


def _digest(runtime: Runtime) -> str:
    return adapter_digest(runtime.adapter()).hex()
