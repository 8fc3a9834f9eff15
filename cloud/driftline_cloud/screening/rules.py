"""The rules of the screen: pure, each gives what it finds with why, in words.

What one device of three or more sends, whatever it is, has no sample of the others set apart where
these are within `ratio` of one another and none of their answers is lone with one device less left
out (`lone_answers`): a rule either looks at one device's samples alone, or at a median over
devices, or leaves the two largest others out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.screening.seen import Seen

Found = dict[bytes, str]
"""Why, by the id of a sample."""

MOST_CELLS, SKETCH_WIDTH = 64, 16
_SEED = 20_261_128
_ROWS = 256
_NO_SPREAD = 1e-9
"""Tokens of one cell, or all alike: far below what the coarsest codec adds."""


def outliers(seen: Sequence[Seen], *, ratio: float) -> Found:
    """Samples whose tokens lie farther from the source's than `ratio` times the fleet's middle.

    The distance of a sample is its mean over tokens of |z|^2 / D, 1 of source tokens in the mean;
    the middle is the median over devices of each one's median, and no less than 1: however much one
    device of three or more sends, the middle stays between the least and the greatest of the others
    (breakdown point of the median: Huber, Robust Statistics, 1981). A drift moves it along, and a
    drift of few devices moves them by less than the ratio.
    """
    far = np.array([float(np.square(one.tokens).mean()) for one in seen])
    middles = [
        float(np.median(far[places])) for places in _places(seen, lambda one: one.device).values()
    ]
    middle = max(float(np.median(middles)), 1.0) if middles else 1.0
    return {
        one.id: f"its tokens are {value / middle:.0f} times as far from the source's as the "
        "median device's"
        for one, value in zip(seen, far, strict=True)
        if value > ratio * middle
    }


def lone_answers(seen: Sequence[Seen], *, error_rate: float) -> Found:
    """Samples with an answer that only one device's samples have, too often for chance.

    With p the device's part of the samples, m the times that the answer is there and a the number
    of different answers, an answer is suspect where a p^(m - 1) <= error_rate (Bonferroni over
    answers): what remains is the chance that m - 1 further ones fall to the device of the first.

    The part is of the samples without those of the *two* other devices that sent most, so of three
    devices nothing is set apart. With p' the part where only the one other that sent most is left
    out, and a' the answers, both among all devices but any one other: a >= a' and p >= p', so what
    is suspect was, with a' p'^(m - 1) <= error_rate, lone without that device, too. It holds with
    this p' and not with p: a rule that no further device ever makes find more finds nothing.
    """
    by_answer: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_answer[one.answer].append(one)
    of_device = Counter(one.device for one in seen)
    found: Found = {}
    for answer, those in by_answer.items():
        (device, *others) = {one.device for one in those}
        most = sum(sorted(num for other, num in of_device.items() if other != device)[-2:])
        chance = (of_device[device] / (len(seen) - most)) ** (len(those) - 1)
        if not others and len(by_answer) * chance <= error_rate:
            why = f"{answer!r} is the answer to {len(those)} samples, all of one device"
            found |= {one.id: why for one in those}
    return found


def copies(seen: Sequence[Seen], *, distance: float) -> Found:
    """Samples nearer than `distance` to an earlier one of the same device, under the same question.

    Tokens, in parts of their channels' ranges, are brought to `SKETCH_WIDTH` numbers by fixed
    random signs (Achlioptas, J. Comput. Syst. Sci. 2003) and averaged over at most `MOST_CELLS`
    stretches of the grid, s_c. Over the cells that both have, at least half of the fewer ones,

        d = mean_c |s_c - s'_c|^2 / (w + w')        w = mean_c |s_c - mean_c s_c|^2

    which is about 1 for unlike pictures. A sample's own spread w is its unit, not the round's: what
    a device sends decides about its own samples alone, and a dim world is no copy of itself. A
    sample of one cell has no spread and is left alone.
    """
    found: Found = {}
    for places in _places(seen, lambda one: (one.device, one.question)).values():
        those = [seen[place] for place in places]
        for place, (like, far) in _nearer(those, distance).items():
            found[those[place].id] = (
                f"a copy of its device's sample {those[like].id.hex()} but for a distance of "
                f"{far:.4f}"
            )
    return found


def disputed(seen: Sequence[Seen], *, confidence: float) -> Found:
    """Samples whose owner says what the teacher, at least that sure, does not."""
    return {
        one.id: f"the owner says {one.answer!r}, the teacher is {one.disputed:.0%} sure of another"
        for one in seen
        if one.disputed >= confidence
    }


def _places(seen: Sequence[Seen], key: Callable[[Seen], Hashable]) -> dict[Hashable, list[int]]:
    """Places in `seen`, in order, by `key`."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place, one in enumerate(seen):
        found[key(one)].append(place)
    return found


def _nearer(seen: Sequence[Seen], distance: float) -> dict[int, tuple[int, float]]:
    """By the place of a copy: the nearest earlier place that is none itself, and the distance."""
    if len(seen) < 2:
        return {}
    sketches, there = _sketches(seen)
    squares = np.square(sketches).sum(axis=2)
    count = there.sum(axis=1)
    middle = sketches.sum(axis=1) / count[:, None]
    spread = squares.sum(axis=1) / count - np.square(middle).sum(axis=1)
    flat = sketches.reshape(len(seen), -1)
    kept = np.zeros(len(seen), np.bool_)
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, len(seen), _ROWS):
        rows = slice(start, start + _ROWS)
        # |s - s'|^2 over the cells of both, of all pairs by three products of matrices.
        apart = squares[rows] @ there.T + there[rows] @ squares.T - 2.0 * flat[rows] @ flat.T
        both = there[rows] @ there.T
        unit = spread[rows, None] + spread
        enough = (2 * both >= np.minimum(count[rows, None], count)) & (unit > _NO_SPREAD)
        far = np.where(enough, apart / np.maximum(both * unit, _NO_SPREAD), np.inf)
        for place, row in enumerate(far, start=start):
            earlier = np.where(kept[:place], row[:place], np.inf)
            like = int(np.argmin(earlier)) if place else 0
            if place and earlier[like] < distance:
                found[place] = like, max(float(earlier[like]), 0.0)
            else:
                kept[place] = True
    return found


def _sketches(seen: Sequence[Seen]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, C, S) means of cells, 0 where a sample has no token there, and (N, C) 1 where it has."""
    width = seen[0].values.shape[1]
    num_cells = min(MOST_CELLS, seen[0].num_cells)
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], size=(width, SKETCH_WIDTH))
    sums = np.zeros((len(seen), num_cells, SKETCH_WIDTH))
    counts = np.zeros((len(seen), num_cells))
    for place, one in enumerate(seen):
        cells = one.positions.astype(np.int64) * num_cells // one.num_cells
        np.add.at(sums[place], cells, one.values @ signs / np.sqrt(width))
        np.add.at(counts[place], cells, 1.0)
    return sums / np.maximum(counts, 1.0)[:, :, None], (counts > 0).astype(np.float64)
