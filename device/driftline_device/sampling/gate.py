"""The sample gate: is this answer more unusual than what the model was built for?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.p_ik.head import P_IK, IkScore
from driftline_shared.pair.token_space import squared_distance
from driftline_shared.tokens import TokenSpace, VisualTokens

SCORE_KINDS = ("entropy", "margin", "mutual_information", "ood", P_IK)
"""Every kind of uncertainty a policy may gate on; higher = less sure for all of them."""

_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """The `score` of `kind`, its conformal `p_value`, and whether that is uncertain."""

    kind: str
    score: float
    p_value: float
    uncertain: bool


def calibrate(scores: Iterable[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Sorted scores by kind, from the scores of each source answer: what a pair ships."""
    columns: dict[str, list[float]] = {}
    for row in scores:
        for kind, score in row.items():
            columns.setdefault(kind, []).append(score)
    return {kind: np.sort(np.asarray(column, np.float64)) for kind, column in columns.items()}


def p_value(calibration: NDArray[np.float64], score: float) -> float:
    """Conformal p-value: (1 + #{c in calibration : c >= score}) / (n + 1).

    For an exchangeable source sample P(p <= a) <= a, whatever the model and the score (Vovk,
    Gammerman, Shafer: Algorithmic Learning in a Random World, 2005). `calibration` is sorted,
    rising. A score that is not finite counts as more unusual than all.
    """
    num_not_below = len(calibration) - int(np.searchsorted(calibration, score, side="left"))
    return (1 + num_not_below) / (len(calibration) + 1)


def ood_score(tokens: VisualTokens, space: TokenSpace) -> float:
    """Mahalanobis distance of the mean token from the source mean, per channel.

    sqrt((z - mean)^T precision (z - mean) / D) with z the mean over tokens: about 1 on source
    images whatever the width D.
    """
    offset = tokens.values.mean(axis=0, dtype=np.float64) - space.mean
    return float(np.sqrt(max(squared_distance(offset, space.precision), 0.0) / space.width))


class Gate:
    """Compares scores with the pair's source calibration set."""

    def __init__(
        self, calibration: Mapping[str, NDArray[np.float64]], *, kind: str, quantile: float
    ) -> None:
        """`calibration`: score kind -> sorted scores. Raises ConfigError, PairError."""
        if kind not in SCORE_KINDS:
            raise ConfigError(f"gate_score is {kind!r}; choose one of {', '.join(SCORE_KINDS)}")
        if len(calibration.get(kind, ())) == 0:
            raise PairError(_NO_HEAD if kind == P_IK else _no_scores(kind))
        self.kind = kind
        self._calibration = calibration[kind]
        self._level = 1.0 - quantile + _ROUNDING

    def judge(
        self, scores: Mapping[str, float], lazy: Mapping[str, Callable[[], float]]
    ) -> Uncertainty:
        """Judge by the score of this gate's kind: from `scores` if it is there, else computed.

        `lazy`: kind -> computes that score. Only the kind asked for is ever computed, since
        mutual_information costs several passes.
        """
        score = scores[self.kind] if self.kind in scores else lazy[self.kind]()
        return self._judged(float(score), p_value(self._calibration, score))

    def judge_known(self, known: IkScore | None) -> Uncertainty:
        """Judge by what the P(IK) head beside the answer's version said, against that head's own
        source scores. No head, no number: the score is not finite then.
        """
        if known is None:
            return self._judged(float("nan"), 1.0)
        return self._judged(known.score, known.p_value)

    def _judged(self, score: float, p: float) -> Uncertainty:
        return Uncertainty(kind=self.kind, score=score, p_value=p, uncertain=p <= self._level)


_NO_HEAD = (
    "the pair has no P(IK) head (p_ik.head): make it with `driftline models fit-p-ik PAIR`, export "
    "the pair again if it is an export, or choose another gate_score"
)


def _no_scores(kind: str) -> str:
    return f"the pair ships no calibration scores for {kind!r}"
