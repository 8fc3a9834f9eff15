"""However many devices there are, together they ask no more than so many times a second."""

from __future__ import annotations

from collections import deque

import pytest

from driftline_cloud.service.asking import LEAST_WINDOW_S, MOST_S, Asking


def asked(fleet: int, *, per_s: float, every_s: float, for_s: int) -> list[int]:
    """How many devices that obey ask in each second: all begin in the first minute."""
    now = [0.0]
    asking = Asking(per_s, monotonic_s=lambda: now[0])
    due: list[deque[int]] = [deque() for _ in range(for_s)]
    for device in range(fleet):
        due[device * 60 // fleet].append(device)
    counts = []
    for second in range(for_s):
        now[0] = float(second)
        counts.append(len(due[second]))
        for device in due[second]:
            wait_s = max(every_s, asking.ask_after_s(str(device)))
            if second + wait_s < for_s:
                due[int(second + wait_s)].append(device)
    return counts


@pytest.mark.parametrize("fleet", [600, 3_000, 30_000])
def test_a_fleet_of_any_size_settles_at_what_was_set(fleet: int) -> None:
    counts = asked(fleet, per_s=100.0, every_s=5.0, for_s=1_800)
    settled = counts[900:]
    mean = sum(settled) / len(settled)
    assert mean <= 105.0
    assert mean >= min(90.0, fleet / 6)  # and asks as much as it may


def test_a_small_fleet_is_told_nothing() -> None:
    asking = Asking(100.0, monotonic_s=lambda: 0.0)
    assert {asking.ask_after_s(str(number)) for number in range(100)} == {0}
    assert asking.ask_after_s("one more than a second holds") == 2


def test_devices_that_went_are_forgotten() -> None:
    now = [0.0]
    asking = Asking(1.0, monotonic_s=lambda: now[0])
    for number in range(60):
        asking.ask_after_s(str(number))
    assert asking.ask_after_s("a") == 61
    now[0] = LEAST_WINDOW_S
    assert asking.ask_after_s("a") == 61  # as many as in the last window
    now[0] = 1_000.0
    assert asking.ask_after_s("a") == 0


def test_nobody_is_told_to_stay_away_for_days() -> None:
    asking = Asking(0.001, monotonic_s=lambda: 0.0)
    for number in range(50):
        assert asking.ask_after_s(str(number)) <= MOST_S


def test_no_rate_is_no_word() -> None:
    asking = Asking(0.0)
    assert not any(asking.ask_after_s(str(number)) for number in range(5_000))
