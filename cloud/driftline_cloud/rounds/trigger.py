"""When a round starts: pure decisions over what waits."""

from __future__ import annotations

from dataclasses import dataclass

from driftline_shared.program.section import Section, setting


class TriggerPolicy(Section):
    """When enough samples wait. Times in seconds."""

    enabled: bool = setting(True, "no: a round starts only by order, `driftline cloud round start`")
    # At least 2: one to learn from, one to judge by.
    round_samples: int = setting(256, "start a round when so many wait", ge=2)
    max_age_s: float = setting(
        3600.0,
        "start when the oldest waits so long and `age_min_samples` wait; 0: never",
    )
    age_min_samples: int = setting(64, "see above")
    drift_share: float = setting(
        0.6,
        "start when this share of what waits is above `drift_quantile` of the source scores, and "
        "`drift_min_samples` wait; 0: never",
    )
    drift_quantile: float = setting(0.98, "see above")
    drift_min_samples: int = setting(160, "see above")
    cooldown_s: float = setting(0.0, "rest after a round")
    failed_cooldown_s: float = setting(30.0, "rest after a failed one, doubled up to an hour")


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
