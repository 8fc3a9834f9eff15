"""Devices that differ are told apart, devices that differ by chance are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline_cloud.grouping.clusters import Found, find_groups
from driftline_cloud.grouping.settings import GroupingSettings

SETTINGS = GroupingSettings()


def rows_of(
    centres: dict[str, tuple[float, float]], each: int, seed: int = 0
) -> tuple[NDArray[np.float64], list[str]]:
    """`each` samples of every device around its centre, in an order of no meaning."""
    rng = np.random.default_rng(seed)
    devices = [name for name in centres for _ in range(each)]
    rows = np.array([centres[name] for name in devices]) + rng.normal(0, 1.0, (len(devices), 2))
    order = rng.permutation(len(devices))
    return rows[order], [devices[i] for i in order]


def found_in(
    centres: dict[str, tuple[float, float]], each: int = 12, seed: int = 0, most: int = 4
) -> Found:
    rows, devices = rows_of(centres, each, seed)
    return find_groups(rows, devices, SETTINGS, most=most, seed=seed)


def around(prefix: str, num: int, place: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return {f"{prefix}{number}": place for number in range(num)}


def test_two_worlds_are_two_groups_and_the_larger_comes_first() -> None:
    found = found_in(around("a", 5, (0, 0)) | around("b", 7, (4, 0)))
    assert found.groups == (
        tuple(f"b{number}" for number in range(7)),
        tuple(f"a{number}" for number in range(5)),
    )
    assert found.p == 1 / 200 and found.silhouette > 0.7 and found.reason == ""
    assert found == found_in(around("a", 5, (0, 0)) | around("b", 7, (4, 0)))


def test_three_worlds_are_three_groups_and_at_most_so_many() -> None:
    worlds = around("a", 4, (0, 0)) | around("b", 4, (9, 0)) | around("c", 4, (0, 9))
    assert [len(group) for group in found_in(worlds).groups] == [4, 4, 4]
    assert len(found_in(worlds, most=2).groups) <= 2
    assert found_in(worlds, most=1).groups == ()


def test_one_world_is_one_group_however_often_it_is_looked_at() -> None:
    splits = sum(len(found_in(around("a", 12, (0, 0)), seed=seed).groups) > 1 for seed in range(60))
    # With an error rate of .01 more than 3 of 60 come once in 300 times.
    assert splits <= 3
    assert "by chance" in found_in(around("a", 12, (0, 0)), seed=1).reason


def test_a_device_alone_makes_no_group_and_goes_with_the_nearest() -> None:
    worlds = around("a", 5, (0, 0)) | around("b", 5, (8, 0)) | {"far": (11.0, 0.0)}
    groups = found_in(worlds).groups
    assert [len(group) for group in groups] == [6, 5] and "far" in groups[0]
    alone = found_in(around("a", 9, (0, 0)) | {"far": (20.0, 0.0)})
    assert len(alone.groups) == 1 and len(alone.groups[0]) == 10


@pytest.mark.parametrize("each", [1, 7])
def test_devices_with_few_samples_are_not_compared(each: int) -> None:
    found = found_in(around("a", 6, (0, 0)) | around("b", 6, (9, 0)), each=each)
    assert found.groups == () and "0 devices sent 8 samples or more" in found.reason


def test_a_real_difference_that_is_small_makes_no_groups() -> None:
    worlds = around("a", 6, (0, 0)) | around("b", 6, (2, 0))
    assert len(found_in(worlds, each=50).groups) == 2
    strict = SETTINGS.model_copy(update={"least_silhouette": 0.99})
    rows, devices = rows_of(worlds, 50)
    found = find_groups(rows, devices, strict, most=4, seed=0)
    assert len(found.groups) == 1 and "too near" in found.reason


def test_of_a_large_fleet_all_devices_get_a_group() -> None:
    found = found_in(around("a", 130, (0, 0)) | around("b", 120, (6, 0)), each=8)
    assert [len(group) for group in found.groups] == [130, 120]


def test_samples_that_are_all_alike_make_no_groups() -> None:
    devices = [f"d{number % 10}" for number in range(100)]
    assert len(find_groups(np.zeros((100, 3)), devices, SETTINGS, most=4, seed=0).groups) <= 1
