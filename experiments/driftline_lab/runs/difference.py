"""Two runs side by side: what was set otherwise, what came out otherwise, from which answer on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from driftline_lab.runs.canonical import to_bytes
from driftline_lab.runs.folder import Run
from driftline_lab.runs.run import TimelineRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One thing by its dotted name, as either run has it; None where it has none."""

    name: str
    a: Any
    b: Any

    @property
    def same(self) -> bool:
        return self.a == self.b and type(self.a) is type(self.b)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """`info`: what differs in run.json. `metrics`: all metrics, equal ones too.

    `same_metrics`: whether the metrics are the same bytes. `first`: the first answer that differs,
    as either timeline has it (None where one has ended); None if the timelines are equal.
    """

    info: tuple[Pair, ...]
    metrics: tuple[Pair, ...]
    same_metrics: bool
    first: tuple[TimelineRow | None, TimelineRow | None] | None

    def document(self) -> dict[str, object]:
        """The JSON document of `driftline lab diff --json`."""
        return {
            "same_metrics": self.same_metrics,
            "info": [asdict(pair) for pair in self.info],
            "metrics": [asdict(pair) for pair in self.metrics if not pair.same],
            "first_answer": None
            if self.first is None
            else [None if row is None else asdict(row) for row in self.first],
        }


def compare(a: Run, b: Run) -> Difference:
    """What differs between `a` and `b`; reads both timelines up to the first differing answer."""
    return Difference(
        info=tuple(pair for pair in _pairs(asdict(a.info), asdict(b.info)) if not pair.same),
        metrics=tuple(_pairs(asdict(a.metrics), asdict(b.metrics))),
        same_metrics=to_bytes(a.metrics) == to_bytes(b.metrics),
        first=next(
            (rows for rows in zip_longest(a.timeline(), b.timeline()) if rows[0] != rows[1]), None
        ),
    )


def _pairs(a: Any, b: Any) -> Iterator[Pair]:
    left, right = dict(_leaves(a)), dict(_leaves(b))
    for name in [*left, *(name for name in right if name not in left)]:
        yield Pair(name=name, a=left.get(name), b=right.get(name))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value below `value` with its dotted name; an empty branch gives nothing."""
    branches: Any = ()
    if isinstance(value, dict):
        branches = value.items()
    elif isinstance(value, list | tuple):
        branches = enumerate(value, start=1)
    else:
        yield name, value
    for key, inner in branches:
        yield from _leaves(inner, f"{name}.{key}" if name else str(key))
