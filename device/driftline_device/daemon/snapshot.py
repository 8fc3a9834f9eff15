"""The daemon's status: `<state>/status.json`, replaced about once a second."""

from __future__ import annotations

import os
import pwd
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftline_shared.errors import DataError
from driftline_shared.host.durable import read_json, write_json
from driftline_shared.host.lock import lock_holder

if TYPE_CHECKING:
    from driftline_device.daemon.parts import Parts

FILE = "status.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The daemon at one moment. Shares lie in 0..1; None where nothing is known yet.

    `activity`: starting, answering, settling, draining, waiting or updating (at a step), holding
    or stopped. `step`: the one reached last; None for a device without steps. `accuracy` and
    `uncertainty`: over the newest answers of the segment. `domains`: counts by domain since the
    start. `sinks`, `feeds`: how each is.
    `escalation`: what was asked of the teacher since the start, and what came of it.
    `sampling`: what became of the answers considered. `images`: whether parts of them leave:
    `allowed` by the owner, `asked` for by the policy, `num_sent`: samples that carry some.
    `budget`: the owner's, what is spent of it and what was planned; empty without one.
    `p_ik_version`: of the adapter that the P(IK) head in force was fitted for; None without a head.
    `paused_unix_s`: since when an operator wants it to answer only.
    `update`: the newest update; its `outcome` is the phase it rests in. `link`: its counts; only
    `connected`, false, for a device that works alone.
    """

    pid: int
    unix_s: float
    activity: str
    device_id: str
    pair: str
    base_model: str
    version: int
    step: int | None = None
    paused_unix_s: float | None = None
    segment: str = ""
    domain: str | None = None
    num_answered: int = 0
    num_errors: int = 0
    num_broken_rows: int = 0
    num_files_left_out: int = 0
    accuracy: float | None = None
    uncertainty: float | None = None
    domains: dict[str, dict[str, int]] = field(default_factory=dict)
    num_seen: int = 0
    num_sent: int = 0
    sampling: dict[str, int] = field(default_factory=dict)
    policy_revision: int = 0
    day_bytes: int = 0
    budget: dict[str, Any] = field(default_factory=dict)
    p_ik_version: int | None = None
    images: dict[str, Any] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)
    num_updates: int = 0
    failed_versions: list[int] = field(default_factory=list)
    apply_pause_ms: list[float] = field(default_factory=list)
    spool: dict[str, Any] = field(default_factory=dict)
    link: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, dict[str, Any]] = field(default_factory=dict)
    feeds: dict[str, dict[str, Any]] = field(default_factory=dict)
    escalation: dict[str, Any] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0


def take_snapshot(
    parts: Parts,
    *,
    activity: str,
    step: int | None,
    segment: str,
    num_broken_rows: int,
    num_files_left_out: int,
    feeds: dict[str, dict[str, Any]],
    paused_unix_s: float | None,
) -> Snapshot:
    """A daemon of `parts` at this moment."""
    reading = parts.meter.read()
    counts = parts.sampler.statistics()
    update, head = parts.applier.state, parts.runtime.ik_head
    link: dict[str, Any] = {"connected": False}
    if parts.link is not None:
        link = {**asdict(parts.link.stats()), "num_reports_waiting": len(update.reports)}
    return Snapshot(
        pid=parts.state_files.pid,
        unix_s=parts.clock.now_s(),
        activity=activity,
        device_id=parts.device_id,
        pair=parts.pair_name,
        base_model=parts.runtime.base_model,
        version=parts.runtime.version,
        step=step,
        paused_unix_s=paused_unix_s,
        segment=segment,
        domain=reading.domain,
        num_answered=reading.num_answered,
        num_errors=reading.num_errors,
        num_broken_rows=num_broken_rows,
        num_files_left_out=num_files_left_out,
        feeds=feeds,
        accuracy=reading.accuracy,
        uncertainty=reading.uncertainty,
        domains=reading.domains,
        num_seen=counts["seen"],
        num_sent=counts["sent"],
        sampling=counts,
        policy_revision=parts.sampler.policy.revision,
        day_bytes=parts.sampler.policy.day_bytes,
        budget={} if parts.dial is None else parts.dial.shown(),
        p_ik_version=None if head is None else head.version,
        images={
            "allowed": parts.sampler.images_allowed,
            "asked": parts.sampler.policy.images_may_leave,
            "num_sent": parts.sampler.counts.with_regions,
        },
        update={
            "phase": update.phase.value,
            "outcome": update.outcome or "none",
            "target": update.target,
            "version": update.version,
            "reason": update.reason.value,
            "detail": update.detail,
            "watching": update.watching,
            "signatures": {} if parts.signatures is None else asdict(parts.signatures.status),
        },
        num_updates=len(parts.applier.apply_pauses_ms),
        failed_versions=parts.applier.failed_versions,
        apply_pause_ms=[round(pause, 4) for pause in parts.applier.apply_pauses_ms],
        spool=asdict(parts.spool.stats()),
        link=link,
        sinks=parts.publisher.stats(),
        escalation={} if parts.escalation is None else parts.escalation.statistics(),
        bytes_up=link.get("bytes_up", 0),
        bytes_down=link.get("bytes_down", 0),
    )


def write_snapshot(state: Path, snapshot: Snapshot) -> None:
    """Replace the status file; a reader never sees half of one. Not synced: only looked at."""
    write_json(state / FILE, asdict(snapshot), durable=False)


def read_snapshot(state: Path) -> dict[str, Any]:
    """The newest snapshot as a JSON object; DataError if no daemon ever ran on `state`, or if the
    one that runs could write none.
    """
    path = state / FILE
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", fix=_as_owner(state)) from error
    if found is not None:
        return found
    pid = lock_holder(state)
    if pid is None:
        raise DataError(f"no daemon has run on {state}: start one with `driftline device run`")
    raise DataError(
        f"process {pid or 'unknown'} runs on {state}, but could write no {FILE}: it has just "
        "begun, or the disk is full or read-only",
        fix="Look at its log; make room on the disk, or remount it so that it can be written.",
    )


def has_run(state: Path) -> bool:
    """Whether a daemon runs on `state` or ever did."""
    return os.path.lexists(state / FILE) or lock_holder(state) is not None


def _as_owner(state: Path) -> str:
    return f"Run the command as the user that the device runs as: sudo -u {owner(state)} ..."


def owner(state: Path) -> str:
    """The user whom `state` belongs to, by name where there is one."""
    try:
        number = state.stat().st_uid
    except OSError:
        return "USER"
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"
