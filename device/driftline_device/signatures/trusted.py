"""Which updates a device believes: those that its cloud's metadata names, by TUF.

The metadata comes with the cloud's answers; `tuf.ngclient` follows roots, checks signatures,
thresholds, versions and ends, and keeps what it believes. Before a version is believed its metadata
and its number are durable, so whatever is killed when, nothing older is believed afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from driftline_device.signatures.folder import (
    FOLDER,
    HELD,
    ROOTS,
    SignatureStatus,
    look,
    read_held,
)
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.host.durable import make_folder, read_bytes, sync_folder, write_json
from driftline_shared.signing.bundle import (
    MAX_METADATA_BYTES,
    SignedBundle,
    SignedState,
)
from driftline_shared.signing.versions import check_signed, role_of, target_of
from driftline_shared.update import Manifest

_PLACE = "updates:///"
_MOST_ROOTS = 1_000
"""Since the one that the device began with; each is looked at whenever metadata comes."""

_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (ExpiredMetadataError, Reason.METADATA_EXPIRED),
    (BadVersionNumberError, Reason.METADATA_OLDER),
    (UnsignedMetadataError, Reason.SIGNATURE_INVALID),
)

_log = structlog.get_logger(__name__)


class TrustedUpdates:
    """The metadata in `<state>/trusted`, begun from `root`. One thread owns it; `status` may be
    asked by others.
    """

    def __init__(
        self, state: Path, root: bytes, *, base_model: str, now_s: Callable[[], float]
    ) -> None:
        self._folder, self._root = state / FOLDER, root
        self._base_model, self._now_s = base_model, now_s
        self._held = look(self._folder, self._root)
        self._error: UpdateError | OSError | None = None
        self._said = ""

    # -- for the link -----------------------------------------------------------------------------

    def held(self) -> SignedState:
        """What to tell the cloud at the beginning of a question."""
        self._error = None
        return self._held.state

    def take(self, bundle: SignedBundle) -> None:
        """Believe what of `bundle` is to be believed, durably; what is not is said by `check`."""
        try:
            self._refresh(bundle)
        except (UpdateError, OSError) as error:
            self.refuse(error)
        else:
            self._said = ""

    def refuse(self, error: UpdateError | OSError) -> None:
        """The cloud's answer brought metadata that is not to be read, or cannot be kept."""
        self._error = error
        if str(error) != self._said:
            self._said = str(error)
            reason = error.reason if isinstance(error, UpdateError) else "disk"
            _log.warning("signatures.refused", reason=reason, error=str(error))

    # -- for the applier --------------------------------------------------------------------------

    def check(self, manifest: Manifest) -> None:
        """Raise UpdateError unless the cloud signed what `manifest` leads to, and that is no
        earlier version than one that was believed before; OSError where that cannot be kept.
        """
        if self._error is not None:
            raise self._error
        line = self._held.line
        updater = self._refresh(SignedBundle(line=line))
        version = manifest.target_version
        with _as_ours():
            target = updater.get_targetinfo(target_of(line, version))
        if target is None:
            raise UpdateError(
                f"the cloud has signed no version {version} of line {line}",
                reason=Reason.NOT_SIGNED,
            )
        custom = target.unrecognized_fields.get("custom")
        check_signed(
            manifest,
            result=target.hashes.get("sha256", ""),
            custom=custom if isinstance(custom, dict) else {},
        )
        self._remember(version)

    @property
    def status(self) -> SignatureStatus:
        """As of the last question."""
        held, error = self._held, self._error
        reason, detail = "", ""
        if error is not None:
            reason = str(error.reason) if isinstance(error, UpdateError) else str(Reason.INTERNAL)
            detail = str(error)
        elif held.until_unix_s and self._now_s() >= held.until_unix_s:
            reason = str(Reason.METADATA_EXPIRED)
        return SignatureStatus(
            root=held.state.root, until_unix_s=held.until_unix_s, reason=reason, detail=detail
        )

    # -- steps ------------------------------------------------------------------------------------

    def _refresh(self, bundle: SignedBundle) -> Updater:
        make_folder(self._folder)
        if bundle.line and bundle.line != self._held.line:
            self._write_held(line=bundle.line)
        config = UpdaterConfig(
            max_root_rotations=_MOST_ROOTS,
            root_max_length=MAX_METADATA_BYTES,
            timestamp_max_length=MAX_METADATA_BYTES,
            snapshot_max_length=MAX_METADATA_BYTES,
            targets_max_length=MAX_METADATA_BYTES,
        )
        fetcher = _Brought(bundle, self._held.state.root, self._folder)
        try:
            with _as_ours():
                updater = Updater(
                    str(self._folder), _PLACE, fetcher=fetcher, config=config, bootstrap=self._root
                )
                updater.refresh()
                updater.get_targetinfo(target_of(bundle.line, 0))  # takes the line's role
        finally:
            self._make_durable()
            self._held = look(self._folder, self._root)
        return updater

    def _remember(self, version: int) -> None:
        """Keep the highest version that was believed, before anything is done with it."""
        highest = read_held(self._folder).get("highest")
        known = highest if isinstance(highest, dict) else {}
        before = known.get(self._base_model, 0)
        before = before if isinstance(before, int) else 0
        if version < before:
            raise UpdateError(
                f"version {version} is older than {before}, which this device went to",
                reason=Reason.VERSION_NOT_NEWER,
            )
        if version > before:
            self._write_held(highest={**known, self._base_model: version})

    def _write_held(self, **changed: Any) -> None:
        write_json(self._folder / HELD, {**read_held(self._folder), **changed}, sealed=True)

    def _make_durable(self) -> None:
        """What `tuf` wrote by renaming, it did not sync."""
        for folder in (self._folder, self._folder / ROOTS):
            for path in folder.glob("*.json"):
                if path.is_symlink():
                    continue
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            if folder.is_dir():
                sync_folder(folder)


class _Brought(FetcherInterface):
    """The files of a bundle, and, where it has none, those that the device holds: a cloud leaves
    out what it need not send.
    """

    def __init__(self, bundle: SignedBundle, root: int, folder: Path) -> None:
        self._folder = folder
        names = (f"{n}.root.json" for n in range(root + 1, root + 1 + len(bundle.roots)))
        files: Mapping[str, bytes] = {
            **dict(zip(names, bundle.roots, strict=True)),
            "timestamp.json": bundle.timestamp,
            "snapshot.json": bundle.snapshot,
            "targets.json": bundle.targets,
            f"{quote(role_of(bundle.line), '')}.json": bundle.line_targets,
        }
        self._files = {name: data for name, data in files.items() if data}

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_PLACE)
        data = self._files.get(name)
        if data is None and "/" not in name and not name.endswith(".root.json"):
            data = read_bytes(self._folder / name, MAX_METADATA_BYTES)
        if data is None:
            raise DownloadHTTPError(f"{name} did not come", 404)
        return iter((data,))


class _as_ours:  # noqa: N801 (used like a function)
    """Turns what `tuf` raises into UpdateError."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UpdateError) or not isinstance(
            error, RepositoryError | DownloadError | ValueError
        ):
            return
        reason = next(
            (reason for one, reason in _REASONS if isinstance(error, one)), Reason.METADATA_INVALID
        )
        raise UpdateError(f"signed metadata: {error}", reason=reason) from error
