"""Parts of the daemon as plain JSON values, for the snapshot."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from driftline_device.sampling.sampler import Sampler
from driftline_device.settling import LinkView
from driftline_device.spool.spool import Spool
from driftline_device.updates.machine import UpdateState


def link_view(link: LinkView | None) -> dict[str, Any]:
    """Counts of the link; only `connected`: false for a device that works alone."""
    return {"connected": False} if link is None else asdict(link.stats())


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
