"""Signing what the online keys sign: lines, targets, snapshot, timestamp, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
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
    version_in,
    write_metadata,
)
from driftline_cloud.signing.keys import make_signer, read_signer
from driftline_cloud.signing.whole import believed, trouble
from driftline_shared.errors import ConfigError
from driftline_shared.signing.versions import role_of, version_at

_MOST = 1 << 62
_REACH_S = 30 * 86_400
_FIX = (
    "Bring `trust/updates` back from a backup, or `driftline cloud keys rotate` by the root's keys."
)

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
        the same, with new keys for the lines, whatever of the rest is not whole. OSError,
        ConfigError.
        """
        version = self._next_version()
        changed = dict(lines)
        if renew or anew:
            known = {name: self._targets_of(name) for name in self.files.lines()}
            changed = {**known, **changed}
        for name in sorted(changed):
            if anew:
                make_signer(self.files.line_key(name))
            self._sign_line(name, changed[name], version)
            version += 1
        targets = self._targets(version, anew=anew)
        delegated = self._delegate(targets, changed)
        if delegated or renew or anew:
            self._sign(Targets.type, targets, version)
        self._snapshot(version, changed)
        self.stamp(version)

    def withdraw(self, line: str) -> None:
        """Take the key and the metadata of `line` away. Its name stays in the snapshot until the
        online keys are new: devices take no snapshot that forgets a file. OSError, ConfigError.
        """
        targets, role = self._targets(self._next_version(), anew=False), role_of(line)
        roles = targets.delegations.roles if targets.delegations is not None else None
        if roles and role in roles:
            for key in list(roles[role].keyids):
                targets.revoke_key(key, role)
            del roles[role]
            self._sign(Targets.type, targets, targets.version)
            self._snapshot(targets.version, {})
            self.stamp(targets.version)
        self.files.line(line).unlink(missing_ok=True)
        self.files.line_key(line).unlink(missing_ok=True)

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
        """Sign all again where a kill, or a damaged disk, left files that do not go together;
        ConfigError where that takes more than the keys that are here. OSError.
        """
        cause = trouble(self.files)
        if cause:
            self.publish({}, anew=True)
            if still := trouble(self.files):
                raise ConfigError(still, fix=_FIX)
            _log.warning("signing.mended", cause=cause)

    def _next_version(self) -> int:
        """Beyond all that the keys in force signed here, and, by the clock, what a cloud signed
        before it was set back to a backup. A number that other keys signed, and that the clock
        would not have reached, counts for nothing: devices forget it with those keys.
        """
        roles = {name: believed(self.files, name) for name in ONLINE_ROLES}
        ours = [signed.version for signed in roles.values() if signed is not None]
        snapshot = roles[Snapshot.type]
        ours += [file.version for file in snapshot.meta.values()] if snapshot is not None else []
        if max(ours, default=0) >= _MOST:
            raise ConfigError(
                f"metadata of number {max(ours)} was signed with this cloud's keys: none is left",
                fix="Somebody else has them: `driftline cloud keys rotate` makes new ones.",
            )
        paths = [self.files.role(name) for name in ONLINE_ROLES]
        paths += self.files.line_files()
        others = [found for path in paths if (found := version_in(path)) < self.now_s + _REACH_S]
        return max(int(self.now_s), max([*ours, *others], default=0) + 1)

    def _targets_of(self, line: str) -> Mapping[str, TargetFile]:
        """What the line names, as far as the keys in force signed that: nothing right after they
        were made. Who serves signs anew what the cloud has released; what a thief of the keys
        before put here is never signed again.
        """
        targets = believed(self.files, Targets.type)
        try:
            metadata = read_metadata(self.files.line(line))[0]
            targets.verify_delegate(role_of(line), metadata.signed_bytes, metadata.signatures)
        except (AttributeError, ConfigError, RepositoryError, ValueError):
            return {}
        found: Mapping[str, TargetFile] = metadata.signed.targets
        return {path: target for path, target in found.items() if version_at(line, path)}

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
        """Of a line, whose key the one of targets can replace at any time."""
        path = self.files.line_key(line)
        try:
            return read_signer(path) if path.exists() else make_signer(path)
        except ConfigError as error:
            _log.warning("signing.line_key_replaced", line=line, cause=str(error))
            return make_signer(path)

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

    def _snapshot(self, version: int, lines: LineTargets) -> None:
        before = believed(self.files, Snapshot.type)
        known = before.meta if before is not None else {}
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
