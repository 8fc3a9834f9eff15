"""Which adapter versions a device holds, runs and has left, read beside its daemon: nothing is made
or changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from driftline_device.updates.slots import NAMES
from driftline_shared.codec.adapters import adapter_from_bytes
from driftline_shared.errors import Reason, explain
from driftline_shared.host.durable import read_json
from driftline_shared.update import MAX_RAW_BYTES, adapter_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldVersion:
    """What one slot holds. `since_unix_s`: when it was written; `problem`: empty if it is whole."""

    slot: str
    version: int
    digest: str
    num_bytes: int
    since_unix_s: float
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedVersion:
    """A version that is never tried again. `meaning`: the reason in words. `unix_s`: when it
    failed, 0 where that was not noted.
    """

    version: int
    reason: str
    meaning: str
    unix_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """`in_force` and `previous`: 0 is the base model, which needs no slot; `previous` is where a
    rollback leads. `newest_update`: phase, target, reason and detail of the newest update, if any.
    """

    in_force: int
    previous: int
    watching: bool
    held: tuple[HeldVersion, ...]
    failed: tuple[FailedVersion, ...]
    newest_update: dict[str, Any] | None
    problems: tuple[str, ...] = ()


def read_versions(state: Path) -> Versions:
    """The versions below `state`; what does not read is left out and named in `problems`."""
    problems: list[str] = []

    def read(path: Path) -> dict[str, Any]:
        try:
            return read_json(path) or {}
        except (OSError, ValueError) as error:
            problems.append(f"{path.relative_to(state)}: {error}")
            return {}

    pointer = read(state / "slots" / "current.json")
    update = read(state / "update.json")
    held = [_held(state / "slots" / name, read) for name in NAMES]
    in_force = _whole(pointer.get("version")) if pointer.get("slot") else 0
    keys = ("phase", "target", "reason", "detail")
    return Versions(
        in_force=in_force,
        previous=_whole(pointer.get("previous_version")) if pointer.get("previous") else 0,
        watching=bool(update.get("watching")),
        held=tuple(each for each in held if each is not None),
        failed=_failed(read(state / "failed.json"), str(update.get("base_model", ""))),
        newest_update={key: update.get(key) for key in keys} if update.get("target") else None,
        problems=tuple(problems),
    )


def _held(folder: Path, read: Any) -> HeldVersion | None:
    record = read(folder / "slot.json")
    if not record:
        return None
    return HeldVersion(
        slot=folder.name,
        version=_whole(record.get("version")),
        digest=str(record.get("digest", "")),
        num_bytes=_whole(record.get("num_bytes")),
        since_unix_s=(folder / "slot.json").stat().st_mtime,
        problem=_problem(folder / "adapter.safetensors", record),
    )


def _problem(path: Path, record: dict[str, Any]) -> str:
    """Why the tensors at `path` are not those of `record`; empty if they are."""
    try:
        size = path.stat().st_size
        if size != record.get("num_bytes") or size > MAX_RAW_BYTES:
            return f"the file has {size} bytes"
        adapter = adapter_from_bytes(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        return f"the file does not load ({error})"
    return "" if adapter_digest(adapter).hex() == record.get("digest") else "its digest is wrong"


def _failed(found: dict[str, Any], base_model: str) -> tuple[FailedVersion, ...]:
    """Of the base model that runs here: version numbers count for each base model alone."""
    rows = found.get("failures")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(
        FailedVersion(
            version=_whole(row.get("version")),
            reason=str(row.get("reason", "")),
            meaning=_meaning(str(row.get("reason", ""))),
            unix_s=float(row["unix_s"]) if isinstance(row.get("unix_s"), int | float) else 0.0,
        )
        for row in rows
        if row.get("base_model") == base_model
    )


def _meaning(reason: str) -> str:
    return explain(Reason(reason)) if reason in Reason.__members__.values() else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
