"""Which runs some tables need, each once, and which of them a free process takes next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from driftline_lab.baselines.baseline import Baseline
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.table import Table, runs

QUARTERS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A run that a table needs. `key`: see `Lab.key`; `table`: the first that needs it; `material`:
    equal where runs share stream and tests.
    """

    key: str
    table: str
    title: str
    material: str
    plan: Plan
    baseline: Baseline


def orders(tables: Iterable[Table], lab: Lab, scale: Scale) -> list[Order]:
    """The runs of `tables` in their order, each once; those of one seed come together."""
    found: dict[str, Order] = {}
    for table in tables:
        for each, plan in runs(table, scale):
            key = lab.key(plan, each.baseline)
            label = f"{each.label} ({each.group})" if each.group else each.label
            order = Order(
                key=key,
                table=table.name,
                title=f"{label}, {plan.pair}, seed {plan.seed}",
                material=lab.material_key(plan),
                plan=plan,
                baseline=each.baseline,
            )
            found.setdefault(key, order)
    return list(found.values())


def next_order(waiting: Sequence[Order], mine: str, others: Collection[str]) -> Order:
    """What a free process takes of `waiting`, which is not empty, from the first table in it.

    Best over the material it has in memory (`mine`), else over one that no other process has
    (`others`), else the first.
    """
    some = [each for each in waiting if each.table == waiting[0].table]
    same = (each for each in some if each.material == mine)
    fresh = (each for each in some if each.material not in others)
    return next(same, None) or next(fresh, some[0])


class Quarters:
    """A `Progress` that says a run's title at each quarter but the last."""

    def __init__(self, title: str, report: Callable[[str], None]) -> None:
        self._title, self._report, self._said = title, report, 0

    def __call__(self, share: float) -> None:
        """`share`: 0..1."""
        quarter = int(share * QUARTERS)
        if self._said < quarter < QUARTERS:
            self._said = quarter
            self._report(f"{self._title}: {100 * quarter // QUARTERS} %")
