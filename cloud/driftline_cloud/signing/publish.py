"""Signing what the online keys sign: lines, targets, snapshot, timestamp, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from driftline_cloud.signing.files import (
    ONLINE_ROLES,
    ROLE_DAYS,
    SigningFiles,
    expiry,
    read_metadata,
    write_metadata,
)
from driftline_cloud.signing.keys import make_signer, read_signer
from driftline_shared.errors import ConfigError
from driftline_shared.signing.versions import role_of

_log = structlog.get_logger(__name__)

LineTargets = Mapping[str, Mapping[str, TargetFile]]
"""Line -> what its role names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Publisher:
    """Signs in the folder of `files`, at the moment `now_s`; its caller has the turn there."""

    files: SigningFiles
    now_s: float
    timestamp_days: float

    def publish(self, lines: LineTargets, *, renew: bool = False, anew: bool = False) -> None:
        """Make `lines` public, beside what is. `renew`: sign all of it with a new end, too. `anew`:
        forget what was signed with other keys, and all of their versions with it. OSError,
        ConfigError.
        """
        version = self._next_version()
        changed = dict(lines)
        if renew or anew:
            known = {name: self._targets_of(name) for name in self.files.lines()}
            changed = {**known, **changed}
        for name in sorted(changed):
            self._sign_line(name, changed[name], version)
            version += 1
        targets = self._targets(version, anew=anew)
        delegated = self._delegate(targets, changed)
        if delegated or renew or anew:
            self._sign(Targets.type, targets, version)
        self._snapshot(version, changed, anew=anew)
        self.stamp(version)

    def stamp(self, version: int | None = None) -> None:
        """Sign a new timestamp over the snapshot that is there."""
        snapshot, _ = read_metadata(self.files.role(Snapshot.type))
        signed = Timestamp(
            version=version or self._next_version(),
            expires=expiry(self.now_s, days=self.timestamp_days),
            snapshot_meta=MetaFile(version=snapshot.signed.version),
        )
        self._sign(Timestamp.type, signed, signed.version)

    def mend(self) -> None:
        """Sign all again where a kill between two files left some that do not go together."""
        trouble = self._trouble()
        if trouble:
            _log.warning("signing.mended", cause=trouble)
            self.publish({}, anew=True)

    def _trouble(self) -> str:
        """What of the online roles does not go together, in words; empty: nothing."""
        root: Root = read_metadata(self.files.root(self.files.newest_root()))[0].signed
        found = {}
        for name in ONLINE_ROLES:
            if not self.files.role(name).exists():
                return f"{name} is missing"
            found[name] = read_metadata(self.files.role(name))[0]
            try:
                root.verify_delegate(name, found[name].signed_bytes, found[name].signatures)
            except UnsignedMetadataError:
                return f"{name} is not signed by the root's key"
        snapshot, targets = found[Snapshot.type].signed, found[Targets.type].signed
        if found[Timestamp.type].signed.snapshot_meta.version != snapshot.version:
            return "the timestamp is of another snapshot"
        versions = {Targets.type: targets.version}
        for line in self.files.lines():
            metadata = read_metadata(self.files.line(line))[0]
            versions[role_of(line)] = metadata.signed.version
            try:
                targets.verify_delegate(role_of(line), metadata.signed_bytes, metadata.signatures)
            except (UnsignedMetadataError, ValueError):
                return f"line {line} is not signed by its key"
        if {f"{name}.json": MetaFile(version=v) for name, v in versions.items()} != snapshot.meta:
            return "the snapshot is of other files"
        return ""

    def _next_version(self) -> int:
        """Beyond all that was signed here, and, by the clock, what a cloud signed before it was set
        back to a backup.
        """
        paths = [self.files.role(name) for name in ONLINE_ROLES]
        paths += [self.files.line(name) for name in self.files.lines()]
        held = [read_metadata(path)[0].signed.version for path in paths if path.exists()]
        return max(int(self.now_s), max(held, default=0) + 1)

    def _targets_of(self, line: str) -> Mapping[str, TargetFile]:
        found: Mapping[str, TargetFile] = read_metadata(self.files.line(line))[0].signed.targets
        return found

    def _sign_line(self, line: str, targets: Mapping[str, TargetFile], version: int) -> None:
        signed = Targets(
            version=version,
            expires=expiry(self.now_s, days=ROLE_DAYS[Targets.type]),
            targets=dict(targets),
        )
        metadata = Metadata(signed)
        metadata.sign(self._line_signer(line))
        write_metadata(self.files.line(line), metadata)

    def _line_signer(self, line: str) -> CryptoSigner:
        path = self.files.line_key(line)
        return read_signer(path) if path.exists() else make_signer(path)

    def _targets(self, version: int, *, anew: bool) -> Targets:
        path = self.files.role(Targets.type)
        if path.exists() and not anew:
            found: Targets = read_metadata(path)[0].signed
        else:
            found = Targets(delegations=Delegations({}, {}))
        found.expires = expiry(self.now_s, days=ROLE_DAYS[Targets.type])
        found.version = version
        return found

    def _delegate(self, targets: Targets, lines: LineTargets) -> bool:
        """Let each of `lines` be signed by its key; whether that is new."""
        assert targets.delegations is not None and targets.delegations.roles is not None
        is_new = False
        for line in lines:
            key, role = self._line_signer(line).public_key, role_of(line)
            known = targets.delegations.roles.get(role)
            if known is not None and known.keyids == [key.keyid]:
                continue
            for old in known.keyids if known is not None else ():
                targets.revoke_key(old, role)
            targets.delegations.roles[role] = DelegatedRole(
                name=role, keyids=[], threshold=1, terminating=True, paths=[f"{line}/*"]
            )
            targets.add_key(key, role)
            is_new = True
        return is_new

    def _snapshot(self, version: int, lines: LineTargets, *, anew: bool) -> None:
        path = self.files.role(Snapshot.type)
        known = read_metadata(path)[0].signed.meta if path.exists() and not anew else {}
        current = {
            f"{role_of(line)}.json": MetaFile(
                version=read_metadata(self.files.line(line))[0].signed.version
            )
            for line in lines
        }
        targets = read_metadata(self.files.role(Targets.type))[0].signed
        meta = {**known, **current, "targets.json": MetaFile(version=targets.version)}
        signed = Snapshot(
            version=version,
            expires=expiry(self.now_s, days=ROLE_DAYS[Snapshot.type]),
            meta=meta,
        )
        self._sign(Snapshot.type, signed, version)

    def _sign(self, role: str, signed: Any, version: int) -> None:
        signed.version = version
        metadata = Metadata(signed)
        signer = read_signer(self.files.key(role))
        self._check_allowed(role, signer)
        metadata.sign(signer)
        write_metadata(self.files.role(role), metadata)

    def _check_allowed(self, role: str, signer: CryptoSigner) -> None:
        """A key that the root does not name would only stop every device."""
        root = read_metadata(self.files.root(self.files.newest_root()))[0].signed
        if signer.public_key.keyid not in root.roles[role].keyids:
            raise ConfigError(
                f"the key of {role} is not the one that the root names",
                fix="`driftline cloud keys rotate` makes new keys, by the root's.",
            )
