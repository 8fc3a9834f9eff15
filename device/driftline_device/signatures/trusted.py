"""Which updates a device believes: those that its cloud's metadata names, by TUF.

The metadata comes with the cloud's answers; `tuf.ngclient` follows roots, checks signatures,
thresholds, versions and ends, and keeps what it believes. Before a version is believed its metadata
and its number are durable, so whatever is killed when, nothing older is believed afterwards. What
is damaged on the disk is set aside and asked for again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from driftline_device.signatures.chain import broken, online_keys
from driftline_device.signatures.folder import (
    FOLDER,
    HELD,
    ROOTS,
    SignatureStatus,
    look,
    read_held,
)
from driftline_device.signatures.highest import Highest, highest_of, with_highest
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.host.durable import (
    clear_way,
    make_folder,
    read_bytes,
    read_json,
    set_aside,
    sync_folder,
    write_json,
)
from driftline_shared.signing.bundle import (
    MAX_METADATA_BYTES,
    SignedBundle,
    SignedState,
)
from driftline_shared.signing.versions import check_signed, role_of, target_of, version_at
from driftline_shared.update import Manifest

_PLACE = "updates:///"
_MOST_ROOTS = 1_000
"""Since the one that the device began with; each is looked at whenever metadata comes."""

_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (ExpiredMetadataError, Reason.METADATA_EXPIRED),
    (BadVersionNumberError, Reason.METADATA_OLDER),
    (UnsignedMetadataError, Reason.SIGNATURE_INVALID),
)

_ASK_ALL = frozenset({Reason.METADATA_INVALID, Reason.METADATA_OLDER, Reason.SIGNATURE_INVALID})
"""Refusals after which all but the roots is asked for anew: what lies here may be damaged, or of
keys that are revoked, under a number that the cloud's has, too.
"""

_log = structlog.get_logger(__name__)


class TrustedUpdates:
    """The metadata in `<state>/trusted`, begun from `root`. One thread owns it; `status` may be
    asked by others.
    """

    def __init__(
        self, state: Path, root: bytes, *, base_model: str, now_s: Callable[[], float]
    ) -> None:
        self._folder, self._root = state / FOLDER, root
        self._begun = hashlib.sha256(root).hexdigest()
        self._base_model, self._now_s = base_model, now_s
        self._newest = 0
        self._mend()
        self._held = look(self._folder, self._root)
        self._bind_what_was_before()
        self._error: UpdateError | OSError | None = None
        self._said = ""

    # -- for the link -----------------------------------------------------------------------------

    def held(self) -> SignedState:
        """What to tell the cloud at the beginning of a question."""
        error, self._error = self._error, None
        if isinstance(error, UpdateError) and error.reason in _ASK_ALL:
            return SignedState(root=self._held.state.root)
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
        try:
            updater = self._refresh(SignedBundle(line=line))
        except UpdateError as error:
            self.refuse(error)  # the next question asks for what is damaged
            raise
        version = manifest.target_version
        target = self._target(updater, line, version)
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
        self._remember(version, updater)

    def disowns(self, version: int) -> bool:
        """Whether `version`, which is in force, was believed under keys that the root has revoked,
        and is higher than all that the keys of now name: whoever had the old ones released it, and
        no update would ever be newer.
        """
        known = highest_of(read_held(self._folder), self._base_model)
        if self._error is not None or known is None or not 0 < self._newest < version:
            return False
        return (
            version <= known.version
            and known.line == self._held.line
            and known.keys not in ("", self._keys())
        )

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
        self._clear()
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
        fetcher = _Brought(bundle, self._held.state.root, self._folder, floor=self._root_floor())
        self._newest = 0
        try:
            with _as_ours():
                updater = Updater(
                    str(self._folder), _PLACE, fetcher=fetcher, config=config, bootstrap=self._root
                )
                updater.refresh()
                updater.get_targetinfo(target_of(bundle.line, 0))  # takes the line's role
        except UpdateError:
            self._mend()
            raise
        finally:
            self._make_durable()
            self._held = look(self._folder, self._root)
            if self._held.state.root > self._root_floor():
                root = {"number": self._held.state.root, "begun": self._begun}
                self._write_held(root=root)
        self._newest = self._newest_named(updater, bundle.line)
        return updater

    def _mend(self) -> None:
        """Set aside what is damaged. Roots are followed again from the last that is whole; until
        the one that was believed is back, nothing else is (`_Brought`).
        """
        self._clear()
        try:
            read_json(self._folder / HELD)
        except ValueError as error:
            set_aside(self._folder / HELD, str(error))
        except OSError:
            pass
        for path in broken(self._root, self._folder / ROOTS):
            set_aside(path, "is not the root that follows the one before it")

    def _clear(self) -> None:
        """Set aside what is in a file's place and is none: `tuf` would not write over a folder, and
        would wait for a pipe.
        """
        for folder in (self._folder / ROOTS, self._folder):
            clear_way(folder, folder=True)
            for path in folder.glob("*.json"):
                clear_way(path)

    def _root_floor(self) -> int:
        """The highest root that was believed since the device began with this one."""
        found = read_held(self._folder).get("root")
        known = found if isinstance(found, dict) and found.get("begun") == self._begun else {}
        number = known.get("number", 0)
        return number if isinstance(number, int) else 0

    def _keys(self) -> str:
        """`online_keys` of the root in force."""
        path = self._folder / ROOTS / f"{self._held.state.root}.root.json"
        with suppress(OSError, ValueError):
            return online_keys(read_bytes(path, MAX_METADATA_BYTES) or self._root)
        return ""

    def _newest_named(self, updater: Updater, line: str) -> int:
        """The highest version that the line's role, as `updater` believes it, names; 0: none."""
        path = self._folder / f"{quote(role_of(line), '')}.json"
        try:
            data = read_bytes(path, MAX_METADATA_BYTES) or b""
            role: Any = Metadata.from_bytes(data).signed
            named = {version_at(line, target) for target in role.targets} - {0}
        except (OSError, ValueError, RepositoryError, AttributeError):
            return 0
        signed = (n for n in sorted(named, reverse=True) if self._target(updater, line, n))
        return next(signed, 0)

    def _target(self, updater: Updater, line: str, version: int) -> TargetFile | None:
        with _as_ours():
            return updater.get_targetinfo(target_of(line, version))

    def _bind_what_was_before(self) -> None:
        """A version that a device of before kept without its keys is of those of now."""
        held = read_held(self._folder)
        known = highest_of(held, self._base_model)
        if known is None or known.keys:
            return
        bound = Highest(version=known.version, keys=self._keys(), line=self._held.line)
        with suppress(OSError):
            self._write_held(highest=with_highest(held, self._base_model, bound))

    def _remember(self, version: int, updater: Updater) -> None:
        """Keep the highest version that was believed, before anything is done with it."""
        held = read_held(self._folder)
        keys, line = self._keys(), self._held.line
        known = highest_of(held, self._base_model)
        before = known.version if known is not None else 0
        if known is not None and known.keys != keys:
            # Whoever had the keys that were revoked may have named it.
            before = before if self._target(updater, line, before) else 0
        if version < before:
            raise UpdateError(
                f"version {version} is older than {before}, which this device went to",
                reason=Reason.VERSION_NOT_NEWER,
            )
        highest = Highest(version=version, keys=keys, line=line)
        if highest != known:
            self._write_held(highest=with_highest(held, self._base_model, highest))

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

    `floor`: the root that was believed before. Where the roots end earlier, for it is damaged, no
    other file is given: keys that it revoked would sign again.
    """

    def __init__(self, bundle: SignedBundle, root: int, folder: Path, *, floor: int) -> None:
        self._folder, self._floor = folder, floor
        self._in_force = floor
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
        if data is None and name.endswith(".root.json"):
            self._in_force = int(name.partition(".")[0]) - 1  # the next one is asked for
        elif self._in_force < self._floor:
            raise UpdateError(
                f"root {self._floor} was believed, and the roots that are whole end at "
                f"{self._in_force}: the cloud is asked for it again",
                reason=Reason.METADATA_OLDER,
            )
        if data is None:
            raise DownloadHTTPError(f"{name} did not come", 404)
        return iter((data,))


class _as_ours:  # noqa: N801 (used like a function)
    """Turns what `tuf` raises into UpdateError."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and isinstance(error.__cause__, UpdateError):
            raise error.__cause__  # ours, out of a fetcher
        # Whoever has a key may sign what the library does not expect: TypeError, KeyError ...
        if not isinstance(error, Exception) or isinstance(error, UpdateError | OSError):
            return
        reason = next(
            (reason for one, reason in _REASONS if isinstance(error, one)), Reason.METADATA_INVALID
        )
        raise UpdateError(f"signed metadata: {error}", reason=reason) from error
