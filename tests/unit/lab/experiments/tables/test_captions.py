"""The captioning table against numbers worked out by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest
from matplotlib.figure import Figure

from driftline_lab.baselines.baseline import Baseline
from driftline_lab.data.openmoji.captions import CaptionScores
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.result import Result, Row
from driftline_lab.experiments.tables import captions
from driftline_lab.experiments.tables.captions import CAPTIONS
from driftline_lab.experiments.tables.scale import Choice, full_scale
from tests.fakes.results import some_row

SMOL = Choice(pair="smol", seeds=(0, 1), baselines=("logit-kd", "tent")).scale()


def scores(name_match: float, cider: float, *bleu: float) -> CaptionScores:
    return CaptionScores(
        num_captions=4, cider=cider, cider_best=5.0, bleu=bleu, name_match=name_match
    )


def row(kind: str, found: dict[str, CaptionScores]) -> Row:
    return some_row(kind, "lineart", {"source": 0.5}, captions=found)


AFTER = {"driftline": (0.5, 0.75), "logit-kd": (0.25, 0.5)}
"""Share of captions that name the thing at the end, by seed; it began with a quarter."""


class Results:
    """In a lab's place: seed 1 has captions of `lineart` alone, seed 0 of the source too."""

    def run(self, plan: Plan, baseline: Baseline) -> Result:
        after = scores(AFTER[baseline.name][plan.seed], 2.0 + plan.seed, 0.8, 0.4, 0.1)
        names = ["lineart"] if plan.seed else ["lineart", "source"]
        return Result(
            baseline=baseline.name,
            seed=plan.seed,
            teacher={"source": 0.9},
            rows=(
                row("start", dict.fromkeys(names, scores(0.25, 1.0, 0.3))),
                row("segment", {}),
                row("segment", dict.fromkeys(names, after)),
            ),
            teacher_captions=dict.fromkeys(names, scores(1.0, 4.0, 0.9, 0.7)),
        )


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return captions.measure(cast(Lab, Results()), SMOL)


def test_an_arm_gains_what_each_seed_gained(result: dict[str, Any]) -> None:
    assert [each["baseline"] for each in result["rows"]] == ["driftline", "logit-kd"]
    mine = result["rows"][0]["by_domain"]["lineart"]
    assert mine["name_match"]["mean"] == pytest.approx((0.5 + 0.75) / 2)
    assert mine["gained"]["mean"] == pytest.approx(((0.5 - 0.25) + (0.75 - 0.25)) / 2)
    assert mine["gained"]["worst"] == 0.25 and mine["gained"]["num"] == 2
    assert mine["cider"]["mean"] == pytest.approx(2.5)
    assert mine["bleu"]["mean"] == pytest.approx(0.4)


def test_a_domain_is_of_the_seeds_that_have_captions_of_it(result: dict[str, Any]) -> None:
    assert [each["name"] for each in result["domains"]] == ["lineart", "source"]
    assert result["rows"][1]["by_domain"]["source"]["name_match"] == {
        "mean": 0.25,
        "interval": 0.0,
        "worst": 0.25,
        "num": 1,
    }
    assert result["domains"][0]["teacher"]["bleu"]["mean"] == pytest.approx(0.7)


def test_bleu_is_of_two_words_or_of_one_where_captions_have_one() -> None:
    assert captions.bleu(scores(0, 0, 0.8, 0.4, 0.1)) == 0.4
    assert captions.bleu(scores(0, 0, 0.8)) == 0.8


def test_the_text_has_the_teacher_above_and_each_arm_once_a_domain(
    result: dict[str, Any],
) -> None:
    lines = captions.text(result)
    source = lines[lines.index("## source") :]
    assert source[4].startswith("| ")
    assert [line.split("|")[1].strip() for line in source[6:]] == [
        "right captions",
        "teacher",
        "driftline",
        "logit-kd",
    ]
    assert source[8] == "| driftline | 50.0 | 25.0 | 2.00 | 40.0 |"
    figure = Figure()
    captions.draw(result, figure)
    (axes,) = figure.axes
    assert len(axes.patches) == 2 * 3


def test_arms_are_those_that_teach_captions_something_else() -> None:
    labels = [each.label for each in CAPTIONS.arms(full_scale("smol"))]
    assert sorted(labels) == sorted(captions.SHOWN)
    assert CAPTIONS.arms(full_scale("tiny")) == []


def test_a_world_without_captions_says_so_in_a_sentence() -> None:
    found = captions.measure(cast(Lab, Results()), full_scale("tiny"))
    (line,) = captions.text(found)
    assert "`easyvqa` asks for no captions" in line
