"""The root that vouches for the updates of a pair, where its folder carries one: TUF's root.json of
the cloud that will serve it.
"""

from __future__ import annotations

from pathlib import Path

from driftline_shared.host.durable import read_bytes
from driftline_shared.signing.bundle import MAX_METADATA_BYTES

FILE = "update_root.json"


def pair_root(folder: Path) -> bytes | None:
    """The root in the pair's `folder`; None if it has none. OSError, ValueError."""
    return read_bytes(folder / FILE, MAX_METADATA_BYTES)
