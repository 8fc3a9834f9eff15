"""What several seeds say of one number: its mean, how sure that is, and the extremes; and of the
difference of two numbers that each seed gives.

The interval is Student's: mean +- t(0.975, n - 1) s / sqrt(n), s the sample standard deviation
(Student, "The probable error of a mean", Biometrika 6, 1908). It is about the mean over seeds;
one seed alone may well lie outside.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """`low`, `high`: the 95 % interval of the mean, infinite for one value. `spread`: sample
    standard deviation, 0 for one value.
    """

    mean: float
    low: float
    high: float
    spread: float
    min: float
    max: float

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return self.high - self.mean


def summary(values: Sequence[float]) -> Summary:
    """Of at least one finite value; ValueError else."""
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"there is no mean of {list(values)}")
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    half = math.inf
    if len(values) > 1:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
        half = quantile * spread / math.sqrt(len(values))
    return Summary(
        mean=mean,
        low=mean - half,
        high=mean + half,
        spread=spread,
        min=min(values),
        max=max(values),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """A difference of two arms over the same seeds. `p`: two-sided, of Student's paired test: how
    often a mean as far from 0 or further comes of seeds that make no difference; 1 for one seed.
    """

    difference: Summary
    p: float


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """What `ours` - `theirs` is, seed by seed. ValueError for lists of other lengths, or none."""
    difference = summary([a - b for a, b in zip(ours, theirs, strict=True)])
    if len(ours) < 2:
        return Paired(difference=difference, p=1.0)
    if difference.spread == 0:
        return Paired(difference=difference, p=1.0 if difference.mean == 0 else 0.0)
    return Paired(difference=difference, p=float(stats.ttest_rel(ours, theirs).pvalue))
