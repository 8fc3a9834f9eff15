"""The roots on disk, held to one another: which of them a device may begin from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from driftline_shared.host.durable import read_bytes
from driftline_shared.signing.bundle import MAX_METADATA_BYTES

_ONLINE = (Targets.type, Snapshot.type, Timestamp.type)
_DIGITS = 32
_NAME = re.compile(r"([1-9][0-9]{0,8})\.root\.json", re.ASCII)


def numbered(folder: Path) -> Mapping[int, Path]:
    """The files of roots in `folder` by their number; other names are no roots."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return {int(found[1]): path for path in paths if (found := _NAME.fullmatch(path.name))}


def broken(first: bytes, folder: Path) -> list[Path]:
    """Files of roots in `folder` after the last that follows from the root `first`, each signed by
    the one before it and by itself; none where one cannot be read for now.
    """
    paths = numbered(folder)
    try:
        root: Root = Metadata.from_bytes(first).signed
    except (RepositoryError, ValueError):
        return []
    while (path := paths.get(root.version + 1)) is not None:
        try:
            root = _after(root, read_bytes(path, MAX_METADATA_BYTES) or b"")
        except OSError:
            return []
        except (RepositoryError, ValueError):
            break
    return [path for number, path in sorted(paths.items()) if number > root.version]


def online_keys(root: bytes) -> str:
    """What stands for the keys that `root` lets sign online; another for other keys. Empty where it
    is none.

    Lines' keys are no part of it: who has the online keys can change those.
    """
    try:
        roles = Metadata.from_bytes(root).signed.roles
        named = [(name, *sorted(roles[name].keyids)) for name in _ONLINE]
    except (RepositoryError, ValueError, KeyError, AttributeError):
        return ""
    return hashlib.sha256(repr(named).encode()).hexdigest()[:_DIGITS]


def _after(root: Root, data: bytes) -> Root:
    """The root in `data`, which follows `root`; RepositoryError, ValueError."""
    metadata: Metadata[Root] = Metadata.from_bytes(data)
    found = metadata.signed
    if found.type != Root.type or found.version != root.version + 1:
        raise ValueError("is not the next root")
    for signer in (root, found):
        signer.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    return found
