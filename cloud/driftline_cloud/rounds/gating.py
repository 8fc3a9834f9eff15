"""The gate of one round: adapters are scored by the workers, judged by pure rules.

Scores are kept by adapter digest, so the base and the candidate are scored once, however many
packings of the candidate are held against them.
"""

from __future__ import annotations

from collections.abc import Sequence

from driftline_cloud.distill.gate import GateLimits, GateScores, Verdict, gain_score, judge
from driftline_cloud.workers.workers import ScoreJob, Workers
from driftline_shared.update import Adapter, adapter_digest


class RoundGate:
    """Judges adapters against `base` (C_v) on the sets of `job`."""

    def __init__(self, workers: Workers, job: ScoreJob, limits: GateLimits, base: Adapter) -> None:
        self._workers = workers
        self._job = job
        self._limits = limits
        self._base = base
        self._known: dict[bytes, GateScores] = {}

    def judge(self, adapter: Adapter) -> Verdict:
        """Whether `adapter` is enough better than the base and forgets little enough."""
        base, candidate = self._scores([self._base, adapter])
        return judge(candidate, base, self._limits)

    def gain(self, adapter: Adapter) -> float:
        """One continuous number, higher is better: for comparing packings of one candidate."""
        return gain_score(self._scores([adapter])[0])

    @property
    def base_gain(self) -> float:
        """The same number for the base."""
        return self.gain(self._base)

    def _scores(self, adapters: Sequence[Adapter]) -> list[GateScores]:
        digests = [adapter_digest(adapter) for adapter in adapters]
        new = {d: a for d, a in zip(digests, adapters, strict=True) if d not in self._known}
        if new:
            found = self._workers.score(self._job, list(new.values()))
            self._known.update(zip(new, found, strict=True))
        return [self._known[digest] for digest in digests]
