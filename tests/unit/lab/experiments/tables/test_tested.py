"""Which test sets a segment is judged by, and the tables of a world that tests a drift in parts."""

from __future__ import annotations

from typing import Any, cast

import pytest
from matplotlib.figure import Figure

from driftline_lab.baselines.baseline import Baseline
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.result import Result, Row
from driftline_lab.experiments.tables import accuracy, forgetting
from driftline_lab.experiments.tables.scale import Choice
from driftline_lab.experiments.tables.tested import by_domain, sets_of
from tests.fakes.results import some_row

TESTS = ["source", "lineart-seen", "lineart-unseen"]
SMOL = Choice(pair="smol", seeds=(0,), baselines=("source-only",)).scale()


def test_a_domain_is_judged_by_its_own_set_or_by_its_parts() -> None:
    assert sets_of("lineart", TESTS) == ["lineart-seen", "lineart-unseen"]
    assert sets_of("source", TESTS) == ["source"]
    # The stronger fog is another domain, not a part.
    assert sets_of("corrupt-fog", ["corrupt-fog", "corrupt-fog-5"]) == ["corrupt-fog"]
    found = by_domain({"source": 0.9, "lineart-seen": 0.6, "lineart-unseen": 0.4}, ["lineart", "x"])
    assert found == {"lineart": pytest.approx(0.5)}


class Results:
    """In a lab's place: seen drawings 40 to 60 %, unseen ones 20 to 40 %; the teacher 80 %."""

    def run(self, plan: Plan, baseline: Baseline) -> Result:
        def row(kind: str, segment: int, domain: str, *values: float) -> Row:
            found = dict(zip(TESTS, values, strict=True))
            return some_row(kind, domain, found, segment=segment, seen=1 + segment, answered=0.5)

        return Result(
            baseline=baseline.name,
            seed=plan.seed,
            teacher=dict.fromkeys(TESTS, 0.8),
            rows=(
                row("start", 0, "source", 0.9, 0.4, 0.2),
                row("segment", 0, "source", 0.9, 0.4, 0.2),
                row("segment", 1, "lineart", 0.8, 0.6, 0.4),
            ),
        )


def table(found: Any) -> dict[str, Any]:
    """Its rows, once its text and its plot were made of them."""
    rows = found.measure(cast(Lab, Results()), SMOL)
    figure = Figure()
    found.draw(rows, figure)
    assert found.text(rows) and figure.axes
    return dict(rows)


def test_accuracy_on_drifted_domains_is_over_their_parts() -> None:
    first = table(accuracy.ACCURACY)["rows"][0]
    assert first["drifted"]["mean"] == pytest.approx(0.5)
    # (0.6 - 0.4) / (0.8 - 0.4) of the seen, (0.4 - 0.2) / (0.8 - 0.2) of the unseen.
    assert first["recovered"]["mean"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_forgetting_is_of_a_domain_as_a_whole() -> None:
    first = table(forgetting.FORGETTING)["rows"][0]
    assert first["final"]["mean"] == pytest.approx((0.8 + 0.5) / 2)
    assert first["forgetting"]["mean"] == pytest.approx(0.1)
