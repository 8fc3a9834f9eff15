"""The stores of one cloud, by its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.remote import open_remote
from driftline_cloud.blobs.store import BlobStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """`far_releases`: what keeps versions beside the folder; None: nothing does. `rounds`: what
    rounds keep between two states, below the id of each.
    """

    far_releases: BlobStore | None
    rounds: BlobStore


def open_stores(artifacts: str, rounds: Path, *, cloud_id: str) -> Stores:
    """The stores of the cloud `cloud_id` by the URL `artifacts`; empty: folders. `rounds`: the
    folder of rounds. Nothing is asked of the store yet.
    """
    if not artifacts:
        return Stores(far_releases=None, rounds=FolderStore(rounds))
    far = open_remote(artifacts, owner=cloud_id)
    return Stores(far_releases=far.within("releases"), rounds=far.within("rounds"))
