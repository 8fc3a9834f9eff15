"""Telling a cluster's autoscaler what waits, so that nodes come before work has to queue for them.

`ray.autoscaler.sdk.request_resources` holds until it is called anew: what was asked for is released
when nothing waits any more, and Ray's autoscaler then takes idle nodes away by its own rules.
Without an autoscaler the call changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from driftline_cloud.workers.cluster.resources import NAMES

Request = Callable[[Sequence[Mapping[str, float]]], None]
"""As `request_resources(bundles=...)`: room for all of these at the same time, idle or not."""

_log = structlog.get_logger(__name__)


def request_bundles(bundles: Sequence[Mapping[str, float]]) -> None:
    """Ask Ray's autoscaler of the cluster that this process is in."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(one) for one in bundles])


class Hints:
    """What is asked for now; asked anew only where it changes. For one thread at a time.

    `most`: actors that room is asked for; 0: nothing is ever asked.
    """

    def __init__(self, most: int, request: Request = request_bundles) -> None:
        self._most = most
        self._request = request
        self._asked: tuple[dict[str, float], int] | None = None

    def ask(self, resources: Mapping[str, float], waiting: int) -> int:
        """Ask for room for `waiting` actors of these resources, at most `most`; for how many."""
        count = min(self._most, waiting)
        if count <= 0:
            self.release()
            return 0
        bundle = {NAMES[name]: amount for name, amount in resources.items() if amount}
        self._tell((bundle, count))
        return count

    def release(self) -> None:
        """Nothing waits any more."""
        if self._asked is not None:
            self._tell(None)

    def forget(self) -> None:
        """The cluster is gone, with what was asked of it."""
        self._asked = None

    def _tell(self, wanted: tuple[dict[str, float], int] | None) -> None:
        if wanted == self._asked:
            return
        bundles = [] if wanted is None else [wanted[0]] * wanted[1]
        try:
            self._request(bundles)
        except Exception as error:
            # A hint: without it work waits for the room that there is.
            _log.warning("autoscaler.not_told", cause=f"{type(error).__name__}: {error}")
            return
        self._asked = wanted
        _log.info("autoscaler.told", num_bundles=len(bundles))
