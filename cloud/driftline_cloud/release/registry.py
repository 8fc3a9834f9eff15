"""Versions of every adapter line, on disk, whatever is killed when.

    <folder>/blobs/<sha256>                          see blobs.py
    <folder>/lines/<line>/line.json                  pair, base model, token space: written once
    <folder>/lines/<line>/<version>.safetensors      C_version; version 0 from the start
    <folder>/lines/<line>/<version>.residual         E_version, of the two newest versions only
    <folder>/lines/<line>/<version>.json             manifest version-1 -> version: the commit
    <folder>/lines/<line>/direct/<k>-<v>.json        manifests k -> v made on demand, a cache
                                 format1-<k>-<v>.json   for devices that read no newer format

Write order of a publish: blob, adapter, residual, manifest; each durable before the next begins.
The newest version is the highest one whose manifest exists, so a kill leaves either the old version
or the new one, and files of an unfinished publish are overwritten by the next. Recovery at start:
drafts are removed, blobs that no manifest names as well. With a store far away, each of these is
there before it is in the folder, which is a whole copy at hand (updates on demand are in it alone):
who serves needs the far one only for what it lacks. Two processes write, one that serves
(updates on demand) and one that works (versions): they take turns at <folder>/lock.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.mirrored import MirroredStore
from driftline_cloud.blobs.store import BlobStore, StoreAwayError
from driftline_cloud.intake.line import Line
from driftline_cloud.release.arrays import Arrays, adapter_of
from driftline_cloud.release.blobs import UpdateBlobs
from driftline_cloud.release.copies import bring_together
from driftline_cloud.release.delta import no_residual
from driftline_cloud.release.direct import pack_direct
from driftline_cloud.release.manifests import (
    Lineage,
    manifest_from_json,
    manifest_of,
    manifest_to_json,
)
from driftline_cloud.release.packer import Packed, pack_full
from driftline_shared.codec.adapters import adapter_to_bytes
from driftline_shared.errors import ConfigError, Reason, UpdateError
from driftline_shared.host.durable import MAX_JSON_BYTES, read_json, remove_drafts, write_atomic
from driftline_shared.host.lock import take_turn
from driftline_shared.update import MANIFEST_FORMAT, Adapter, Manifest, UpdateKind, adapter_digest
from driftline_shared.update_apply import apply_update

_log = structlog.get_logger(__name__)

_LINE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class ReleaseRegistry:
    """Lines and their versions in `folder`; calls may come from several threads. `far`: the store
    that keeps them beside it, where there is one.
    """

    def __init__(self, folder: Path, far: BlobStore | None = None) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        (folder / "lines").mkdir(parents=True, exist_ok=True)
        (folder / "blobs").mkdir(exist_ok=True)
        near = FolderStore(folder)
        self._far = far
        self._store: BlobStore = near if far is None else MirroredStore(near, far)
        self.blobs = UpdateBlobs(self._store, near)
        self._lines: dict[str, Line] = {}
        with self._writing():
            self._recover()

    def open_line(self, line: Line, initial: Adapter) -> None:
        """Start `line` at version 0 with `initial`, or check that it was started so."""
        path = self._line_folder(line.id) / "line.json"
        with self._writing():
            if not path.exists():
                self._store.put(self._key(line.id, "0.safetensors"), adapter_to_bytes(initial))
                self._store.put(self._key(line.id, path.name), _json(_described(line)))
            if adapter_digest(self.canonical(line.id, 0)) != adapter_digest(initial):
                raise _started_otherwise(line)
        self.know_line(line)

    def ensure_fork(self, line: Line, parent: str, version: int) -> None:
        """Let `line` begin with the versions of `parent` up to `version`, unless it has begun; none
        where `parent` is empty. Devices that hold one of them get coded steps from it.
        """
        path = self._line_folder(line.id) / "line.json"
        if not parent or path.exists():
            return
        with self._writing():
            for number in range(version + 1):
                for kind in ("safetensors", "residual", "json"):
                    name = f"{number}.{kind}"
                    content = self._store.get(self._key(parent, name))
                    if content is not None:
                        self._store.put(self._key(line.id, name), content)
            if self.newest_version(line.id) != version:
                raise ConfigError(
                    f"line {line.id} begins with version {version} of line {parent}, which is not "
                    "in the state folder",
                    fix="Restore folder and database from one backup.",
                )
            self._store.put(self._key(line.id, path.name), _json(_described(line)))
        _log.info("line.forked", line=line.id, parent=parent, version=version)

    def know_line(self, line: Line) -> None:
        """Offer the versions of `line`, which a worker has started or will; ConfigError where it
        was started with another pair.
        """
        path = self._line_folder(line.id) / "line.json"
        if path.exists() and read_json(path) != _described(line):
            raise _started_otherwise(line)
        self._lines[line.id] = line

    def catch_up(self) -> None:
        """Make the folder and the far store equal; nothing where there is no such store. Raises
        StoreAwayError, ConfigError.
        """
        if self._far is None:
            return
        with self._writing():
            fetched, sent = bring_together(self.blobs.near, self._far)
        if fetched or sent:
            _log.info("releases.copied", num_fetched=fetched, num_sent=sent, store=self._far.place)

    def newest_version(self, line: str) -> int:
        """The newest version that devices may fetch; 0 is what every device starts with."""
        versions = [
            int(path.stem) for path in self._line_folder(line).glob("*.json") if path.stem.isdigit()
        ]
        return max(versions, default=0)

    def canonical(self, line: str, version: int) -> Arrays:
        """C_version: what devices at `version` hold, bit for bit."""
        return adapter_of(self._store, self._key(line, f"{version}.safetensors"))

    def residual(self, line: str) -> Arrays:
        """E of the newest version; zeros if nothing was lost."""
        with self._lock:
            return self.residual_of(line, self.newest_version(line))

    def residual_of(self, line: str, version: int) -> Arrays:
        """E of `version`; zeros if nothing was lost, or it is not kept any more."""
        with self._lock:
            key = self._key(line, f"{version}.residual")
            if self.blobs.near.size(key) is not None:
                return adapter_of(self._store, key)
            return no_residual(self.canonical(line, version))

    def manifest(self, line: str, version: int) -> Manifest:
        """The manifest version - 1 -> version; UpdateError (blob_unknown) if there is none."""
        found = self._store.get(self._key(line, f"{version}.json"), MAX_JSON_BYTES)
        if found is None:
            raise UpdateError(f"line {line} has no version {version}", reason=Reason.BLOB_UNKNOWN)
        return manifest_from_json(found)

    def find_round(self, line: str, round_id: str) -> Manifest | None:
        """The manifest that round `round_id` released, if it did."""
        for version in range(self.newest_version(line), 0, -1):
            manifest = self.manifest(line, version)
            if manifest.round_id == round_id:
                return manifest
        return None

    def publish(self, line: str, packed: Packed, lineage: Lineage) -> Manifest:
        """Make `packed` the next version; the same round again gives the version it made.

        UpdateError (base_mismatch) if the line has moved on since `packed` was made.
        """
        with self._writing():
            done = self.find_round(line, lineage.round_id)
            if done is not None:
                return done
            newest = self.newest_version(line)
            base = self.canonical(line, newest)
            manifest = manifest_of(
                packed,
                self._lines[line],
                lineage,
                base_version=newest,
                target_version=newest + 1,
            )
            target = apply_update(base, manifest, packed.blob)
            self.blobs.put(packed.blob)
            version = newest + 1
            for name, content in (
                (f"{version}.safetensors", adapter_to_bytes(target)),
                (f"{version}.residual", adapter_to_bytes(packed.residual)),
                (f"{version}.json", manifest_to_json(manifest)),
            ):
                self._store.put(self._key(line, name), content)
            self._forget_old(line, version)
        _log.info(
            "version.published",
            line=line,
            version=version,
            packing=packed.label,
            blob_bytes=manifest.blob_bytes,
            num_tensors=len(manifest.tensors),
        )
        return manifest

    def offer(
        self,
        line: str,
        held_version: int,
        *,
        failed_versions: Collection[int] = (),
        full_reason: str = "",
        manifest_format: int = MANIFEST_FORMAT,
        target: int | None = None,
    ) -> Manifest | None:
        """The update for a device that holds `held_version`; None if there is nothing for it.

        `target`: the version it is to come to; None: the newest one. A version that failed on the
        device is not offered again; it waits for the next one. With
        `full_reason` (by the caller's policy) the whole adapter is offered, and the reason logged.
        `manifest_format`: the highest that the device reads; an older one gets the same bits in a
        form that it knows.
        """
        with self._lock:
            newest = self.newest_version(line) if target is None else target
            if newest in failed_versions or (held_version >= newest and not full_reason):
                if held_version > newest:
                    _log.warning("device.ahead", line=line, held=held_version, newest=newest)
                return None
            if full_reason or held_version < 0:
                return self._full(line, newest, full_reason or "version_unknown")
            if held_version == newest - 1:
                manifest = self.manifest(line, newest)
                if manifest.format <= manifest_format:
                    return manifest
            return self._direct(line, held_version, newest, manifest_format)

    def _direct(self, line: str, held: int, newest: int, manifest_format: int) -> Manifest:
        old = f"format{manifest_format}-" if manifest_format < MANIFEST_FORMAT else ""
        path = self._line_folder(line) / "direct" / f"{old}{held}-{newest}.json"
        if path.exists():
            return manifest_from_json(path.read_bytes())
        steps = []
        for version in range(held + 1, newest + 1):
            step = self.manifest(line, version)
            steps.append((step, self.blobs.get(step.blob_digest)))
        packed = pack_direct(
            self.canonical(line, held),
            self.canonical(line, newest),
            steps,
            line=line,
            manifest_format=manifest_format,
        )
        manifest = self._keep(path, packed, line, held, newest)
        _log.info(
            "update.direct_made",
            line=line,
            base_version=held,
            target_version=newest,
            packing=packed.label,
            blob_bytes=manifest.blob_bytes,
            chain_bytes=sum(step.blob_bytes for step, _ in steps),
        )
        return manifest

    def _full(self, line: str, newest: int, reason: str) -> Manifest | None:
        if newest == 0:
            return None  # version 0 needs no download: every pair holds it
        path = self._line_folder(line) / "direct" / f"full-{newest}.json"
        if path.exists():
            manifest = manifest_from_json(path.read_bytes())
        else:
            packed = pack_full(self.canonical(line, newest))
            manifest = self._keep(path, packed, line, 0, newest)
        _log.warning("update.full_chosen", line=line, reason=reason, blob_bytes=manifest.blob_bytes)
        return manifest

    def _keep(self, path: Path, packed: Packed, line: str, held: int, newest: int) -> Manifest:
        """Store blob, then manifest, of an update made on demand; lineage as of the newest one."""
        step = self.manifest(line, newest)
        lineage = Lineage(
            round_id=step.round_id,
            num_samples=step.num_samples,
            created_unix_s=step.created_unix_s,
            expires_unix_s=step.expires_unix_s,
            gate=step.gate,
            ik_head=step.ik_head,
        )
        base_version = 0 if packed.kind is UpdateKind.FULL else held
        manifest = manifest_of(
            packed, self._lines[line], lineage, base_version=base_version, target_version=newest
        )
        if packed.target_digest != step.target_digest:
            raise UpdateError("a direct update misses its version", reason=Reason.DIGEST_MISMATCH)
        with self._writing():
            self.blobs.put(packed.blob, lasting=False)
            write_atomic(path, manifest_to_json(manifest))
        return manifest

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The turn to write in the folder, among threads and processes."""
        with self._lock, take_turn(self._folder / "lock"):
            yield

    def _forget_old(self, line: str, newest: int) -> None:
        """Residuals and direct manifests of older versions; their blobs go at the next start."""
        folder = self._line_folder(line)
        for path in folder.glob("*.residual"):
            # That of the one before is needed where it is released again.
            if path.stem.isdigit() and int(path.stem) < newest - 1:
                try:
                    self._store.delete(self._key(line, path.name))
                except StoreAwayError as error:
                    _log.warning("residual.not_dropped", line=line, cause=str(error))  # next time
                    break
        for path in (folder / "direct").glob("*.json"):
            target = path.stem.rpartition("-")[2]
            if target.isdigit() and int(target) < newest:
                path.unlink(missing_ok=True)

    def _recover(self) -> None:
        removed = remove_drafts(self._folder)
        named: set[bytes] = set()
        for path in sorted((self._folder / "lines").glob("*/line.json")):
            newest = self.newest_version(path.parent.name)
            self._forget_old(path.parent.name, newest)
            (path.parent / f"{newest + 1}.residual").unlink(missing_ok=True)
            manifests = [*path.parent.glob("[0-9]*.json"), *path.parent.glob("direct/*.json")]
            named |= {manifest_from_json(file.read_bytes()).blob_digest for file in manifests}
        dropped = self.blobs.keep_only(named)
        if removed or dropped:
            _log.info("releases.recovered", num_drafts=removed, num_blobs=dropped)

    def _line_folder(self, line: str) -> Path:
        if not _LINE_NAME.fullmatch(line):
            raise ConfigError(f"{line[:40]!r} cannot name a line")
        return self._folder / "lines" / line

    def _key(self, line: str, name: str) -> str:
        return f"lines/{self._line_folder(line).name}/{name}"


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _described(line: Line) -> dict[str, str]:
    return {
        "id": line.id,
        "pair": line.pair,
        "base_model": line.base_model,
        "token_space": line.token_space.digest,
    }


def _started_otherwise(line: Line) -> ConfigError:
    return ConfigError(
        f"line {line.id} was started with another pair or version 0; "
        "point the cloud to another state folder"
    )
