"""When a round starts: pure decisions over what waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerPolicy:
    """When enough samples wait.

    `round_samples`: start at once. `max_age_s`: start when the oldest waits this long and at least
    `age_min_samples` wait (0: never by age). `drift_share`: start when at least this share of the
    waiting samples is above the `drift_quantile` of the source calibration scores and at least
    `drift_min_samples` wait (0: never by drift). `cooldown_s`: rest after the last round ended.
    `failed_cooldown_s`: rest after a failed one, doubled with each further failure up to an hour.
    """

    round_samples: int = 256
    max_age_s: float = 3600.0
    age_min_samples: int = 64
    drift_share: float = 0.6
    drift_quantile: float = 0.98
    drift_min_samples: int = 160
    cooldown_s: float = 0.0
    failed_cooldown_s: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What waits on one line. `oldest_age_s`: of the sample that waits longest.

    `drift_score`: share of waiting samples above the drift quantile, 0..1. `rested_s`: since the
    last round ended (None: there was none). `num_failures`: last rounds that failed in a row.
    """

    num_samples: int
    oldest_age_s: float
    drift_score: float
    rested_s: float | None
    num_failures: int = 0


def why_start(policy: TriggerPolicy, waiting: Waiting) -> str | None:
    """`count`, `drift` or `age`: the first reason to start a round now; None to wait."""
    if waiting.num_samples == 0:
        return None
    if waiting.rested_s is not None and waiting.rested_s < rest_s(policy, waiting.num_failures):
        return None
    if waiting.num_samples >= policy.round_samples:
        return "count"
    if (
        policy.drift_share > 0
        and waiting.num_samples >= policy.drift_min_samples
        and waiting.drift_score >= policy.drift_share
    ):
        return "drift"
    if (
        policy.max_age_s > 0
        and waiting.num_samples >= policy.age_min_samples
        and waiting.oldest_age_s >= policy.max_age_s
    ):
        return "age"
    return None


def rest_s(policy: TriggerPolicy, num_failures: int) -> float:
    """Seconds between the end of a round and the start of the next."""
    if num_failures == 0:
        return policy.cooldown_s
    doubled = policy.failed_cooldown_s * 2.0 ** min(num_failures - 1, 16)
    return max(policy.cooldown_s, min(doubled, _LONGEST_REST_S))


_LONGEST_REST_S = 3600.0
