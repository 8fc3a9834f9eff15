"""The root that vouches for the updates of a pair, where its folder carries one: TUF's root.json of
the cloud that will serve it.
"""

from __future__ import annotations

from pathlib import Path

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes
from driftline_shared.signing.bundle import MAX_METADATA_BYTES

FILE = "update_root.json"


def pair_root(folder: Path) -> bytes | None:
    """The root in the pair's `folder`; None if it has none. OSError, ValueError."""
    return read_bytes(folder / FILE, MAX_METADATA_BYTES)


def read_root(file: Path) -> bytes:
    """The root in `file`, to be put into a pair; ConfigError where it holds none."""
    try:
        data = read_bytes(file, MAX_METADATA_BYTES)
        if data is None:
            raise ValueError("it is not there")
        check_root(data)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} holds no root of updates: {error}",
            fix="`driftline cloud keys export-root --out FILE` writes it, where the cloud is.",
        ) from error
    return data


def check_root(data: bytes) -> None:
    """ValueError unless `data` is a root that its own keys signed, as many as it asks for."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    try:
        metadata = Metadata[Root].from_bytes(data)
        if not isinstance(metadata.signed, Root):
            raise ValueError(f"it is the metadata of {metadata.signed.type}")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise ValueError(str(error)) from error
