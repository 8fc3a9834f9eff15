"""What must hold after everything that was done: pure looks at folders and the database.

Each function gives sentences about what does not hold; none is good.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline_cloud.release.registry import ReleaseRegistry
from driftline_device.updates.slots import look
from driftline_lab.chaos.cheap.pair import first_adapter, is_harmful
from driftline_lab.chaos.stage import Device, Stage
from driftline_shared.host.durable import read_json
from driftline_shared.pair.pair import load_pair
from driftline_shared.update import adapter_digest

_SHOWN = 5

MAY_BREAK = frozenset(
    {"status.json", "sampling.json", "bytes.json", "history.sqlite", "escalation.sqlite"}
)
"""Files that are written without a wait for the disk, on purpose: a power cut may cost them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What the cloud's database says. `samples`: state and device by id. `versions`: hex digest by
    number. `taught`: how often each sample is learnt from anew in a round that released.
    """

    samples: dict[str, tuple[str, str]]
    num_rows: int
    counted: int
    versions: dict[int, str]
    taught: Counter[str]
    rounds: Counter[str]
    open_rounds: int


def read_cloud(state: Path) -> Held:
    """As it is now."""
    with closing(sqlite3.connect(f"file:{state / 'cloud.sqlite'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT id, state, device_id FROM samples").fetchall()
        counted = database.execute(
            "SELECT COALESCE(SUM(num_samples), 0) FROM sample_counts WHERE device_id = ''"
        ).fetchone()[0]
        versions = database.execute("SELECT version, digest FROM versions").fetchall()
        taught = database.execute(
            "SELECT s.sample_id, COUNT(*) FROM round_samples s JOIN rounds r ON r.id = s.round_id "
            "WHERE r.state = 'done' AND s.part IN ('train', 'holdout') GROUP BY s.sample_id"
        ).fetchall()
        rounds = database.execute("SELECT state, COUNT(*) FROM rounds GROUP BY state").fetchall()
        open_rounds = database.execute(
            "SELECT COUNT(*) FROM rounds WHERE open_line IS NOT NULL"
        ).fetchone()[0]
    return Held(
        samples={bytes(one).hex(): (state, device) for one, state, device in rows},
        num_rows=len(rows),
        counted=int(counted),
        versions={int(version): str(digest) for version, digest in versions},
        taught=Counter({bytes(one).hex(): int(num) for one, num in taught}),
        rounds=Counter({str(state): int(num) for state, num in rounds}),
        open_rounds=int(open_rounds),
    )


def status_of(device: Device) -> dict[str, Any]:
    """What the device says of itself; empty where nothing can be read."""
    try:
        return read_json(device.state / "status.json") or {}
    except (OSError, ValueError):
        return {}


def samples_hold(held: Held, devices: Sequence[Device]) -> list[str]:
    """No sample lost, none doubled, none under another's name, all counted."""
    found = []
    if held.num_rows != len(held.samples):
        found.append(f"{held.num_rows - len(held.samples)} samples are in the cloud twice")
    if held.counted != held.num_rows:
        found.append(f"the cloud counts {held.counted} samples and has {held.num_rows}")
    again = [one for one, num in held.taught.items() if num > 1]
    if again:
        found.append(f"{len(again)} samples were learnt from twice: {_some(again)}")
    for device in devices:
        name = (device.state / "device_id").read_text(encoding="utf-8").strip()
        told = [*device.witness.on_disk, *device.witness.in_memory]
        if len(set(told)) != len(told):
            found.append(f"{device.name} gave one id to two samples")
        lost = [one for one in device.witness.on_disk if one not in held.samples]
        if lost:
            found.append(f"{device.name} lost {len(lost)} samples: {_some(lost)}")
        others = [one for one in told if held.samples.get(one, ("", name))[1] != name]
        if others:
            found.append(f"{len(others)} samples of {device.name} are another's: {_some(others)}")
        spool = status_of(device).get("spool", {})
        for count in ("num_evicted", "num_refused", "num_quarantined"):
            if spool.get(count):
                found.append(f"{device.name}: {count} is {spool[count]}")
        aside = (path.name for path in device.state.rglob("*.broken*"))
        left = sorted(name for name in aside if name.partition(".broken")[0] not in MAY_BREAK)
        if left:
            found.append(f"{device.name} set files aside as broken: {', '.join(left)}")
    return found


def num_lost_in_memory(held: Held, devices: Sequence[Device]) -> int:
    """Samples that waited in memory for want of a disk and died with their process: that is said,
    and allowed.
    """
    return sum(one not in held.samples for device in devices for one in device.witness.in_memory)


def versions_hold(held: Held, stage: Stage) -> list[str]:
    """Versions are numbered without gaps and are what their digests say; each device runs the
    newest, bit for bit; none ever answered by one that harms.
    """
    found = []
    registry, line = _registry(stage)
    newest = max(held.versions, default=0)
    if sorted(held.versions) != list(range(1, newest + 1)):
        found.append(f"versions are not 1 to {newest}: {sorted(held.versions)}")
    if registry.newest_version(line) != newest:
        found.append(
            f"the folder's newest version is {registry.newest_version(line)}, not {newest}"
        )
    for version, digest in held.versions.items():
        if adapter_digest(registry.canonical(line, version)).hex() != digest:
            found.append(f"version {version} is not what its digest says")
    harmful = harmful_versions(stage, held.versions)
    for device in stage.devices:
        loaded = look(device.state / "slots", base_model=load_pair(stage.pair).base_model)
        version = loaded.version if loaded else 0
        digest = adapter_digest(loaded.adapter if loaded else first_adapter()).hex()
        if version != newest:
            found.append(f"{device.name} holds version {version}, the newest is {newest}")
        elif digest != held.versions.get(newest, digest):
            found.append(f"{device.name} holds other bits than version {newest}")
        used = [one for one in device.witness.answers if one in harmful]
        if used:
            found.append(f"{device.name} answered by versions that harm: {used}")
        unknown = [one for one in device.witness.answers if one and one not in held.versions]
        if unknown:
            found.append(f"{device.name} answered by versions that are none: {unknown}")
    return found


def harmful_versions(stage: Stage, versions: Iterable[int]) -> set[int]:
    """Those that a device must not keep."""
    if not (numbers := list(versions)):
        return set()
    registry, line = _registry(stage)
    return {one for one in numbers if is_harmful(registry.canonical(line, one))}


def _registry(stage: Stage) -> tuple[ReleaseRegistry, str]:
    registry = ReleaseRegistry(stage.cloud_state / "releases")
    (line,) = [path.name for path in (stage.cloud_state / "releases" / "lines").iterdir()]
    return registry, line


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
