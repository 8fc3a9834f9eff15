"""Whether the files of a cloud's metadata go together, and what a kill left of new keys.

New keys lie beside the old ones, as `<role>.key.next`, until the root that names them is there: the
root decides which of the two is in force, so a kill at any write leaves what was before, or what
comes after, and nobody has to bring the root's keys again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from driftline_cloud.signing.files import ONLINE_ROLES, SigningFiles, read_metadata
from driftline_cloud.signing.keys import read_signer
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import sync_folder
from driftline_shared.signing.versions import role_of, version_at

_MOST_SHOWN = 80
_UNREADABLE = (ConfigError, RepositoryError, OSError, ValueError)


def take_up(files: SigningFiles) -> None:
    """Put keys into force that the newest root names, and remove those that no root came to name.
    Its caller has the turn. ConfigError, OSError.
    """
    drafts = {role: files.next_key(role) for role in ONLINE_ROLES}
    drafts = {role: draft for role, draft in drafts.items() if draft.exists()}
    if not drafts:
        return
    root: Root = read_metadata(files.root(files.newest_root()))[0].signed
    for role, draft in drafts.items():
        if _is_named(draft, role, root):
            draft.replace(files.key(role))
        elif _is_named(files.key(role), role, root):
            draft.unlink()
    sync_folder(files.key(Root.type).parent)


def believed(files: SigningFiles, role: str) -> Any:
    """What the online `role` signed last with the key that the root names; None: nothing whole."""
    try:
        root: Root = read_metadata(files.root(files.newest_root()))[0].signed
        metadata = read_metadata(files.role(role))[0]
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except _UNREADABLE:
        return None
    return metadata.signed if metadata.signed.type == role else None


def trouble(files: SigningFiles) -> str:
    """What of the roots, the online roles and the lines does not go together, in words; empty:
    nothing. Changes nothing.
    """
    try:
        return _trouble(files)
    except Exception as error:  # who has a key may sign what `tuf` does not expect
        return str(error) or repr(error)


def _trouble(files: SigningFiles) -> str:
    roots = [read_metadata(files.root(n))[0].signed for n in range(1, files.newest_root() + 1)]
    if not roots:
        return f"{files.folder} holds no root"
    root: Root = roots[-1]
    found = {}
    for name in ONLINE_ROLES:
        if read_signer(files.key(name)).public_key.keyid not in root.roles[name].keyids:
            return f"the key of {name} is not the one that the root names"
        if not files.role(name).exists():
            return f"{name} is missing"
        found[name] = believed(files, name)
        if found[name] is None:
            return f"{name} is not whole, or not signed by the root's key"
    snapshot, targets = found[Snapshot.type], found[Targets.type]
    if found[Timestamp.type].snapshot_meta.version != snapshot.version:
        return "the timestamp is of another snapshot"
    versions = {Targets.type: targets.version}
    for line in files.lines():
        metadata = read_metadata(files.line(line))[0]
        versions[role_of(line)] = metadata.signed.version
        try:
            targets.verify_delegate(role_of(line), metadata.signed_bytes, metadata.signatures)
        except _UNREADABLE:
            return f"line {line} is not signed by its key"
        odd = [path for path in metadata.signed.targets if not version_at(line, path)]
        if odd:
            return f"line {line} names {odd[0][:_MOST_SHOWN]!r}, which is no version of it"
    # Beyond these it names lines that were dropped: devices take no snapshot that forgets a file.
    named = {name: file.version for name, file in snapshot.meta.items()}
    if any(named.get(f"{name}.json") != version for name, version in versions.items()):
        return "the snapshot is of other files"
    return ""


def _is_named(path: Path, role: str, root: Root) -> bool:
    """Whether `path` holds a key that `root` names; what cannot be read is none."""
    try:
        return read_signer(path).public_key.keyid in root.roles[role].keyids
    except ConfigError:
        return False
