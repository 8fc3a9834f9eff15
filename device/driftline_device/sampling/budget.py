"""The uplink budget: samples an hour, bytes a day, and the share of what is seen.

State is a plain dict for the daemon to keep, so that a restart does not open the day's budget anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from driftline_device.sampling.share import WINDOW, ShareLimit
from driftline_shared.errors import DataError
from driftline_shared.host.clock import Clock
from driftline_shared.tokens import SamplingPolicy

HOUR_S = 3600.0
DAY_HOURS = 24
BURST_HOURS = 0.25
"""A full sample bucket holds this many hours' worth, and one sample at least."""


class SampleRate:
    """A token bucket: at most `per_hour` x t + burst samples in any t hours; 0 means no limit."""

    def __init__(self, per_hour: float) -> None:
        self.per_hour = per_hour
        self.burst = max(1.0, per_hour * BURST_HOURS)
        self.level = self.burst
        self.filled_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Whether one sample may go now (Unix seconds)."""
        if self.per_hour <= 0:
            return True
        # A clock set back must neither drain the bucket nor fill it twice.
        elapsed_s = max(0.0, now_s - (now_s if self.filled_s is None else self.filled_s))
        self.level = min(self.burst, self.level + elapsed_s * self.per_hour / HOUR_S)
        self.filled_s = now_s
        return self.level >= 1.0

    def spend(self) -> None:
        """Take one sample out of the bucket."""
        if self.per_hour > 0:
            self.level -= 1.0


class DayBytes:
    """At most `limit` bytes in any 24 hours; 0 means no limit.

    Bytes are kept by the hour they went in, and an hour counts until it lies 24 whole hours back:
    up to an hour too careful, never too generous, in at most 25 numbers. `hour_s`: other hours than
    those of 3,600 seconds bound another stretch than a day.
    """

    def __init__(self, limit: int, *, hour_s: float = HOUR_S) -> None:
        self.limit = limit
        self.hour_s = hour_s
        self.hours: dict[int, int] = {}

    def left(self, now_s: float) -> int | None:
        """Bytes that may still go now (Unix seconds); None: no limit."""
        if self.limit <= 0:
            return None
        self._forget(int(now_s // self.hour_s))
        return max(0, self.limit - sum(self.hours.values()))

    def spend(self, now_s: float, num_bytes: int) -> None:
        """Count `num_bytes` as sent now."""
        hour = int(now_s // self.hour_s)
        self._forget(hour)
        self.hours[hour] = self.hours.get(hour, 0) + num_bytes

    def _forget(self, hour: int) -> None:
        kept: dict[int, int] = {}
        for then, num_bytes in self.hours.items():
            if then >= hour - DAY_HOURS:
                # After a clock was set back, what lies "ahead" was in truth sent before now.
                kept[min(then, hour)] = kept.get(min(then, hour), 0) + num_bytes
        self.hours = kept


@dataclass(kw_only=True, slots=True)
class Budget:
    """All limits of one policy together."""

    share: ShareLimit
    rate: SampleRate
    day: DayBytes
    clock: Clock

    @classmethod
    def of(
        cls, policy: SamplingPolicy, clock: Clock, state: Mapping[str, object] | None = None
    ) -> Budget:
        """The budget of `policy`; `state` as `state()` gave it.

        `policy`: as `bounds.check_policy` takes it. Raises DataError for a state that is not ours.
        """
        budget = cls(
            share=ShareLimit(policy.max_sample_share),
            rate=SampleRate(policy.samples_per_hour),
            day=DayBytes(policy.day_bytes),
            clock=clock,
        )
        if state is not None:
            try:
                budget._restore(state)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"the saved uplink budget is malformed: {error!r}") from error
        return budget

    def see(self, score: float) -> bool:
        """Count one sample seen; whether it is among the most uncertain that the share pays for."""
        return self.share.see(score)

    def pass_over(self) -> None:
        """Count one sample seen that will not go, whatever its score."""
        self.share.pass_over()

    def admits(self) -> bool:
        """Whether one more sample may go now, as far as is known before it is coded."""
        now_s = self.clock.now_s()
        return self.share.allows and self.rate.allows(now_s) and self.day.left(now_s) != 0

    def spend(self, num_bytes: int) -> bool:
        """Count one sample of `num_bytes` as sent; False, with nothing counted, if too much."""
        now_s = self.clock.now_s()
        left = self.day.left(now_s)
        if not self.admits() or (left is not None and num_bytes > left):
            return False
        self.share.spend()
        self.rate.spend()
        self.day.spend(now_s, num_bytes)
        return True

    def spend_asked(self, num_bytes: int) -> bool:
        """Count a sample that the owner asked for: the day's bytes bound it, nothing else."""
        now_s = self.clock.now_s()
        left = self.day.left(now_s)
        if left is not None and num_bytes > left:
            return False
        self.day.spend(now_s, num_bytes)
        return True

    def state(self) -> dict[str, object]:
        """Plain JSON values from which `of` continues."""
        return {
            "share": self.share.state(),
            "rate": {"level": self.rate.level, "filled_s": self.rate.filled_s},
            "hours": {str(hour): num_bytes for hour, num_bytes in self.day.hours.items()},
        }

    def _restore(self, state: Mapping[str, object]) -> None:
        share, rate, hours = (_mapping(state[key]) for key in ("share", "rate", "hours"))
        if len(hours) > DAY_HOURS + 1:
            raise ValueError("more hours than a day has")
        for hour, num_bytes in hours.items():
            self.day.hours[int(hour)] = _count(num_bytes)
        self.rate.level = min(_finite(rate["level"]), self.rate.burst)
        if rate["filled_s"] is not None:
            self.rate.filled_s = _finite(rate["filled_s"])
        scores = share["scores"]
        if not isinstance(scores, list) or len(scores) > WINDOW:
            raise ValueError("scores")
        # Under another share the old counts mean nothing: they would block or open the new one.
        same = _finite(share["share"]) == self.share.share
        self.share.restore(
            num_seen=_count(share["num_seen"]) if same else 0,
            num_sent=_count(share["num_sent"]) if same else 0,
            credit=_finite(share["credit"]) if same else 0.0,
            scores=[_finite(score) for score in scores],
        )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table, found {type(value).__name__}")
    return value


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value!r}")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a count, found {value!r}")
    return value
