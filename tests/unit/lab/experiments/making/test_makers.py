"""A run that fails is named, its table stays away, and all others are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_cloud.distill.student import Models
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.making.here import Here
from driftline_lab.experiments.making.makers import Begin, make_tables, stock
from driftline_lab.experiments.making.orders import Order
from driftline_lab.experiments.tables.scale import Scale, quick_scale
from driftline_lab.experiments.tables.table import Arm, Table, arm, results
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.errors import DataError
from tests.fakes.material import random_plan

FINE, WORSE = BASELINES["source-only"], BASELINES["tent"]


def table(name: str, *baselines: str) -> Table:
    """Of these baselines' bytes."""

    def arms(scale: Scale) -> list[Arm]:
        return [arm(scale, BASELINES[each]) for each in baselines]

    return Table(
        name=name,
        title=name,
        arms=arms,
        measure=lambda lab, scale: {
            "bytes": [r[0].last.bytes_up for _, r in results(lab, arms(scale))]
        },
        text=lambda result: [str(result["bytes"])],
        draw=lambda result, figure: None,
    )


@pytest.fixture
def scale(loaded: Models) -> Scale:
    plan = random_plan(pair=str(loaded.pair.dir), segments=("source", "night"))
    return replace(quick_scale(), plan=plan)


@pytest.fixture
def lab(loaded: Models, store: ResultStore, tmp_path: Path) -> Iterator[Lab]:
    yield Lab(tmp_path, store, load=lambda _: loaded)


def here(lab: Lab, said: Callable[[str], None]) -> Begin:
    def begin(ordered: Sequence[Order]) -> Here:
        return Here(lab, ordered, said)

    return begin


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("no pictures"), "no pictures [data_invalid]"),
        (MemoryError("8 GB"), "MemoryError: 8 GB"),
    ],
)
def test_the_others_are_made(
    lab: Lab,
    scale: Scale,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    run = lab.run

    def failing(plan, baseline, *rest):  # type: ignore[no-untyped-def]
        if baseline is WORSE:
            raise error
        return run(plan, baseline, *rest)

    monkeypatch.setattr(lab, "run", failing)
    both, one = table("both", "tent", "source-only"), table("one", "source-only")
    lines: list[str] = []
    made = make_tables([both, one], lab, scale, tmp_path, here(lab, lines.append), lines.append)
    assert made.tables == {"one": True}
    title = f"tent, {scale.plan.pair}, seed 0"
    assert made.failed == {"both": [f"{title}: {said}"]}
    assert f"{title}: failed: {said}" in lines
    assert not (tmp_path / "both").exists()
    needs = {
        each.table: (each.runs, each.there, each.made)
        for each in stock([both, one], lab, scale, tmp_path)
    }
    assert needs == {"both": (2, 1, False), "one": (1, 1, True), "all": (2, 1, False)}


def test_what_a_table_has_is_not_ordered_again(lab: Lab, scale: Scale, tmp_path: Path) -> None:
    one = table("one", "source-only")
    ordered: list[int] = []

    def begin(orders: Sequence[Order]) -> Here:
        ordered.append(len(orders))
        return Here(lab, orders, lambda _: None)

    for new in (True, False):
        made = make_tables([one], lab, scale, tmp_path, begin, lambda _: None)
        assert made.tables == {"one": new}
    assert ordered == [1, 0]
