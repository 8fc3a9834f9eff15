"""What commands ask of a cloud's authority first: whether it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftline_shared.errors import DataError

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig


def check_authority(settings: CloudConfig) -> None:
    """DataError for a cloud without one."""
    from driftline_cloud.trust.authority import has_authority

    if not has_authority(settings.state):
        raise DataError(
            f"the cloud in {settings.state} has no authority, so it knows nobody",
            fix="`driftline cloud init` makes one; then start the cloud anew.",
        )
