"""The gate of one round: scores come from workers, verdicts from `distill.gate.rule`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftline_cloud.distill.gate.rule import GateLimits, GateVerdict, judge, judge_packed
from driftline_cloud.jobs import GateScores, ScoreJob
from driftline_cloud.release.choose import Judge, Judgement
from driftline_cloud.workers.workers import Workers
from driftline_shared.update import Adapter, adapter_digest

STEPS = (0.8, 0.6, 0.4)
"""Shares of the way that are tried where all of it forgets too much, the largest first."""


def steps_from(step: float) -> tuple[float, ...]:
    """`step` and the shorter ones that may be tried after it, the longest first."""
    return (step, *(share for share in STEPS if share < step))


def along(base: Adapter, candidate: Adapter, share: float) -> Adapter:
    """base + share (candidate - base), float32; `candidate` itself for a share of 1."""
    if share == 1.0:
        return candidate
    step = np.float32(share)
    return {name: start + step * (candidate[name] - start) for name, start in base.items()}


class ScoredGate:
    """Judges adapters on the sets of `job`. An adapter is scored once, however often it is judged.

    `origin`: version 0, against which all that is forgotten counts. `keep_gain`: share of the
    candidate's gain that a packed update must keep.
    """

    def __init__(
        self,
        workers: Workers,
        job: ScoreJob,
        *,
        origin: Adapter,
        limits: GateLimits | None = None,
        keep_gain: float = 0.95,
    ) -> None:
        self._workers = workers
        self._job = job
        self._origin = origin
        self._limits = limits or GateLimits()
        self._keep_gain = keep_gain
        self._known: dict[bytes, GateScores] = {}

    def judge(self, candidate: Adapter, base: Adapter) -> GateVerdict:
        """Whether `candidate` is enough better than `base`, and forgets little enough."""
        new, old, first = self.scores(candidate, base, self._origin)
        return judge(new, old, first, self._limits)

    def longest_step(self, candidate: Adapter, base: Adapter) -> tuple[float, GateVerdict]:
        """How far from `base` towards `candidate` one may go, as a share, and the verdict there.

        All the way, unless too much is forgotten: then the largest of `STEPS` that passes. Nearer
        to the start is nearer to what was known (Wortsman et al., arXiv 2109.01903, interpolate
        weights for the same reason). Where none passes, the verdict is the candidate's.
        """
        whole = self.judge(candidate, base)
        if not whole.forgets:
            return 1.0, whole
        points = {share: along(base, candidate, share) for share in STEPS}
        self.scores(*points.values())
        for share, point in points.items():
            verdict = self.judge(point, base)
            if verdict.accepted:
                reason = f"{share:.0%} of the way: {verdict.reason}"
                return share, replace(verdict, reason=reason)
        return 1.0, whole

    def nearly(self, packed: Adapter, candidate: Adapter, base: Adapter) -> GateVerdict:
        """Whether `packed`, a decoded update, passes too and keeps what `candidate` gained."""
        small, new, old, first = self.scores(packed, candidate, base, self._origin)
        return judge_packed(small, new, old, first, self._limits, keep_gain=self._keep_gain)

    def judge_of_packings(self, candidate: Adapter, base: Adapter) -> Judge:
        """The gate's word on decoded updates of `candidate`, in the terms of the search."""

        def judged(packed: Adapter) -> Judgement:
            verdict = self.nearly(packed, candidate, base)
            return Judgement(
                passes=verdict.accepted or self.judge(packed, base).accepted,
                good_enough=verdict.accepted,
                kept_gain=verdict.numbers["kept_gain"],
            )

        return judged

    def scores(self, *adapters: Adapter) -> list[GateScores]:
        """Scores of each, in order."""
        digests = [adapter_digest(adapter) for adapter in adapters]
        missing = {
            digest: adapter
            for digest, adapter in zip(digests, adapters, strict=True)
            if digest not in self._known
        }
        if missing:
            scored = self._workers.score(self._job, list(missing.values()))
            self._known |= dict(zip(missing, scored, strict=True))
        return [self._known[digest] for digest in digests]
