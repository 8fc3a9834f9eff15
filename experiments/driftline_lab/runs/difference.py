"""Two runs side by side: what was set otherwise, what came out otherwise, from which answer on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

from driftline_lab.data.domains import SOURCE
from driftline_lab.runs.canonical import to_bytes
from driftline_lab.runs.domains import domains_met, in_order
from driftline_lab.runs.folder import Run
from driftline_lab.runs.run import DomainAccuracy, Metrics, RunInfo, TimelineRow


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
    """`info`: what differs in run.json. `summary`: the metrics in few lines, as texts, equal ones
    too. `metrics`: every single one that differs. `note`: why the two can hardly be compared, empty
    where they can.

    `same_metrics`: whether the metrics are the same bytes. `first`: the first answer that differs,
    as either timeline has it (None where one has ended); None if the timelines are equal.
    """

    info: tuple[Pair, ...]
    summary: tuple[Pair, ...]
    metrics: tuple[Pair, ...]
    same_metrics: bool
    note: str
    first: tuple[TimelineRow | None, TimelineRow | None] | None

    def document(self) -> dict[str, object]:
        """The JSON document of `driftline lab diff --json`."""
        return {
            "same_metrics": self.same_metrics,
            "note": self.note,
            "info": [asdict(pair) for pair in self.info],
            "metrics": [asdict(pair) for pair in self.metrics],
            "summary": [asdict(pair) for pair in self.summary],
            "first_answer": None
            if self.first is None
            else [None if row is None else asdict(row) for row in self.first],
        }


def compare(a: Run, b: Run) -> Difference:
    """What differs between `a` and `b`; reads both timelines up to the first differing answer, and
    that of `a` until it has met every domain.
    """
    met = domains_met(a.timeline(), a.metrics.accuracy)
    a, b = (replace(run, metrics=in_order(run.metrics, met)) for run in (a, b))
    return Difference(
        info=_differing(asdict(a.info), asdict(b.info)),
        summary=tuple(_pairs(_summary(a.metrics), _summary(b.metrics))),
        metrics=_differing(asdict(a.metrics), asdict(b.metrics)),
        same_metrics=to_bytes(a.metrics) == to_bytes(b.metrics),
        note=_note(a.info, b.info),
        first=next(
            (rows for rows in zip_longest(a.timeline(), b.timeline()) if rows[0] != rows[1]), None
        ),
    )


def _note(a: RunInfo, b: RunInfo) -> str:
    if a.kind == b.kind:
        return ""
    note = f"a {a.kind} and a {b.kind}: their numbers are of different questions"
    if "replay" in (a.kind, b.kind):
        note += (
            "; a replay's accuracy is of the trace's own answers, as recorded and as replayed, all "
            "others' of held-out test sets, before and after"
        )
    return note


def _summary(metrics: Metrics) -> dict[str, str]:
    """The metrics as a few lines, by name."""
    found = {name: _accuracy(name, row) for name, row in metrics.accuracy.items()}
    up, updates = metrics.uplink, metrics.updates
    found["sent"] = f"{up.sent:,} of {up.seen:,}, {up.bytes:,} B"
    found["rounds"] = ", ".join(each.state for each in metrics.rounds) or "none"
    num_bytes = sum(each.bytes for each in updates)
    found["updates"] = f"{len(updates)}, {num_bytes:,} B" if updates else "none"
    return found


def _accuracy(domain: str, row: DomainAccuracy) -> str:
    text = f"{100 * row.before:.1f} % to {100 * row.after:.1f} %"
    if row.teacher is not None:
        text += f" of {100 * row.teacher:.1f} %"
    # Nothing was lost where the device learnt: a share of that gap says nothing.
    if domain == SOURCE or row.recovered is None:
        return text
    return f"{text}, {100 * row.recovered:.0f} % recovered"


def _differing(a: dict[str, Any], b: dict[str, Any]) -> tuple[Pair, ...]:
    return tuple(pair for pair in _pairs(a, b) if not pair.same)


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
