"""Parts of the daemon as plain JSON values, and the snapshot made of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from driftline_device.daemon.parts import Parts
from driftline_device.daemon.settling import LinkView
from driftline_device.daemon.snapshot import Snapshot
from driftline_device.sampling.sampler import Sampler
from driftline_device.spool.spool import Spool
from driftline_device.updates.phases import UpdateState


def link_view(link: LinkView | None, updates: UpdateState) -> dict[str, Any]:
    """Counts of the link; only `connected`: false for a device that works alone."""
    if link is None:
        return {"connected": False}
    return {**asdict(link.stats()), "num_reports_waiting": len(updates.reports)}


def images_view(sampler: Sampler) -> dict[str, Any]:
    """Whether images may leave: `allowed` by the owner, `asked` for by the policy; `num_sent`:
    samples that carry parts of one.
    """
    return {
        "allowed": sampler.images_allowed,
        "asked": sampler.policy.images_may_leave,
        "num_sent": sampler.counts.with_regions,
    }


def spool_view(spool: Spool) -> dict[str, Any]:
    """Counts of the spool."""
    return asdict(spool.stats())


def update_view(state: UpdateState) -> dict[str, Any]:
    """The newest update: phase, version, reason; `outcome` is the phase it rests in."""
    return {
        "phase": state.phase.value,
        "outcome": state.outcome or "none",
        "target": state.target,
        "version": state.version,
        "reason": state.reason.value,
        "detail": state.detail,
        "watching": state.watching,
    }


def take_snapshot(
    parts: Parts,
    *,
    activity: str,
    segment: str,
    num_broken_rows: int,
    paused_unix_s: float | None,
) -> Snapshot:
    """A daemon of `parts` at this moment."""
    reading = parts.meter.read()
    counts = parts.sampler.statistics()
    link = link_view(parts.link, parts.applier.state)
    return Snapshot(
        pid=parts.state_files.pid,
        unix_s=parts.clock.now_s(),
        activity=activity,
        device_id=parts.device_id,
        pair=parts.pair_name,
        base_model=parts.runtime.base_model,
        version=parts.runtime.version,
        paused_unix_s=paused_unix_s,
        segment=segment,
        domain=reading.domain,
        num_answered=reading.num_answered,
        num_errors=reading.num_errors,
        num_broken_rows=num_broken_rows,
        accuracy=reading.accuracy,
        uncertainty=reading.uncertainty,
        domains=reading.as_dict(),
        num_seen=counts["seen"],
        num_sent=counts["sent"],
        sampling=counts,
        policy_revision=parts.sampler.policy.revision,
        images=images_view(parts.sampler),
        update=update_view(parts.applier.state),
        num_updates=len(parts.applier.apply_pauses_ms),
        failed_versions=parts.applier.failed_versions,
        apply_pause_ms=[round(pause, 4) for pause in parts.applier.apply_pauses_ms],
        spool=spool_view(parts.spool),
        link=link,
        bytes_up=link.get("bytes_up", 0),
        bytes_down=link.get("bytes_down", 0),
    )
