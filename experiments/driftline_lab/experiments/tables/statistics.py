"""What several seeds say together, and what scores are worth: pure functions of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftline_lab.intervals import summary


def spread(values: Sequence[float], *, higher_is_better: bool = True) -> dict[str, float | int]:
    """Mean, half width of the 95 % interval of the mean (`intervals`; 0 of one value), the worst
    value, and how many.
    """
    found = summary(values)
    return {
        "mean": found.mean,
        "interval": found.half if len(values) > 1 else 0.0,
        "worst": found.min if higher_is_better else found.max,
        "num": len(values),
    }


def auroc(scores: Sequence[float], wrong: Sequence[bool]) -> float | None:
    """Chance that a wrong answer scores above a right one, ties half (Mann and Whitney, 1947).

    None where all answers are right, or all wrong.
    """
    truth = np.asarray(wrong, bool)
    num_wrong, num_right = int(truth.sum()), int((~truth).sum())
    if not num_wrong or not num_right:
        return None
    ranks = stats.rankdata(np.asarray(scores, np.float64))
    above = float(ranks[truth].sum()) - num_wrong * (num_wrong + 1) / 2
    return above / (num_wrong * num_right)


def fitted_confidence(
    scores: Sequence[float], right: Sequence[bool], at: Sequence[float]
) -> NDArray[np.float64]:
    """P(right | score) at `at`, by logistic regression on (`scores`, `right`).

    Platt, 1999, with his smoothed targets, so that a set without wrong answers has a fit.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(right, bool)
    middle, scale = float(x.mean()), max(float(x.std()), 1e-9)
    design = np.stack([np.ones_like(x), (x - middle) / scale], axis=1)
    num_right = int(y.sum())
    num_wrong = len(y) - num_right
    target = np.where(y, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    weights = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (target - p)
        curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    points = np.stack([np.ones(len(at)), (np.asarray(at, np.float64) - middle) / scale], axis=1)
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(points @ weights, -30, 30)))
    return found


def forgetting(accuracies: Sequence[Mapping[str, float]], domains: Sequence[str]) -> float:
    """Mean over earlier domains of (best accuracy so far - accuracy at the end).

    `accuracies`: on every domain, at the end of each segment; `domains`: of the segments in turn.
    Chaudhry et al., arXiv 1801.10112, eq. 3.
    """
    falls = [
        max(row[name] for row in accuracies[:-1]) - accuracies[-1][name]
        for name in dict.fromkeys(domains[:-1])
    ]
    return float(np.mean(falls)) if falls else 0.0


def backward_transfer(accuracies: Sequence[Mapping[str, float]], domains: Sequence[str]) -> float:
    """Mean over earlier segments of (accuracy at the end - accuracy right after the segment).

    Lopez-Paz and Ranzato, arXiv 1706.08840.
    """
    changes = [
        accuracies[-1][name] - accuracies[place][name] for place, name in enumerate(domains[:-1])
    ]
    return float(np.mean(changes)) if changes else 0.0


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of points (cost, worth) that no other point beats on both, by rising cost."""
    best: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not best or points[index][1] > points[best[-1]][1]:
            best.append(index)
    return best
