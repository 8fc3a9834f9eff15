"""The gate: whether a candidate becomes a version. Pure: scores in, verdict out; needs no torch.

Two adapters answer the same questions about the same held-out samples, so they are compared in
pairs. The difference of a sample is half of what exact answers rose by and half of what the
probability of the teacher's answer rose by, over all questions put to it:

    d_i = [s_i(candidate) - s_i(other)] / 2        s_i = right_i + probability_i

and what is known of the true mean m of d is a normal law around the mean of the d_i

    m | d ~ N(mean d, s^2 / n)        s^2 = (sum (d_i - mean d)^2 + k s0^2) / (n - 1 + k)

with k samples' worth of belief that differences spread by s0: a set in which nothing changed is not
certain knowledge. A candidate passes if it is likelier than `sure_of_gain` that held-out samples
got better, and of no older set it is likelier than `sure_of_harm` (source: `sure_of_source_harm`)
that it fell by more than that set may. What falls is counted against the version in use on
rehearsal, against version 0 on source: small falls of many rounds must not add up unseen.
`driftline lab bench gate` measures how a true gain and the chance of release go together.

Widths and ranks are fixed by the base, so one step costs what it did: the number of steps an answer
takes is what latency can still lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.jobs import GateScores, Marks
from driftline_shared.program.section import Section, setting

PRIOR_SAMPLES, PRIOR_SPREAD = 4.0, 0.1
"""k and s0 of the module's formula."""


class GateLimits(Section):
    """How sure the gate must be, and what may fall; shares and probabilities in 0..1."""

    sure_of_gain: float = setting(
        0.7,
        "probability that held-out samples got better, from which a candidate passes; 0: no matter",
        ge=0,
        le=1,
    )
    sure_of_harm: float = setting(
        0.9, "probability of a fall beyond its limit, above which a candidate fails", gt=0, le=1
    )
    sure_of_cut: float = setting(
        0.7,
        "probability that an update lost more of the gain than it may, above which it is too small",
        gt=0,
        le=1,
    )
    sure_of_source_harm: float = setting(
        0.7, "the same of source rows, where a shorter step may pass instead", gt=0, le=1
    )
    source_fall: float = setting(
        0.01, "may be lost on source rows against version 0, over all rounds together", ge=0, le=1
    )
    rehearsal_fall: float = setting(
        0.02, "may be lost on held-out samples of earlier rounds, a round", ge=0, le=1
    )
    max_step_ratio: float = setting(1.25, "answers may get longer by this factor", ge=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateVerdict:
    """Whether the candidate passed, why in one sentence, and every number that was looked at.

    `forgets`: it failed by what it forgot, among other things or alone.
    """

    accepted: bool
    reason: str
    numbers: dict[str, float]
    forgets: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What is known of the mean paired difference of a set: `mean`, with standard error `error`."""

    mean: float
    error: float

    @staticmethod
    def of(candidate: Marks, other: Marks) -> Difference:
        """Of two adapters on one set. Raises ValueError for sets of unlike size."""
        if candidate.num != other.num:
            raise ValueError(f"a set of {candidate.num} samples and one of {other.num}")
        if candidate.num == 0:
            return Difference(mean=0.0, error=PRIOR_SPREAD)
        each = (_array(candidate) - _array(other)) / 2.0
        mean, num = float(each.mean()), len(each)
        squares = float(np.square(each - mean).sum()) + PRIOR_SAMPLES * PRIOR_SPREAD**2
        variance = squares / (num - 1 + PRIOR_SAMPLES)
        return Difference(mean=mean, error=math.sqrt(variance / num))

    def sure_above(self, bound: float) -> float:
        """Probability that the true mean is above `bound`, 0..1."""
        return NormalDist().cdf((self.mean - bound) / self.error)


def judge(
    candidate: GateScores,
    base: GateScores,
    origin: GateScores | None = None,
    limits: GateLimits | None = None,
) -> GateVerdict:
    """Hold `candidate` against `base`, the adapter in use, and against `origin`, version 0 (None:
    `base` is version 0), all scored on the same sets.
    """
    limits, origin = limits or GateLimits(), origin or base
    numbers = {**_shown("candidate", candidate), **_shown("base", base)}
    numbers["origin_source_accuracy"] = origin.source.share
    failures = _broken(candidate)
    forgets = False
    if not failures:
        gain = Difference.of(candidate.holdout, base.holdout)
        rehearsal = Difference.of(candidate.rehearsal, base.rehearsal)
        source = Difference.of(candidate.source, origin.source)
        failures = [] if math.isfinite(gain.mean + rehearsal.mean + source.mean) else [_NO_NUMBER]
        sure = {
            "sure_of_gain": gain.sure_above(0.0),
            "sure_of_rehearsal_fall": 1.0 - rehearsal.sure_above(-limits.rehearsal_fall),
            "sure_of_source_fall": 1.0 - source.sure_above(-limits.source_fall),
        }
        numbers |= {"gain": gain.mean, "gain_error": gain.error, **sure}
        failures += _not_better(candidate, base, sure, limits)
        forgotten = _forgotten(candidate, base, origin, sure, limits)
        forgets = bool(forgotten)
        failures += forgotten
    reason = "; ".join(failures) or (
        f"{_went('agreement with the teacher', base.holdout, candidate.holdout)}: better with "
        f"probability {numbers['sure_of_gain']:.3f}"
    )
    # A float of JSON and of protobuf maps must stay finite; `finite` already says what happened.
    numbers = {name: value if math.isfinite(value) else 0.0 for name, value in numbers.items()}
    return GateVerdict(accepted=not failures, reason=reason, numbers=numbers, forgets=forgets)


def judge_packed(
    packed: GateScores,
    candidate: GateScores,
    base: GateScores,
    origin: GateScores | None = None,
    limits: GateLimits | None = None,
    *,
    keep_gain: float = 0.95,
) -> GateVerdict:
    """Whether a decoded update passes the gate itself and keeps that share of what was gained.

    algorithms.md, section 3.5: the gate runs on what devices will hold, never on the candidate.
    Held-out samples are few: kept shares of .94 and .96 cannot be told apart on thirty. So an
    update is refused where it is likelier than `limits.sure_of_cut` that it lost more than it may,
    by pairs of candidate and update, and not where its own share falls short by chance.
    """
    limits = limits or GateLimits()
    verdict = judge(packed, base, origin, limits)
    share = _kept_share(gain_score(packed), gain_score(candidate), gain_score(base))
    gain = gain_score(candidate) - gain_score(base)
    lost = Difference.of(candidate.holdout, packed.holdout)
    cut = lost.sure_above((1.0 - keep_gain) * max(0.0, gain))
    shown = {"kept_gain": share, "sure_of_cut": cut if math.isfinite(cut) else 1.0}
    numbers = {**verdict.numbers, **shown}
    verdict = replace(verdict, numbers=numbers)
    if verdict.accepted and not cut <= limits.sure_of_cut:
        reason = (
            f"the update keeps {share:.3f} of the candidate's gain, {keep_gain:.3f} is asked: "
            f"too little with probability {cut:.3f}, {limits.sure_of_cut:.3f} is allowed"
        )
        return replace(verdict, accepted=False, reason=reason)
    return verdict


def gain_score(scores: GateScores) -> float:
    """One number for choosing among packings of one candidate: higher is better.

    Mean of the share of right answers and of their probability on held-out samples, as in the
    module's formula: by probability alone a coarser update, a smaller step and so better
    calibrated, seems to lose nothing. -inf when anything is not finite.
    """
    if not scores.finite:
        return -math.inf
    return (scores.holdout.share + scores.holdout.mean_probability) / 2.0


def _kept_share(packed: float, candidate: float, base: float) -> float:
    """(packed - base) / (candidate - base), where there was a gain to keep."""
    gained, kept = candidate - base, packed - base
    return kept / gained if gained > 0 and math.isfinite(kept) else float(kept >= gained)


def _array(marks: Marks) -> NDArray[np.float64]:
    return np.asarray(marks.right, np.float64) + np.asarray(marks.probability, np.float64)


def _shown(whose: str, scores: GateScores) -> dict[str, float]:
    """What is told of an adapter's scores, by name."""
    return {
        f"{whose}_agreement": scores.holdout.share,
        f"{whose}_probability": scores.holdout.mean_probability,
        f"{whose}_calibration_error": scores.holdout.calibration_error,
        f"{whose}_source_accuracy": scores.source.share,
        f"{whose}_source_probability": scores.source.mean_probability,
        f"{whose}_source_calibration_error": scores.source.calibration_error,
        f"{whose}_rehearsal_agreement": scores.rehearsal.share if scores.rehearsal.num else 1.0,
        f"{whose}_num_steps": scores.num_steps,
        f"{whose}_finite": float(scores.finite),
        f"{whose}_num_holdout": float(scores.holdout.num),
        f"{whose}_num_source": float(scores.source.num),
        f"{whose}_num_rehearsal": float(scores.rehearsal.num),
    }


def _broken(candidate: GateScores) -> list[str]:
    if not candidate.finite:
        return ["the candidate gives NaN or infinity"]
    if candidate.holdout.num == 0:
        return ["there is no held-out sample to judge by"]
    return []


def _not_better(
    candidate: GateScores, base: GateScores, sure: dict[str, float], limits: GateLimits
) -> list[str]:
    found = []
    if not sure["sure_of_gain"] >= limits.sure_of_gain:
        found.append(
            f"{_went('agreement with the teacher', base.holdout, candidate.holdout)}: better with "
            f"probability {sure['sure_of_gain']:.3f}, {limits.sure_of_gain:.3f} is asked"
        )
    if candidate.num_steps > base.num_steps * limits.max_step_ratio + _SLACK:
        found.append(
            f"answers take {candidate.num_steps:.2f} steps instead of {base.num_steps:.2f}, "
            f"{limits.max_step_ratio:.2f} times is allowed"
        )
    return found


def _forgotten(
    candidate: GateScores,
    base: GateScores,
    origin: GateScores,
    sure: dict[str, float],
    limits: GateLimits,
) -> list[str]:
    found = []
    for what, old, new, fall, allowed, most in (
        (
            "agreement on earlier samples",
            base.rehearsal,
            candidate.rehearsal,
            sure["sure_of_rehearsal_fall"],
            limits.rehearsal_fall,
            limits.sure_of_harm,
        ),
        (
            "source accuracy",
            origin.source,
            candidate.source,
            sure["sure_of_source_fall"],
            limits.source_fall,
            limits.sure_of_source_harm,
        ),
    ):
        if not fall <= most:
            found.append(
                f"{_went(what, old, new)}: a fall of more than {allowed:.3f} with probability "
                f"{fall:.3f}, {most:.3f} is allowed"
            )
    return found


def _went(what: str, old: Marks, new: Marks) -> str:
    """How exact answers and their probability went, in words."""
    return (
        f"{what} went from {old.share:.3f} to {new.share:.3f} "
        f"(probability {old.mean_probability:.3f} to {new.mean_probability:.3f})"
    )


_NO_NUMBER = "a score is not a number, so nothing can be compared"

_SLACK = 1e-9
"""Differences of shares are compared a hair generously: 0.85 - 0.83 is not 0.02 in binary."""
