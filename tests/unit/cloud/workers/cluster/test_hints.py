"""What an autoscaler is told: as much as waits, bounded, once, and that nothing waits any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from driftline_cloud.workers.cluster.hints import Hints

CPU = {"num_cpus": 2, "num_gpus": 0}


class Autoscaler:
    """Keeps what it was told; `away`: it raises."""

    def __init__(self) -> None:
        self.told: list[list[Mapping[str, float]]] = []
        self.away = False

    def request(self, bundles: Sequence[Mapping[str, float]]) -> None:
        if self.away:
            raise ConnectionError("no head")
        self.told.append(list(bundles))


@pytest.fixture
def autoscaler() -> Autoscaler:
    return Autoscaler()


def test_as_much_as_waits_is_asked_for_within_the_bound(autoscaler: Autoscaler) -> None:
    hints = Hints(3, autoscaler.request)
    assert hints.ask(CPU, 2) == 2
    assert hints.ask(CPU, 50) == 3
    assert hints.ask({"num_cpus": 1, "num_gpus": 1}, 1) == 1
    assert autoscaler.told == [[{"CPU": 2}] * 2, [{"CPU": 2}] * 3, [{"CPU": 1, "GPU": 1}]]


def test_the_same_is_not_asked_twice_and_is_released_once(autoscaler: Autoscaler) -> None:
    hints = Hints(3, autoscaler.request)
    hints.release()
    for _ in range(4):
        hints.ask(CPU, 2)
    hints.ask(CPU, 0)
    hints.release()
    assert autoscaler.told == [[{"CPU": 2}] * 2, []]


def test_without_the_setting_nothing_is_told(autoscaler: Autoscaler) -> None:
    hints = Hints(0, autoscaler.request)
    assert hints.ask(CPU, 9) == 0
    hints.release()
    assert autoscaler.told == []


def test_one_that_is_away_stops_no_work_and_is_told_later(autoscaler: Autoscaler) -> None:
    hints = Hints(3, autoscaler.request)
    autoscaler.away = True
    assert hints.ask(CPU, 2) == 2
    autoscaler.away = False
    hints.ask(CPU, 2)
    assert autoscaler.told == [[{"CPU": 2}] * 2]


def test_a_cluster_that_is_new_is_asked_anew(autoscaler: Autoscaler) -> None:
    hints = Hints(3, autoscaler.request)
    hints.ask(CPU, 2)
    hints.forget()
    hints.ask(CPU, 2)
    assert len(autoscaler.told) == 2
