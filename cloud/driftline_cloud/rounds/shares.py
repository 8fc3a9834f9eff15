"""How many of each device's waiting samples a round takes, so that no device decides it. Pure.

Of n devices that sent lately each gives at most the share

    s = max(device_share, 3 / n)        no limit where that is 1 or more

of what a round learns from. A round of w_d waiting samples of device d takes min(w_d, q), with the
largest whole q that holds

    q <= s (1 - h) sum_d min(w_d, q)

h is the share that is held out, so the limit holds however these are drawn. Three even parts in
small fleets: where few devices drift there is enough to learn from, and up to three have no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from driftline_cloud.intake.rehearsal import even_quota

EVEN_PARTS = 3.0
"""How many even parts one device may give, where even parts are more than its share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """The limits of a round. `device_share`, `holdout_share`: as in `RoundSettings`."""

    most_samples: int
    device_share: float = 1.0
    holdout_share: float = 0.0
    now_unix_s: int = 0

    @property
    def enough_devices(self) -> int:
        """So many, and further ones no longer lower a device's share."""
        return int(EVEN_PARTS / self.device_share) + 1

    def share_of(self, num_devices: int) -> float:
        """s of the module's formula, 0..1."""
        return min(1.0, max(self.device_share, EVEN_PARTS / max(num_devices, 1)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a round takes of each device. `share`: most that one may give; `num_left`: samples that
    wait on because of it, and not because the round is full.
    """

    quota: Mapping[str, int]
    share: float
    num_devices: int
    num_left: int

    @property
    def num_taken(self) -> int:
        return sum(self.quota.values())


def claim(waiting: Mapping[str, int], shares: Shares, *, num_devices: int) -> Claim:
    """Of `waiting` samples by device; `num_devices`: all that sent lately."""
    share = shares.share_of(num_devices)
    within = most_of_each(waiting, share * (1.0 - shares.holdout_share)) if share < 1 else None
    sizes = {d: num if within is None else min(num, within) for d, num in waiting.items()}
    quota = even_quota(sizes, shares.most_samples, seed=0)
    left = sum(waiting.values()) - sum(sizes.values())
    return Claim(quota=quota, share=share, num_devices=num_devices, num_left=left)


def most_of_each(sizes: Mapping[str, int], share: float) -> int:
    """The largest whole q with q <= share * sum_d min(sizes_d, q); 0 where there is none."""
    rising = sorted(sizes.values())
    below = 0
    for place, size in enumerate(rising):
        num_above = len(rising) - place
        # With q in (the size before, this size]: q <= share * (below + num_above * q).
        slope = 1.0 - share * num_above
        if slope > 0 and share * below / slope < size:
            return int(share * below / slope + _SLACK)
        below += size
    return rising[-1] if rising else 0


_SLACK = 1e-9
"""0.1 * 30 is 3, whatever binary makes of it."""
