"""The gate: whether a candidate becomes a version. Pure: scores in, verdict out; needs no torch.

algorithms.md, section 2: agreement with the teacher on held-out samples must rise by `delta_up`,
accuracy on the source calibration set may fall by `delta_down`, agreement on the rehearsal of
earlier domains by `delta_rehearsal`, nothing may be NaN, and answers may not get longer. Widths
and ranks are fixed by the base, so one step costs what it did: the number of steps an answer
takes is what latency can still lose.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from driftline_cloud.jobs import GateScores
from driftline_shared.program.section import Section, setting


class GateLimits(Section):
    """How much must rise, and how much may fall, against the version in use; shares in 0..1."""

    delta_up: float = setting(0.01, "agreement with the teacher must rise by this", ge=-1, le=1)
    delta_down: float = setting(0.02, "source accuracy may fall by this", ge=-1, le=1)
    delta_rehearsal: float = setting(
        0.05, "agreement on earlier rounds may fall by this", ge=-1, le=1
    )
    max_step_ratio: float = setting(1.25, "answers may get longer by this factor", ge=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateVerdict:
    """Whether the candidate passed, why in one sentence, and every number that was looked at."""

    accepted: bool
    reason: str
    numbers: dict[str, float]


def judge(candidate: GateScores, base: GateScores, limits: GateLimits | None = None) -> GateVerdict:
    """Hold `candidate` against `base` (the adapter in use, scored on the same sets)."""
    limits = limits or GateLimits()
    numbers = {
        **{f"candidate_{name}": float(value) for name, value in asdict(candidate).items()},
        **{f"base_{name}": float(value) for name, value in asdict(base).items()},
    }
    # A float of JSON and of protobuf maps must stay finite; `finite` already says what happened.
    numbers = {name: value if math.isfinite(value) else 0.0 for name, value in numbers.items()}
    failures = _failures(candidate, base, limits)
    reason = "; ".join(failures) or (
        f"agreement with the teacher rose from {base.agreement:.3f} to {candidate.agreement:.3f}"
    )
    return GateVerdict(accepted=not failures, reason=reason, numbers=numbers)


def judge_packed(
    packed: GateScores,
    candidate: GateScores,
    base: GateScores,
    limits: GateLimits | None = None,
    *,
    keep_gain: float = 0.95,
) -> GateVerdict:
    """Whether a decoded update passes the gate itself and keeps that share of what was gained.

    algorithms.md, section 3.5: the gate runs on what devices will hold, never on the candidate.
    Kept is the smaller of two shares, of probability and of agreement: a coarser update is a
    smaller step and so better calibrated, and by probability alone it seems to lose nothing.
    """
    verdict = judge(packed, base, limits)
    share = min(
        _kept_share(gain_score(packed), gain_score(candidate), gain_score(base)),
        _kept_share(packed.agreement, candidate.agreement, base.agreement),
    )
    numbers = {**verdict.numbers, "kept_gain": share}
    if verdict.accepted and share < keep_gain - _SLACK:
        reason = f"the update keeps {share:.3f} of the candidate's gain, {keep_gain:.3f} is asked"
        return GateVerdict(accepted=False, reason=reason, numbers=numbers)
    return GateVerdict(accepted=verdict.accepted, reason=verdict.reason, numbers=numbers)


def _kept_share(packed: float, candidate: float, base: float) -> float:
    """(packed - base) / (candidate - base), where there was a gain to keep."""
    gained, kept = candidate - base, packed - base
    return kept / gained if gained > 0 and math.isfinite(kept) else float(kept >= gained)


def gain_score(scores: GateScores) -> float:
    """One continuous number for choosing among packings of one candidate: higher is better.

    The probability of the teacher's answers: on a small held-out set exact agreement moves in
    steps of 1/n, too coarse to see what a coarser code has cost. -inf when anything is not finite.
    """
    return scores.probability if scores.finite else -math.inf


def _failures(candidate: GateScores, base: GateScores, limits: GateLimits) -> list[str]:
    if not candidate.finite:
        return ["the candidate gives NaN or infinity"]
    if candidate.num_holdout == 0:
        return ["there is no held-out sample to judge by"]
    found = []
    rise = candidate.agreement - base.agreement
    if rise < limits.delta_up - _SLACK:
        went = f"fell by {-rise:.3f}" if rise < 0 else f"rose by {rise:.3f}"
        asked = f"a rise of {limits.delta_up:.3f} is asked"
        found.append(f"agreement with the teacher {went}, {asked}")
    # One sample of a small set weighs more than any limit: a single other answer is no evidence.
    one_sample = 1.0 / max(candidate.num_rehearsal, 1)
    for what, fall, allowed in (
        ("source accuracy", base.source_accuracy - candidate.source_accuracy, limits.delta_down),
        (
            "agreement on rehearsal",
            base.rehearsal_agreement - candidate.rehearsal_agreement,
            max(limits.delta_rehearsal, one_sample),
        ),
    ):
        if fall > allowed + _SLACK:
            found.append(f"{what} fell by {fall:.3f}, {allowed:.3f} is allowed")
    if candidate.num_steps > base.num_steps * limits.max_step_ratio + _SLACK:
        found.append(
            f"answers take {candidate.num_steps:.2f} steps instead of {base.num_steps:.2f}, "
            f"{limits.max_step_ratio:.2f} times is allowed"
        )
    return found


_SLACK = 1e-9
"""Differences of shares are compared a hair generously: 0.85 - 0.83 is not 0.02 in binary."""
