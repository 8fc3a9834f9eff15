"""What signs a cloud's versions while it serves: new ones at once, everything again in time.

The process that serves is the only one that signs; processes that work publish versions, which are
offered to nobody before they are signed. Whatever is wrong here, the cloud serves: it says what is
wrong, tries again every second, and devices stay on their versions meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.signing.files import ONLINE_ROLES, ROLE_DAYS, SigningFiles, read_metadata
from driftline_cloud.signing.publish import Publisher
from driftline_cloud.signing.whole import take_up, trouble
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.host.lock import take_turn
from driftline_shared.program.outage import Outage
from driftline_shared.signing.bundle import MAX_ROOTS, SignedBundle, SignedState
from driftline_shared.signing.versions import custom_of, target_of, version_at
from driftline_shared.update import adapter_form_bytes
from driftline_shared.wire import pack_signed

MOST_VERSIONS = 3
"""That a line's metadata names: each costs bytes on every download."""

_MOST_PACKED = 256
_FIX = "Bring `trust/updates` back from a backup; see docs/trust.md."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    data: bytes
    version: int
    expires_s: float
    days: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Public:
    """All that is public, as of one moment; nothing where it is not whole, but the roots that are.
    `versions`: of each line, with what names them.
    """

    stamp: tuple[int, int] = (0, 0)
    root: int = 0
    roots: Mapping[int, bytes] = field(default_factory=dict)
    roles: Mapping[str, _File] = field(default_factory=dict)
    lines: Mapping[str, _File] = field(default_factory=dict)
    versions: Mapping[str, Mapping[int, TargetFile]] = field(default_factory=dict)


class Signing:
    """The signed metadata of the cloud in `state`; calls may come from several threads.

    `timestamp_days`: how long devices go by a timestamp. Where files are not whole, `trouble` says
    so, and nothing is raised.
    """

    def __init__(
        self,
        state: Path,
        registry: ReleaseRegistry,
        *,
        now_s: Callable[[], float],
        timestamp_days: float,
    ) -> None:
        self._files = SigningFiles(state)
        self._registry, self._now_s = registry, now_s
        self._timestamp_days = timestamp_days
        self._lock, self._packed_lock = threading.Lock(), threading.Lock()
        self._packed: dict[tuple[tuple[int, int], str, SignedState], tuple[bytes, int]] = {}
        self._outage = Outage("signing.failed", "signing.works_again")
        self._is_whole = False
        self._strays: frozenset[Path] = frozenset()
        self._public = _Public()
        self.step()
        if not self._is_whole:
            self._public = self._as_it_lies()

    @property
    def trouble(self) -> str:
        """What keeps versions from being signed, and what to do; empty: nothing."""
        return self._outage.trouble

    @property
    def root(self) -> bytes:
        """The root in force: what a device that enrols trusts. Empty: none can be read."""
        return self._public.roots.get(self._public.root, b"")

    def is_signed(self, line: str, version: int) -> bool:
        """Whether `version` of `line` may be offered to who wants signatures."""
        return version in self._public.versions.get(line, {})

    def ensure(self, line: str, *, newest: int, settled: int) -> None:
        """Sign what is missing of a line: its `newest` version, and the one that is everyone's.
        What keeps that from being done is logged, and tried again at the next call.
        """
        if not self._is_whole:
            return  # `step` tries every second
        try:
            with self._lock:
                self._follow()
                wanted = _wanted(newest, settled)
                held = self._public.versions.get(line)
                if held is None or not {v for v in (newest, settled) if v} <= set(held):
                    self._sign(line, wanted, held or {})
        except Exception as error:
            self._failed(error)
        else:
            self._outage.is_over()

    def step(self) -> None:
        """Follow commands, and sign again in time: to be called every second or so."""
        try:
            with self._lock:
                self._follow()
                self._renew_due()
        except Exception as error:
            self._failed(error)
        else:
            self._outage.is_over()

    def withdraw(self, line: str) -> None:
        """Take away key and metadata of a line that was dropped, if they are there. What keeps that
        from being done is logged; it is tried again at the next call.
        """
        if not self._is_whole or not (
            line in self._public.lines or self._files.line_key(line).exists()
        ):
            return
        try:
            with self._lock:
                with take_turn(self._files.lock):
                    self._publisher().withdraw(line)
                self._public = self._load()
            _log.info("line.withdrawn", line=line)
        except Exception as error:
            self._failed(error)

    def bundle(self, line: str, held: SignedState) -> SignedBundle | None:
        """What a device of `line` that holds `held` lacks; None: nothing."""
        public = self._public  # of one moment
        last = min(public.root, held.root + MAX_ROOTS)
        bundle = SignedBundle(
            line=line,
            roots=tuple(public.roots[n] for n in range(max(1, held.root + 1), last + 1)),
            timestamp=_unless(public.roles.get(Timestamp.type), held.timestamp),
            snapshot=_unless(public.roles.get(Snapshot.type), held.snapshot),
            targets=_unless(public.roles.get(Targets.type), held.targets),
            line_targets=_unless(public.lines.get(line), held.line),
        )
        return bundle if any(bundle.files()) else None

    def packed(self, line: str, held: SignedState) -> tuple[bytes, int]:
        """`bundle` as it travels, and its size decompressed; many devices ask for the same."""
        if not self._public.roles:
            return b"", 0
        key = (self._public.stamp, line, held)
        with self._packed_lock:
            found = self._packed.get(key)
        if found is None:
            bundle = self.bundle(line, held)
            found = (b"", 0) if bundle is None else pack_signed(bundle)
            with self._packed_lock:
                if len(self._packed) >= _MOST_PACKED:
                    self._packed.clear()
                self._packed[key] = found
        return found

    # -- under the lock ---------------------------------------------------------------------------

    def _sign(self, line: str, wanted: list[int], held: Mapping[int, TargetFile]) -> None:
        targets = {}
        for version in wanted:
            found = held.get(version) or self._target(line, version)
            targets[found.path] = found
        with take_turn(self._files.lock):
            self._publisher().publish({line: targets})
        self._public = self._load()
        _log.info("version.signed", line=line, versions=sorted(self._public.versions[line]))

    def _target(self, line: str, version: int) -> TargetFile:
        manifest = self._registry.manifest(line, version)
        return TargetFile(
            length=adapter_form_bytes(self._registry.canonical(line, version)),
            hashes={"sha256": manifest.target_digest.hex()},
            path=target_of(line, version),
            unrecognized_fields={"custom": custom_of(manifest)},
        )

    def _renew_due(self) -> None:
        now_s, public = self._now_s(), self._public
        lasting = [file for name, file in public.roles.items() if name != Timestamp.type]
        if any(_is_due(file, now_s) for file in (*lasting, *public.lines.values())):
            with take_turn(self._files.lock):
                self._publisher().publish({}, renew=True)
        elif _is_due(public.roles[Timestamp.type], now_s):
            with take_turn(self._files.lock):
                self._publisher().stamp()
        else:
            return
        self._public = self._load()
        _log.info("metadata.signed_again", timestamp=self._public.roles[Timestamp.type].version)

    def _follow(self) -> None:
        """A command may have rotated keys meanwhile, and been killed: what it left is gone on from,
        and so is what a kill, or the disk, left of the metadata.
        """
        if self._is_whole and self._stamp() == self._public.stamp:
            return
        self._is_whole = False
        with take_turn(self._files.lock):
            take_up(self._files)
            self._publisher().mend()
        self._public = self._load()
        self._is_whole = True

    def _publisher(self) -> Publisher:
        return Publisher(
            files=self._files, now_s=self._now_s(), timestamp_days=self._timestamp_days
        )

    def _stamp(self) -> tuple[int, int]:
        path = self._files.role(Timestamp.type)
        return self._files.newest_root(), path.stat().st_mtime_ns if path.exists() else 0

    def _load(self) -> _Public:
        with take_turn(self._files.lock):
            return self._read()

    def _read(self) -> _Public:
        stamp = self._stamp()
        if not stamp[0]:
            raise ConfigError(f"{self._files.folder} holds no root any more", fix=_FIX)
        lines = self._files.lines()
        self._tell_strays(frozenset(self._files.strays()))
        return _Public(
            stamp=stamp,
            root=stamp[0],
            roots={n: read_metadata(self._files.root(n))[1] for n in range(1, stamp[0] + 1)},
            roles={name: self._file(self._files.role(name), name) for name in ONLINE_ROLES},
            lines={line: self._file(self._files.line(line), Targets.type) for line in lines},
            versions={line: self._versions(line) for line in lines},
        )

    def _as_it_lies(self) -> _Public:
        """What is whole although nothing can be changed now, for the disk is read-only. Whatever
        somebody else signed here, the cloud starts: `step` has said what is wrong.
        """
        with suppress(Exception):
            if not trouble(self._files):
                return self._read()
        return self._roots_alone()

    def _roots_alone(self) -> _Public:
        """Those from the first on that can be read: a device that enrols must have one."""
        roots: dict[int, bytes] = {}
        with suppress(ConfigError):
            while True:
                number = len(roots) + 1
                metadata, data = read_metadata(self._files.root(number))
                if metadata.signed.type != Root.type or metadata.signed.version != number:
                    break
                roots[number] = data
        return _Public(root=len(roots), roots=roots)

    def _tell_strays(self, strays: frozenset[Path]) -> None:
        if strays - self._strays:
            _log.warning(
                "signing.strays",
                paths=sorted(str(path) for path in strays),
                fix="They are no metadata of this cloud, and count for nothing: remove them.",
            )
        self._strays = strays

    def _file(self, path: Path, role: str) -> _File:
        metadata, data = read_metadata(path)
        return _File(
            data=data,
            version=metadata.signed.version,
            expires_s=metadata.signed.expires.timestamp(),
            days=ROLE_DAYS.get(role, self._timestamp_days),
        )

    def _versions(self, line: str) -> dict[int, TargetFile]:
        targets = read_metadata(self._files.line(line))[0].signed.targets
        named = {version_at(line, path): target for path, target in targets.items()}
        return {version: target for version, target in named.items() if version}

    def _failed(self, error: Exception) -> None:
        fix = error.fix if isinstance(error, DriftlineError) else "Look at the disk."
        is_known = isinstance(error, DriftlineError | OSError)
        self._outage.came(
            f"updates are not signed: {error}", fix, error=None if is_known else error
        )


def _wanted(newest: int, settled: int) -> list[int]:
    """The newest versions, and the one that is everyone's, however old that is."""
    found = [version for version in {newest, settled} if version > 0]
    for version in range(newest - 1, 0, -1):
        if len(found) >= MOST_VERSIONS:
            break
        if version not in found:
            found.append(version)
    return sorted(found)


def _unless(file: _File | None, held: int) -> bytes:
    return file.data if file is not None and file.version != held else b""


def _is_due(file: _File, now_s: float) -> bool:
    """Half of its time has passed."""
    return now_s > file.expires_s - file.days * 86_400 / 2
