"""Go on, wait or stop: what the reports of a phase's devices say about a version.

A good version may fail on a few devices, so a bare share would stop good ones on small canaries and
pass bad ones on large fleets. Of n devices that reported, b did not keep the version. Against "at
most the tolerated share p0 fails" stand shares q_1..q_K above it, all alike:

    E = 1/K sum_k (q_k / p0)^b ((1 - q_k) / (1 - p0))^(n - b)

E is looked at again and again while reports come in. Under p0 it is a supermartingale of mean 1 at
most, so it ever reaches 1/a with probability a at most, however often one looks (Ville 1939; the
mixture of likelihood ratios is Robbins', 1970). One device that failed stops nothing while others
of its phase have yet to report: it may only be the fastest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from driftline_cloud.rollout.plan import Phase, Plan

_NUM_SHARES = 40


class Decision(StrEnum):
    """What follows from the evidence."""

    GO_ON = "go_on"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known of a version: `num_devices` it may reach now, of which `num_reported` have said
    how it went; on `num_bad` it failed, or was rolled back.
    """

    num_devices: int
    num_reported: int = 0
    num_bad: int = 0

    @property
    def said(self) -> str:
        """In words."""
        return f"{self.num_bad} of {self.num_reported} devices did not keep it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A decision and its reason in words."""

    decision: Decision
    reason: str


def strength(num_reported: int, num_bad: int, tolerated_share: float) -> float:
    """E of the module's text: how strongly the reports speak against the version; 1 is neutral."""
    num_good = num_reported - num_bad
    terms = []
    for k in range(_NUM_SHARES):
        share = tolerated_share + (1.0 - tolerated_share) * (k + 0.5) / _NUM_SHARES
        terms.append(
            num_bad * math.log(share / tolerated_share)
            + num_good * math.log((1.0 - share) / (1.0 - tolerated_share))
        )
    most = max(terms)
    total = most + math.log(sum(math.exp(term - most) for term in terms) / _NUM_SHARES)
    return math.exp(min(total, 700.0))


def needed_reports(phase: Phase, num_devices: int) -> int:
    """Reports without which a phase does not end; a device may be away for long."""
    return min(phase.least_reports, math.ceil(num_devices * 2 / 3))


def judge(evidence: Evidence, plan: Plan, phase_index: int, *, elapsed_s: float) -> Verdict:
    """What to do in phase `phase_index` of `plan`, `elapsed_s` after it began."""
    phase = plan.phases[phase_index]
    needed = needed_reports(phase, evidence.num_devices)
    against = strength(evidence.num_reported, evidence.num_bad, plan.tolerated_share)
    heard = evidence.num_reported >= needed or evidence.num_bad >= 2
    if evidence.num_bad and heard and against >= 1.0 / plan.error_rate:
        return Verdict(decision=Decision.STOP, reason=evidence.said)
    is_last = phase_index == len(plan.phases) - 1
    if elapsed_s < phase.least_s:
        return Verdict(
            decision=Decision.WAIT, reason=f"for {phase.least_s - elapsed_s:.0f} s of its phase"
        )
    if evidence.num_reported < needed and not is_last:
        return Verdict(
            decision=Decision.WAIT,
            reason=f"for reports: {evidence.num_reported} of {needed} devices",
        )
    if evidence.num_bad and against > 1.0:
        return Verdict(
            decision=Decision.WAIT,
            reason=f"{evidence.said}: too many to go on, too few to stop",
        )
    return Verdict(decision=Decision.GO_ON, reason=evidence.said)
