"""How often one caller may call: a bucket of tokens for each, filled at a steady rate.

A call takes a token; an empty bucket turns it away, with a reason that says to come back. Enrolment
is bounded by network address, for ids cost nothing; the rest by device.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from driftline_cloud.limits import RateSettings
from driftline_shared.errors import LinkError, Reason

MOST_CALLERS = 100_000
"""Buckets in memory; the longest unused go first, and would be full again anyway."""


class Rate:
    """Buckets of one kind of call. Used from one event loop."""

    def __init__(
        self,
        what: str,
        per_s: float,
        burst: int,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._per_s, self._burst = what, per_s, float(burst)
        self._monotonic_s = monotonic_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Take a token; LinkError (rate_exceeded) where there is none."""
        if self._per_s == 0:
            return
        now_s = self._monotonic_s()
        left, at_s = self._buckets.pop(caller, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        is_free = left >= 1.0
        self._buckets[caller] = (left - 1.0 if is_free else left, now_s)
        while len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not is_free:
            raise LinkError(
                f"too many {self._what} in a short time; one more in "
                f"{(1.0 - left) / self._per_s:.1f} s",
                reason=Reason.RATE_EXCEEDED,
            )


class Rates:
    """The rates of one server."""

    def __init__(self, settings: RateSettings) -> None:
        self.enrol = Rate("enrolments", settings.enrol_per_s, settings.enrol_burst)
        self.certify = Rate("certificates", settings.certify_per_s, settings.certify_burst)
        self.report = Rate("reports", settings.report_per_s, settings.report_burst)
        self.checks_per_s = settings.checks_per_s
        self.fetch = Rate("downloads", settings.fetch_per_s, settings.fetch_burst)


def address_of(peer: str) -> str:
    """The network address in what gRPC calls a peer, without its port: `ipv4:10.0.0.7:53112`."""
    return peer.rpartition(":")[0] or peer
