"""What updates need of others: the link, and whoever says which are believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from driftline_shared.status import UpdateReport
from driftline_shared.update import Manifest


class UpdateLink(Protocol):
    """What an update needs of the link; every call ends by its own deadline, with LinkError."""

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        """Something newer than `adapter_version` that is not among `failed_versions`, or None."""

    def fetch(self, manifest: Manifest) -> bytes:
        """The blob that `manifest` names."""

    def report(self, report: UpdateReport) -> None:
        """Deliver how an update ended."""


class Signatures(Protocol):
    """Which updates are believed."""

    def check(self, manifest: Manifest) -> None:
        """Raise UpdateError unless the cloud signed what `manifest` leads to; OSError where that
        cannot be kept.
        """

    def disowns(self, version: int) -> bool:
        """Whether `version`, which is in force, was signed by keys that are revoked, and is to be
        left.
        """
