"""What a table is: the runs it is made of, what it makes of them, its text and its plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from driftline_lab.baselines.baseline import Baseline
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.result import Result
from driftline_lab.experiments.tables.scale import Scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """Runs that differ in their seed alone, under one label and in one group."""

    label: str
    baseline: Baseline
    plans: Sequence[Plan]
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """`arms`: the runs it is about; with the scale they are its configuration. `measure`: its rows
    as plain values. `text`: Markdown lines of them. `draw`: onto a matplotlib figure. `streams`:
    whether its arms are run at all; else only their plans count.
    """

    name: str
    title: str
    arms: Callable[[Scale], list[Arm]]
    measure: Callable[[Lab, Scale], dict[str, Any]]
    text: Callable[[dict[str, Any]], list[str]]
    draw: Callable[[dict[str, Any], Any], None]
    streams: bool = True


def runs(table: Table, scale: Scale) -> Iterator[tuple[Arm, Plan]]:
    """Every run of `table`; those of one seed come together, for their tokens."""
    listed = table.arms(scale) if table.streams else []
    for number in range(max((len(each.plans) for each in listed), default=0)):
        yield from ((each, each.plans[number]) for each in listed)


def arm(
    scale: Scale, baseline: Baseline, label: str = "", *, group: str = "", **changes: Any
) -> Arm:
    """`baseline` on every seed; `changes` of the plan."""
    plans = [scale.plan.model_copy(update={"seed": seed, **changes}) for seed in scale.seeds]
    return Arm(label=label or baseline.name, baseline=baseline, plans=plans, group=group)


def results(lab: Lab, arms: Iterable[Arm]) -> list[tuple[Arm, list[Result]]]:
    """Every arm with its results by seed, kept or made now."""
    return [(each, [lab.run(plan, each.baseline) for plan in each.plans]) for each in arms]
