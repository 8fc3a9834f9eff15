"""A/B slots on disk: where adapter versions live, and the one pointer that says which is in force.

Layout, below the state folder:

    slots/a/adapter.safetensors     the tensors of one version
    slots/a/slot.json               version, digest, base model, bytes, P(IK) head: valid only
    slots/b/...                     beside these tensors
    slots/current.json              {"slot", "version", "previous", "previous_version"}

Write order of the spare slot: remove slot.json, write the tensors, write slot.json. A slot without
slot.json is empty, so a kill at any line leaves an empty slot or a whole one. `activate` replaces
current.json in one rename: that is the only commit point, and it names the slot in force and the
one to fall back to. A staged slot that current.json does not name has not been proven and is never
loaded.

Recovery: the slot in force if its digest is right, else the earlier one, else the base model
(version 0).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from safetensors import SafetensorError

from driftline_shared.codec.adapters import adapter_from_bytes, adapter_to_bytes
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.host.durable import (
    clear_way,
    error_text,
    make_folder,
    read_json,
    set_aside,
    sync_folder,
    write_atomic,
    write_json,
)
from driftline_shared.p_ik.head import IkHead, head_from_bytes, head_to_bytes
from driftline_shared.update import MAX_RAW_BYTES, Adapter, adapter_digest

NAMES = ("a", "b")
BASE_VERSION = 0
"""The version every device has without any update: the base model with its first adapter."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """What current.json says; a slot of None means the base model."""

    slot: str | None = None
    version: int = BASE_VERSION
    previous: str | None = None
    previous_version: int = BASE_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """An adapter read back from a slot, its digest verified, and the P(IK) head beside it; None
    where the slot was written without one.
    """

    slot: str
    version: int
    adapter: Adapter
    ik_head: IkHead | None = None


class Slots:
    """Two slots and a pointer. Not for two threads at once: the updates thread owns it."""

    def __init__(self, folder: Path, *, reads_only: bool = False) -> None:
        """`reads_only`: for a reader beside the daemon; nothing is made, moved or removed."""
        self._folder = folder
        self._reads_only = reads_only
        self._unwritten: Pointer | None = None
        if reads_only:
            return
        # What stands in the way of a file or a folder of ours would fail every write to come.
        clear_way(folder, folder=True)
        for name in NAMES:
            clear_way(folder / name, folder=True)
            clear_way(folder / name / "slot.json")
            clear_way(folder / name / "adapter.safetensors")

    def pointer(self) -> Pointer:
        """What is in force; the base model if nothing was ever activated or the file is broken."""
        if self._unwritten is not None:
            return self._unwritten
        path = self._folder / "current.json"
        try:
            return read_pointer(path)
        except ValueError as error:
            _log.error("slots.pointer_broken", error=str(error))
            if not self._reads_only:
                set_aside(path, str(error))
        except OSError as error:
            _log.error("slots.pointer_unreadable", error=error_text(error))
        return Pointer()

    def retry(self) -> None:
        """Write a pointer that the disk did not take; OSError while it still does not."""
        if self._unwritten is not None:
            self._point(self._unwritten)

    def write_spare(
        self, adapter: Adapter, *, version: int, base_model: str, ik_head: IkHead | None = None
    ) -> str:
        """Write `adapter` durably into the slot that is not in force, with the head that judges its
        answers in the very file that makes the slot valid; the slot's name.
        """
        name = self.spare()
        folder = self._folder / name
        make_folder(folder)
        for file in ("slot.json", "adapter.safetensors"):
            clear_way(folder / file)
        (folder / "slot.json").unlink(missing_ok=True)
        sync_folder(folder)
        data = adapter_to_bytes(adapter)
        write_atomic(folder / "adapter.safetensors", data)
        record = {
            "version": version,
            "digest": adapter_digest(adapter).hex(),
            "base_model": base_model,
            "num_bytes": len(data),
        }
        if ik_head is not None:
            record["ik_head"] = head_to_bytes(ik_head).hex()
        write_json(folder / "slot.json", record, sealed=True)
        return name

    def spare(self) -> str:
        """The slot that may be overwritten."""
        return "b" if self.pointer().slot == "a" else "a"

    def activate(self, name: str, version: int) -> None:
        """Put slot `name` in force; what was in force becomes the one to fall back to."""
        now = self.pointer()
        self._point(
            Pointer(slot=name, version=version, previous=now.slot, previous_version=now.version)
        )

    def fall_back(self, *, base_model: str) -> int:
        """Put the earlier version in force, or the base model if that slot is gone; the version.

        Where the disk takes no pointer it holds in this process: a version that is left is left.
        """
        now = self.pointer()
        target = Pointer()
        if now.previous is not None and now.previous_version != now.version:
            try:
                earlier = self.load(now.previous, now.previous_version, base_model=base_model)
                target = Pointer(slot=earlier.slot, version=earlier.version)
            except UpdateError as error:
                _log.error("slots.earlier_broken", slot=now.previous, error=str(error))
        try:
            self._point(target)
        except OSError as error:
            self._unwritten = target
            _log.error(
                "slots.pointer_not_kept",
                version=target.version,
                error=error_text(error),
                fix="Make room, or let the device's user write there: a restart before that loads "
                "the version that was left, and leaves it again.",
            )
        return target.version

    def load(self, name: str, version: int, *, base_model: str) -> Loaded:
        """Slot `name`, which must hold `version` for `base_model`; UpdateError tells if not."""
        folder = self._folder / name
        record = _read_record(folder)
        if record.get("version") != version:
            raise _broken(name, f"it holds version {record.get('version')}, not {version}")
        if record.get("base_model") != base_model:
            raise UpdateError(
                f"slot {name} was made for another base model", reason=Reason.BASE_MISMATCH
            )
        path = folder / "adapter.safetensors"
        try:
            size = path.stat().st_size
            if size != record.get("num_bytes") or size > MAX_RAW_BYTES:
                raise _broken(name, f"its file has {size} bytes")
            adapter = adapter_from_bytes(path.read_bytes())
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise _broken(name, f"its file does not load ({error})") from error
        if adapter_digest(adapter).hex() != record.get("digest"):
            raise _broken(name, "its digest is wrong")
        return Loaded(slot=name, version=version, adapter=adapter, ik_head=_head(name, record))

    def recover(self, *, base_model: str) -> Loaded | None:
        """What to run after a start: in force, else the earlier one, else None (base model).

        The pointer is corrected to what was found, so that the next update sees the truth.
        """
        now = self.pointer()
        if now.slot is None:
            return None
        try:
            return self.load(now.slot, now.version, base_model=base_model)
        except UpdateError as error:
            _log.error("slots.active_broken", slot=now.slot, version=now.version, error=str(error))
        self.fall_back(base_model=base_model)
        now = self.pointer()
        if now.slot is None:
            return None
        return self.load(now.slot, now.version, base_model=base_model)

    def _point(self, pointer: Pointer) -> None:
        write_json(self._folder / "current.json", asdict(pointer), sealed=True)
        self._unwritten = None


def look(folder: Path, *, base_model: str) -> Loaded | None:
    """What is in force in `folder`, for a reader beside the daemon: nothing is made or changed.

    None if that is the base model, or if the slot is broken (its daemon will say so and recover).
    """
    if not (folder / "current.json").is_file():
        return None
    slots = Slots(folder, reads_only=True)
    now = slots.pointer()
    try:
        return slots.load(now.slot, now.version, base_model=base_model) if now.slot else None
    except UpdateError as error:
        _log.error("slots.active_broken", slot=now.slot, version=now.version, error=str(error))
        return None


def read_pointer(path: Path) -> Pointer:
    """What `path` names; ValueError if it is broken."""
    found = read_json(path)
    return Pointer() if found is None else _to_pointer(found)


def _broken(name: str, why: str) -> UpdateError:
    return UpdateError(f"slot {name} is broken: {why}", reason=Reason.SLOT_CORRUPT)


def _head(name: str, record: dict[str, Any]) -> IkHead | None:
    written = record.get("ik_head")
    if written is None:
        return None
    try:
        return head_from_bytes(bytes.fromhex(written))
    except (TypeError, ValueError, UpdateError) as error:
        raise _broken(name, str(error)) from error


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = read_json(folder / "slot.json")
    except ValueError as error:
        raise _broken(folder.name, str(error)) from error
    except OSError as error:
        raise _broken(folder.name, error_text(error)) from error
    if record is None:
        raise _broken(folder.name, "it is empty")
    return record


def _to_pointer(found: dict[str, Any]) -> Pointer:
    slot = _slot(found.get("slot"))
    if slot is None:
        return Pointer()
    return Pointer(
        slot=slot,
        version=_version(found.get("version")),
        previous=_slot(found.get("previous")),
        previous_version=_version(found.get("previous_version")),
    )


def _slot(value: object) -> str | None:
    if value is not None and value not in NAMES:
        raise ValueError("current.json names an unknown slot")
    return None if value is None else str(value)


def _version(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("current.json holds no version")
    return value
