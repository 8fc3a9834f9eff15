"""Whether nothing is on its way between this device and its cloud: a function of both states."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from driftline_device.link.settings import LinkStats
from driftline_device.updates.phases import RESTING, UpdateState
from driftline_shared.status import CloudStatus

CLOSED_ROUNDS = frozenset({"done", "rejected", "failed"})
"""States of a round after which nothing of it is to come."""


class LinkView(Protocol):
    """How the link and the cloud are."""

    def stats(self) -> LinkStats:
        """The link now."""

    def status(self) -> CloudStatus:
        """The cloud now; LinkError if it cannot be reached."""


def is_settled(
    cloud: CloudStatus,
    *,
    line: str,
    num_waiting: int,
    state: UpdateState,
    failed_versions: Collection[int],
) -> bool:
    """No sample waits here, no update is under way, no round runs there, and the newest version of
    `line` is in force here or has failed here.
    """
    if num_waiting or state.phase not in RESTING:
        return False
    for each in cloud.lines:
        if each.line != line:
            continue
        if each.round is not None and each.round.state not in CLOSED_ROUNDS:
            return False
        if each.newest_version > state.version and each.newest_version not in failed_versions:
            return False
    return True
