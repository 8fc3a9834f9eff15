"""Which of the sampled answers also ask for the teacher's: the most uncertain, a share at most.

An answer is escalated if it is sampled anyway (so every byte is within the policy's budgets), if
its p-value says that it is more unusual than `quantile` of the pair's source answers, and if it is
among the most uncertain of the recent answers that `share` pays for. The last bound holds under
drift, where far more answers lie beyond any quantile of the source: escalated <= share * answered.
"""

from __future__ import annotations

from driftline_device.sampling.gate import Uncertainty
from driftline_device.sampling.share import ShareLimit

_ROUNDING = 1e-12


class EscalationGate:
    """Says of one answer after the other whether the teacher is asked; for one thread."""

    def __init__(self, *, quantile: float, share: float) -> None:
        """`quantile`: of the source's scores, 0..1. `share`: most escalated by answer, 0..1."""
        self._level = 1.0 - quantile + _ROUNDING
        self._share = ShareLimit(share)

    @property
    def num_escalated(self) -> int:
        """Answers escalated since the start."""
        return self._share.num_sent

    def see(self, uncertainty: Uncertainty) -> bool:
        """Count one answer; whether it is to be escalated, if it is sampled."""
        worth = self._share.see(uncertainty.score)
        return worth and uncertainty.p_value <= self._level and self._share.allows

    def spend(self) -> None:
        """The answer seen last is escalated; call only where `see` said so."""
        self._share.spend()

    def forget_scores(self) -> None:
        """The scores to come are of another kind."""
        self._share.forget_scores()
