"""What makes runs: the contract, and every table of a list from the runs that came out well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from driftline_lab.data.openmoji.captions import check_scorers
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.making.orders import Order, orders
from driftline_lab.experiments.tables.folder import is_there, write_table
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.table import Table

ALL = "all"


class Makers(Protocol):
    """Makes runs that were ordered when it was begun."""

    def settle(self, keys: Collection[str]) -> dict[str, str]:
        """Return when each of these runs is there or has failed; why it did, by key."""

    def close(self) -> None:
        """Let go of what is at work; runs that are not there stay away."""


Begin = Callable[[Sequence[Order]], Makers]


@dataclass(kw_only=True)
class Made:
    """`tables`: by name, whether its result was new. `failed`: of a table that is not written, the
    runs that failed, each as a sentence.
    """

    tables: dict[str, bool] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)


def make_tables(
    tables: Sequence[Table],
    lab: Lab,
    scale: Scale,
    out: Path,
    begin: Begin,
    report: Callable[[str], None],
) -> Made:
    """Write the folder of each of `tables` whose runs are well; the others' runs are made too.

    Raises ConfigError where the world asks for captions and their scorers are not installed.
    """
    missing = {each.name for each in tables if not is_there(each, lab, scale, out)}
    if missing and scale.plan.data.has_captions:
        check_scorers()
    makers = begin(orders((each for each in tables if each.name in missing), lab, scale))
    found = Made()
    try:
        for table in tables:
            report(f"{table.name}: {table.title}")
            mine = orders([table], lab, scale) if table.name in missing else []
            failed = makers.settle([each.key for each in mine])
            if failed:
                found.failed[table.name] = [
                    f"{each.title}: {failed[each.key]}" for each in mine if each.key in failed
                ]
            else:
                found.tables[table.name] = write_table(table, lab, scale, out)
    finally:
        makers.close()
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """Of a table: `runs` at the asked scale, `there` of them already, and whether it is `made`."""

    table: str
    title: str
    runs: int
    there: int
    made: bool
    note: str = ""


def _without_runs(tables: Sequence[Table], scale: Scale) -> str:
    if not any(each.streams for each in tables):
        return "no runs needed"
    return f"world {scale.plan.data.name} has nothing for it"


def stock(tables: Sequence[Table], lab: Lab, scale: Scale, out: Path) -> list[Stock]:
    """What each of `tables` needs and has; then all of them, which share runs."""

    def needs(name: str, title: str, some: Sequence[Table]) -> Stock:
        mine = orders(some, lab, scale)
        return Stock(
            table=name,
            title=title,
            runs=len(mine),
            there=sum(lab.has(each.plan, each.baseline) for each in mine),
            made=all(is_there(each, lab, scale, out) for each in some),
            note=_without_runs(some, scale) if not mine else "",
        )

    each_one = [needs(table.name, table.title, [table]) for table in tables]
    return [*each_one, needs(ALL, "All of these, each run once", tables)]
