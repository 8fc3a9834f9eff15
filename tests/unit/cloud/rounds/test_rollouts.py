"""Rounds and versions on their way: who waits for whom, and what a stop does to a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rollout.rollout import RolloutState
from driftline_cloud.rounds.round import Round, RoundState
from driftline_cloud.service.assembly import WholeCloud
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import Enrolment
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, make_sample
from tests.fakes.rounds import open_cloud, run_rounds, send

Open = Callable[..., WholeCloud]
PHASED = RolloutSettings(shares=(0.1, 1.0), least_devices=20, hold_rounds_s=1_000.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def workers() -> ReckoningWorkers:
    return ReckoningWorkers()


@pytest.fixture
def open_(tmp_path: Path, workers: ReckoningWorkers, clock: FakeClock) -> Iterator[Open]:
    opened: list[WholeCloud] = []

    def make(rollout: RolloutSettings = PHASED, num_devices: int = 30) -> WholeCloud:
        cloud = open_cloud(tmp_path / "state", workers, clock, rollout=rollout)
        for number in range(num_devices):
            cloud.devices.enrol(
                Enrolment(
                    device_id=f"d{number}",
                    pair=cloud.line.pair,
                    token_space=cloud.line.token_space.digest,
                    base_model=cloud.line.base_model,
                    adapter_version=0,
                ),
                cloud.line.id,
                now_unix_s=int(clock.now_s()),
            )
        opened.append(cloud)
        return cloud

    yield make
    for cloud in opened:
        cloud.close()


def _newest(cloud: WholeCloud) -> Round:
    return cloud.ledger.newest(cloud.line.id)[0]


def _orders(cloud: WholeCloud, clock: FakeClock) -> RolloutOrders:
    return RolloutOrders(cloud.database, clock)


def test_few_devices_have_a_rounds_version_at_once(open_: Open) -> None:
    cloud = open_(RolloutSettings(), 3)
    send(cloud, range(40))
    run_rounds(cloud)
    assert cloud.rollouts.get(cloud.line.id, 1).state is RolloutState.COMPLETE
    send(cloud, range(100, 140))
    run_rounds(cloud)
    assert cloud.registry.newest_version(cloud.line.id) == 2


def test_the_next_round_waits_until_the_version_is_everyones(open_: Open, clock: FakeClock) -> None:
    cloud = open_()
    send(cloud, range(40))
    run_rounds(cloud)
    begun = cloud.rollouts.get(cloud.line.id, 1)
    assert (begun.state, begun.num_devices, begun.round_id) == (
        RolloutState.ROLLING, 3, _newest(cloud).id,
    )  # fmt: skip
    send(cloud, range(100, 140))
    assert not cloud.coordinator.step()
    assert cloud.coordinator.held == "version 1 is on its way"
    with pytest.raises(LinkError, match="version 1 is on its way") as refused:
        cloud.start_round("")
    assert refused.value.reason is Reason.ROLLOUT_OPEN
    _orders(cloud, clock).promote(cloud.line.id, who="ada", to_all=True)
    run_rounds(cloud)
    assert cloud.registry.newest_version(cloud.line.id) == 2


def test_it_does_not_wait_for_ever(open_: Open, clock: FakeClock) -> None:
    cloud = open_()
    send(cloud, range(40))
    run_rounds(cloud)
    send(cloud, range(100, 140))
    clock.advance(1_001.0)
    run_rounds(cloud)
    assert cloud.rollouts.get(cloud.line.id, 1).state is RolloutState.SUPERSEDED
    assert cloud.rollouts.get(cloud.line.id, 2).state is RolloutState.ROLLING


@pytest.mark.parametrize("num_states", [1, 4, 5])
def test_a_round_on_a_version_that_is_stopped_ends_and_gives_its_samples_back(
    open_: Open, clock: FakeClock, workers: ReckoningWorkers, num_states: int
) -> None:
    cloud = open_(RolloutSettings(), 3)
    send(cloud, range(40))
    run_rounds(cloud)
    send(cloud, range(100, 140))
    for _ in range(num_states + 1):
        cloud.coordinator.step()
    assert _newest(cloud).is_open
    _orders(cloud, clock).rollback(cloud.line.id, 0, who="ada")
    num_distilled = workers.num_distilled
    cloud.coordinator.step()
    ended = _newest(cloud)
    assert ended.state is RoundState.FAILED
    assert ended.reason == (
        "version 1, on which it was built, was stopped; its samples wait for the next"
    )
    assert workers.num_distilled == num_distilled
    ids = [make_sample(number, cloud.line.token_space).id for number in range(100, 140)]
    assert set(cloud.store.states(ids).values()) == {"waiting"}
    assert not cloud.coordinator.step()  # until version 0 is there again
    cloud.keeper.step(cloud.line.id)
    clock.advance(31.0)
    run_rounds(cloud)
    assert (_newest(cloud).base_version, _newest(cloud).state) == (2, RoundState.DONE)
    assert cloud.rollouts.get(cloud.line.id, 3).state is RolloutState.COMPLETE


def test_a_stop_between_the_last_look_and_the_release_is_seen(
    open_: Open, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = open_(RolloutSettings(), 3)
    send(cloud, range(40))
    run_rounds(cloud)
    send(cloud, range(100, 140))
    work = cloud.coordinator._work
    real = work.why_withdrawn

    def late(round_: Round) -> str:
        found = real(round_)
        if round_.state is RoundState.RELEASING and not round_.num_errors:
            _orders(cloud, clock).rollback(cloud.line.id, 0, who="ada")
            cloud.keeper.step(cloud.line.id)
        return found

    monkeypatch.setattr(work, "why_withdrawn", late)
    run_rounds(cloud)
    clock.advance(5.0)
    run_rounds(cloud)
    assert "version 1, on which it was built, was stopped" in _newest(cloud).reason
    assert cloud.registry.newest_version(cloud.line.id) == 2
    assert cloud.rollouts.get(cloud.line.id, 2).restores == 0


def test_a_version_that_is_never_released_is_not_on_its_way(
    open_: Open, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = open_()
    send(cloud, range(40))

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(cloud.registry, "publish", full)
    while not cloud.ledger.count(cloud.line.id) or _newest(cloud).is_open:
        cloud.coordinator.step()
        clock.advance(10.0)
    assert _newest(cloud).state is RoundState.FAILED
    assert cloud.rollouts.get(cloud.line.id, 1).state is RolloutState.SUPERSEDED
    monkeypatch.undo()
    clock.advance(61.0)
    run_rounds(cloud)
    assert cloud.registry.newest_version(cloud.line.id) == 1
    assert cloud.rollouts.get(cloud.line.id, 1).state is RolloutState.ROLLING
