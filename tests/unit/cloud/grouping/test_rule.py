"""A line is split where its groups gain, and none of them loses."""

from __future__ import annotations

from driftline_cloud.grouping.rule import GroupMarks, judge_groups
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.jobs import Marks

SETTINGS = GroupingSettings()


def group(own: float, shared: float, num: int = 20) -> GroupMarks:
    return GroupMarks(
        own=Marks(right=(own,) * num, probability=(own,) * num),
        shared=Marks(right=(shared,) * num, probability=(shared,) * num),
    )


def test_groups_that_gain_pay() -> None:
    verdict = judge_groups([group(0.9, 0.7), group(0.8, 0.75)], SETTINGS)
    assert verdict.pays
    assert abs(verdict.numbers["gain"] - 0.125) < 1e-9
    assert verdict.numbers["gain_0"] > verdict.numbers["gain_1"] > 0


def test_a_gain_that_may_be_chance_or_is_too_small_does_not_pay() -> None:
    assert not judge_groups([group(0.72, 0.7, 3), group(0.72, 0.7, 3)], SETTINGS).pays
    assert not judge_groups([group(0.705, 0.7, 9_000), group(0.705, 0.7, 9_000)], SETTINGS).pays
    assert "0.700 is asked" in judge_groups([group(0.7, 0.7), group(0.7, 0.7)], SETTINGS).reason


def test_no_group_pays_for_another_one() -> None:
    verdict = judge_groups([group(1.0, 0.5), group(0.67, 0.7)], SETTINGS)
    assert not verdict.pays and "group 1 would lose" in verdict.reason
    # What may well be chance on so few samples holds nobody up.
    assert judge_groups([group(1.0, 0.5), group(0.698, 0.7, 4)], SETTINGS).pays
