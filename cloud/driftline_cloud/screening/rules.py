"""The rules of the screen: pure, each gives what it finds with why, in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.screening.seen import Seen

Found = dict[bytes, str]
"""Why, by the id of a sample."""

MOST_CELLS, SKETCH_WIDTH = 64, 8
_SEED = 20_261_128


def outliers(seen: Sequence[Seen], *, ratio: float) -> Found:
    """Samples whose tokens lie farther from the source's than `ratio` times the median of all.

    The distance of a sample is its mean over tokens of |z|^2 / D, 1 of source tokens. A drift moves
    the median with it, and a drift of few devices moves them by less than the ratio.
    """
    far = np.array([float(np.square(one.tokens).mean()) for one in seen])
    middle = max(float(np.median(far)), 1e-9) if len(far) else 1.0
    return {
        one.id: f"its tokens are {value / middle:.0f} times as far from the source's as the "
        "round's median"
        for one, value in zip(seen, far, strict=True)
        if value > ratio * middle
    }


def lone_answers(seen: Sequence[Seen], *, error_rate: float) -> Found:
    """Samples with an answer that only one device's samples have, too often for chance.

    With p the device's part of the samples, m the times that the answer is there and a the number
    of different answers, an answer is suspect where a p^(m - 1) <= error_rate (Bonferroni over
    answers): what remains is the chance that m - 1 further ones fall to the device of the first.
    """
    by_answer: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_answer[one.answer].append(one)
    of_device = Counter(one.device for one in seen)
    found: Found = {}
    for answer, those in by_answer.items():
        (device, *others) = {one.device for one in those}
        chance = (of_device[device] / len(seen)) ** (len(those) - 1)
        if not others and len(by_answer) * chance <= error_rate:
            why = f"{answer!r} is the answer to {len(those)} samples, all of one device"
            found |= {one.id: why for one in those}
    return found


def copies(seen: Sequence[Seen], *, distance: float) -> Found:
    """Samples nearer than `distance` to an earlier one under the same question.

    Tokens are brought to `SKETCH_WIDTH` numbers by fixed random signs (Achlioptas, J. Comput. Syst.
    Sci. 2003) and averaged over at most `MOST_CELLS` stretches of the grid, s_c. Over the cells
    that both have, at least half of the fewer ones,

        d = mean_c |s_c - s'_c|^2 / (2 v)        v: mean over samples and cells of |s_c - mean s|^2

    which is 1 in the mean of unlike pictures.
    """
    if not seen:
        return {}
    sketches, there = _sketches(seen)
    spread = sketches[there]
    variance = float(np.square(spread - spread.mean(axis=0)).sum(axis=1).mean())
    places: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(seen):
        places[one.question].append(place)
    found: Found = {}
    for those in places.values():
        kept: list[int] = []
        for place in those:
            if kept and (like := _nearest(sketches, there, place, kept, variance))[1] < distance:
                found[seen[place].id] = (
                    f"a copy of sample {seen[like[0]].id.hex()} but for a distance of {like[1]:.4f}"
                )
            else:
                kept.append(place)
    return found


def disputed(seen: Sequence[Seen], *, confidence: float) -> Found:
    """Samples whose owner says what the teacher, at least that sure, does not."""
    return {
        one.id: f"the owner says {one.answer!r}, the teacher is {one.disputed:.0%} sure of another"
        for one in seen
        if one.disputed >= confidence
    }


def _nearest(
    sketches: NDArray[np.float64],
    there: NDArray[np.bool_],
    place: int,
    kept: Sequence[int],
    variance: float,
) -> tuple[int, float]:
    """Which of `kept` is the nearest, and its distance; infinite where too few cells are shared."""
    both = there[kept] & there[place]
    count = both.sum(axis=1)
    fewer = np.minimum(there[kept].sum(axis=1), there[place].sum())
    squares = np.square(sketches[kept] - sketches[place]).sum(axis=2)
    mean = (squares * both).sum(axis=1) / np.maximum(count, 1) / max(2.0 * variance, 1e-12)
    mean[2 * count < fewer] = np.inf
    best = int(np.argmin(mean))
    return kept[best], float(mean[best])


def _sketches(seen: Sequence[Seen]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, C, S) means of cells, 0 where a sample has no token there, and (N, C) whether it has."""
    width = seen[0].tokens.shape[1]
    num_cells = min(MOST_CELLS, seen[0].num_cells)
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], size=(width, SKETCH_WIDTH))
    sums = np.zeros((len(seen), num_cells, SKETCH_WIDTH))
    counts = np.zeros((len(seen), num_cells))
    for place, one in enumerate(seen):
        cells = one.positions.astype(np.int64) * num_cells // one.num_cells
        np.add.at(sums[place], cells, one.tokens @ signs / np.sqrt(width))
        np.add.at(counts[place], cells, 1.0)
    return sums / np.maximum(counts, 1.0)[:, :, None], counts > 0
