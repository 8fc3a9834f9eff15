"""A timeline as the few points that a chart can show: rolling means, sums, where domains change."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from driftline_lab.runs.run import RunUpdate, TimelineRow

MOST_POINTS = 240
MOST_BANDS = 500
MOST_MARKS = 200
"""Rounds, and updates, that a page shows one by one."""
SMALLEST_WINDOW, LARGEST_WINDOW = 10, 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The state after answer `n`. `accuracy`, `uncertainty`: means of the window that ends there,
    None where no answer in it has one. `bytes_up`, `bytes_down`: sums from the start.
    """

    n: int
    domain: str
    version: int
    accuracy: float | None
    uncertainty: float | None
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Answers `first` to `last` were of one domain; of "…": of whatever came after
    `MOST_BANDS` changes, of which no chart shows more.
    """

    domain: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """`window`: answers in a rolling mean. `step`: from one point to the next. `num_answers`: in
    all.
    """

    points: tuple[Point, ...]
    bands: tuple[Band, ...]
    window: int
    step: int
    num_answers: int


class _Rolling:
    def __init__(self, window: int) -> None:
        self._values: deque[float | None] = deque(maxlen=window)

    def add(self, value: float | None) -> None:
        self._values.append(value)

    def mean(self) -> float | None:
        known = [value for value in self._values if value is not None]
        return sum(known) / len(known) if known else None


def read_series(
    rows: Iterable[TimelineRow], num_rows: int, updates: Iterable[RunUpdate] = ()
) -> Series:
    """Points every so many answers, at most `MOST_POINTS` and one more; one pass over `rows`."""
    window = max(SMALLEST_WINDOW, min(LARGEST_WINDOW, num_rows // 16))
    step = max(1, -(-num_rows // MOST_POINTS))
    correct, uncertainty = _Rolling(window), _Rolling(window)
    steps_down = sorted((each.at, each.bytes) for each in updates if each.at is not None)
    points: list[Point] = []
    bands: list[Band] = []
    bytes_up = 0
    for row in rows:
        correct.add(None if row.correct is None else float(row.correct))
        uncertainty.add(row.uncertainty)
        bytes_up += row.bytes
        domain = row.domain or row.segment
        if bands and (bands[-1].domain == domain or len(bands) > MOST_BANDS):
            bands[-1] = replace(bands[-1], last=row.n)
        elif len(bands) == MOST_BANDS:
            bands.append(Band(domain="…", first=row.n, last=row.n))
        else:
            bands.append(Band(domain=domain, first=row.n, last=row.n))
        # A mean of the first few answers is noise: the curve begins later.
        if (row.n % step == 0 or row.n == num_rows) and row.n >= min(window, num_rows) // 2:
            points.append(
                Point(
                    n=row.n,
                    domain=domain,
                    version=row.version,
                    accuracy=correct.mean(),
                    uncertainty=uncertainty.mean(),
                    bytes_up=bytes_up,
                    bytes_down=sum(size for at, size in steps_down if at < row.n),
                )
            )
    return Series(
        points=tuple(points),
        bands=tuple(bands),
        window=window,
        step=step,
        num_answers=num_rows,
    )
